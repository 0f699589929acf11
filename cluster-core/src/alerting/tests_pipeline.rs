//! Scripts of who is told what and when, over a real ledger.

use super::*;
use crate::{
    ledger::{AlertingConfig, Channel, Escalation, NotificationState, Phase, Rate, Route, Why},
    recovery::harness::{Got, Play, singleton},
};

pub(super) const HOUR: u64 = 3_600_000;

/// Channels by name and kind, and one route to all of them.
pub(super) fn config(channels: &[(&str, &str)]) -> AlertingConfig {
    let named = |(name, kind): &(&str, &str)| ((*name).to_owned(), Channel::new(kind, 5_000));
    let all = channels.iter().map(|(name, _)| (*name).to_owned()).collect();
    let channels = channels.iter().map(named).collect();
    AlertingConfig { channels, routes: vec![Route::to(all)], ..AlertingConfig::default() }
}

/// Five nodes, alerts told as `config` says.
pub(super) fn play(config: AlertingConfig) -> Play {
    let mut play = Play::new(&[""; 5]);
    play.alerting(config);
    play
}

pub(super) fn chat() -> Play {
    play(config(&[("chat", "slack")]))
}

pub(super) fn wall(play: &Play) -> u64 {
    1_700_000_000_000 + play.now
}

fn phases(got: &Got) -> (usize, usize) {
    let firing = got.message.told.iter().filter(|(_, phase)| *phase == Phase::Firing).count();
    (firing, got.message.told.len() - firing)
}

pub(super) fn muted(play: &Play, key: &str) -> String {
    let alert = play.ledger.alerts.values().find(|alert| alert.dedup_key == key).expect("such an alert");
    let why = alert.notifications.iter().find(|n| n.state == NotificationState::Suppressed);
    why.map(|n| n.reason.clone()).unwrap_or_default()
}

#[test]
fn people_get_one_message_and_programs_one_an_alert_at_once() {
    let mut play = play(config(&[("chat", "slack"), ("hook", "webhook")]));
    let began = play.now;
    for key in ["a", "b", "c"] {
        play.raise("Disk", key, &[]);
    }
    play.run(200);
    assert_eq!(play.told_to("hook"), ["firing a", "firing b", "firing c"]);
    play.run(2_000);
    assert_eq!(play.told_to("chat"), ["firing a; firing b; firing c"]);
    let chat = play.got.iter().find(|got| got.message.channel == "chat").expect("told");
    assert!((began + 1_000..began + 1_200).contains(&chat.at), "{}", chat.at - began);
    play.end("b");
    play.run(200);
    assert_eq!(play.told_to("hook").last(), Some(&"resolved b"));
}

#[test]
fn two_hundred_nodes_that_die_and_return_are_two_messages() {
    let mut play = Play::new(&[""; 207]);
    play.alerting(config(&[("chat", "slack")]));
    play.run(200);
    let names: Vec<String> = (8..=207).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    play.lose(&names);
    play.run(30_000);
    for name in &names {
        play.return_of(name);
    }
    play.run(120_000);
    let nodes = |got: &Got| {
        let dead = |id: &u64| play.ledger.alerts[id].name == "NodeDead";
        got.message.told.iter().filter(|(id, _)| dead(id)).count()
    };
    let listed: Vec<usize> = play.got.iter().map(nodes).filter(|listed| *listed > 0).collect();
    assert_eq!(listed, [200, 200]);
    assert_eq!(play.got.len(), 2, "BrakeEngaged is told with them: {:?}", play.trace);
    assert!(!play.got[1].message.open && play.got[0].message.incident == play.got[1].message.incident);
    assert!(play.refused.is_empty(), "{:?}", play.refused);
}

/// Nine nodes; `dead` of them die at once, one of them with a workload that nothing makes safe to start elsewhere.
fn outage(dead: usize) -> Play {
    let mut play = Play::new(&[""; 9]);
    play.alerting(config(&[("chat", "slack")]));
    play.apply(vec![singleton("counter")]);
    play.run(1_000);
    play.mute_voters = (1..=9).map(NodeId).collect();
    let with = play.where_is("counter", 0);
    let without = ["n6", "n7", "n8", "n9"].into_iter().filter(|name| *name != with);
    let names: Vec<&str> = core::iter::once(with.as_str()).chain(without).take(dead).collect();
    play.lose(&names);
    play.run(25_000);
    play
}

