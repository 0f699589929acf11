//! Ready scenarios by name, each one of the things that membership is to show, with what it measured.
//!
//! Not here: the command line, and the comparison with another library (`versus`).

use super::{Break, Counts, Fault, Options, Outcome, Plan, run};
use crate::sim::rng::Rng;
use core::time::Duration;

pub const NAMES: &str = "crash, loss, lossy, oneway, bootstrap, bytes";

#[derive(Clone, Debug)]
pub struct Played {
    /// For people: what was found, a line each.
    pub lines: Vec<String>,
    /// Whether it is as promised.
    pub kept: bool,
}

const fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// `minutes`: how long, if the scenario can be of any length.
///
/// # Errors
/// No scenario has this name.
pub fn play(name: &str, nodes: u32, minutes: u64, seed: u64) -> Result<Played, String> {
    let options = Options { seed, nodes, lasts: seconds(60 * minutes), ..Options::default() };
    match name {
        "crash" => Ok(crash(options)),
        "loss" => Ok(loss(options)),
        "lossy" => Ok(lossy(options)),
        "oneway" => Ok(oneway(options)),
        "bootstrap" => Ok(bootstrap(options)),
        "bytes" => Ok(bytes(options)),
        _ => Err(format!("\"{name}\" isn't a scenario: {NAMES} are")),
    }
}

/// The middle one and the 99th of a hundred.
fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let at =
        |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied();
    (at(50).unwrap_or_default(), at(99).unwrap_or_default())
}

fn broken(outcome: &Outcome, lines: &mut Vec<String>) -> bool {
    lines.extend(outcome.violation.iter().map(|v| format!("broken: {v}")));
    outcome.violation.is_some()
}

/// Distinct nodes that aren't voters, spread over all.
fn some(count: u32, nodes: u32) -> Vec<u32> {
    let voters = 5.min(nodes - 1);
    let step = ((nodes - voters) / count.max(1)).max(1);
    (0..count).map(|i| voters + i * step).filter(|n| *n < nodes).collect()
}

/// Silent crashes one by one, and then a hundredth of all at once.
fn crash(mut options: Options) -> Played {
    let victims = some((options.nodes / 10).max(1), options.nodes);
    let at_once = (victims.len() / 10).max(1);
    let (single, together) = victims.split_at(victims.len() - at_once);
    let mut rng = Rng::new(options.seed);
    let mut at = Duration::from_secs(10);
    for node in single {
        options.plan.push((at, Fault::Crash(*node)));
        at += rng.ms(2_500, 3_500);
    }
    at += seconds(5);
    options.plan.extend(together.iter().map(|node| (at, Fault::Crash(*node))));
    options.lasts = at + seconds(10);
    let outcome = run(&options);
    let took = |of: fn(&super::Crash) -> Option<Duration>| {
        percentiles(outcome.crashes.iter().filter_map(|c| Some(of(c)? - c.at)).collect())
    };
    let (p50, p99) = took(|c| c.declared);
    let (first50, first99) = took(|c| c.first_report);
    let known = outcome.declared.iter().filter_map(|d| {
        let crash = outcome.crashes.iter().find(|c| d.nodes.contains(&super::node::id(c.node)))?;
        Some(d.known - crash.at)
    });
    let (all50, all99) = percentiles(known.collect());
    let cuts = outcome.declared.iter().filter(|d| d.at >= at).count();
    let mut lines = vec![
        format!(
            "{} silent crashes one by one: first report p50 {first50:.2?} p99 {first99:.2?}",
            single.len()
        ),
        format!("declared p50 {p50:.2?} p99 {p99:.2?}; known to all p50 {all50:.2?} p99 {all99:.2?}"),
        format!("{at_once} at once: {cuts} decision(s)"),
    ];
    let kept =
        !broken(&outcome, &mut lines) && p50 < Duration::from_millis(1_200) && p99 < seconds(2) && cuts == 1;
    Played { lines, kept }
}

fn summary(outcome: &Outcome) -> String {
    let Counts { bursts, helps, false_findings, polls, views, elections, .. } = outcome.counts;
    let dead: usize = outcome.declared.iter().map(|d| d.nodes.len()).sum();
    format!(
        "{dead} declared dead in {} decisions; {bursts} second opinions, {helps} requests for help, \
         {false_findings} wrong findings, {polls} polls, {views} views, {elections} elections",
        outcome.declared.len()
    )
}

/// 20 % everywhere, and a twentieth of the nodes starved.
fn loss(mut options: Options) -> Played {
    options.loss_percent = 20;
    let starved = some(options.nodes / 20, options.nodes);
    options.plan = starved.iter().map(|n| (seconds(5), Fault::Starve(*n))).collect();
    options.ends_calm = false;
    let outcome = run(&options);
    let mut lines = vec![format!("20 % loss, {} starved: {}", starved.len(), summary(&outcome))];
    let kept = !broken(&outcome, &mut lines) && outcome.declared.is_empty();
    Played { lines, kept }
}

/// 80 % on a hundredth of the nodes.
fn lossy(mut options: Options) -> Played {
    let bad = some((options.nodes / 100).max(1), options.nodes);
    options.plan = bad.iter().map(|n| (seconds(10), Fault::Loss(*n, 80))).collect();
    partial(options, "80 % loss on")
}

