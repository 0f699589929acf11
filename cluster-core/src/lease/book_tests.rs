//! The book's tests: what a voter refuses, remembers and promises, and a dumb twin.

use super::*;
use crate::{
    ids::{ClusterId, Incarnation, SessionId},
    ledger::{Cluster, Death, Node, NodeProfile, NodeState, Revocation, Scheduling, Settings},
    time::WallTime,
};
use proptest::prelude::*;

const LEASE: u64 = 2_000;
/// The lease as a voter counts it, in microseconds.
const BOOKED_US: u64 = 2_002_000;

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term, index }
}

fn lost(epoch: u64) -> Body {
    let epoch = LeaseEpoch(epoch);
    Body::LeaseLost { node: NodeId(9), epoch, last_seen_at: WallTime(0), evidence: Vec::new() }
}

fn ledger(applied: u64, current: &[(u64, u64)], ended: &[(u64, LogId)]) -> Ledger {
    let settings = Settings { profile: "lan".to_owned(), lease_ms: LEASE, voters: 3, ..Settings::default() };
    let cluster = Cluster { id: ClusterId(1), name: "test".to_owned(), settings, founded_at: WallTime(0) };
    let node = |epoch: u64| Node {
        profile: NodeProfile::default(),
        state: NodeState::Alive,
        scheduling: Scheduling::Eligible,
        incarnation: Incarnation(0),
        boot: BootId(1),
        session: SessionId(5),
        epoch: LeaseEpoch(epoch),
        joined_at: WallTime(0),
        changed_at: WallTime(0),
        failure: None,
        death: None,
        agent: crate::ledger::AgentStanding::default(),
        deaths: Vec::new(),
        held_back: None,
    };
    let revocation = |at: LogId| Revocation {
        held: Vec::new(),
        node: NodeId(9),
        at,
        revoked_at: WallTime(0),
        safe_at: None,
        promises: Vec::new(),
    };
    Ledger {
        cluster: Some(cluster),
        applied: id(1, applied),
        nodes: current.iter().map(|(n, epoch)| (NodeId(*n), node(*epoch))).collect(),
        revocations: ended.iter().map(|(e, at)| (LeaseEpoch(*e), revocation(*at))).collect(),
        ..Ledger::default()
    }
}

fn voters(of: &[&[u64]]) -> Groups {
    of.iter().map(|g| g.iter().map(|v| NodeId(*v)).collect()).collect()
}

/// A voter that started at 0 with a snapshot of ten entries: node 9 holds epoch 7, the voters are entry 2's.
fn opened() -> Book {
    let mut book = Book::new(NodeId(1), at(0));
    book.step(at(0), Fact::Installed { ledger: &ledger(10, &[(9, 7)], &[]) });
    book.step(at(0), Fact::Configured { at: id(1, 2), voters: &voters(&[&[1, 2, 3]]) });
    book.step(at(0), Fact::Opened);
    book
}

fn renewal(epoch: u64) -> Renewal {
    Renewal {
        node: NodeId(9),
        epoch: LeaseEpoch(epoch),
        boot: BootId(1),
        session: SessionId(5),
        nonce: 1,
        voter_config: id(1, 2),
        lease_ms: LEASE,
    }
}

fn remaining_us(book: &Book, ms: u64, revoked_at: LogId) -> Option<u64> {
    let left = book.promise(at(ms), LeaseEpoch(7), revoked_at)?;
    Some(u64::try_from(left.as_micros()).expect("short"))
}

fn refused(reason: Refusal) -> Verdict {
    Verdict::Refused(reason)
}

#[test]
fn only_the_current_epoch_of_this_boot_is_acknowledged() {
    let mut book = opened();
    assert_eq!(book.renew(at(1), &renewal(7)), Verdict::Acked);
    assert_eq!(book.renew(at(1), &renewal(6)), refused(Refusal::NotCurrent));
    assert_eq!(book.renew(at(1), &Renewal { boot: BootId(2), ..renewal(7) }), refused(Refusal::NotCurrent));
    let longer = Renewal { lease_ms: LEASE + 1, ..renewal(7) };
    assert_eq!(book.renew(at(1), &longer), refused(Refusal::NotCurrent));
}

#[test]
fn nothing_is_acknowledged_or_promised_before_the_log_was_read() {
    let mut book = Book::new(NodeId(1), at(0));
    book.step(at(0), Fact::Installed { ledger: &ledger(10, &[(9, 7)], &[]) });
    book.step(at(0), Fact::Configured { at: id(1, 2), voters: &voters(&[&[1, 2, 3]]) });
    assert_eq!(book.renew(at(1), &renewal(7)), refused(Refusal::Recovering));
    book.step(at(1), Fact::Appended { at: id(2, 11), body: &lost(7) });
    book.step(at(1), Fact::Durable { upto: 11 });
    assert_eq!(book.promise(at(1), LeaseEpoch(7), id(2, 11)), None);
    book.step(at(2), Fact::Opened);
    assert_eq!(book.renew(at(3), &renewal(7)), refused(Refusal::Revoked));
    assert!(book.promise(at(3), LeaseEpoch(7), id(2, 11)).is_some());
}

