//! Scripts of nodes that live and aren't fit for work: sick, suspected, quarantined.

use super::*;
use crate::{
    membership::Vitals,
    recovery::{Heard, harness::Play},
};

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

fn vitals(play: &mut Play, node: u64, disk: u16, certificate_ends: Option<u64>) {
    play.live.vitals.insert(NodeId(node), Vitals { disk, certificate_ends, ..Vitals::default() });
}

#[test]
fn a_disk_that_stays_full_for_five_minutes_is_an_alert_until_it_has_room() {
    let mut play = shop();
    play.tick = 500;
    vitals(&mut play, 3, 930, None);
    play.run(200_000);
    vitals(&mut play, 3, 899, None);
    play.run(1_000);
    vitals(&mut play, 3, 905, None);
    play.run(299_000);
    assert!(play.told.is_empty(), "{:?}", play.told);
    play.run(3_000);
    assert_eq!(play.told, ["hook firing a disk of n3 is 90 % full"]);
    vitals(&mut play, 3, 870, None);
    play.run(2_000);
    play.live.vitals.remove(&NodeId(3));
    play.run(2_000);
    assert_eq!(play.count("ended"), 0, "neither a little room nor that nothing is known ends it");
    vitals(&mut play, 3, 869, None);
    play.run(2_000);
    assert_eq!(play.count("ended: the disks of n3 have room again"), 1);
    vitals(&mut play, 3, 880, None);
    play.run(400_000);
    assert_eq!(play.count("alert DiskFilling"), 1, "nor does that begin one");
}

#[test]
fn a_new_leader_ends_no_alert_of_a_disk_before_it_knows_better() {
    let mut play = shop();
    play.tick = 500;
    vitals(&mut play, 3, 950, None);
    play.run(302_000);
    assert_eq!(play.count("alert DiskFilling"), 1);
    play.live.vitals.clear();
    play.new_leader();
    play.run(10_000);
    assert_eq!(play.count("ended"), 0);
    vitals(&mut play, 3, 950, None);
    play.run(400_000);
    assert_eq!((play.count("alert DiskFilling"), play.count("ended")), (1, 0));
    play.lose(&["n3"]);
    play.run(4_000);
    assert_eq!(play.count("ended: n3 is declared dead or has left"), 1);
}

#[test]
fn a_certificate_near_its_end_is_an_alert_until_another_is_shown() {
    let mut play = shop();
    vitals(&mut play, 2, 0, Some(1_800_000_000));
    play.run(2_000);
    let text = "alert CertificateExpiring: the certificate of n2 ends on 2027-01-15 08:00 UTC";
    assert_eq!(play.count(text), 1);
    vitals(&mut play, 2, 0, None);
    play.run(2_000);
    assert_eq!(play.count("ended: n2 shows a new certificate"), 1);
}
