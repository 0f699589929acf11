//! Scripts of what goes wrong on the way: channels that refuse for good or go, clocks that were ahead, silences that come
//! and go while something waits.

use super::{
    tests_mutes::silence,
    tests_pipeline::{HOUR, chat, config, muted, play},
    *,
};
use crate::{
    ledger::{Channel, Escalation, Inhibit, MatchOp, Rate, Route, Schedule},
    recovery::harness::Play,
};

#[test]
fn a_repeat_that_is_refused_for_good_is_repeated_when_the_next_is_due() {
    let mut play = chat();
    play.raise("Disk", "a", &[]);
    play.run(10_000);
    play.tick = 500;
    (play.for_good, _) = (true, play.refuses.insert("chat".to_owned()));
    play.run(9 * HOUR);
    assert_eq!(play.count("send chat"), 3, "once, and once every four hours");
    play.refuses.clear();
    play.run(4 * HOUR);
    assert_eq!(play.told_to("chat").len(), 2);
}

#[test]
fn after_a_leader_whose_clock_was_ahead_nothing_comes_sooner_or_more_often() {
    let mut config = config(&[("chat", "slack"), ("boss", "webhook")]);
    config.channels.get_mut("chat").expect("it is there").rate = Some(Rate { messages: 2, per_ms: 60_000 });
    config.routes[0] = Route::to(vec!["chat".to_owned()]);
    config.routes[0].group_by = Some(vec!["zone".to_owned()]);
    config.routes[0].escalations =
        vec![Escalation { after_ms: 2 * HOUR, channels: vec!["boss".to_owned()], schedule: None }];
    let mut play = play(config);
    play.clock_ahead = 24 * HOUR;
    play.raise("Disk", "a", &[("zone", "a")]);
    play.clock_ahead = 0;
    play.new_leader();
    play.tick = 500;
    play.run(HOUR);
    for zone in ["b", "c", "d"] {
        play.raise("Disk", zone, &[("zone", zone)]);
    }
    let began = play.now;
    play.run(HOUR);
    let soon = play.got.iter().filter(|got| (began..began + 50_000).contains(&got.at)).count();
    assert_eq!(soon, 1, "a digest: {:?}", play.told);
    assert!(play.told_to("boss").is_empty(), "{:?}", play.told);
    play.run(HOUR + 60_000);
    assert_eq!(play.told_to("boss").len(), 4, "{:?}", play.told);
    play.run(4 * HOUR);
    let of_a = play.told_to("chat").iter().filter(|told| **told == "firing a").count();
    assert_eq!(of_a, 2, "{:?}", play.told);
}

/// One message a minute, and "first" has just taken the place; each zone is a group.
fn narrow() -> Play {
    let mut config = config(&[("narrow", "slack")]);
    config.channels.get_mut("narrow").expect("it is there").rate = Some(Rate { messages: 1, per_ms: 60_000 });
    config.routes[0].group_by = Some(vec!["zone".to_owned()]);
    let mut play = play(config);
    play.raise("Disk", "first", &[("zone", "a")]);
    play.run(3_000);
    play
}

#[test]
fn what_was_muted_once_but_fired_on_is_told_though_it_is_over_when_there_is_room() {
    let mut play = narrow();
    let silence = silence(&play, MatchOp::Equal, "n1", 5_000);
    play.commit(Body::SilenceAdded { silence });
    play.raise("Disk", "x", &[("zone", "b"), ("node", "n1")]);
    play.run(2_000);
    assert!(muted(&play, "x").ends_with("new disks"));
    play.run(8_000);
    play.end("x");
    play.run(200_000);
    assert_eq!(play.told_to("narrow")[1..], ["firing x", "resolved x"]);
    assert!(play.refused.is_empty(), "{:?}", play.refused);
}

