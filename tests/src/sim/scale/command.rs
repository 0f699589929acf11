//! The command line of the simulator of size: `cargo sim scale …`, a scenario's name, `campaign`, `put-back`.
//!
//! Not here: what is simulated.

use super::{
    Break, Fault, Options, Plan, alerts,
    put_back::{MISTAKES, Mistake, Tried},
    run, scenario, versus,
};
use core::{str::FromStr, time::Duration};
use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

pub const USAGE: &str = "       cargo sim scale [--nodes N] [--minutes M] [--loss PERCENT] [--starved PERCENT] [--crashes N] \
                         [--break NAME] [--seed S] [--trace]\n       \
                         cargo sim crash|loss|lossy|oneway|bootstrap|bytes [--nodes N] [--minutes M] [--seed S]\n       \
                         cargo sim campaign --seeds FIRST..END [--break NAME] [--trace]\n       \
                         cargo sim put-back --seeds FIRST..END [--break NAME] [--trace]\n       \
                         cargo sim alerts [--nodes N] [--lost N] [--switch] [--minutes AWAY] --seeds FIRST..END [--break NAME] [--trace]\n       \
                         cargo sim versus-foca [--nodes LARGEST] [--seed S]";

/// How long is simulated, and how long who was lost stays away, where nothing is given.
const MINUTES: u64 = 10;
const AWAY_MINUTES: u64 = 3;

struct Given {
    nodes: u32,
    minutes: Option<u64>,
    loss: u64,
    starved: u32,
    crashes: u32,
    lost: u32,
    switch: bool,
    seeds: core::ops::Range<u64>,
    put_back: Break,
    trace: bool,
}

/// Whether these words are a command of this simulator.
#[must_use]
pub fn knows(word: &str) -> bool {
    ["scale", "campaign", "put-back", "alerts", "versus-foca"].contains(&word)
        || scenario::NAMES.split(", ").any(|name| name == word)
}

/// Whether all that was promised was kept.
///
/// # Errors
/// A word isn't understood.
pub fn command(words: &[String]) -> Result<bool, String> {
    let given = parse(&words[1..])?;
    match words[0].as_str() {
        "alerts" => outages(&given),
        "campaign" => Ok(campaign(&given)),
        "put-back" => Ok(put_back(&given)),
        "scale" => Ok(scale(&given)),
        "versus-foca" => {
            versus::table(given.nodes, given.seeds.start);
            Ok(true)
        }
        name => {
            let played =
                scenario::play(name, given.nodes, given.minutes.unwrap_or(MINUTES), given.seeds.start)?;
            played.lines.iter().for_each(|line| println!("{line}"));
            println!("{}", if played.kept { "as promised" } else { "NOT as promised" });
            Ok(played.kept)
        }
    }
}

fn value<T: FromStr>(word: &str, text: Option<&String>) -> Result<T, String> {
    text.and_then(|t| t.parse().ok()).ok_or(format!("{word} wants a number\n{USAGE}"))
}

fn parse(words: &[String]) -> Result<Given, String> {
    let mut given = Given {
        nodes: 1_000,
        minutes: None,
        loss: 0,
        starved: 0,
        crashes: 0,
        lost: 200,
        switch: false,
        seeds: 1..2,
        put_back: Break::Nothing,
        trace: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--nodes" => given.nodes = value(word, words.next())?,
            "--minutes" => given.minutes = Some(value(word, words.next())?),
            "--loss" => given.loss = value(word, words.next())?,
            "--starved" => given.starved = value(word, words.next())?,
            "--lost" => given.lost = value(word, words.next())?,
            "--switch" => given.switch = true,
            "--crashes" => given.crashes = value(word, words.next())?,
            "--seed" => {
                let seed = value(word, words.next())?;
                given.seeds = seed..seed + 1;
            }
            "--seeds" => {
                let text = words.next().and_then(|t| t.split_once(".."));
                let ends = text.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                let (first, end) = ends.ok_or(format!("--seeds wants FIRST..END\n{USAGE}"))?;
                given.seeds = first..end;
            }
            "--break" => given.put_back = words.next().ok_or("--break wants a name")?.parse()?,
            "--trace" => given.trace = true,
            _ => return Err(format!("\"{word}\" isn't known\n{USAGE}")),
        }
    }
    Ok(given)
}