#[test]
fn of_one_outage_nobody_is_told_before_the_workloads_of_all_had_their_time() {
    let play = outage(2);
    assert_eq!(play.got.iter().map(phases).collect::<Vec<_>>(), [(2, 0)], "{:?}", play.told);
    assert!(play.time_of("alert NodeDead") >= play.time_of("failure") + 2_900, "{:?}", play.trace);
}

#[test]
fn when_nothing_is_moved_nobody_waits_for_it() {
    let play = outage(4);
    assert_eq!(play.got.iter().map(phases).collect::<Vec<_>>(), [(5, 0)], "with the brake: {:?}", play.told);
    assert!(play.time_of_last("alert NodeDead") <= play.time_of("failure") + 200, "{:?}", play.trace);
}

#[test]
fn what_fires_later_is_news_of_the_same_incident_after_the_interval() {
    let mut play = chat();
    play.raise("Disk", "a", &[]);
    play.run(3_000);
    let first = play.got[0].at;
    play.raise("Disk", "b", &[]);
    play.run(6_000);
    assert_eq!(play.got.len(), 1);
    play.run(5_000);
    assert_eq!(play.told_to("chat"), ["firing a", "firing b"]);
    assert!((first + 10_000..first + 10_300).contains(&play.got[1].at), "{:?}", play.trace);
    let (first, second) = (&play.got[0].message, &play.got[1].message);
    assert_eq!((first.why, second.why, first.incident), (Why::First, Why::News, second.incident));
}

#[test]
fn that_some_are_over_waits_for_quiet_and_that_all_are_is_told_at_once() {
    let mut play = chat();
    for key in ["a", "b", "c"] {
        play.raise("Disk", key, &[]);
    }
    play.run(20_000);
    play.end("a");
    play.run(9_000);
    play.end("b");
    play.run(9_500);
    assert_eq!(play.got.len(), 1, "something changed within ten seconds");
    play.run(1_000);
    assert_eq!(play.told_to("chat")[1], "resolved a; resolved b");
    assert!(play.got[1].message.open, "c fires still");
    play.end("c");
    play.run(200);
    assert_eq!(play.told_to("chat")[2], "resolved c");
    assert!(!play.got[2].message.open);
    play.raise("Disk", "a", &[]);
    play.run(15_000);
    assert_ne!(play.got[3].message.incident, play.got[2].message.incident, "that is another incident");
}

#[test]
fn no_quiet_is_waited_for_longer_than_ten_intervals() {
    let mut play = chat();
    for n in 0..30 {
        play.raise("Disk", &format!("disk {n}"), &[]);
    }
    play.run(20_000);
    for n in 0..25 {
        play.end(&format!("disk {n}"));
        play.run(5_000);
    }
    assert_eq!(play.got.len(), 2, "{:?}", play.told);
    assert!((20..=22).contains(&phases(&play.got[1]).1), "{:?}", phases(&play.got[1]));
}

#[test]
fn what_is_over_before_it_was_told_is_told_in_both_phases() {
    let mut play = chat();
    play.raise("Disk", "a", &[]);
    play.run(300);
    play.end("a");
    play.run(5_000);
    assert_eq!(play.told_to("chat"), ["firing a", "resolved a"]);
}

#[test]
fn what_was_over_long_before_a_route_led_somewhere_is_not_told() {
    let mut play = Play::new(&["", "", ""]);
    play.raise("Disk", "old", &[]);
    play.end("old");
    play.raise("Disk", "fires still", &[]);
    play.run(61_000);
    play.alerting(config(&[("hook", "webhook")]));
    play.run(5_000);
    assert_eq!(play.told_to("hook"), ["firing fires still"]);
}

#[test]
fn the_first_route_that_matches_takes_an_alert_unless_it_goes_on() {
    let mut config = config(&[("db", "webhook"), ("all", "webhook"), ("rest", "webhook")]);
    let route = |condition: &str, to: &[&str], go_on| Route {
        condition: Some(condition.to_owned()),
        go_on,
        ..Route::to(to.iter().map(|name| (*name).to_owned()).collect())
    };
    config.routes = vec![
        route("true", &["all"], true),
        route("labels.workload == 'db'", &["db", "all"], false),
        Route::to(vec!["rest".to_owned()]),
    ];
    let mut play = play(config);
    play.raise("Slow", "db is slow", &[("workload", "db")]);
    play.raise("Slow", "web is slow", &[("workload", "web")]);
    play.run(1_000);
    assert_eq!(play.told_to("db"), ["firing db is slow"]);
    assert_eq!(play.told_to("all"), ["firing db is slow", "firing web is slow"], "once each");
    assert_eq!(play.told_to("rest"), ["firing web is slow"]);
}