#[test]
fn what_fired_and_ended_unmuted_isnt_dropped_by_a_silence_that_comes_after() {
    let mut play = narrow();
    play.raise("Disk", "x", &[("zone", "b"), ("node", "n1")]);
    play.run(2_000);
    play.end("x");
    let silence = silence(&play, MatchOp::Equal, "n1", HOUR);
    play.commit(Body::SilenceAdded { silence });
    play.run(200_000);
    assert_eq!(play.told_to("narrow")[1..], ["firing x", "resolved x"]);
}

#[test]
fn what_waits_for_room_still_waits_after_the_configuration_was_applied_anew() {
    let mut play = narrow();
    let mut config = play.ledger.alerting.clone();
    config.channels.get_mut("narrow").expect("it is there").rate =
        Some(Rate { messages: 1, per_ms: 300_000 });
    config.channels.insert("hook".to_owned(), Channel::new("webhook", 5_000));
    play.alerting(config.clone());
    play.raise("Disk", "x", &[("zone", "b")]);
    play.run(2_000);
    play.end("x");
    play.run(70_000);
    config.runbooks = Some("https://runbooks.example.org".to_owned());
    config.routes[0].group_wait_ms = Some(2_000);
    play.alerting(config.clone());
    play.run(600_000);
    assert_eq!(play.told_to("narrow")[1..], ["firing x", "resolved x"]);
    // That channel stays, too, but nothing led there.
    config.routes[0].channels.push("hook".to_owned());
    play.alerting(config);
    play.run(5_000);
    assert_eq!(play.told_to("hook"), ["firing first"], "x was over long before");
}

/// One group, and an incident for each of two that were told apart.
fn two_incidents() -> Play {
    let mut config = config(&[("chat", "slack")]);
    config.routes[0].group_by = Some(vec!["zone".to_owned()]);
    let mut play = play(config.clone());
    play.raise("Disk", "a", &[("zone", "a")]);
    play.raise("Disk", "b", &[("zone", "b")]);
    play.run(3_000);
    assert_eq!(play.told_to("chat"), ["firing a", "firing b"]);
    config.routes[0].group_by = None;
    play.alerting(config);
    play.run(1_000);
    play
}

#[test]
fn a_group_of_several_incidents_closes_each_of_them() {
    let mut play = two_incidents();
    play.end("a");
    play.end("b");
    play.run(15_000);
    assert_eq!(play.told_to("chat")[2..], ["resolved a", "resolved b"]);
    for n in [0, 1] {
        let (fired, ended) = (&play.got[n].message, &play.got[n + 2].message);
        assert!(fired.incident == ended.incident && !ended.open, "{ended:?}");
    }
}

#[test]
fn a_group_of_several_incidents_repeats_each_of_them() {
    let mut play = two_incidents();
    play.tick = 500;
    play.run(4 * HOUR + 10_000);
    assert_eq!(play.told_to("chat")[2..], ["firing a", "firing b"]);
    for n in [0, 1] {
        assert_eq!(play.got[n].message.incident, play.got[n + 2].message.incident);
    }
}

#[test]
fn of_many_each_is_told_again() {
    let mut play = chat();
    for n in 0..600 {
        play.raise("Disk", &format!("disk {n}"), &[]);
    }
    play.run(30_000);
    assert_eq!(play.got.len(), 2);
    play.tick = 1_000;
    play.run(4 * HOUR + 30_000);
    let again: Vec<u64> = play.got[2..].iter().flat_map(|got| got.message.told.iter().map(|t| t.0)).collect();
    assert_eq!((again.len(), again.iter().collect::<BTreeSet<_>>().len()), (600, 600));
}

#[test]
fn news_go_before_repeats_when_there_is_little_room() {
    let mut play = narrow();
    let mut config = play.ledger.alerting.clone();
    config.routes[0].repeat_ms = Some(HOUR);
    play.alerting(config);
    play.tick = 100;
    play.run(HOUR - 33_000);
    play.raise("Disk", "b", &[("zone", "b")]);
    play.run(30_000 + 10_000);
    play.raise("Disk", "z", &[("zone", "z")]);
    play.run(30_000);
    assert_eq!(play.told_to("narrow"), ["firing first", "firing b", "firing z"]);
    play.run(60_000);
    assert_eq!(play.told_to("narrow")[3..], ["firing first"]);
}

