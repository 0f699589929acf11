//! Scripts for one slot: who says what at which millisecond, and what comes out. Not the supervisor's tests.

use super::*;
use core::time::Duration;
use proptest::prelude::*;

const POLICY: Policy = Policy {
    attempts: 2,
    window: Duration::from_secs(10),
    backoff_min: Duration::from_millis(500),
    backoff_max: Duration::from_secs(1),
};

fn placement(generation: u64, epoch: u64, version: u64) -> Placement {
    Placement { generation: Generation(generation), epoch: LeaseEpoch(epoch), version, restart: POLICY }
}

/// `gG eE vV`, each optional and 1 by default.
fn parse_placement(words: &[&str]) -> Placement {
    let field = |letter: char| {
        words.iter().find_map(|w| w.strip_prefix(letter)).map_or(1, |n| n.parse().expect("a number"))
    };
    placement(field('g'), field('e'), field('v'))
}

fn parse(words: &[&str]) -> Event {
    let instance = |word: &str| InstanceId(word.trim_start_matches('#').parse().expect("an instance"));
    let ran = |cause| Outcome::Ran { exit: Exit::Code(0), cause };
    match *words {
        ["want", "nothing"] => Event::Desired(None),
        ["want", ref rest @ ..] => Event::Desired(Some(parse_placement(rest))),
        ["lease", "none"] => Event::Lease(None),
        ["lease", epoch] => Event::Lease(Some(LeaseEpoch(epoch.parse().expect("an epoch")))),
        ["adopt", id, ref rest @ ..] => {
            Event::Adopted { instance: instance(id), placement: parse_placement(rest) }
        }
        [id, "runs"] => Event::GuardStarted { instance: instance(id), pid: 7, started_at: WallTime(1) },
        [id, "can't"] => Event::GuardEnded {
            instance: instance(id),
            outcome: Outcome::StartFailed("no such file".into()),
            confirmed: true,
        },
        [id, "ended", why, ref rest @ ..] => Event::GuardEnded {
            instance: instance(id),
            outcome: ran(match why {
                "exited" => Cause::Exited,
                "stopped" => Cause::Stopped,
                "deadline" => Cause::Deadline,
                _ => Cause::GuardLost,
            }),
            confirmed: rest != ["unproven"],
        },
        ["tick"] => Event::Tick,
        ref other => panic!("unknown line {other:?}"),
    }
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Start { instance, placement: p } => {
            format!("start #{} g{} e{} v{}", instance.0, p.generation, p.epoch, p.version)
        }
        Effect::Stop { instance } => format!("stop #{}", instance.0),
        Effect::Forget { instance } => format!("forget #{}", instance.0),
        Effect::Report(Report::Starting { .. }) => "starting".into(),
        Effect::Report(Report::Running { instance, .. }) => format!("running #{}", instance.0),
        Effect::Report(Report::Exited { restart_at: Some(at), .. }) => {
            format!("exited until {}", at.as_millis())
        }
        Effect::Report(Report::Exited { restart_at: None, .. }) => "exited".into(),
        Effect::Report(Report::GaveUp { .. }) => "gave up".into(),
        Effect::Report(Report::Ended { generation, confirmed }) => {
            format!("g{generation} ended{}", if *confirmed { "" } else { " unproven" })
        }
    }
}

/// Plays lines of "MS EVENT -> effects". The nth line's step would start instance #n.
fn check(script: &str) {
    let mut slot = Slot::new();
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    for (nth, line) in (1..).zip(lines) {
        let input = line.split("->").next().expect("split yields one").trim();
        let words: Vec<_> = input.split_whitespace().collect();
        let now = Instant::from_millis(words[0].parse().expect("milliseconds"));
        let mut effects = Vec::new();
        slot.step(now, parse(&words[1..]), InstanceId(nth), &mut effects);
        let shown: Vec<_> = effects.iter().map(show).collect();
        let played = if shown.is_empty() { input.into() } else { format!("{input} -> {}", shown.join(", ")) };
        assert_eq!(played, line, "line {nth}");
    }
}

#[test]
fn starts_once_wanted_and_leased_and_stops_when_no_longer_wanted() {
    check(
        "0 want g5
         10 lease 1 -> start #2 g5 e1 v1, starting
         20 #2 runs -> running #2
         30 want g5
         40 want nothing -> stop #2
         50 want nothing
         60 #2 ended stopped -> forget #2, g5 ended",
    );
}

#[test]
fn a_crash_is_restarted_under_the_same_generation_after_its_wait_then_given_up() {
    check(
        "0 lease 1
         0 want g5 -> start #2 g5 e1 v1, starting
         10 #2 ended exited -> exited until 510, forget #2
         509 tick
         510 tick -> start #5 g5 e1 v1, starting
         520 #5 can't -> exited until 1520, forget #5
         1520 tick -> start #7 g5 e1 v1, starting
         1530 #7 ended lost -> gave up, forget #7
         9000 tick
         9000 lease 1
         9100 want g5 v2 -> start #11 g5 e1 v2, starting",
    );
}

