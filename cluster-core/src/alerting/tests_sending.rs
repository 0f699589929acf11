//! Scripts of what becomes of a message: intents, attempts, answers that are late or never come, and leaders that are lost
//! in between.

use super::{
    outbox::{MAX_IN_FLIGHT, SEND_WITHIN},
    tests::{after_loss, notification},
    *,
};
use crate::{
    ledger::{NotificationState, Phase},
    recovery::harness::{Play, singleton},
};

#[test]
fn every_leader_that_is_lost_repeats_at_most_once_and_drops_nothing() {
    // Before the intent, after it, during the sending, after it and before the result: every 10 ms of it.
    for after in (0..150).step_by(10) {
        let (mut play, _) = after_loss();
        play.answers_after.insert("hook".to_owned(), 60);
        while play.count("alert NodeDead") == 0 {
            play.run(10);
        }
        play.run(after);
        play.new_leader();
        let became = play.now;
        let before = play.told.len();
        play.run(30_000);
        let told = play.told.len();
        assert!((1..=2).contains(&told), "{after} ms after it was raised: {:?}", play.told);
        let cut_off = notification(&play, Phase::Firing).uncertain;
        assert!(told == 1 || cut_off, "a repetition is marked");
        if cut_off {
            let resent = play.trace.iter().rfind(|line| line.contains("send hook firing #2"));
            let at: u64 = resent.and_then(|line| line.split(' ').next()?.parse().ok()).expect("sent again");
            assert!(at >= became + 5_000, "the successor waits: {at}, leader since {became}");
        } else {
            assert!(before == told || told == 1);
        }
        assert_eq!(notification(&play, Phase::Firing).state, NotificationState::Sent);
        assert_eq!(play.count("alert NodeDead"), 1);
    }
}

#[test]
fn nothing_is_sent_on_an_intent_that_is_not_committed() {
    let (mut play, _) = after_loss();
    while play.ledger.messages.is_empty() {
        play.run(10);
    }
    play.commits = false;
    play.run(4_000);
    assert!(play.told.is_empty());
    play.commits = true;
    play.run(1_100);
    assert_eq!(play.told.len(), 1);
}

#[test]
fn an_intent_that_is_committed_too_late_is_not_sent_on() {
    let (mut play, _) = after_loss();
    while play.ledger.messages.is_empty() {
        play.run(10);
    }
    play.commits = false;
    play.run(u64::try_from(SEND_WITHIN.as_millis()).expect("small") + 100);
    play.commits = true;
    play.run(1_000);
    assert_eq!(play.count("send hook firing #1"), 0);
    play.run(5_000);
    assert_eq!(play.count("send hook firing #2"), 1);
    assert_eq!(play.told.len(), 1);
}

#[test]
fn a_refusing_channel_is_tried_again_with_longer_waits_and_a_limit() {
    let (mut play, _) = after_loss();
    play.refuses.insert("hook".to_owned());
    play.run(20_000);
    let times: Vec<u64> = play
        .trace
        .iter()
        .filter(|line| line.contains("send hook"))
        .map(|line| line.split(' ').next().expect("a time").parse().expect("a number"))
        .collect();
    let waits: Vec<u64> = times.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
    assert_eq!(waits, [1, 2, 4, 8], "{times:?}");
    play.tick = 200;
    play.run(1_300_000);
    assert_eq!(notification(&play, Phase::Firing).state, NotificationState::Failed);
    assert_eq!(play.count("send hook"), 24);
}

#[test]
fn a_cut_off_sender_of_the_last_attempt_ends_it() {
    let (mut play, _) = after_loss();
    play.refuses.insert("hook".to_owned());
    play.tick = 200;
    while play.ledger.messages.values().next().is_none_or(|message| message.attempts < 24) {
        play.run(200);
    }
    play.tick = 10;
    let message = play.ledger.messages.values_mut().next().expect("a message");
    message.intent = Some(crate::ledger::Intent { attempt: 24, term: 1, send_within_ms: 5_000 });
    play.new_leader();
    play.run(4_900);
    assert_eq!(notification(&play, Phase::Firing).state, NotificationState::Pending);
    play.run(1_000);
    assert_eq!(notification(&play, Phase::Firing).state, NotificationState::Failed);
    assert_eq!(play.count("send hook firing #25"), 0);
}

