//! Scripts of failures and what people are told of them.

use super::*;
use crate::{
    ledger::{Exit, FailureState, Phase, Report},
    recovery::{
        Heard,
        harness::{Play, replicas, singleton},
    },
};

const FIVE: [&str; 5] = [""; 5];

/// Five nodes, `counter` serving, alerts told to `hook`.
fn shop() -> Play {
    let mut play = Play::new(&FIVE);
    play.channels(&["hook"]);
    play.apply(vec![singleton("counter")]);
    play.run(200);
    play
}

/// A shop whose host of `counter` was lost and declared dead just now.
pub(super) fn after_loss() -> (Play, String) {
    let mut play = shop();
    let host = play.where_is("counter", 0);
    play.lose(&[&host]);
    (play, host)
}

pub(super) fn notification(play: &Play, phase: Phase) -> crate::ledger::Notification {
    let alert = play.ledger.alerts.values().next().expect("an alert");
    alert.notifications.iter().find(|n| n.phase == phase).expect("a notification").clone()
}

#[test]
fn a_lost_host_is_one_alert_and_one_resolve() {
    let (mut play, host) = after_loss();
    play.run(60_000);
    let now_on = play.where_is("counter", 0);
    let summary = format!("{host} is dead: counter moved to {now_on}");
    assert_eq!(play.told, [format!("hook firing {summary}")]);
    play.return_of(&host);
    let back = play.now;
    play.run(1_000);
    assert!(play.trace.iter().any(|line| line.contains("send hook resolved")), "{:?}", play.trace);
    assert!(play.time_of("ended") < back + 100);
    play.run(60_000);
    assert_eq!(play.told.len(), 2);
    assert_eq!(play.ledger.alerts.len(), 1);
    assert!(play.refused.is_empty(), "{:?}", play.refused);
}

#[test]
fn the_alert_waits_for_the_move_to_tell_of_it_but_not_for_ever() {
    let (mut play, _) = after_loss();
    play.run(3_000);
    let (served, told) = (play.time_of("placed counter/0"), play.time_of("alert NodeDead"));
    assert!(told > served && play.time_of("safe") < told);
    let (mut play, host) = after_loss();
    let declared = play.now;
    play.mute_voters = (1..=5).map(NodeId).collect();
    play.run(5_000);
    assert!((declared + 3_000..declared + 3_100).contains(&play.time_of("alert NodeDead")));
    assert_eq!(play.told, [format!("hook firing {host} is dead: counter waits to be moved")]);
}

#[test]
fn a_host_that_is_back_before_anyone_was_told_is_still_one_alert() {
    let (mut play, host) = after_loss();
    play.mute_voters = (1..=5).map(NodeId).collect();
    play.run(500);
    assert!(play.told.is_empty());
    play.return_of(&host);
    play.run(3_000);
    let phases: Vec<&str> = play.told.iter().map(|told| told.split(' ').nth(1).expect("a phase")).collect();
    assert_eq!(phases, ["firing", "resolved"]);
    play.run(60_000);
    play.new_leader();
    play.run(5_000);
    assert_eq!(play.count("alert NodeDead"), 1);
}

#[test]
fn a_removed_node_resolves() {
    let (mut play, host) = after_loss();
    play.run(5_000);
    let node = play.id(&host);
    let epoch = play.ledger.nodes[&node].epoch;
    play.commit(Body::NodeRemoved { node, epoch });
    play.run(500);
    assert_eq!(play.count(&format!("ended: {host} was removed")), 1);
}

#[test]
fn a_lost_lease_has_its_own_alert() {
    let mut play = shop();
    let host = play.where_is("counter", 0);
    play.lose_lease(&host);
    play.run(5_000);
    assert_eq!(play.count("alert LeaseLost"), 1);
    assert_eq!(play.count("alert"), 1);
    play.return_of(&host);
    play.run(200);
    assert_eq!(play.count("has a lease again"), 1);
}

#[test]
fn an_instance_that_ended_with_its_lease_and_was_moved_is_no_crash_loop() {
    let mut play = shop();
    let host = play.where_is("counter", 0);
    let (node, placement) = (play.id(&host), play.ledger.workloads["counter"].slots[&0].placement.clone());
    let placement = placement.expect("it runs");
    play.commit(Body::InstanceReported {
        node,
        workload: "counter".to_owned(),
        index: 0,
        generation: placement.generation,
        instance: placement.instance,
        report: Report::Restarting {
            exit: Exit::Signal(9),
            restart_in_ms: 0,
            restarts: 1,
            detail: "the node's lease ran out".to_owned(),
            lease_ended: true,
        },
    });
    play.lose_lease(&host);
    play.run(5_000);
    assert_eq!((play.count("alert CrashLoop"), play.count("alert LeaseLost")), (0, 1), "{:?}", play.trace);
}

#[test]
fn alerts_that_no_rule_here_owns_are_left_alone() {
    let mut play = shop();
    play.commit(Body::AlertRaised {
        name: "TooWarm".to_owned(),
        severity: crate::ledger::Severity::Warning,
        dedup_key: "TooWarm/n1".to_owned(),
        failure: None,
        labels: BTreeMap::new(),
        summary: "n1 is too warm".to_owned(),
        description: String::new(),
    });
    play.run(5_000);
    assert_eq!((play.told.len(), play.count("ended")), (1, 0));
}

