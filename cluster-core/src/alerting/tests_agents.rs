//! Scripts of agents that are down on hosts that live, and of voters that are away.

use super::*;
use crate::{
    ledger::AgentState,
    recovery::{
        Heard,
        harness::{Play, singleton},
    },
};

/// Five nodes, all of them voters, `counter` serving, alerts told to `hook`.
fn shop() -> (Play, String) {
    let mut play = Play::new(&[""; 5]);
    play.channels(&["hook"]);
    play.apply(vec![singleton("counter")]);
    play.run(200);
    let host = play.where_is("counter", 0);
    (play, host)
}

#[test]
fn an_agent_that_is_down_for_ten_seconds_is_an_alert_and_up_again_is_its_end() {
    let (mut play, host) = shop();
    play.agent_is(&host, AgentState::Stalled);
    play.run(9_900);
    assert!(play.told.is_empty());
    play.run(300);
    let summary = format!("{host}'s agent says nothing, its host answers: what is on it runs on (counter)");
    assert_eq!(play.told, [format!("hook firing {summary}")]);
    let alert = play.ledger.alerts.values().next().expect("an alert");
    assert_eq!(alert.severity, crate::ledger::Severity::Warning);
    assert!(alert.description.contains("60.00 s in all") && alert.description.contains("n1: so it is"));
    play.agent_is(&host, AgentState::Up);
    play.run(1_000);
    assert_eq!(play.count(&format!("ended: {host}'s agent is up again")), 1);
    assert_eq!((play.told.len(), play.where_is("counter", 0)), (2, host));
}

#[test]
fn the_ten_seconds_count_from_when_the_agent_was_last_heard() {
    let (mut play, host) = shop();
    play.run(10_000);
    // A stalled one is told of only once it stood so for a while; and nothing else is written meanwhile.
    play.agent_is_since(4_000, &host, AgentState::Stalled);
    play.run(5_900);
    assert!(play.told.is_empty(), "{:?}", play.told);
    play.run(300);
    assert_eq!(play.told.len(), 1, "{:?}", play.told);
}

#[test]
fn a_short_trouble_is_nobodys_alert() {
    let (mut play, host) = shop();
    for _ in 0..5 {
        play.agent_is(&host, AgentState::Gone);
        play.run(6_000);
        play.agent_is(&host, AgentState::Up);
        play.run(6_000);
    }
    assert!(play.told.is_empty(), "{:?}", play.told);
}

#[test]
fn when_the_node_is_dead_its_own_alert_says_all() {
    let (mut play, host) = shop();
    play.agent_is(&host, AgentState::Gone);
    play.run(5_000);
    play.lose(&[&host]);
    play.run(20_000);
    assert_eq!((play.count("alert NodeDead"), play.count("alert AgentDown")), (1, 0));

    let (mut play, host) = shop();
    play.agent_is(&host, AgentState::Gone);
    play.run(11_000);
    play.lose(&[&host]);
    play.run(5_000);
    assert_eq!(play.count(&format!("ended: {host} is dead: another alert tells of it")), 1);
}

#[test]
fn a_quorum_that_one_more_loss_would_end_is_an_alert() {
    let (mut play, _) = shop();
    play.live.heard.insert(NodeId(4), Heard::Suspect);
    play.run(20_000);
    assert!(play.told.is_empty(), "four of five may lose one more");
    play.live.heard.insert(NodeId(5), Heard::Suspect);
    play.run(4_800);
    assert!(play.told.is_empty(), "it may be over soon");
    play.run(300);
    let risk = "hook firing 3 of 5 voters are online: if one more is lost, nothing is decided any more";
    assert_eq!(play.told, [risk]);
    let alert = play.ledger.alerts.values().next().expect("an alert");
    assert!(alert.description.starts_with("Away: n4, n5."), "{}", alert.description);
    play.live.heard.insert(NodeId(5), Heard::Alive);
    play.run(500);
    assert_eq!(play.count("ended: enough voters are online again"), 1);
}

#[test]
fn a_cluster_of_one_voter_is_no_news() {
    let mut play = Play::new(&["", "", ""]);
    play.voters_become(&[1]);
    play.channels(&["hook"]);
    play.run(20_000);
    assert!(play.told.is_empty());
}
