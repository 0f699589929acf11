//! Scripts of users' rules: when their alerts fire, of what, and when they end.

use super::*;
use crate::{
    ledger::{AlertingConfig, Channel, Over, Route, Rule, Severity},
    membership::Vitals,
    recovery::{
        Heard,
        harness::{Play, replicas},
    },
};

fn rule(name: &str, over: Over, condition: &str, for_ms: u64) -> Rule {
    Rule {
        name: name.to_owned(),
        over,
        condition: condition.to_owned(),
        for_ms,
        severity: Severity::Info,
        summary: "so it is".to_owned(),
        description: "look there".to_owned(),
        labels: BTreeMap::from([("team".to_owned(), "ops".to_owned()), ("node".to_owned(), "x".to_owned())]),
        runbook: None,
    }
}

fn config(rules: Vec<Rule>) -> AlertingConfig {
    let channels = [("hook".to_owned(), Channel::new("console", 5_000))].into();
    let routes = vec![Route::to(vec!["hook".to_owned()])];
    AlertingConfig { channels, routes, rules, ..AlertingConfig::default() }
}

fn play(rules: Vec<Rule>) -> Play {
    let mut play = Play::new(&["a", "b", ""]);
    play.alerting(config(rules));
    play
}

fn full() -> Rule {
    rule("Full", Over::Nodes, "memory_percent >= 90", 5_000)
}

fn memory(play: &mut Play, node: u64, per_mille: u16) {
    play.live.vitals.insert(NodeId(node), Vitals { memory: per_mille, ..Vitals::default() });
}

#[test]
fn a_condition_that_held_for_long_enough_is_an_alert_and_holding_no_longer_its_end() {
    let mut play = play(vec![full()]);
    memory(&mut play, 1, 899);
    memory(&mut play, 2, 900);
    play.run(4_900);
    assert_eq!(play.count("alert"), 0);
    play.run(1_300);
    assert_eq!(play.told, ["hook firing so it is: n2"], "nothing is known of n3's memory");
    let alert = play.ledger.alerts.values().next().expect("an alert");
    assert_eq!((alert.dedup_key.as_str(), alert.severity), ("rule/Full/n2", Severity::Info));
    assert_eq!(alert.description, "look there");
    let labels: Vec<(&str, &str)> = alert.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(labels, [("node", "n2"), ("team", "ops"), ("zone", "b")]);
    memory(&mut play, 2, 100);
    play.run(1_200);
    assert_eq!(play.count("ended: Full no longer holds: n2"), 1);
    assert!(play.refused.is_empty(), "{:?}", play.refused);
}

#[test]
fn the_wait_begins_anew_after_a_break() {
    let mut play = play(vec![full()]);
    for _ in 0..5 {
        memory(&mut play, 1, 950);
        play.run(4_000);
        memory(&mut play, 1, 500);
        play.run(1_500);
    }
    assert_eq!(play.count("alert"), 0);
}

#[test]
fn what_isnt_heard_has_no_vitals() {
    let mut play = play(vec![full()]);
    memory(&mut play, 2, 950);
    play.run(7_000);
    assert_eq!(play.count("alert Full"), 1);
    play.live.heard.remove(&NodeId(2));
    play.run(1_200);
    assert_eq!(play.count("ended: Full no longer holds: n2"), 1);
}

#[test]
fn a_new_leader_ends_and_repeats_nothing_that_still_holds() {
    let mut play = play(vec![rule("Full", Over::Nodes, "memory_percent >= 90", 2_000)]);
    memory(&mut play, 1, 950);
    memory(&mut play, 2, 950);
    play.run(4_000);
    assert_eq!(play.count("alert Full"), 2);
    play.new_leader();
    play.run(10_000);
    assert_eq!((play.count("alert Full"), play.count("ended")), (2, 0));
    play.new_leader();
    memory(&mut play, 2, 100);
    play.run(1_200);
    assert_eq!((play.count("alert Full"), play.count("ended: Full no longer holds: n2")), (2, 1));
}

#[test]
fn what_is_gone_ends_its_alerts() {
    let idle = || rule("Idle", Over::Workloads, "running < desired", 0);
    let mut play = play(vec![rule("All", Over::Nodes, "state == 'dead'", 0), idle()]);
    play.broken.insert("web".to_owned());
    play.apply(vec![replicas("web", 2)]);
    play.lose(&["n3"]);
    play.run(2_000);
    assert_eq!((play.count("alert All: so it is: n3"), play.count("alert Idle: so it is: web")), (1, 1));
    let epoch = play.ledger.nodes[&NodeId(3)].epoch;
    play.commit(Body::NodeRemoved { node: NodeId(3), epoch });
    play.run(1_200);
    assert_eq!(play.count("ended: n3 is gone"), 1, "{:?}", play.trace);
    play.alerting(config(vec![]));
    play.run(1_200);
    assert_eq!(play.count("ended: the rule Idle is gone"), 1, "{:?}", play.trace);
}