#[test]
fn an_entry_ends_an_epoch_before_it_is_committed_and_until_it_is_cut_off() {
    let mut book = opened();
    book.step(at(1), Fact::Appended { at: id(2, 11), body: &lost(7) });
    assert_eq!(book.renew(at(2), &renewal(7)), refused(Refusal::Revoked));
    book.step(at(3), Fact::Truncated { from: 11 });
    assert_eq!(book.renew(at(4), &renewal(7)), Verdict::Acked);
}

#[test]
fn every_kind_of_ending_counts() {
    let death = Death {
        node: NodeId(9),
        epoch: LeaseEpoch(7),
        incarnation: Incarnation(0),
        last_seen_at: WallTime(0),
        suspected_at: WallTime(0),
        observers: Vec::new(),
        evidence: Vec::new(),
    };
    let bodies = [
        lost(7),
        Body::NodesDead { deaths: vec![death] },
        Body::NodeLeft { node: NodeId(9), epoch: LeaseEpoch(7) },
        Body::NodeRemoved { node: NodeId(9), epoch: LeaseEpoch(7) },
        Body::NodeUp {
            node: NodeId(9),
            profile: NodeProfile::default(),
            boot: BootId(2),
            session: SessionId(6),
            incarnation: Incarnation(0),
            replaces: Some(LeaseEpoch(7)),
            returning: None,
        },
    ];
    for body in bodies {
        let mut book = opened();
        book.step(at(1), Fact::Appended { at: id(2, 11), body: &body });
        assert_eq!(book.renew(at(2), &renewal(7)), refused(Refusal::Revoked), "{body:?}");
        assert!(concerns(&body));
    }
}

#[test]
fn a_promise_needs_that_very_revocation_on_disk() {
    let mut book = opened();
    book.step(at(3_000), Fact::Appended { at: id(2, 11), body: &lost(7) });
    assert_eq!(remaining_us(&book, 3_000, id(2, 11)), None, "not on disk yet");
    book.step(at(3_001), Fact::Durable { upto: 11 });
    assert_eq!(remaining_us(&book, 3_001, id(3, 11)), None, "another leader's entry");
    assert_eq!(remaining_us(&book, 3_001, id(2, 11)), Some(0));
    book.step(at(3_002), Fact::Truncated { from: 11 });
    assert_eq!(remaining_us(&book, 3_002, id(2, 11)), None, "cut off");
    book.step(at(3_003), Fact::Appended { at: id(3, 11), body: &lost(7) });
    assert_eq!(remaining_us(&book, 3_003, id(3, 11)), None, "what was synced there is gone");
}

#[test]
fn the_last_acknowledgement_counts_for_a_lease_and_the_clock_bound() {
    let mut book = opened();
    assert_eq!(book.renew(at(5_000), &renewal(7)), Verdict::Acked);
    book.step(at(5_100), Fact::Appended { at: id(2, 11), body: &lost(7) });
    book.step(at(5_100), Fact::Durable { upto: 11 });
    assert_eq!(remaining_us(&book, 5_500, id(2, 11)), Some(BOOKED_US - 500_000));
    assert_eq!(remaining_us(&book, 9_000, id(2, 11)), Some(0));
}

#[test]
fn a_voter_that_started_assumes_that_it_acknowledged_everyone() {
    let mut book = opened();
    book.step(at(100), Fact::Appended { at: id(2, 11), body: &lost(7) });
    book.step(at(100), Fact::Durable { upto: 11 });
    assert_eq!(remaining_us(&book, 100, id(2, 11)), Some(BOOKED_US - 100_000));
}

#[test]
fn a_snapshot_keeps_the_book_and_brings_its_own_revocations() {
    let mut book = opened();
    assert_eq!(book.renew(at(5_000), &renewal(7)), Verdict::Acked);
    book.step(at(5_010), Fact::Appended { at: id(2, 11), body: &lost(8) });
    let newer = ledger(20, &[(9, 15)], &[(7, id(3, 14))]);
    book.step(at(5_100), Fact::Installed { ledger: &newer });
    assert_eq!(book.renew(at(5_200), &renewal(7)), refused(Refusal::Revoked));
    assert_eq!(remaining_us(&book, 5_200, id(3, 14)), Some(BOOKED_US - 200_000));
    assert_eq!(book.promise(at(5_200), LeaseEpoch(8), id(2, 11)), None);
    assert_eq!(book.renew(at(5_300), &renewal(15)), Verdict::Acked);
}

#[test]
fn an_entry_that_ended_nothing_when_applied_is_forgotten() {
    let mut book = opened();
    book.step(at(1), Fact::Appended { at: id(2, 11), body: &lost(7) });
    book.step(at(2), Fact::Applied { ledger: &ledger(11, &[(9, 7)], &[]) });
    assert_eq!(book.renew(at(3), &renewal(7)), Verdict::Acked);
}