/// Nothing comes in for 20 s of every 40, at a hundredth of the nodes.
fn oneway(mut options: Options) -> Played {
    let bad = some((options.nodes / 100).max(1), options.nodes);
    for turn in 0.. {
        let at = seconds(10 + 20 * turn);
        if at >= options.lasts {
            break;
        }
        options.plan.extend(bad.iter().map(|n| (at, Fault::Deaf(*n, turn % 2 == 0))));
    }
    partial(options, "one-way cuts flipping every 20 s on")
}

fn partial(mut options: Options, what: &str) -> Played {
    options.ends_calm = false;
    let bad = (options.nodes / 100).max(1);
    let outcome = run(&options);
    let mut lines = vec![format!("{what} {bad}: {}", summary(&outcome))];
    lines.extend(outcome.declared.iter().take(10).map(|d| format!("{:.1?}: {:?}", d.at, d.nodes)));
    let kept = !broken(&outcome, &mut lines) && outcome.counts.views <= 2;
    Played { lines, kept }
}

fn bootstrap(mut options: Options) -> Played {
    (options.formed, options.lasts, options.ends_calm) = (false, seconds(30), true);
    let outcome = run(&options);
    let mut lines = vec![match outcome.agreed_at {
        Some(at) => format!("{} nodes from one seed: one view after {at:.2?}", options.nodes),
        None => format!("{} nodes from one seed: no common view in 30 s", options.nodes),
    }];
    lines.push(summary(&outcome));
    let kept = !broken(&outcome, &mut lines) && outcome.agreed_at.is_some_and(|at| at <= seconds(5));
    Played { lines, kept }
}

/// What a node sends a second once all has settled: messages, their bytes, bytes on the wire.
#[must_use]
pub fn rates(options: &Options, outcome: &Outcome) -> (f64, f64, f64) {
    let (since, before) = outcome.settled;
    let per = (options.lasts - since).as_secs_f64() * f64::from(options.nodes);
    let rate = |of: fn(&Counts) -> u64| (of(&outcome.counts) - of(&before)) as f64 / per;
    (rate(|c| c.messages + c.probes), rate(|c| c.message_bytes), rate(|c| c.wire_bytes))
}

fn bytes(options: Options) -> Played {
    let mut lines = vec!["| nodes | messages/s | bytes of messages/s | bytes on the wire/s |".to_owned()];
    lines.push("| --- | --- | --- | --- |".to_owned());
    let (mut kept, mut first) = (true, None);
    for nodes in [100, 1_000, 10_000].into_iter().filter(|n| *n <= options.nodes.max(100)) {
        let options = Options { nodes, lasts: seconds(40), ..options.clone() };
        let outcome = run(&options);
        kept &= !broken(&outcome, &mut lines);
        let (messages, bytes, wire) = rates(&options, &outcome);
        lines.push(format!("| {nodes} | {messages:.1} | {bytes:.0} | {wire:.0} |"));
        kept &= bytes <= 1.3 * *first.get_or_insert(bytes) && bytes <= 4_096.0 && wire <= 8_192.0;
    }
    Played { lines, kept }
}

/// A small cluster in which much goes wrong, as the seed has it.
#[must_use]
pub fn random(seed: u64, put_back: Break) -> Options {
    let mut rng = Rng::new(seed ^ 0xca3b);
    let nodes = u32::try_from(rng.between(3, 24)).expect("few");
    let loss_percent = [0, 0, 0, 5, 20, 30][rng.below(6)];
    let mut plan = Plan::new();
    let mut at = seconds(5);
    let anyone = |rng: &mut Rng| u32::try_from(rng.between(0, u64::from(nodes))).expect("few");
    for _ in 0..rng.between(0, 3) {
        plan.push((seconds(2), Fault::Starve(anyone(&mut rng))));
    }
    for _ in 0..rng.between(2, 12) {
        at += rng.ms(200, 9_000);
        let (node, last) = (anyone(&mut rng), rng.ms(300, 12_000));
        let (begin, end) = match rng.between(0, 10) {
            0 | 1 => (Fault::Crash(node), Some(Fault::Boot(node))),
            2 | 3 => (Fault::Kill(node), Some(Fault::Start(node))),
            4 | 5 => (Fault::Pause(node, rng.between(100, 20_000)), None),
            6 => (Fault::Deaf(node, true), Some(Fault::Deaf(node, false))),
            7 => (Fault::Mute(node, true), Some(Fault::Mute(node, false))),
            8 => (Fault::Loss(node, 80), Some(Fault::Loss(node, 0))),
            _ => (Fault::Side(node, 1), Some(Fault::Side(node, 0))),
        };
        plan.push((at, begin));
        plan.extend(end.map(|fault| (at + last, fault)));
    }
    plan.push((at + seconds(21), Fault::LossAll(0)));
    let voters = if rng.percent(50) { 3 } else { 5 };
    Options {
        seed,
        nodes,
        voters,
        lasts: at + seconds(100),
        loss_percent,
        plan,
        put_back,
        ..Options::default()
    }
}