#[test]
fn a_configuration_applied_again_leaves_the_waits_as_they_are() {
    let mut play = play(vec![full()]);
    memory(&mut play, 1, 950);
    play.run(4_000);
    play.alerting(config(vec![full(), rule("Other", Over::Nodes, "false", 0)]));
    play.run(2_000);
    assert_eq!(play.count("alert Full"), 1);
    let asks = |text: &str| config(vec![Rule { condition: text.to_owned(), ..full() }]);
    play.alerting(asks("memory_percent >= 91"));
    play.run(8_000);
    assert_eq!((play.count("alert Full"), play.count("ended")), (1, 0), "it still holds");
    play.alerting(asks("memory_percent >= 99"));
    play.run(200);
    assert_eq!(play.count("ended: Full no longer holds: n1"), 1);
    play.alerting(asks("memory_percent >= 95"));
    play.run(4_900);
    assert_eq!(play.count("alert Full"), 1, "another question is another wait");
}

#[test]
fn rules_ask_of_nodes_and_workloads_what_is_documented() {
    let rules = [
        (Over::Nodes, "name == 'n1' && zone == 'a' && role == 'member' && size(labels) == 0"),
        (
            Over::Nodes,
            "state == 'alive' && scheduling == 'eligible' && agent == 'up' && !sick && instances == 1",
        ),
        (Over::Nodes, "sick"),
        (Over::Nodes, "state == 'suspect'"),
        (
            Over::Nodes,
            "load_percent == 150 && memory_percent == 10 && disk_percent == 50 && health_score == 3",
        ),
        (
            Over::Nodes,
            "cpu_pressure_percent == 1 && memory_pressure_percent == 2 && io_pressure_percent == 3",
        ),
        (Over::Workloads, "kind == 'replicas' && desired == 1 && running == 1 && healthy == 1"),
        (Over::Workloads, "restarts == 0 && !stopped && name == 'web'"),
        (Over::Nodes, "labels.disk == 'ssd'"),
    ];
    let rules: Vec<Rule> =
        (1..).zip(rules).map(|(i, (over, text))| rule(&format!("R{i}"), over, text, 0)).collect();
    let mut play = play(vec![]);
    play.apply(vec![replicas("web", 1)]);
    play.run(500);
    let host = play.node_of("web", 0).expect("it runs");
    assert_eq!(host, NodeId(1));
    let vitals = Vitals {
        load: 1_500,
        memory: 101,
        cpu_pressure: 10,
        memory_pressure: 20,
        io_pressure: 39,
        health: 3,
        disk: 509,
        certificate_ends: None,
    };
    play.live.vitals.insert(NodeId(1), vitals);
    play.live.heard.insert(NodeId(2), Heard::Sick);
    play.live.heard.insert(NodeId(3), Heard::Suspect);
    play.alerting(config(rules));
    play.run(500);
    let keys: Vec<&str> = play.ledger.alerts.values().map(|alert| alert.dedup_key.as_str()).collect();
    let rules: Vec<&str> = keys.iter().copied().filter(|key| key.starts_with("rule/")).collect();
    let expected = ["R1/n1", "R2/n1", "R3/n2", "R4/n3", "R5/n1", "R6/n1", "R7/web", "R8/web"]
        .map(|k| format!("rule/{k}"));
    assert_eq!(rules, expected, "{:?}", play.trace);
}

#[test]
fn a_rule_that_cant_be_used_is_refused_in_one_sentence() {
    let wrong = |over, text: &str| check_rule(&rule("Hot", over, text, 0)).unwrap_err();
    assert!(wrong(Over::Nodes, "alert == 'x'").contains("\"alert\" isn't known; there are name, zone"));
    assert!(wrong(Over::Nodes, "desired > 1").contains("\"desired\" isn't known"));
    assert!(wrong(Over::Workloads, "zone == 'a'").contains("\"zone\" isn't known; there are name, kind"));
    assert!(wrong(Over::Workloads, "name").contains("neither true nor false"));
    assert!(wrong(Over::Workloads, "name ==").contains("line 1, column"));
    assert!(check_rule(&rule("NodeDead", Over::Nodes, "true", 0)).unwrap_err().contains("built-in"));
    let mut many = rule("Many", Over::Nodes, "true", 0);
    many.labels = (0..63).map(|n| (format!("l{n}"), String::new())).collect();
    assert!(check_rule(&many).unwrap_err().contains("63 labels; at most 62"));
    assert_eq!(check_rule(&full()), Ok(()));
}

#[test]
fn a_rule_that_was_kept_though_it_cant_be_used_is_said_once_and_never_fires() {
    let mut play = play(vec![rule("NodeDead", Over::Nodes, "true", 0), rule("Odd", Over::Nodes, "odd", 0)]);
    play.run(5_000);
    assert_eq!((play.count("warn: rule NodeDead"), play.count("warn: rule Odd")), (1, 1));
    assert!(play.ledger.alerts.is_empty());
}

#[test]
fn a_rule_over_everything_leaves_room_for_the_built_in_alerts() {
    let mut play = Play::new(&[""; 1_100]);
    play.tick = 50;
    play.alerting(config(vec![rule("All", Over::Nodes, "true", 0)]));
    play.run(3_000);
    assert_eq!(play.count("alert All"), user_rules::FIRING_MAX);
    assert_eq!(play.count("warn: 1024 alerts of users' rules fire"), 1);
}