#[test]
fn renewals_name_the_newest_voters_and_a_new_voter_stands_in_for_the_old() {
    let mut book = Book::new(NodeId(4), at(0));
    book.step(at(0), Fact::Installed { ledger: &ledger(10, &[(9, 7)], &[]) });
    book.step(at(0), Fact::Configured { at: id(1, 2), voters: &voters(&[&[1, 2, 3]]) });
    book.step(at(0), Fact::Opened);
    book.step(at(9_000), Fact::Configured { at: id(1, 11), voters: &voters(&[&[1, 2, 3], &[2, 3, 4]]) });
    assert_eq!(book.renew(at(9_001), &renewal(7)), refused(Refusal::OldVoterConfig { newer: id(1, 11) }));
    book.step(at(9_500), Fact::Configured { at: id(1, 12), voters: &voters(&[&[2, 3, 4]]) });
    book.step(at(9_600), Fact::Appended { at: id(1, 13), body: &lost(7) });
    book.step(at(9_600), Fact::Durable { upto: 13 });
    assert_eq!(remaining_us(&book, 9_600, id(1, 13)), Some(BOOKED_US - 100_000));
    book.step(at(9_700), Fact::Truncated { from: 12 });
    assert_eq!(book.renew(at(9_701), &renewal(7)), refused(Refusal::OldVoterConfig { newer: id(1, 11) }));
}

#[test]
fn ages_are_told_of_living_epochs() {
    let mut book = opened();
    assert_eq!(book.ack_ages(at(500)), [(LeaseEpoch(7), Duration::from_millis(500))]);
    assert_eq!(book.ack_ages(at(5_000)), []);
    assert_eq!(book.renew(at(5_000), &renewal(7)), Verdict::Acked);
    assert_eq!(book.ack_ages(at(5_100)), [(LeaseEpoch(7), Duration::from_millis(100))]);
    book.step(at(9_000), Fact::Applied { ledger: &ledger(12, &[(9, 11)], &[]) });
    assert_eq!(book.ack_ages(at(9_000)), []);
}

/// What may happen to a log: an entry, a cut, an fsync.
#[derive(Clone, Debug)]
enum Step {
    Append(Option<u64>),
    Cut(u64),
    Sync,
    Renew(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        prop::option::of(6u64..10).prop_map(Step::Append),
        (0u64..6).prop_map(Step::Cut),
        Just(Step::Sync),
        (6u64..10).prop_map(Step::Renew),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// The dumb twin keeps the whole log as a list and looks through all of it each time.
    #[test]
    fn agrees_with_a_list_of_all_entries(steps in steps()) {
        let nodes = [(6u64, 6u64), (7, 7), (8, 8), (9, 9)];
        let mut book = opened();
        book.step(at(0), Fact::Installed { ledger: &ledger(10, &nodes, &[]) });
        let mut log: Vec<(LogId, Option<u64>)> = Vec::new();
        let (mut synced, mut term) = (0usize, 1u64);
        let mut last_acked: BTreeMap<u64, u64> = BTreeMap::new();
        let mut now = 10_000;
        for step in steps {
            now += 37;
            match step {
                Step::Append(ends) => {
                    let entry_id = id(term, 11 + log.len() as u64);
                    log.push((entry_id, ends));
                    let body = ends.map_or(Body::LeaderElected { node: NodeId(1) }, lost);
                    book.step(at(now), Fact::Appended { at: entry_id, body: &body });
                }
                Step::Cut(entries) => {
                    let keep = log.len().saturating_sub(usize::try_from(entries).expect("small"));
                    log.truncate(keep);
                    synced = synced.min(keep);
                    term += 1;
                    book.step(at(now), Fact::Truncated { from: 11 + keep as u64 });
                }
                Step::Sync => {
                    synced = log.len();
                    book.step(at(now), Fact::Durable { upto: 10 + synced as u64 });
                }
                Step::Renew(epoch) => {
                    let ended = log.iter().any(|(_, ends)| *ends == Some(epoch));
                    let verdict = book.renew(at(now), &Renewal { node: NodeId(epoch), ..renewal(epoch) });
                    prop_assert_eq!(verdict, if ended { refused(Refusal::Revoked) } else { Verdict::Acked });
                    if !ended {
                        last_acked.insert(epoch, now);
                    }
                }
            }
            for (n, (entry_id, ends)) in log.iter().enumerate() {
                let Some(epoch) = ends else { continue };
                let promise = book.promise(at(now), LeaseEpoch(*epoch), *entry_id);
                prop_assert_eq!(promise.is_some(), n < synced);
                let until = last_acked.get(epoch).map_or(0, |acked| acked * 1_000 + BOOKED_US);
                let left = until.saturating_sub(now * 1_000);
                prop_assert!(promise.is_none_or(|p| p.as_micros() == u128::from(left)));
            }
        }
    }
}
