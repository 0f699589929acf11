//! Scripts of what goes wrong on the way: channels that refuse for good or go, clocks that were ahead, silences that come
//! and go while something waits.

use super::{
    tests_pipeline::{HOUR, chat, config, play},
    *,
};
use crate::ledger::{Escalation, Rate, Route};

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
    play.run(5 * HOUR);
    let of_a = play.told_to("chat").iter().filter(|told| **told == "firing a").count();
    assert_eq!(of_a, 2, "{:?}", play.told);
}
