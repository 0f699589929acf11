//! Scripts: who does what at which millisecond, and what is then true. Membership and cut together, on `lab`.

use super::{lab::*, *};
use crate::{ledger::NodeState, timing::LAN};

const ALL_ALIVE: &str = "n1 alive, n2 alive, n3 alive, n4 alive, n5 alive";

#[test]
fn five_find_each_other_through_one_seed_without_a_leader() {
    let mut lab = Lab::new(5, 1);
    lab.run_to(1_000);
    for host in 0..5 {
        assert_eq!(lab.list(host), ALL_ALIVE, "as n{} sees it", host + 1);
    }
}

#[test]
fn a_seed_that_is_down_at_first_is_tried_for_ever() {
    let mut lab = Lab::new(3, 1);
    lab.power_off(0);
    lab.run_to(60_000);
    assert_eq!(lab.list(2), "n3 alive");
    lab.start(0);
    lab.run_to(67_000);
    assert_eq!(lab.list(2), "n1 alive, n2 alive, n3 alive");
}

#[test]
fn a_silent_host_is_suspected_then_declared_within_a_second_and_a_half() {
    for seed in 0..20 {
        let mut lab = Lab::formed(5, seed);
        let off = 10_000 + seed * 20;
        lab.run_to(off);
        lab.power_off(3);
        lab.run_to(off + 600);
        assert_eq!(lab.list(0), ALL_ALIVE, "not before a second opinion");
        lab.run_to(off + 6_000);
        let (at, _, verdicts) = &lab.declared[0];
        assert_eq!(lab.declarations().len(), 1, "{:?}", lab.declarations());
        assert!((off + 650..off + 1_400).contains(at), "{at} after {off}");
        assert!(verdicts[0].observers.len() >= 3, "{:?}", verdicts[0].observers);
        for host in [0, 1, 2, 4] {
            assert!(lab.suspected(host, 3).len() <= 1, "n{}", host + 1);
            assert_eq!(lab.list(host), "n1 alive, n2 alive, n3 alive, n4 dead, n5 alive");
        }
    }
}

#[test]
fn an_agent_that_is_killed_is_found_gone_at_once_and_nobodys_failure_if_back_in_time() {
    let mut lab = Lab::formed(5, 2);
    lab.run_to(10_000);
    lab.kill(3);
    lab.run_to(10_010);
    for host in [0, 1, 2, 4] {
        assert_eq!(lab.findings(host), "n4 AgentGone", "as n{} finds it", host + 1);
    }
    assert_eq!(lab.list(0), ALL_ALIVE, "its host lives: nobody calls it suspect");
    lab.run_to(19_500);
    assert_eq!(lab.declarations(), []);
    lab.start(3);
    lab.run_to(28_000);
    for host in 0..5 {
        assert_eq!(lab.list(host), ALL_ALIVE);
        assert_eq!(lab.findings(host), "");
        let session = lab.hosts[host].members.member(id(3)).unwrap().record.session;
        assert_eq!(session, SessionId(203), "its new life, as n{} sees it", host + 1);
        assert_eq!(lab.happened(host, |e| matches!(e, Effect::Duplicate { .. })), []);
    }
    assert_eq!(lab.declarations(), []);
}

/// An agent that was away reads in the old part of the log that a node died, holds that against the life it knows of by
/// gossip, and only then reads that the node is back.
#[test]
fn who_catches_up_with_an_old_death_is_corrected() {
    let mut lab = Lab::formed(5, 4);
    lab.run_to(10_000);
    let (mut old, mut new) = (lab.view.clone(), lab.view.clone());
    (old.epoch.0, new.epoch.0) = (old.epoch.0 + 1, old.epoch.0 + 2);
    let died = old.members.iter_mut().find(|m| m.node == id(0)).expect("listed");
    died.state = NodeState::Dead;
    for view in [old, new] {
        lab.member(4, Event::View(Arc::new(Roll::of(&view))));
    }
    assert_eq!(lab.list(4), "n1 dead, n2 alive, n3 alive, n4 alive, n5 alive");
    lab.run_to(12_000);
    for host in 0..5 {
        assert_eq!(lab.list(host), ALL_ALIVE, "as n{} sees it", host + 1);
    }
}

#[test]
fn a_stream_that_ends_asks_for_a_second_opinion_at_once() {
    let mut lab = Lab::formed(3, 2);
    lab.run_to(10_000);
    lab.break_streams(2, true);
    lab.power_off(2);
    lab.run_to(10_700);
    let (at, _, verdicts) = &lab.declared[0];
    assert!((10_350..10_600).contains(at), "opinion and coalescing, no silence: {at}");
    assert!(verdicts[0].suspected >= Duration::from_millis(350), "it counts from the stream's end");
}

