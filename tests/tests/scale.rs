//! The simulator of size, in its short form; the long one is `cargo sim crash`, `loss`, `lossy`, `oneway`, `bootstrap`,
//! `bytes`, `campaign`, `alerts` and `put-back`.

use core::time::Duration;
use holdfast_tests::sim::scale::{
    Break, Fault, Options, Outcome, alerts,
    put_back::{MISTAKES, Tried},
    run, scenario,
};

const fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn clean(outcome: &Outcome) {
    assert_eq!(outcome.violation, None);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let plan = vec![(seconds(3), Fault::Crash(4)), (seconds(4), Fault::Starve(7))];
    let options = Options { nodes: 20, lasts: seconds(15), loss_percent: 20, plan, ..Options::default() };
    let (once, again) = (run(&options), run(&options));
    assert_eq!((once.hash, once.counts), (again.hash, again.counts));
    assert_ne!(once.hash, run(&Options { seed: 2, ..options }).hash);
}

#[test]
fn silent_hosts_are_found_soon_and_one_outage_is_one_decision() {
    let mut plan = vec![(seconds(10), Fault::Crash(9))];
    plan.extend([20, 33, 47].map(|n| (seconds(20), Fault::Crash(n))));
    let outcome = run(&Options { nodes: 60, lasts: seconds(30), plan, ..Options::default() });
    clean(&outcome);
    let sizes: Vec<usize> = outcome.declared.iter().map(|d| d.nodes.len()).collect();
    assert_eq!(sizes, [1, 3], "{:?}", outcome.declared);
    for crash in &outcome.crashes {
        let took = crash.declared.expect("it was declared") - crash.at;
        assert!(took < seconds(2), "n{} took {took:?}", crash.node + 1);
    }
}

#[test]
fn loss_and_starved_processes_kill_nobody() {
    let plan = vec![(seconds(2), Fault::Starve(7)), (seconds(2), Fault::Starve(19))];
    let options = Options { nodes: 40, lasts: seconds(40), loss_percent: 20, plan, ..Options::default() };
    let outcome = run(&Options { ends_calm: false, ..options });
    clean(&outcome);
    assert_eq!(outcome.declared, []);
}

#[test]
fn a_paused_or_restarted_agent_costs_its_node_nothing() {
    let plan = vec![
        (seconds(5), Fault::Pause(6, 30_000)),
        (seconds(5), Fault::Kill(8)),
        (seconds(25), Fault::Start(8)),
    ];
    let outcome = run(&Options { nodes: 12, lasts: seconds(60), plan, ..Options::default() });
    clean(&outcome);
    assert_eq!(outcome.declared, []);
    assert!(outcome.counts.agent_states >= 4, "down and up again, twice: {:?}", outcome.counts);
}

#[test]
fn nodes_from_one_seed_soon_have_one_view() {
    let played = scenario::play("bootstrap", 60, 1, 1).expect("a known scenario");
    assert!(played.kept, "{:?}", played.lines);
}

#[test]
fn a_campaign_finds_nothing() {
    for seed in 1..31 {
        let outcome = run(&scenario::random(seed, Break::Nothing));
        assert_eq!(outcome.violation, None, "cargo sim campaign --seeds {seed}..{} --trace", seed + 1);
    }
}

#[test]
fn an_outage_is_two_messages_whoever_leads_meanwhile() {
    for seed in 1..4 {
        let outcome = run(&alerts::options(60, 12, alerts::By::Power, seconds(60), seed));
        let line = format!("cargo sim alerts --nodes 60 --lost 12 --minutes 1 --seeds {seed}..{}", seed + 1);
        assert_eq!(outcome.violation, None, "{line}");
        assert!(outcome.counts.elections >= 2, "{:?}; {line}", outcome.counts);
    }
}

#[test]
fn each_mistake_put_back_shows_in_its_scenario() {
    for mistake in &MISTAKES {
        let Tried { found, unsound } = mistake.search(1..11, false);
        let line = format!("cargo sim put-back --seeds 1..11 --break {}", mistake.put_back.name());
        assert_eq!(unsound, [], "broken without the mistake; {line}");
        assert!(found.len() >= 8, "only {} of 10 find it; {line}", found.len());
    }
}