fn scale(given: &Given) -> bool {
    let every = |share: u32| (given.nodes * share / 100).max(u32::from(share > 0));
    let mut plan = Plan::new();
    for i in 0..every(given.starved) {
        plan.push((Duration::from_secs(5), Fault::Starve((4 + i * 20) % given.nodes)));
    }
    for i in 0..given.crashes {
        let at = Duration::from_millis(12_000 + u64::from(i) * 3_037);
        plan.push((at, Fault::Crash((3 + i * 7) % given.nodes)));
    }
    let options = Options {
        seed: given.seeds.start,
        nodes: given.nodes,
        lasts: Duration::from_secs(60 * given.minutes.unwrap_or(MINUTES)),
        loss_percent: given.loss,
        plan,
        put_back: given.put_back,
        ends_calm: given.loss == 0,
        trace: given.trace,
        ..Options::default()
    };
    let begun = std::time::Instant::now();
    let outcome = run(&options);
    let took = begun.elapsed();
    let (messages, bytes, wire) = scenario::rates(&options, &outcome);
    println!("{:?}", outcome.counts);
    println!(
        "a node sends {messages:.1} messages/s, {bytes:.0} bytes of messages/s, {wire:.0} bytes/s on the wire"
    );
    for d in outcome.declared.iter().take(20) {
        println!("declared at {:.3?}: {:?}, known to all at {:.3?}", d.at, d.nodes, d.known);
    }
    println!("trace {:016x}, played in {took:.1?}", outcome.hash);
    if let Some(violation) = &outcome.violation {
        println!("broken: {violation}");
    }
    outcome.violation.is_none()
}

/// What people get of an outage, a line a seed.
fn outages(given: &Given) -> Result<bool, String> {
    if given.lost == 0 || given.nodes < given.lost + alerts::VOTERS {
        return Err(format!("--lost wants at least 1, and at most --nodes less {}\n{USAGE}", alerts::VOTERS));
    }
    let away = Duration::from_secs(60 * given.minutes.unwrap_or(AWAY_MINUTES));
    let by = if given.switch { alerts::By::Switch } else { alerts::By::Power };
    let mut broken = 0;
    for seed in given.seeds.clone() {
        let options = alerts::options(given.nodes, given.lost, by, away, seed);
        let (line, kept) = alerts::play(&Options { put_back: given.put_back, trace: given.trace, ..options });
        println!("{line}");
        broken += u64::from(!kept);
    }
    println!("{} seeds, {broken} broken", given.seeds.end.saturating_sub(given.seeds.start));
    Ok(broken == 0)
}

fn campaign(given: &Given) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if given.trace { 1 } else { cores };
    let (next, failed) = (AtomicU64::new(given.seeds.start), Mutex::new(Vec::new()));
    let play = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= given.seeds.end {
                break;
            }
            let outcome = run(&Options { trace: given.trace, ..scenario::random(seed, given.put_back) });
            if let Some(violation) = outcome.violation {
                println!("cargo sim campaign --seeds {seed}..{} --trace   # {violation}", seed + 1);
                failed.lock().expect("no thread panics with it").push(seed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(play);
        }
    });
    let failed = failed.into_inner().expect("all threads have ended").len();
    println!("{} seeds, {failed} broken", given.seeds.end - given.seeds.start);
    failed == 0
}

/// Whether most seeds find each mistake in its scenario, and none is broken without it.
fn put_back(given: &Given) -> bool {
    let seeds = given.seeds.end.saturating_sub(given.seeds.start);
    let wanted = |m: &&Mistake| given.put_back == Break::Nothing || given.put_back == m.put_back;
    let mut kept = true;
    for mistake in MISTAKES.iter().filter(wanted) {
        let Tried { found, unsound } = mistake.search(given.seeds.clone(), given.trace);
        println!(
            "{} in \"{}\": found by {} of {seeds} seeds, {} broken without it",
            mistake.put_back.name(),
            mistake.scenario,
            found.len(),
            unsound.len()
        );
        found.iter().take(1).for_each(|(seed, violation)| println!("    first by seed {seed}: {violation}"));
        unsound.iter().for_each(|(seed, violation)| println!("    WITHOUT it seed {seed}: {violation}"));
        kept &= unsound.is_empty() && found.len() as u64 * 2 > seeds;
    }
    kept
}
