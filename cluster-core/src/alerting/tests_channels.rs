//! Scripts of channels that fail: the others are told of it, and the channel itself never.

use crate::{
    ledger::{AlertingConfig, Channel, Route},
    recovery::harness::Play,
};

const FAILING: &str = "alert ChannelFailing: the channel hook (console) doesn't deliver: refused";

/// `hook` and `screen` are told of everything.
fn shop() -> Play {
    let mut play = Play::new(&[""; 5]);
    play.channels(&["hook", "screen"]);
    play.run(200);
    play
}

/// Whether `channel` was sent, or is to be sent, that one fails.
fn hears_of_it(play: &Play, channel: &str) -> bool {
    let failing = |id: &u64| play.ledger.alerts[id].name == "ChannelFailing";
    let queued = play.ledger.messages.values().chain(play.got.iter().map(|got| &got.message));
    queued.filter(|m| m.channel == channel).any(|m| m.told.iter().any(|(id, _)| failing(id)))
}

#[test]
fn three_failures_in_a_row_are_told_on_the_other_channels_until_it_delivers() {
    let mut play = shop();
    play.refuses.insert("hook".to_owned());
    play.raise("Disk", "a", &[]);
    let mut failures = 0;
    while failures < 3 {
        assert_eq!(play.count("alert ChannelFailing"), 0, "after {failures}");
        play.run(10);
        failures = play.ledger.paces.get("hook").map_or(0, |pace| pace.failed_in_a_row);
        assert!(play.now < 60_000);
    }
    play.run(500);
    assert_eq!(play.count(FAILING), 1, "{:?}", play.trace);
    let told = play.told_to("screen");
    assert_eq!(told.last(), Some(&"firing the channel hook (console) doesn't deliver: refused"));
    play.refuses.clear();
    play.run(60_000);
    assert_eq!(play.count("ended: the channel hook delivers again"), 1);
    assert_eq!(play.told_to("hook"), ["firing a"]);
    assert!(hears_of_it(&play, "screen") && !hears_of_it(&play, "hook"));
    assert!(play.refused.is_empty(), "{:?}", play.refused);
}

#[test]
fn a_message_that_failed_for_good_is_enough_until_another_is_delivered() {
    let mut play = shop();
    play.refuses.insert("hook".to_owned());
    play.for_good = true;
    play.raise("Disk", "a", &[]);
    play.run(1_000);
    assert_eq!(play.count(FAILING), 1, "{:?}", play.trace);
    play.run(60_000);
    assert_eq!(play.count("ended"), 0);
    play.refuses.clear();
    play.raise("Disk", "b", &[]);
    play.run(1_000);
    assert_eq!(play.count("ended: the channel hook delivers again"), 1);
    play.new_leader();
    play.run(5_000);
    assert_eq!(play.count("alert ChannelFailing"), 1);
}

#[test]
fn a_failover_doesnt_lead_it_back() {
    let failing_over = Channel { failover: Some("hook".to_owned()), ..Channel::new("console", 5_000) };
    let channels =
        [("hook".to_owned(), Channel::new("console", 5_000)), ("screen".to_owned(), failing_over)].into();
    let routes = vec![Route::to(vec!["hook".to_owned(), "screen".to_owned()])];
    let mut play = Play::new(&[""; 5]);
    play.alerting(AlertingConfig { channels, routes, ..AlertingConfig::default() });
    play.refuses.extend(["hook".to_owned(), "screen".to_owned()]);
    play.for_good = true;
    play.raise("Disk", "a", &[]);
    play.run(5_000);
    assert_eq!(play.count("alert ChannelFailing"), 2);
    let about_screen = play.ledger.alerts.values().find(|a| a.dedup_key == "ChannelFailing/screen");
    let about_hook = play.ledger.alerts.values().find(|a| a.dedup_key == "ChannelFailing/hook");
    let channels = |alert: Option<&crate::ledger::Alert>| -> Vec<String> {
        alert.expect("raised").notifications.iter().map(|n| n.channel.clone()).collect()
    };
    assert_eq!((channels(about_screen), channels(about_hook)), (vec!["hook".into()], vec!["screen".into()]));
}

#[test]
fn a_removed_channel_fails_no_more() {
    let mut play = shop();
    play.refuses.insert("hook".to_owned());
    play.for_good = true;
    play.raise("Disk", "a", &[]);
    play.run(1_000);
    play.channels(&["screen"]);
    play.run(1_000);
    assert_eq!(play.count("ended: the channel hook was removed"), 1);
}
