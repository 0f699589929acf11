//! Scripts of losses and what the leader makes of them.

use super::{
    harness::{Play, replicas, singleton},
    *,
};
use crate::ledger::{FailureState, InstanceState, Reply, Scheduling};

const FIVE: [&str; 5] = [""; 5];

/// Five nodes, `counter` and three `web` serving.
fn shop() -> Play {
    let mut play = Play::new(&FIVE);
    play.apply(vec![singleton("counter"), replicas("web", 3)]);
    play.run(200);
    for index in 0..3 {
        assert_eq!(state(&play, "web", index), InstanceState::Running);
    }
    assert_eq!(state(&play, "counter", 0), InstanceState::Running);
    play
}

fn state(play: &Play, workload: &str, index: u32) -> InstanceState {
    let slot = play.ledger.slot(workload, index).expect("a slot");
    slot.placement.as_ref().map_or(slot.last, |placement| placement.state)
}

#[test]
fn a_lost_hosts_singleton_moves_once_its_lease_is_over() {
    let mut play = shop();
    let host = play.where_is("counter", 0);
    let lost = play.now;
    play.lose(&[&host]);
    play.run(2_000);
    let (safe, placed) =
        (play.time_of("safe"), play.trace.iter().rposition(|l| l.contains("placed counter/0")));
    assert!(safe >= lost + 2_000, "safe at {safe}, lost at {lost}");
    assert!(safe <= lost + 2_060, "safe at {safe}, lost at {lost}");
    assert!(placed > play.trace.iter().position(|l| l.ends_with(" safe")));
    assert_ne!(play.where_is("counter", 0), host);
    let (cause, node) = play.failure(&host);
    assert_eq!(node.state, FailureState::Open);
    let (_, failure) = play.failure("counter/0");
    assert_eq!((failure.state, failure.caused_by), (FailureState::Recovered, Some(cause)));
    assert!(play.refused.is_empty(), "{:?}", play.refused);
}

#[test]
fn a_loss_is_worked_through_in_this_order() {
    let mut play = Play::new(&[""; 3]);
    play.channels(&["hook"]);
    play.apply(vec![singleton("counter"), replicas("web", 3)]);
    play.run(200);
    let (host, from) = (play.where_is("counter", 0), play.now);
    play.lose(&[&host]);
    play.run(3_000);
    play.return_of(&host);
    play.run(200);
    let now_on = play.where_is("counter", 0);
    let web = (0..3).map(|i| (i, play.where_is("web", i)));
    let (index, web_on) =
        web.max_by_key(|(i, _)| play.time_of_last(&format!("placed web/{i}"))).expect("three");
    let moved = format!("counter moved to {now_on}, web/{index} moved to {web_on}");
    play.expect(
        from,
        &format!(
            "failure {host}
             failure counter/0 (caused)
             failure web/{index} (caused)
             placed web/{index} on {web_on}
             safe
             placed counter/0 on {now_on}
             alert NodeDead: {host} is dead: {moved}
             send hook firing #1
             {host} is back
             ended: {host} is back, 4.10 s after it was last well
             send hook resolved #1"
        ),
    );
}

#[test]
fn without_a_majority_of_promises_nothing_is_safe() {
    let mut play = shop();
    let host = play.where_is("counter", 0);
    let mute = (1..=5).map(NodeId).filter(|id| play.name(*id) != host).take(2);
    play.mute_voters = mute.collect();
    play.lose(&[&host]);
    play.run(10_000);
    assert_eq!(play.count("safe"), 0);
    assert_eq!(play.where_is("counter", 0), "nowhere");
    play.mute_voters.clear();
    play.run(300);
    assert_eq!(play.count("safe"), 1);
    assert_ne!(play.where_is("counter", 0), "nowhere");
}

#[test]
fn another_configuration_of_voters_collects_afresh() {
    let mut play = shop();
    let host = play.where_is("counter", 0);
    play.lose(&[&host]);
    play.run(300);
    assert!(play.recovery.safe_in(Instant::from_millis(play.now), epoch_of(&play, &host)).is_some());
    play.mute_voters = (1..=5).map(NodeId).collect();
    let voters: Vec<u64> = (1..=5).filter(|n| format!("n{n}") != host).take(3).collect();
    play.voters_become(&voters);
    play.run(3_000);
    assert_eq!(play.count("safe"), 0, "old promises say nothing of the new majorities");
    play.mute_voters.clear();
    play.run(300);
    assert_eq!(play.count("safe"), 1);
}