#[test]
fn a_slow_channel_holds_up_itself_alone() {
    let mut play = Play::new(&[""; 10]);
    play.channels(&["slow", "hook"]);
    play.answers_after.insert("slow".to_owned(), 4_000);
    play.apply((0..8).map(|i| singleton(&format!("job-{i}"))).collect());
    for i in 0..8 {
        play.broken.insert(format!("job-{i}"));
    }
    play.run(2_000);
    let alerts = play.ledger.alerts.len();
    assert!(alerts >= 8, "{alerts}");
    let sent = |play: &Play, channel: &str| play.told.iter().filter(|told| told.starts_with(channel)).count();
    assert!(sent(&play, "hook firing") >= 8);
    assert_eq!(sent(&play, "slow firing"), MAX_IN_FLIGHT);
    play.run(3_000);
    assert_eq!(sent(&play, "slow firing"), 2 * MAX_IN_FLIGHT);
}

#[test]
fn resolved_follows_firing_even_when_that_is_late() {
    let (mut play, host) = after_loss();
    play.answers_after.insert("hook".to_owned(), 3_000);
    while play.count("send hook") == 0 {
        play.run(10);
    }
    play.return_of(&host);
    play.run(2_000);
    assert_eq!(play.told.len(), 1, "its firing isn't settled");
    play.run(2_000);
    assert_eq!(play.told.len(), 2);
    assert!(play.refused.is_empty(), "{:?}", play.refused);
}

#[test]
fn a_sender_that_never_answers_is_given_up() {
    let (mut play, _) = after_loss();
    play.answers_after.insert("hook".to_owned(), 1_000_000);
    while play.count("send hook") == 0 {
        play.run(10);
    }
    play.answers_after.clear();
    play.run(5_500);
    assert_eq!(play.told.len(), 1);
    play.run(2_000);
    assert_eq!(notification(&play, Phase::Firing).state, NotificationState::Sent);
}

/// `hook` may take 20 s, takes 15, and was just sent the first message.
fn slow_hook() -> Play {
    let (mut play, _) = after_loss();
    let mut config = play.ledger.alerting.clone();
    config.channels.get_mut("hook").expect("the only channel").timeout_ms = 20_000;
    play.alerting(config);
    play.answers_after.insert("hook".to_owned(), 15_000);
    while play.count("send hook") == 0 {
        play.run(10);
    }
    play
}

#[test]
fn a_channel_with_a_longer_time_out_is_given_that_time() {
    let mut play = slow_hook();
    play.run(14_000);
    assert_eq!(notification(&play, Phase::Firing).state, NotificationState::Pending);
    play.run(2_000);
    assert_eq!(notification(&play, Phase::Firing).state, NotificationState::Sent);
    assert_eq!((play.told.len(), play.count("send hook firing #2")), (1, 0));
}

#[test]
fn a_new_leader_waits_for_the_longer_time_out_too() {
    let mut play = slow_hook();
    play.new_leader();
    play.run(19_500);
    assert_eq!(play.count("send hook firing #2"), 0, "the lost leader may still be sending");
    play.run(1_000);
    assert_eq!(play.count("send hook firing #2"), 1);
}

#[test]
fn an_older_leaders_intent_that_is_committed_late_is_waited_for() {
    let (mut play, _) = after_loss();
    while play.ledger.messages.is_empty() {
        play.run(10);
    }
    play.new_leader();
    play.run(20);
    let message = *play.ledger.messages.keys().next().expect("a message");
    let (attempt, term, send_within_ms) = (1, play.term - 1, 5_000);
    play.commit(Body::MessageIntended { message, attempt, term, send_within_ms });
    play.run(4_900);
    assert!(play.told.is_empty(), "{:?}", play.trace);
    play.run(1_000);
    assert_eq!((play.told.len(), play.count("send hook firing #2")), (1, 1));
}

#[test]
fn a_result_whose_entry_was_lost_is_written_again() {
    let (mut play, _) = after_loss();
    while play.count("send hook") == 0 {
        play.run(10);
    }
    play.commits = false;
    play.run(500);
    play.commits = true;
    assert_eq!(notification(&play, Phase::Firing).state, NotificationState::Pending);
    play.run(1_500);
    assert_eq!(notification(&play, Phase::Firing).state, NotificationState::Sent);
    assert_eq!(play.told.len(), 1);
}

#[test]
fn a_late_answer_to_an_attempt_says_nothing_of_the_next() {
    let (mut play, _) = after_loss();
    play.answers_after.insert("hook".to_owned(), 7_500);
    while play.count("send hook") == 0 {
        play.run(10);
    }
    let first = play.now;
    play.answers_after.insert("hook".to_owned(), 2_000);
    play.run(7_800);
    assert!(play.time_of("send hook firing #2") < first + 7_500);
    assert_eq!(notification(&play, Phase::Firing).state, NotificationState::Pending);
    play.run(2_000);
    assert_eq!(notification(&play, Phase::Firing).state, NotificationState::Sent);
    assert_eq!(play.told.len(), 2);
}
