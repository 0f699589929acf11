//! Scripts of failures and what people are told of them.

use super::{
    outbox::{MAX_IN_FLIGHT, SEND_WITHIN},
    *,
};
use crate::ledger::Phase;
use crate::{
    ledger::{Exit, FailureState, NotificationState, Report},
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
fn after_loss() -> (Play, String) {
    let mut play = shop();
    let host = play.where_is("counter", 0);
    play.lose(&[&host]);
    (play, host)
}

fn notification(play: &Play, phase: Phase) -> crate::ledger::Notification {
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