fn epoch_of(play: &Play, lost: &str) -> LeaseEpoch {
    let node = play.id(lost);
    let (epoch, _) = play.ledger.revocations.iter().find(|(_, r)| r.node == node).expect("a revocation");
    *epoch
}

#[test]
fn the_earliest_majority_counts_and_the_clock_rate_is_allowed_for() {
    let mut promises = Promises::default();
    promises.voters_are(vec![(1..=3).map(NodeId).collect()]);
    let mut ledger = Ledger::default();
    let revocation = crate::ledger::Revocation {
        node: NodeId(9),
        at: LogId { term: 1, index: 50 },
        revoked_at: crate::time::WallTime(0),
        safe_at: None,
        promises: Vec::new(),
        held: Vec::new(),
    };
    ledger.revocations.insert(LeaseEpoch(4), revocation);
    let (epoch, mut effects) = (LeaseEpoch(4), Vec::new());
    let at = Instant::from_millis;
    assert!(promises.step(at(0), &ledger, &mut effects).is_empty());
    promises.answered(at(10), NodeId(1), epoch, Duration::from_millis(1_000));
    promises.answered(at(20), NodeId(2), epoch, Duration::from_millis(9_000));
    promises.answered(at(20), NodeId(7), epoch, Duration::ZERO);
    assert!(promises.step(at(9_028), &ledger, &mut effects).is_empty());
    assert_eq!(promises.step(at(9_030), &ledger, &mut effects).len(), 1);
    promises.answered(at(30), NodeId(3), epoch, Duration::from_millis(1_000));
    promises.answered(at(40), NodeId(3), epoch, Duration::from_millis(9_000));
    assert!(promises.step(at(1_030), &ledger, &mut effects).is_empty(), "0.1 % more");
    let safe = promises.step(at(1_032), &ledger, &mut effects);
    let voters: Vec<NodeId> = safe[0].1.iter().map(|promise| promise.voter).collect();
    assert_eq!(voters, [NodeId(1), NodeId(3)]);
}

#[test]
fn replicas_are_replaced_at_once() {
    let mut play = shop();
    let host = play.where_is("web", 1);
    play.lose(&[&host]);
    let declared = play.now;
    play.run(200);
    assert_eq!(state(&play, "web", 1), InstanceState::Running);
    assert!(play.time_of("failure web/1") - declared < 100);
    let nodes: BTreeSet<String> = (0..3).map(|index| play.where_is("web", index)).collect();
    assert_eq!(nodes.len(), 3, "one a node: {nodes:?}");
}

#[test]
fn a_new_leader_finishes_what_another_began_without_doubling() {
    for interrupt in (0..2_400).step_by(130) {
        let mut play = shop();
        let host = play.where_is("counter", 0);
        play.lose(&[&host]);
        play.run(interrupt);
        play.new_leader();
        play.run(3_000);
        assert_eq!(state(&play, "counter", 0), InstanceState::Running, "at {interrupt}");
        assert_eq!(play.count("placed counter/0"), 2, "once at first, once moved; at {interrupt}");
        assert_eq!(play.count("failure counter/0"), 1);
        assert_eq!(play.count(&format!("failure {host}")), 1);
        assert_eq!(play.count("safe"), 1);
        assert!(play.refused.is_empty(), "{:?}", play.refused);
    }
}

#[test]
fn five_nodes_lose_two_and_both_are_moved() {
    let mut play = shop();
    let host = play.where_is("counter", 0);
    let other = (1..=5).map(|n| format!("n{n}")).find(|n| *n != host).expect("another");
    play.lose(&[&host, &other]);
    play.run(2_500);
    assert!(!brake::state(&play.ledger).engaged);
    assert_eq!(state(&play, "counter", 0), InstanceState::Running);
    for index in 0..3 {
        assert_eq!(state(&play, "web", index), InstanceState::Running);
    }
}