#[test]
fn a_crash_loop_is_one_alert_for_its_failure() {
    let mut play = shop();
    let mut stays = singleton("broken");
    stays.recovery.migrate = false;
    play.broken.insert("broken".to_owned());
    play.apply(vec![stays]);
    play.run(120_000);
    assert_eq!(play.count("alert"), 1, "{:?}", play.trace);
    assert_eq!(play.count("alert CrashLoop"), 1);
    assert_eq!(play.failure("broken/0").1.state, FailureState::Unrecoverable);
    assert_eq!(play.told.len(), 1);
    play.commit(Body::WorkloadStopped { name: "broken".to_owned() });
    play.run(1_000);
    assert_eq!(play.told.len(), 2);
}

#[test]
fn an_instance_that_stays_down_is_explained_by_its_node_while_that_is_down() {
    let (mut play, host) = after_loss();
    play.mute_voters = (1..=5).map(NodeId).collect();
    play.run(60_000);
    assert_eq!(play.count("alert"), 1, "{:?}", play.trace);
    play.return_of(&host);
    play.run(1_000);
    assert_eq!(play.count("alert WorkloadDown"), 1, "nothing else explains it now");
    play.broken.insert("counter".to_owned());
    play.mute_voters.clear();
    play.run(10_000);
    assert_eq!(play.count("alert"), 2, "its crash loop is the same failure: {:?}", play.trace);
    play.broken.clear();
    play.commit(Body::WorkloadStopped { name: "counter".to_owned() });
    play.run(1_000);
    assert_eq!(play.count("ended: counter"), 1);
}

#[test]
fn what_finds_no_node_is_told_after_a_while_and_instead_of_its_being_down() {
    let mut play = Play::new(&["", ""]);
    play.channels(&["hook"]);
    play.apply(vec![replicas("web", 2)]);
    play.run(300);
    for node in [1, 2] {
        play.commit(Body::NodeDraining { node: NodeId(node) });
    }
    play.run(9_900);
    assert_eq!(play.count("alert"), 0);
    play.run(60_000);
    assert_eq!(play.count("alert Unplaceable: web finds no node for 2 of 2"), 1, "{:?}", play.trace);
    assert_eq!(play.count("alert"), 1);
    play.commit(Body::NodeUndrained { node: NodeId(2) });
    play.run(500);
    assert_eq!(play.count("ended: web finds its nodes again"), 1);
}

#[test]
fn a_short_lack_of_nodes_is_nobodys_alert() {
    let mut play = Play::new(&[""]);
    play.live.heard.insert(NodeId(1), Heard::Suspect);
    play.apply(vec![singleton("counter")]);
    play.run(9_000);
    play.commit(Body::WorkloadStopped { name: "counter".to_owned() });
    play.run(5_000);
    play.commit(Body::WorkloadStarted { name: "counter".to_owned() });
    play.run(9_000);
    assert_eq!(play.count("alert"), 0, "it starts counting afresh");
    play.run(1_500);
    assert_eq!(play.count("alert Unplaceable"), 1);
}

#[test]
fn what_finds_no_node_is_not_also_called_down() {
    let mut play = Play::new(&["", "", ""]);
    play.apply(vec![singleton("counter")]);
    play.run(300);
    let host = play.where_is("counter", 0);
    for node in (1..=3).map(NodeId).filter(|id| play.name(*id) != host).collect::<Vec<_>>() {
        play.commit(Body::NodeDraining { node });
    }
    play.lose(&[&host]);
    play.commit(Body::NodeDraining { node: play.id(&host) });
    play.run(4_000);
    play.return_of(&host);
    play.run(60_000);
    assert_eq!((play.count("alert NodeDead"), play.count("alert Unplaceable")), (1, 1), "{:?}", play.trace);
    assert_eq!(play.count("alert WorkloadDown"), 0);
}

#[test]
fn the_brake_pages_and_ends_with_its_cause() {
    let mut play = Play::new(&[""; 8]);
    play.channels(&["hook"]);
    play.lose(&["n6", "n7", "n8"]);
    play.run(100);
    assert_eq!(play.count("alert BrakeEngaged"), 1);
    assert_eq!(play.count("alert NodeDead"), 3);
    play.return_of("n6");
    play.run(100);
    assert_eq!(play.count("ended: moving goes on"), 1);
    assert_eq!(play.count("ended: n6 is back"), 1);
}

#[test]
fn a_notice_says_what_the_ledger_knows() {
    let (mut play, host) = after_loss();
    play.run(5_000);
    let (id, alert) = play.ledger.alerts.iter().next().expect("an alert");
    let firing = Notice::of(&play.ledger, *id, Phase::Firing, "n1", 1).expect("it fires");
    assert_eq!((firing.cluster.as_str(), firing.leader.as_str(), firing.term), ("shop", "n1", 1));
    assert_eq!((firing.alert.as_str(), firing.ends_at), ("NodeDead", None));
    assert_eq!(
        firing.dedup_key,
        format!("NodeDead/{}/{}", play.id(&host), alert.failure.expect("its failure"))
    );
    assert_eq!(firing.labels["node"], host);
    assert!(firing.description.contains("serving after"), "{}", firing.description);
    assert_eq!(Notice::of(&play.ledger, *id, Phase::Resolved, "n1", 1), None);
    let id = *id;
    play.ledger.alerting.runbooks = Some("https://wiki/".to_owned());
    let firing = Notice::of(&play.ledger, id, Phase::Firing, "n1", 1).expect("it fires");
    assert_eq!(firing.runbook.as_deref(), Some("https://wiki/NodeDead"));
    play.return_of(&host);
    play.run(500);
    let resolved = Notice::of(&play.ledger, id, Phase::Resolved, "n1", 1).expect("it ended");
    assert_eq!((&resolved.id, &resolved.dedup_key), (&firing.id, &firing.dedup_key));
    assert!(resolved.ends_at.is_some());
}