#[test]
fn a_condition_that_cant_be_used_is_warned_of_and_never_holds() {
    let mut broken = config(&[("hook", "webhook")]);
    broken.routes[0].condition = Some("no such thing".to_owned());
    assert!(config::Compiled::of(&broken).1[0].contains("route 1"));
    let mut play = play(broken);
    play.raise("Disk", "a", &[]);
    play.run(1_000);
    assert_eq!((play.told.len(), play.count("warn: the condition of route 1")), (0, 1));
}

#[test]
fn a_route_groups_by_labels_on_any_kind() {
    let mut config = config(&[("hook", "webhook"), ("chat", "slack")]);
    config.routes[0].group_by = Some(vec!["zone".to_owned()]);
    let mut play = play(config);
    for (key, zone) in [("a", "east"), ("b", "west"), ("c", "east")] {
        play.raise("Disk", key, &[("zone", zone)]);
    }
    play.run(3_000);
    for channel in ["hook", "chat"] {
        assert_eq!(play.told_to(channel), ["firing a; firing c", "firing b"]);
    }
}

#[test]
fn people_are_told_again_every_four_hours_until_it_is_acknowledged_and_programs_are_not() {
    let mut play = play(config(&[("chat", "slack"), ("hook", "webhook")]));
    play.lose(&["n3"]);
    play.run(10_000);
    play.tick = 500;
    play.run(4 * HOUR);
    assert_eq!(play.told_to("chat").len(), 2, "{:?}", play.told);
    let repeats: Vec<&Got> =
        play.got.iter().filter(|got| matches!(got.message.why, Why::Repeat { .. })).collect();
    assert_eq!((repeats.len(), repeats[0].message.incident), (1, play.got[0].message.incident));
    let failure = *play.ledger.failures.keys().next().expect("a failure");
    play.commit(Body::FailureAcknowledged { failure });
    play.run(5 * HOUR);
    assert_eq!((play.told_to("chat").len(), play.told_to("hook").len()), (2, 1));
    play.return_of("n3");
    play.run(5_000);
    assert_eq!((play.told_to("chat").len(), play.told_to("hook").len()), (3, 2), "its end is told, too");
}

fn escalating() -> Play {
    let mut config = config(&[("chat", "slack"), ("boss", "webhook")]);
    config.routes[0] = Route::to(vec!["chat".to_owned()]);
    config.routes[0].escalations =
        vec![Escalation { after_ms: 600_000, channels: vec!["boss".to_owned()], schedule: None }];
    let mut play = play(config);
    play.lose(&["n3"]);
    play.run(10_000);
    play.tick = 100;
    play
}

#[test]
fn what_nobody_acknowledges_goes_to_others_too_and_so_does_its_end() {
    let mut play = escalating();
    play.run(580_000);
    assert!(play.told_to("boss").is_empty());
    play.run(30_000);
    assert_eq!(play.told_to("boss").len(), 1);
    assert_eq!(play.got.last().map(|got| got.message.why), Some(Why::Escalation));
    play.return_of("n3");
    play.run(5_000);
    assert_eq!((play.told_to("boss").len(), play.told_to("chat").len()), (2, 2));
}

#[test]
fn what_is_acknowledged_goes_no_further() {
    let mut play = escalating();
    let failure = *play.ledger.failures.keys().next().expect("a failure");
    play.commit(Body::FailureAcknowledged { failure });
    play.run(HOUR);
    assert!(play.told_to("boss").is_empty());
}

/// `kind` may be sent two messages a minute; four zones fail.
fn storm(kind: &str) -> Play {
    let mut config = config(&[("narrow", kind)]);
    config.channels.get_mut("narrow").expect("it is there").rate = Some(Rate { messages: 2, per_ms: 60_000 });
    config.routes[0].group_by = Some(vec!["zone".to_owned()]);
    let mut play = play(config);
    for zone in ["a", "b"] {
        play.raise("Disk", zone, &[("zone", zone)]);
    }
    play.run(5_000);
    for zone in ["c", "d", "e", "f"] {
        play.raise("Disk", zone, &[("zone", zone)]);
    }
    play.run(50_000);
    assert_eq!(play.told, ["narrow firing a", "narrow firing b"], "there is no room");
    play.run(60_000);
    play
}