#[test]
fn the_brake_stops_moving_until_enough_are_back() {
    let mut play = Play::new(&[""; 10]);
    play.apply((0..10).map(|i| singleton(&format!("job-{i}"))).collect());
    play.run(300);
    let lost: Vec<String> = (0..4).map(|i| format!("n{}", 10 - i)).collect();
    let lost: Vec<&str> = lost.iter().map(String::as_str).collect();
    let on = |play: &Play, names: &[&str]| {
        (0..10).filter(|i| names.contains(&play.where_is(&format!("job-{i}"), 0).as_str())).count()
    };
    assert_eq!(on(&play, &lost), 4, "spread by load, one a node");
    let before = play.now;
    play.lose(&lost);
    play.run(70_000);
    let brake = brake::state(&play.ledger);
    assert!(brake.engaged && brake.losses == 4 && brake.limit == 3, "{brake:?}");
    assert_eq!(play.trace.iter().filter(|l| l.contains("placed")).count(), 10);
    assert_eq!(play.count("failure job"), 4, "recorded all the same");
    let nobody_heard = LiveView::default();
    assert!(
        unplaceable(&View { ledger: &play.ledger, live: &nobody_heard }).is_empty(),
        "held back, not homeless"
    );
    play.return_of(lost[0]);
    play.run(3_000);
    assert_eq!(play.count("placed"), 14);
    assert!(play.time_of("n10 is back") > before);
}

#[test]
fn a_whole_zone_counts_as_one_loss() {
    let zones = ["a", "a", "a", "b", "b", "b", "c", "c", "c"];
    let mut play = Play::new(&zones);
    play.lose(&["n4", "n5", "n6"]);
    let brake = brake::state(&play.ledger);
    assert_eq!((brake.losses, brake.engaged), (1, false));
    play.lose(&["n7", "n8"]);
    assert_eq!(brake::state(&play.ledger).losses, 3, "a zone, and two of another");
    assert!(brake::state(&play.ledger).engaged, "{:?}", brake::state(&play.ledger));
    let mut play = Play::new(&["a", "a", "a", "a", "", "", ""]);
    play.lose(&["n5", "n6", "n7"]);
    assert_eq!(brake::state(&play.ledger).losses, 3, "no name is no zone");
}

#[test]
fn deaths_far_apart_are_moved_one_by_one() {
    let mut play = Play::new(&[""; 6]);
    for n in 0..3 {
        play.lose(&[&format!("n{}", 6 - n)]);
        play.run(61_000);
    }
    assert!(!brake::state(&play.ledger).engaged);
}

#[test]
fn a_drain_moves_everything_off_and_one_replica_of_a_workload_at_a_time() {
    let mut play = shop();
    let host = play.where_is("web", 0);
    let node = play.id(&host);
    play.commit(Body::NodeDraining { node });
    play.run(2_000);
    assert_eq!(play.ledger.nodes[&node].scheduling, Scheduling::Drained);
    assert_eq!(play.ledger.placements_on(node).count(), 0);
    for index in 0..3 {
        assert_eq!(state(&play, "web", index), InstanceState::Running);
    }
    assert_eq!(state(&play, "counter", 0), InstanceState::Running);
    assert_eq!(play.ledger.failures.len(), 0, "nothing failed");
    let mut play = Play::new(&["", ""]);
    play.apply(vec![replicas("web", 4)]);
    play.run(300);
    play.commit(Body::NodeDraining { node: NodeId(2) });
    play.run(120);
    assert_eq!(play.count("evicted"), 1, "the next waits until this one serves again");
    play.run(2_000);
    assert_eq!(play.count("evicted"), 2);
}

#[test]
fn a_drain_with_nowhere_to_go_but_a_silent_node_waits_for_it() {
    let mut play = Play::new(&["", ""]);
    play.apply(vec![singleton("counter")]);
    play.run(300);
    let host = play.id(&play.where_is("counter", 0));
    let other = if host == NodeId(1) { NodeId(2) } else { NodeId(1) };
    play.live.heard.insert(other, Heard::Suspect);
    play.commit(Body::NodeDraining { node: host });
    play.run(2_000);
    assert_eq!(play.count("evicted"), 0);
    play.live.heard.insert(other, Heard::Alive);
    play.run(500);
    assert_eq!(play.node_of("counter", 0), Some(other));
}

