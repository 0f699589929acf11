//! Scripts of nodes that live and aren't fit for work: sick, suspected, quarantined.

use super::*;
use crate::recovery::{Heard, harness::Play};

fn shop() -> Play {
    let mut play = Play::new(&["a", "a", "b", "b", "b", "b"]);
    play.channels(&["hook"]);
    play.run(200);
    play
}

#[test]
fn a_node_that_says_for_five_seconds_that_it_is_sick_is_an_alert() {
    let mut play = shop();
    let sick = |play: &mut Play| {
        play.live.heard.insert(NodeId(2), Heard::Sick);
        play.live.sick.insert(NodeId(2), "its disk is full".to_owned());
    };
    sick(&mut play);
    play.run(4_900);
    play.live.heard.insert(NodeId(2), Heard::Alive);
    play.run(1_000);
    sick(&mut play);
    play.run(4_900);
    assert!(play.told.is_empty(), "{:?}", play.told);
    play.run(300);
    assert_eq!(play.told, ["hook firing n2 says that it isn't fit for work: its disk is full"]);
    let alert = play.ledger.alerts.values().next().expect("an alert");
    assert_eq!((alert.labels["node"].as_str(), alert.labels["zone"].as_str()), ("n2", "a"));
    play.live.heard.insert(NodeId(2), Heard::Alive);
    play.run(500);
    assert_eq!(play.count("ended: n2 no longer says that it isn't fit for work"), 1);
}

#[test]
fn who_is_suspected_for_half_a_minute_and_not_declared_is_an_alert() {
    let mut play = shop();
    play.live.heard.insert(NodeId(6), Heard::Suspect);
    play.run(29_900);
    assert!(play.told.is_empty(), "{:?}", play.told);
    play.run(300);
    assert_eq!(play.told, ["hook firing n6 is suspected, and neither heard nor declared dead"]);
    // Nor is it heard when gossip gave it up.
    play.live.heard.remove(&NodeId(6));
    play.run(2_000);
    assert_eq!(play.count("ended"), 0);
    play.live.heard.insert(NodeId(6), Heard::Alive);
    play.run(500);
    assert_eq!(play.count("ended: n6 is heard again"), 1);
}

#[test]
fn a_suspect_that_is_declared_dead_has_the_alert_of_its_death() {
    let mut play = shop();
    play.live.heard.insert(NodeId(6), Heard::Suspect);
    play.run(31_000);
    play.lose(&["n6"]);
    play.run(5_000);
    assert_eq!((play.count("alert NodeDead"), play.count("alert NodeSuspect")), (1, 1));
    assert_eq!(play.count("ended: n6 is declared dead or has left"), 1);
}

#[test]
fn of_an_agent_that_is_down_no_second_alert_says_that_it_is_suspected() {
    let mut play = shop();
    play.live.heard.insert(NodeId(6), Heard::Suspect);
    play.agent_is("n6", crate::ledger::AgentState::Stalled);
    play.run(50_000);
    assert_eq!((play.count("alert AgentDown"), play.count("alert NodeSuspect")), (1, 0));
}

#[test]
fn a_node_that_is_quarantined_is_one_alert_until_it_is_released() {
    let mut play = shop();
    for _ in 0..3 {
        play.lose(&["n6"]);
        play.run(4_000);
        play.return_of("n6");
        play.run(4_000);
    }
    assert_eq!(play.count("alert Quarantined: n6 is given no work: it died 3 times within 10 min"), 1);
    play.lose(&["n6"]);
    play.run(4_000);
    play.return_of("n6");
    play.run(4_000);
    assert_eq!((play.count("alert Quarantined"), play.count("quarantined no more")), (1, 0));
    play.tick = 500;
    play.run(11 * 60_000);
    assert_eq!(play.count("ended: n6 is quarantined no more"), 1);
}