#[test]
fn who_was_paused_blames_nobody() {
    for (ms, host) in [(850, 1), (870, 1), (1_200, 1), (3_000, 1), (30_000, 1), (1_900, 0), (3_000, 0)] {
        let mut lab = Lab::formed(5, 3);
        // The others would declare it dead, and rightly so; here only its own view counts.
        lab.commits = false;
        lab.run_to(10_000);
        lab.pause(host, ms);
        if ms >= 3_000 {
            // The peers' keep-alive gave its streams up meanwhile.
            lab.run_to(12_000);
            lab.break_streams(host, true);
        }
        lab.run_to(10_000 + ms + 5_000);
        for other in (0..5).filter(|o| *o != host) {
            if ms < 3_000 {
                let asked =
                    lab.happened(host, |e| matches!(e, Effect::Dial { peer, .. } if *peer == id(other)));
                assert!(asked.iter().all(|at| *at < 10_000), "n{} needn't even ask: {asked:?}", host + 1);
            }
            let seen = lab.suspected(host, other);
            assert_eq!(seen, [], "n{} paused for {ms} ms suspects n{}", host + 1, other + 1);
        }
        if host == 0 {
            assert_eq!(lab.declarations(), [], "the leader itself was paused for {ms} ms");
        }
    }
}

#[test]
fn everyone_paused_at_once_is_nobodys_failure() {
    let mut lab = Lab::formed(5, 3);
    for round in 0..10 {
        lab.run_to(10_000 + round * 5_000);
        (0..5).for_each(|host| lab.pause(host, 3_000));
    }
    lab.run_to(70_000);
    assert_eq!(lab.declarations(), []);
}

#[test]
fn lost_heartbeats_and_late_ones_kill_nobody() {
    for seed in 0..3 {
        let mut lab = Lab::formed(5, seed);
        lab.loss_percent = 20;
        lab.spike_percent = 5;
        lab.run_to(603_000);
        assert_eq!(lab.declarations(), []);
        lab.loss_percent = 0;
        lab.spike_percent = 0;
        lab.run_to(606_000);
        for host in 0..5 {
            assert_eq!(lab.list(host), ALL_ALIVE);
        }
    }
}

#[test]
fn two_hosts_lost_together_are_one_decision() {
    for seed in 0..20 {
        let mut lab = Lab::formed(7, seed);
        lab.run_to(10_000 + seed * 20);
        lab.power_off(2);
        lab.power_off(4);
        lab.run_to(20_000);
        let declared: Vec<String> = lab.declarations().into_iter().map(|(_, names)| names).collect();
        assert_eq!(declared, ["n3 n5"], "seed {seed}");
    }
}

#[test]
fn the_wait_for_others_is_short() {
    let mut lab = Lab::formed(5, 4);
    lab.run_to(10_000);
    lab.power_off(2);
    lab.run_to(11_000);
    lab.power_off(4);
    lab.run_to(20_000);
    let declared = lab.declarations();
    assert_eq!(declared.iter().map(|d| d.1.as_str()).collect::<Vec<_>>(), ["n3", "n5"]);
    assert!(declared[0].0 < 10_000 + 1_400, "{declared:?}");
}

#[test]
fn a_new_leader_goes_on_where_the_old_one_was() {
    let mut lab = Lab::formed(5, 5);
    lab.run_to(10_000);
    lab.power_off(0);
    lab.run_to(11_500);
    lab.lead(1, true);
    lab.run_to(20_000);
    let declared = lab.declarations();
    assert_eq!(declared.len(), 1);
    assert!((11_500..11_900).contains(&declared[0].0) && declared[0].1 == "n1", "{declared:?}");
}

#[test]
fn an_observer_that_starts_anew_vouches_for_nobody() {
    let mut lab = Lab::formed(5, 5);
    lab.run_to(10_000);
    lab.power_off(3);
    lab.kill(4);
    lab.run_to(11_000);
    lab.start(4);
    lab.run_to(20_000);
    let declared = lab.declarations();
    assert_eq!(declared.len(), 1);
    assert!(declared[0].0 < 12_600 && declared[0].1 == "n4", "{declared:?}");
}