#[test]
fn fewer_replicas_end_the_surplus() {
    let mut play = shop();
    play.apply(vec![replicas("web", 1)]);
    play.run(500);
    assert_eq!(play.ledger.placements().filter(|(name, ..)| *name == "web").count(), 1);
}

#[test]
fn what_is_given_up_is_moved_a_few_times_and_then_left_to_a_person() {
    let mut play = Play::new(&FIVE);
    play.broken.insert("counter".to_owned());
    play.apply(vec![singleton("counter")]);
    play.run(30_000);
    assert_eq!(play.count("placed counter/0"), 1 + ladder::MAX_MOVES as usize);
    assert_eq!(play.count("abandoned"), 1);
    let (_, failure) = play.failure("counter/0");
    assert_eq!(failure.state, FailureState::Unrecoverable);
    assert_eq!(play.ledger.failures.len(), 1);
}

#[test]
fn a_move_of_what_was_given_up_goes_elsewhere() {
    let mut play = Play::new(&["", ""]);
    play.broken.insert("counter".to_owned());
    play.apply(vec![singleton("counter")]);
    play.run(30);
    let first = play.where_is("counter", 0);
    play.run(80);
    assert_ne!(play.where_is("counter", 0), first, "{:?}", play.trace);
}

#[test]
fn without_migrate_or_another_node_it_is_abandoned_at_once() {
    let mut stays = singleton("counter");
    stays.recovery.migrate = false;
    for (nodes, spec) in [(5, stays), (1, singleton("counter"))] {
        let mut play = Play::new(&FIVE[..nodes]);
        play.broken.insert("counter".to_owned());
        play.apply(vec![spec]);
        play.run(5_000);
        assert_eq!(play.count("placed counter/0"), 1);
        assert_eq!(play.count("abandoned"), 1, "{:?}", play.trace);
    }
}

#[test]
fn a_node_that_comes_back_is_not_raced() {
    let mut play = shop();
    let host = play.where_is("counter", 0);
    play.lose(&[&host]);
    play.run(1_500);
    let now_on = play.where_is("counter", 0);
    play.return_of(&host);
    play.run(5_000);
    assert_eq!(play.where_is("counter", 0), now_on);
    assert_eq!(play.failure(&host).1.state, FailureState::Recovered);
}

#[test]
fn an_uncommitted_decision_is_made_again_after_a_second_and_only_then() {
    let mut play = shop();
    let host = play.where_is("web", 0);
    play.lose(&[&host]);
    play.commits = false;
    let (mut recovery, mut effects) = (Recovery::new(), Vec::new());
    let opened = |effects: &[Effect]| {
        let is_open = |e: &&Effect| matches!(e, Effect::Propose(Body::FailureOpened { .. }));
        effects.iter().filter(is_open).count()
    };
    for ms in (0..1_000).step_by(20) {
        let view = View { ledger: &play.ledger, live: &play.live };
        recovery.step(Instant::from_millis(ms), &view, Input::Tick, &mut effects);
    }
    assert_eq!(opened(&effects), 1);
    let view = View { ledger: &play.ledger, live: &play.live };
    recovery.step(Instant::from_millis(1_000), &view, Input::Tick, &mut effects);
    assert_eq!(opened(&effects), 2);
}

#[test]
fn a_lost_lease_moves_the_work_though_the_node_lives() {
    let mut play = shop();
    let host = play.where_is("counter", 0);
    play.lose_lease(&host);
    play.run(2_500);
    assert_ne!(play.where_is("counter", 0), host);
    assert_ne!(play.where_is("counter", 0), "nowhere");
    assert_eq!(play.count("placed counter/0"), 2);
    assert!(matches!(play.commit(Body::LeaderElected { node: NodeId(1) }), Reply::Done));
}

#[test]
fn a_crash_loop_holds_up_nobody_elses_start() {
    let play = shop();
    let mut placement = play.ledger.slot("counter", 0).and_then(|s| s.placement.clone()).expect("it runs");
    assert!(!placement::is_first_start(&placement));
    placement.state = InstanceState::Starting;
    assert!(placement::is_first_start(&placement));
    placement.restarts = 1;
    assert!(!placement::is_first_start(&placement));
}