#[test]
fn given_up_and_then_unwanted_is_confirmed_at_once() {
    check(
        "0 lease 1
         0 want -> start #2 g1 e1 v1, starting
         1 #2 ended exited -> exited until 501, forget #2
         501 tick -> start #4 g1 e1 v1, starting
         502 #4 ended exited -> exited until 1502, forget #4
         1502 tick -> start #6 g1 e1 v1, starting
         1503 #6 ended exited -> gave up, forget #6
         1600 want nothing -> g1 ended",
    );
}

#[test]
fn a_generation_that_ended_never_starts_again() {
    check(
        "0 lease 1
         0 want g5 -> start #2 g5 e1 v1, starting
         10 want nothing -> stop #2
         20 #2 ended stopped -> forget #2, g5 ended
         30 want g5
         35 want g5 v9
         40 want g6 -> start #7 g6 e1 v1, starting",
    );
}

#[test]
fn nothing_starts_while_the_old_tree_is_not_proven_empty() {
    check(
        "0 lease 1
         0 want g5 -> start #2 g5 e1 v1, starting
         10 #2 ended lost unproven -> g5 ended unproven
         9000 tick
         9100 want g6
         9200 #2 ended lost unproven
         9300 #2 runs
         9400 #2 ended lost -> forget #2, g5 ended, start #8 g6 e1 v1, starting",
    );
}

#[test]
fn a_new_version_stops_then_starts_and_late_news_is_ignored() {
    check(
        "0 lease 1
         0 want g5 v2 -> start #2 g5 e1 v2, starting
         10 want g5 v1
         20 want g5 v3 -> stop #2
         30 #2 ended stopped -> forget #2, start #5 g5 e1 v3, starting
         40 want g4 v9
         50 #2 ended exited",
    );
}

#[test]
fn losing_the_lease_costs_no_attempt_and_waits_for_the_lease() {
    check(
        "0 lease 1
         0 want g5 -> start #2 g5 e1 v1, starting
         10 lease none
         20 #2 ended deadline -> exited, forget #2
         30 tick
         40 lease 2
         50 lease 1 -> start #7 g5 e1 v1, starting
         60 #7 ended exited -> exited until 560, forget #7",
    );
}

#[test]
fn an_adopted_instance_is_left_alone_until_the_ledger_speaks() {
    check(
        "0 adopt #9 g5
         1 lease 1
         2 #9 runs -> running #9
         3 want g5
         4 want g6 e1 -> stop #9
         5 #9 ended stopped -> forget #9, g5 ended, start #6 g6 e1 v1, starting",
    );
}

#[test]
fn an_adopted_instance_that_ends_before_the_ledger_speaks_waits_for_it() {
    check(
        "0 adopt #9 g5
         1 lease 1
         2 #9 ended exited -> exited until 502, forget #9
         600 tick
         601 want g5 -> start #5 g5 e1 v1, starting",
    );
    check(
        "0 adopt #9 g5
         2 #9 ended exited -> exited until 502, forget #9
         601 want nothing -> g5 ended",
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    let place = (1u64..4, 1u64..3, 1u64..3).prop_map(|(g, e, v)| placement(g, e, v));
    prop_oneof![
        prop::option::of(place).prop_map(Event::Desired),
        prop::option::of((1u64..3).prop_map(LeaseEpoch)).prop_map(Event::Lease),
        (0u64..60, any::<bool>(), 0..3u8).prop_map(|(id, confirmed, why)| Event::GuardEnded {
            instance: InstanceId(id),
            outcome: Outcome::Ran {
                exit: Exit::Signal(9),
                cause: [Cause::Exited, Cause::Deadline, Cause::GuardLost][usize::from(why)],
            },
            confirmed,
        }),
        Just(Event::Tick),
    ]
}

proptest! {
    /// Whatever comes, in whatever order: one tree at a time, none of a generation that was reported as ended, none
    /// without its lease.
    #[test]
    fn never_two_trees_and_never_after_the_end(
        events in prop::collection::vec((any_event(), 0u64..2_000, any::<bool>()), 1..60)
    ) {
        let mut slot = Slot::new();
        let mut now = Instant::ZERO;
        let (mut alive, mut ended, mut lease) = (None, Generation(0), None);
        for (nth, (mut event, gap, aim)) in (100..).zip(events) {
            now = now + Duration::from_millis(gap);
            match &mut event {
                Event::GuardEnded { instance, confirmed, .. } => {
                    if aim {
                        *instance = alive.unwrap_or(*instance);
                    }
                    if *confirmed && alive == Some(*instance) {
                        alive = None;
                    }
                }
                Event::Lease(epoch) => lease = *epoch,
                _ => {}
            }
            let mut effects = Vec::new();
            slot.step(now, event, InstanceId(nth), &mut effects);
            for effect in effects {
                match effect {
                    Effect::Start { instance, placement } => {
                        prop_assert_eq!(alive, None);
                        prop_assert!(placement.generation > ended);
                        prop_assert_eq!(Some(placement.epoch), lease);
                        alive = Some(instance);
                    }
                    Effect::Report(Report::Ended { generation, confirmed: true }) => {
                        prop_assert_eq!(alive, None);
                        ended = ended.max(generation);
                    }
                    _ => {}
                }
            }
        }
    }
}