#[test]
fn one_observer_that_hears_it_is_enough_to_live() {
    let mut lab = Lab::formed(5, 6);
    lab.run_to(10_000);
    // Only n5 still hears n4.
    lab.cuts.extend([(3, 0), (3, 1), (3, 2), (0, 3), (1, 3), (2, 3)]);
    lab.run_to(60_000);
    assert_eq!(lab.declarations(), []);
    assert_eq!(lab.suspected(0, 3), [], "others reach it");
    for host in 0..3 {
        assert_eq!(lab.findings(host), "n4 LinkBad");
    }
    assert_eq!(lab.findings(4), "");
}

#[test]
fn who_was_declared_while_it_lived_refutes_and_is_listed_again() {
    let mut lab = Lab::formed(5, 7);
    lab.run_to(10_000);
    lab.pause(3, 5_000);
    lab.run_to(14_900);
    assert_eq!(lab.declarations().len(), 1);
    assert_eq!(lab.list(0), "n1 alive, n2 alive, n3 alive, n4 dead, n5 alive");
    lab.run_to(21_000);
    for host in 0..5 {
        assert_eq!(lab.list(host), ALL_ALIVE, "as n{} sees it", host + 1);
    }
    assert_ne!(lab.happened(3, |e| matches!(e, Effect::Refuted { .. })), [], "it is to be durable");
    let incarnation = lab.hosts[0].members.member(id(3)).unwrap().record.incarnation;
    assert!(incarnation > Incarnation(1), "higher than the one that was declared");
    assert_eq!(lab.declarations().len(), 1, "listed as dead in the ledger, it isn't declared again");
}

#[test]
fn who_leaves_is_not_suspected() {
    let mut lab = Lab::formed(5, 8);
    lab.run_to(10_000);
    lab.view.members.iter_mut().filter(|m| m.node == id(4)).for_each(|m| m.state = NodeState::Left);
    lab.publish();
    lab.member(4, Event::Leave);
    lab.run_to(10_100);
    lab.kill(4);
    lab.run_to(20_000);
    for host in 0..4 {
        assert_eq!(lab.list(host), "n1 alive, n2 alive, n3 alive, n4 alive, n5 left");
        assert_eq!(lab.suspected(host, 4), []);
    }
    assert_eq!(lab.declarations(), []);
}

#[test]
fn who_was_removed_does_not_come_back_by_gossip() {
    let mut lab = Lab::formed(5, 9);
    lab.run_to(10_000);
    lab.power_off(4);
    lab.run_to(15_000);
    // n4 hears of the removal late.
    let paused = 3;
    lab.pause(paused, 1_500);
    lab.view.members.retain(|m| m.node != id(4));
    lab.publish();
    lab.run_to(40_000);
    for host in 0..4 {
        assert_eq!(lab.list(host), "n1 alive, n2 alive, n3 alive, n4 alive");
    }
    lab.member(0, Event::Hello(Hello { record: record(4, 1, 104), members: vec![] }));
    assert_eq!(lab.list(0), "n1 alive, n2 alive, n3 alive, n4 alive");
}

#[test]
fn a_joiner_that_never_was_committed_is_forgotten() {
    let mut lab = Lab::new(3, 9);
    lab.run_to(1_000);
    lab.power_off(2);
    lab.commit();
    lab.run_to(10_000);
    assert_eq!(lab.list(0), "n1 alive, n2 alive, n3 suspect");
    lab.run_to(90_000);
    assert_eq!(lab.list(0), "n1 alive, n2 alive");
    assert_eq!(lab.list(1), "n1 alive, n2 alive");
    lab.reconnect(2);
    lab.run_to(100_000);
    assert_eq!(lab.list(0), "n1 alive, n2 alive, n3 alive");
}

#[test]
fn halves_heal_by_themselves_after_minutes() {
    let mut lab = Lab::formed(5, 10);
    lab.run_to(10_000);
    lab.split(&[3, 4]);
    lab.run_to(190_000);
    assert_eq!(lab.declarations().iter().map(|d| d.1.as_str()).collect::<Vec<_>>(), ["n4 n5"]);
    assert_eq!(lab.list(0), "n1 alive, n2 alive, n3 alive, n4 dead, n5 dead");
    lab.cuts.clear();
    lab.run_to(203_000);
    for host in 0..5 {
        assert_eq!(lab.list(host), ALL_ALIVE, "as n{} sees it", host + 1);
    }
}