#[test]
fn when_there_is_no_room_for_all_groups_one_digest_tells_them() {
    let play = storm("slack");
    assert_eq!(play.told[2..], ["narrow firing c; firing d; firing e; firing f"]);
    assert_eq!(play.got[2].message.why, Why::Digest);
}

#[test]
fn a_provider_that_knows_each_by_its_key_is_told_of_one_after_the_other() {
    let mut play = storm("pagerduty");
    play.run(65_000);
    let each = ["a", "b", "c", "d", "e", "f"].map(|zone| format!("narrow firing {zone}"));
    assert_eq!(play.told, each);
    for three in play.got.windows(3) {
        assert!(three[2].at - three[0].at >= 60_000, "at most two in a minute");
    }
}

#[test]
fn attempts_count_against_the_rate_whoever_leads() {
    let mut config = config(&[("narrow", "slack")]);
    config.channels.get_mut("narrow").expect("it is there").rate = Some(Rate { messages: 3, per_ms: 60_000 });
    let mut play = play(config);
    play.refuses.insert("narrow".to_owned());
    play.raise("Disk", "a", &[]);
    play.run(3_000);
    play.new_leader();
    play.run(45_000);
    assert_eq!(play.count("send narrow"), 3);
    play.run(20_000);
    assert!(play.count("send narrow") > 3);
}

#[test]
fn what_a_channel_refuses_for_good_goes_to_its_failover() {
    let mut config = config(&[("chat", "slack"), ("mail", "smtp")]);
    config.routes[0] = Route::to(vec!["chat".to_owned()]);
    config.channels.get_mut("chat").expect("it is there").failover = Some("mail".to_owned());
    let mut play = play(config);
    play.refuses.insert("chat".to_owned());
    play.for_good = true;
    play.raise("Disk", "a", &[]);
    play.run(3_000);
    play.end("a");
    play.run(3_000);
    assert_eq!(play.told, ["mail firing a", "mail resolved a"]);
    assert!(play.refused.is_empty(), "{:?}", play.refused);
}

#[test]
fn a_failing_channel_is_tried_with_one_message_at_a_time_and_others_dont_notice() {
    let mut play = play(config(&[("down", "webhook"), ("hook", "webhook")]));
    play.refuses.insert("down".to_owned());
    for n in 0..20 {
        play.raise("Disk", &format!("disk {n}"), &[]);
    }
    play.run(60_000);
    let told = play.told_to("hook");
    assert_eq!(told.len(), 21, "all of them, and that the other channel fails");
    assert_eq!(told.iter().filter(|told| told.starts_with("firing disk")).count(), 20);
    let attempts = play.count("send down");
    assert!(
        (4..=12).contains(&attempts),
        "{attempts}: two that fly at first, then one at the back-off's pace"
    );
    play.refuses.clear();
    play.run(90_000);
    assert_eq!(play.told_to("down").len(), 20);
}

#[test]
fn a_provider_that_wants_silence_gets_it_from_every_leader() {
    let mut play = play(config(&[("hook", "webhook")]));
    play.refuses.insert("hook".to_owned());
    play.asks_for_silence = Some(120_000);
    play.raise("Disk", "a", &[]);
    play.run(1_000);
    play.refuses.clear();
    play.raise("Disk", "b", &[]);
    play.run(50_000);
    play.new_leader();
    play.run(60_000);
    assert_eq!(play.count("send hook"), 1);
    play.run(15_000);
    assert_eq!(play.told_to("hook").len(), 2);
}

#[test]
fn what_fires_is_posted_to_an_alertmanager_every_minute() {
    let mut play = play(config(&[("am", "alertmanager")]));
    play.raise("Disk", "a", &[]);
    play.run(181_000);
    assert_eq!(play.count("keep am: 1 alerts"), 3);
    play.new_leader();
    play.run(2_500);
    assert_eq!(play.count("keep am"), 4, "a new leader doesn't know when it was done last");
    play.end("a");
    play.run(181_000);
    assert_eq!((play.count("keep am"), play.told_to("am").len()), (4, 2));
}

#[test]
fn two_leaders_that_propose_the_same_message_queue_it_once() {
    let mut play = play(config(&[("hook", "webhook")]));
    play.raise("Disk", "a", &[]);
    play.step_twice();
    play.run(2_000);
    assert_eq!(play.told_to("hook"), ["firing a"]);
    assert_eq!(play.count("refused ALREADY_TOLD"), 1, "{:?}", play.trace);
}