#[test]
fn a_long_reason_is_written_once() {
    let mut config = config(&[("hook", "webhook")]);
    config.inhibits = vec![Inhibit {
        source: "alert == 'RackDown'".to_owned(),
        target: "alert == 'Disk'".to_owned(),
        equal: vec![],
    }];
    let mut play = play(config);
    play.raise("RackDown", "rack", &[("node", &"é".repeat(1_500))]);
    play.raise("Disk", "a", &[]);
    play.run(10_000);
    assert!(muted(&play, "a").starts_with("inhibited by RackDown"));
    assert!(play.refused.is_empty(), "{:?}", play.refused);
}

#[test]
fn a_way_that_is_out_of_its_schedule_doesnt_hold_up_an_escalation() {
    let mut config = config(&[("chat", "slack"), ("boss", "webhook")]);
    let schedule = Schedule { timezone: "UTC".to_owned(), days: vec![], from_minute: 180, to_minute: 240 };
    config.schedules = [("night".to_owned(), schedule)].into();
    let escalation = Escalation { after_ms: 600_000, channels: vec!["boss".to_owned()], schedule: None };
    config.routes = vec![
        Route { go_on: true, escalations: vec![escalation], ..Route::to(vec!["chat".to_owned()]) },
        Route { schedule: Some("night".to_owned()), ..Route::to(vec!["boss".to_owned()]) },
    ];
    let mut play = play(config);
    play.raise("Disk", "a", &[]);
    play.run(590_000);
    assert!(play.told_to("boss").is_empty() && muted(&play, "a").contains("night"));
    play.run(20_000);
    assert_eq!(play.told_to("boss"), ["firing a"]);
}

#[test]
fn what_a_failing_channel_cant_tell_within_minutes_goes_to_its_failover() {
    let mut config = config(&[("chat", "slack"), ("mail", "smtp")]);
    config.routes[0] = Route::to(vec!["chat".to_owned()]);
    config.routes[0].group_by = Some(vec!["zone".to_owned()]);
    config.channels.get_mut("chat").expect("it is there").failover = Some("mail".to_owned());
    let mut play = play(config);
    play.refuses.insert("chat".to_owned());
    for zone in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        play.raise("Disk", zone, &[("zone", zone)]);
    }
    play.run(290_000);
    assert!(play.told.is_empty());
    play.run(90_000);
    assert_eq!(play.told_to("mail").concat().matches("firing").count(), 10, "{:?}", play.told);
}

#[test]
fn what_keeps_failing_takes_no_room_from_what_is_new() {
    let mut config = config(&[("chat", "slack")]);
    config.channels.get_mut("chat").expect("it is there").rate = Some(Rate { messages: 4, per_ms: 60_000 });
    config.routes[0].group_by = Some(vec!["zone".to_owned()]);
    let mut play = play(config);
    play.refuses.insert("chat".to_owned());
    for zone in ["a", "b", "c", "d"] {
        play.raise("Disk", zone, &[("zone", zone)]);
    }
    play.run(600_000);
    play.raise("Disk", "new", &[("zone", "new")]);
    play.run(3_000);
    assert_eq!(play.ledger.messages.len(), 5, "it is queued, and goes first");
}

#[test]
fn an_incident_whose_alert_is_forgotten_still_ends() {
    let mut play = chat();
    play.raise("Disk", "a", &[]);
    play.run(3_000);
    play.raise("Disk", "b", &[]);
    play.run(15_000);
    let a = *play.ledger.alerts.keys().next().expect("raised");
    play.end("a");
    play.run(15_000);
    play.ledger.alerts.remove(&a);
    play.end("b");
    play.run(1_000);
    assert_eq!(play.got.len(), 4, "{:?}", play.trace);
}