#[test]
fn what_those_who_were_cut_off_suspected_meanwhile_is_not_believed() {
    let mut lab = Lab::formed(5, 10);
    lab.run_to(10_000);
    lab.split(&[3, 4]);
    lab.run_to(60_000);
    lab.cuts.clear();
    lab.run_to(75_000);
    assert_eq!(lab.list(3), ALL_ALIVE);
    for host in 0..3 {
        let heard = lab.happened(host, |e| matches!(e, Effect::Refuted { .. }));
        assert_eq!(heard, [], "n{} heard that it was suspected", host + 1);
        for of in 0..3 {
            assert_eq!(lab.suspected(host, of), [], "n{} by n{}", of + 1, host + 1);
        }
    }
}

#[test]
fn a_moved_address_is_dialled_anew_and_the_node_is_the_same() {
    let mut lab = Lab::formed(3, 11);
    let moved = MemberRecord { address: "10.9.9.9:7400".to_owned(), ..record(2, 2, 777) };
    let mut effects = Vec::new();
    let now = lab.now;
    lab.hosts[0].members.step(now, Event::Hello(Hello { record: moved, members: vec![] }), &mut effects);
    assert!(effects.contains(&Effect::Connect { peer: id(2), address: "10.9.9.9:7400".to_owned() }));
    assert_eq!(lab.list(0), "n1 alive, n2 alive, n3 alive");
}

#[test]
fn two_living_copies_of_one_node_are_noticed() {
    let mut lab = Lab::formed(3, 12);
    let mut found = Vec::new();
    for turn in 1..=10 {
        lab.run_to(3_000 + turn * 200);
        let session = SessionId(if turn % 2 == 0 { 102 } else { 999 });
        let copy = Heartbeat {
            from: id(2),
            session,
            incarnation: Incarnation(1),
            seq: 1_000 + turn,
            health: 0,
            view: lab.view.epoch,
            exchange: Exchange::Deltas,
            deltas: vec![],
            vitals: vec![],
        };
        let now = lab.now;
        lab.hosts[0].members.step(now, Event::Heartbeat(copy), &mut found);
    }
    let both = Effect::Duplicate { node: id(2), sessions: [SessionId(102), SessionId(999)] };
    assert!(found.contains(&both), "{found:?}");
}

#[test]
fn a_whole_cluster_that_restarts_is_given_time() {
    let mut lab = Lab::formed(3, 13);
    lab.run_to(10_000);
    (0..3).for_each(|host| lab.kill(host));
    lab.run_to(15_000);
    lab.start(0);
    lab.start(1);
    lab.run_to(16_500);
    lab.lead(0, true);
    lab.run_to(18_000);
    lab.start(2);
    lab.run_to(30_000);
    assert_eq!(lab.declarations(), []);
    assert_eq!(lab.list(0), "n1 alive, n2 alive, n3 alive");
}

#[test]
fn an_undecided_declaration_is_repeated_but_not_often() {
    let mut lab = Lab::formed(3, 14);
    lab.commits = false;
    lab.run_to(10_000);
    lab.power_off(2);
    lab.run_to(20_000);
    let times: Vec<u64> = lab.declarations().into_iter().map(|d| d.0).collect();
    assert!((3..=5).contains(&times.len()), "{times:?}");
    assert!(times.windows(2).all(|w| w[1] - w[0] >= LAN.lease.as_millis() as u64), "{times:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = || {
        let mut lab = Lab::formed(5, 15);
        lab.loss_percent = 20;
        lab.run_to(20_000);
        lab.power_off(1);
        lab.run_to(30_000);
        format!("{:?} {:?}", lab.declared, lab.hosts.iter().map(|h| &h.log).collect::<Vec<_>>())
    };
    assert_eq!(trace(), trace());
}

#[test]
fn what_is_nearly_due_goes_with_what_is() {
    let mut lab = Lab::formed(5, 6);
    lab.run_to(10_000);
    let members = &mut lab.hosts[2].members;
    let beats = |members: &Membership| members.links.values().map(|l| l.beat_at).collect::<BTreeSet<_>>();
    let first = *beats(members).first().expect("four peers");
    // A tick before its time, and again a little later.
    for (early_ms, expected) in [(51, 0), (50, 1), (20, 0)] {
        let mut effects = Vec::new();
        members.step(first - Duration::from_millis(early_ms), Event::Tick, &mut effects);
        let sent = effects.iter().filter(|e| matches!(e, Effect::Send { .. })).count();
        assert_eq!(sent, expected, "{early_ms} ms before its time");
    }
    assert_eq!(
        *beats(members).last().expect("four peers"),
        first + LAN.heartbeat,
        "at its place in the next one"
    );
}
