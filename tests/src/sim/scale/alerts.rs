//! Many nodes lost at once, and back after some minutes, at once or in dribbles: what people get, while leaders fall in
//! the middle.
//!
//! Not here: how it is played (`world`, `desk`), and what they may get (`check`).

use super::{Fault, Got, Options, Outcome, Plan, Tells, run};
use crate::sim::rng::Rng;
use cluster_core::ledger::Phase;
use core::time::Duration;
use std::collections::BTreeSet;

pub const VOTERS: u32 = 5;
/// All is placed and serves by then.
const LOST_AT: Duration = Duration::from_secs(20);
/// Those that start come back one after the other within this, and a little more.
const DRIBBLE_MAX: Duration = Duration::from_secs(60);
const DRIBBLE_EACH: Duration = Duration::from_millis(300);
/// Who was half connected waits, people are told of the last, and what was repeated has arrived.
const CALM: Duration = Duration::from_secs(65);

/// By what nodes are lost together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// They start one after the other.
    Power,
    /// They hear each other, and all are back at once.
    Switch,
}

/// Now and then the leader is one of those who are lost. Whoever leads falls within seconds of that, and once more while
/// they return.
#[must_use]
pub fn options(nodes: u32, lost: u32, by: By, away: Duration, seed: u64) -> Options {
    assert!(lost > 0 && nodes >= lost + VOTERS, "{VOTERS} voters outlive the others");
    let mut rng = Rng::new(seed ^ 0xa1e7);
    let (power, leader_too) = (by == By::Power, rng.percent(30));
    let mut gone: Vec<u32> = Vec::new();
    let mut left: Vec<u32> = (VOTERS..nodes).collect();
    for _ in 0..lost {
        gone.push(left.swap_remove(rng.below(left.len())));
    }
    if leader_too {
        gone[0] = 0;
    }
    let lose = |node| if power { Fault::Crash(node) } else { Fault::Side(node, 1) };
    let back = |node| if power { Fault::Boot(node) } else { Fault::Side(node, 0) };
    let mut plan: Plan = gone.iter().map(|node| (LOST_AT, lose(*node))).collect();
    let first = u32::from(leader_too);
    fall(&mut plan, LOST_AT + rng.ms(700, 9_000), first, &mut rng);
    let back_at = LOST_AT + away;
    let dribble = (DRIBBLE_EACH * lost).min(DRIBBLE_MAX);
    let mut last = back_at;
    for (i, node) in (0..).zip(&gone) {
        let at = if power { back_at + dribble * i / lost + rng.ms(0, 3_000) } else { back_at };
        plan.push((at, back(*node)));
        last = last.max(at);
    }
    let midst = if power { dribble / 2 } else { Duration::ZERO };
    fall(&mut plan, back_at + midst + rng.ms(500, 5_000), first + 1, &mut rng);
    Options {
        seed,
        nodes,
        voters: VOTERS,
        lasts: last + CALM,
        plan,
        tells: Some(Tells { lost: gone.into_iter().collect() }),
        ..Options::default()
    }
}

/// The agent of this node, which leads, gets no time or ends, for long enough that another is elected.
fn fall(plan: &mut Plan, at: Duration, leader: u32, rng: &mut Rng) {
    let away = rng.ms(2_000, 3_500);
    if rng.percent(50) {
        plan.push((at, Fault::Pause(leader, u64::try_from(away.as_millis()).expect("short"))));
    } else {
        plan.extend([(at, Fault::Kill(leader)), (at + away, Fault::Start(leader))]);
    }
}

/// One line for people, and whether all was as promised.
#[must_use]
pub fn play(options: &Options) -> (String, bool) {
    let begun = std::time::Instant::now();
    let outcome = run(options);
    let lost = options.tells.as_ref().map_or(0, |tells| tells.lost.len());
    let by = match options.plan.first() {
        Some((_, Fault::Side(..))) => "switch",
        _ => "power",
    };
    let line = format!(
        "seed {}: {lost} of {} lost by {by}, {} decision(s), {} elections: {}; played in {:.1?}",
        options.seed,
        options.nodes,
        outcome.declared.len(),
        outcome.counts.elections,
        summary(&outcome),
        begun.elapsed(),
    );
    let broken = outcome.violation.as_ref().map(|v| format!("{line}\n    broken: {v}"));
    let kept = broken.is_none();
    (broken.unwrap_or(line), kept)
}

/// "chat 2 (200 firing at 3.2 s, 200 over at 260.1 s), …": repetitions are counted apart.
fn summary(outcome: &Outcome) -> String {
    let channels: BTreeSet<&str> = outcome.told.iter().map(|got| got.channel.as_str()).collect();
    let of = |channel: &&str| {
        let mut seen = BTreeSet::new();
        let all = outcome.told.iter().filter(|got| got.channel == *channel);
        let (new, again): (Vec<&Got>, Vec<&Got>) = all.partition(|got| seen.insert(got.id));
        let lists: Vec<String> = new.iter().take(6).map(|got| lists(got)).collect();
        let again = if again.is_empty() { String::new() } else { format!(", {} again", again.len()) };
        format!("{channel} {} ({}){again}", new.len(), lists.join(", "))
    };
    channels.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn lists(got: &Got) -> String {
    let after = Duration::from_nanos(got.at).saturating_sub(LOST_AT).as_secs_f64();
    let firing = got.lists.iter().filter(|(_, _, phase)| *phase == Phase::Firing).count();
    match (firing, got.lists.len() - firing) {
        (firing, 0) => format!("{firing} firing at {after:.1} s"),
        (0, over) => format!("{over} over at {after:.1} s"),
        (firing, over) => format!("{firing} firing and {over} over at {after:.1} s"),
    }
}
