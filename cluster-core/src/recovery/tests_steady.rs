//! Scripts of nodes that are held back from work: those that die again and again, and those that say that they are sick.

use super::{
    harness::{Play, replicas, singleton},
    steady::{SICK_AFTER, STEADY_AFTER},
    *,
};
use crate::ledger::Scheduling;

const MINUTE: u64 = 60_000;

fn scheduling(play: &Play, name: &str) -> Scheduling {
    play.ledger.nodes[&play.id(name)].scheduling
}

/// `name` is lost, and is back a minute later, so many times.
fn flap(play: &mut Play, name: &str, times: usize) {
    for _ in 0..times {
        play.lose(&[name]);
        play.run(MINUTE);
        play.return_of(name);
        play.run(MINUTE);
    }
}

fn shop() -> Play {
    let mut play = Play::new(&[""; 4]);
    play.tick = 100;
    play
}

#[test]
fn a_node_that_dies_again_and_again_gets_no_work_until_it_was_steady() {
    let mut play = shop();
    flap(&mut play, "n4", 2);
    assert_eq!(scheduling(&play, "n4"), Scheduling::Eligible, "twice may happen to anyone");
    flap(&mut play, "n4", 1);
    assert_eq!(scheduling(&play, "n4"), Scheduling::Quarantined);
    let why = play.ledger.nodes[&play.id("n4")].held_back.clone().expect("held back").evidence;
    assert_eq!(why[0], "it died 3 times within 10 min");
    play.apply(vec![replicas("web", 4)]);
    play.run(MINUTE);
    assert!((0..4).all(|index| play.where_is("web", index) != "n4"));

    let steady = u64::try_from(STEADY_AFTER.as_millis()).expect("short");
    play.run(steady - 3 * MINUTE);
    assert_eq!(scheduling(&play, "n4"), Scheduling::Quarantined);
    play.run(2 * MINUTE);
    assert_eq!(scheduling(&play, "n4"), Scheduling::Eligible);
    flap(&mut play, "n4", 2);
    assert_eq!(scheduling(&play, "n4"), Scheduling::Eligible, "what was is forgiven");
}

#[test]
fn it_is_held_back_before_it_can_return() {
    let mut play = shop();
    flap(&mut play, "n4", 2);
    play.lose(&["n4"]);
    play.run(1_000);
    assert_eq!(scheduling(&play, "n4"), Scheduling::Quarantined, "while it is dead");
}

#[test]
fn deaths_far_apart_quarantine_nobody() {
    let mut play = shop();
    for _ in 0..4 {
        flap(&mut play, "n4", 1);
        play.run(4 * MINUTE);
    }
    assert_eq!(scheduling(&play, "n4"), Scheduling::Eligible);
}

#[test]
fn a_person_lifts_it() {
    let mut play = shop();
    flap(&mut play, "n4", 3);
    let node = play.id("n4");
    play.commit(Body::NodeUndrained { node });
    play.run(MINUTE);
    assert_eq!(scheduling(&play, "n4"), Scheduling::Eligible);
}

#[test]
fn a_break_begins_the_steady_while_anew() {
    let mut play = shop();
    flap(&mut play, "n4", 3);
    play.run(7 * MINUTE);
    play.agent_is("n4", crate::ledger::AgentState::Gone);
    play.run(1_000);
    play.agent_is("n4", crate::ledger::AgentState::Up);
    play.run(8 * MINUTE);
    assert_eq!(scheduling(&play, "n4"), Scheduling::Quarantined);
    play.run(3 * MINUTE);
    assert_eq!(scheduling(&play, "n4"), Scheduling::Eligible);
}

#[test]
fn a_sick_node_is_given_nothing_more_and_keeps_what_it_has() {
    let mut play = Play::new(&["", ""]);
    play.apply(vec![singleton("counter")]);
    play.run(300);
    let host = play.node_of("counter", 0).expect("placed");
    play.live.heard.insert(host, Heard::Sick);
    play.apply(vec![replicas("web", 4)]);
    play.run(MINUTE);
    assert_eq!(play.node_of("counter", 0), Some(host));
    assert!((0..4).all(|index| play.node_of("web", index) != Some(host)));
    let other = play.ledger.nodes.keys().find(|n| **n != host).copied().expect("another");
    play.live.heard.insert(other, Heard::Sick);
    play.apply(vec![singleton("late")]);
    play.run(300);
    let found = unplaceable(&View { ledger: &play.ledger, live: &play.live });
    assert_eq!(found[0].why.to_string(), "no node can run it: 2 sick by its own word");
}

#[test]
fn by_policy_a_sick_node_is_drained_and_given_back() {
    let mut play = Play::new(&["", ""]);
    play.ledger.cluster.as_mut().expect("founded").settings.drain_when_sick = true;
    play.apply(vec![singleton("counter")]);
    play.run(300);
    let host = play.node_of("counter", 0).expect("placed");
    let name = play.name(host);
    play.live.heard.insert(host, Heard::Sick);
    play.run(u64::try_from(SICK_AFTER.as_millis()).expect("short") - 100);
    play.live.heard.insert(host, Heard::Alive);
    play.run(2_000);
    assert_eq!(scheduling(&play, &name), Scheduling::Eligible, "it was over soon");
    play.live.heard.insert(host, Heard::Sick);
    play.run(10_000);
    assert_eq!(scheduling(&play, &name), Scheduling::Drained);
    assert_ne!(play.node_of("counter", 0), Some(host));
    play.tick = 100;
    play.live.heard.insert(host, Heard::Alive);
    play.run(11 * MINUTE);
    assert_eq!(scheduling(&play, &name), Scheduling::Eligible);
}

#[test]
fn a_node_without_its_agent_is_given_nothing_and_keeps_what_it_has() {
    let mut play = Play::new(&["", ""]);
    play.apply(vec![singleton("counter")]);
    play.run(300);
    let host = play.node_of("counter", 0).expect("placed");
    play.agent_is(&play.name(host), crate::ledger::AgentState::Gone);
    play.apply(vec![replicas("web", 4)]);
    play.run(30_000);
    assert_eq!((play.count("placed counter"), play.node_of("counter", 0)), (1, Some(host)));
    assert!((0..4).all(|index| play.node_of("web", index) != Some(host)));
}

#[test]
fn what_a_person_drained_a_person_gives_back() {
    let mut play = shop();
    let node = play.id("n4");
    play.commit(Body::NodeDraining { node });
    play.run(20 * MINUTE);
    assert_eq!(scheduling(&play, "n4"), Scheduling::Drained);
}
