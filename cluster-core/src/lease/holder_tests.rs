//! The holder's tests: scripts, and a dumb twin.

use super::*;
use proptest::prelude::*;

const LEASE: u64 = 2_000;

fn at(ms: u64) -> Clocks {
    Clocks { boot: Instant::from_millis(ms), raw: Instant::from_millis(ms) }
}

fn groups(of: &[&[u64]]) -> Groups {
    of.iter().map(|g| g.iter().map(|v| NodeId(*v)).collect()).collect()
}

fn grant(epoch: u64, config: u64, voters: Groups) -> Grant {
    let voter_config = LogId { term: 1, index: config };
    Grant { epoch: LeaseEpoch(epoch), voters, voter_config, lease: Duration::from_millis(LEASE) }
}

fn holder() -> Holder {
    Holder::new(NodeId(9), BootId(1), SessionId(5), crate::timing::LAN)
}

/// One effect as a word: a round is shown once, by its nonce.
fn show(effects: &[Effect]) -> String {
    let mut words: Vec<String> = Vec::new();
    for effect in effects {
        words.push(match effect {
            Effect::Renew { renewal, .. } => format!("round {}", renewal.nonce),
            Effect::Extend { epoch, deadline } => format!("extend {epoch} to {}", deadline.boot.as_millis()),
            Effect::Expired { epoch } => format!("expired {epoch}"),
            Effect::Revoked { epoch } => format!("revoked {epoch}"),
            Effect::VotersChanged { newer } => format!("voters of {}", newer.index),
        });
    }
    words.dedup();
    words.join(", ")
}

fn event(words: &[&str]) -> Event {
    let number = |i: usize| words[i].parse::<u64>().expect("a number");
    let session = SessionId(5);
    match words[0] {
        "grant" => Event::Granted(grant(number(1), number(2), groups(&[&[1, 2, 3]]))),
        "joint" => Event::Granted(grant(number(1), number(2), groups(&[&[1, 2, 3], &[3, 4, 5]]))),
        "withdrawn" => Event::Withdrawn,
        "wanted" => Event::Wanted(true),
        "idle" => Event::Wanted(false),
        "tick" => Event::Tick,
        "ack" => Event::Ack { voter: NodeId(number(1)), session, nonce: number(2) },
        "stranger" => Event::Ack { voter: NodeId(number(1)), session: SessionId(4), nonce: number(2) },
        "revoked" => {
            Event::Refused { voter: NodeId(number(1)), session, nonce: number(2), reason: Refusal::Revoked }
        }
        "newer" => {
            let newer = LogId { term: 1, index: number(3) };
            let reason = Refusal::OldVoterConfig { newer };
            Event::Refused { voter: NodeId(number(1)), session, nonce: number(2), reason }
        }
        other => panic!("{other} is no event"),
    }
}

/// Plays lines of "MILLISECOND EVENT… -> EFFECTS" and compares what came out.
fn check(script: &str) {
    let mut holder = holder();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (input, expected) = line.split_once("->").unwrap_or((line, ""));
        let words: Vec<&str> = input.split_whitespace().collect();
        let mut effects = Vec::new();
        holder.step(at(words[0].parse().expect("a time")), event(&words[1..]), &mut effects);
        assert_eq!(show(&effects), expected.trim(), "at: {line}");
    }
}

#[test]
fn the_deadline_counts_from_the_sending_that_a_majority_acknowledged() {
    check(
        "0 grant 7 1
         10 wanted -> round 1
         30 ack 1 1
         60 ack 2 1 -> extend 7 to 2010
         61 ack 3 1
         409 tick
         410 tick -> round 2
         415 ack 3 2
         416 ack 1 2 -> extend 7 to 2410",
    );
}

#[test]
fn it_hurries_while_the_newest_majority_is_old() {
    check(
        "0 grant 7 1
         0 wanted -> round 1
         49 tick
         50 tick -> round 2
         51 ack 1 2
         52 ack 2 2 -> extend 7 to 2050
         449 tick
         450 tick -> round 3
         599 tick
         600 tick -> round 4
         650 tick -> round 5",
    );
}

#[test]
fn late_doubled_and_strange_answers_change_nothing() {
    check(
        "0 grant 7 1
         0 wanted -> round 1
         50 tick -> round 2
         60 ack 1 2
         61 ack 1 2
         62 ack 1 1
         63 stranger 2 2
         64 ack 8 2
         65 ack 2 9
         66 ack 2 1 -> extend 7 to 2000
         67 ack 2 2 -> extend 7 to 2050
         68 ack 3 1",
    );
}

#[test]
fn it_expires_once_and_comes_back_with_the_voters() {
    check(
        "0 grant 7 1
         0 wanted -> round 1
         1 ack 1 1
         2 ack 2 1 -> extend 7 to 2000
         3 idle
         1999 tick
         2000 tick -> expired 7
         2001 tick
         2002 wanted -> round 2
         2003 ack 1 2
         2004 ack 2 2 -> extend 7 to 4002",
    );
}

#[test]
fn an_answer_that_comes_after_its_own_deadline_extends_nothing() {
    check(
        "0 grant 7 1
         0 wanted -> round 1
         1 ack 1 1
         2 idle
         2000 ack 2 1",
    );
}

#[test]
fn a_refusing_majority_is_told_once_and_ends_nothing_yet() {
    check(
        "0 grant 7 1
         0 wanted -> round 1
         1 ack 1 1
         2 ack 2 1 -> extend 7 to 2000
         400 tick -> round 2
         401 revoked 1 2
         402 revoked 3 2 -> revoked 7
         403 revoked 2 2
         560 tick -> round 3
         561 revoked 1 3
         562 ack 2 3
         563 ack 3 3 -> extend 7 to 2560",
    );
}

#[test]
fn a_new_epoch_starts_with_nothing() {
    check(
        "0 grant 7 1
         0 wanted -> round 1
         1 ack 1 1
         2 ack 2 1 -> extend 7 to 2000
         100 grant 8 1 -> round 2
         101 ack 1 1
         102 ack 2 1
         103 ack 1 2
         104 ack 2 2 -> extend 8 to 2100
         105 withdrawn
         5000 tick",
    );
}

#[test]
fn joint_voters_need_both_majorities_and_old_answers_dont_count() {
    check(
        "0 grant 7 1
         0 wanted -> round 1
         1 ack 1 1
         2 newer 2 1 4 -> voters of 4
         3 joint 7 4 -> round 2
         4 ack 2 1
         5 ack 1 2
         6 ack 2 2
         7 ack 4 2
         8 ack 3 2 -> extend 7 to 2003",
    );
}

#[test]
fn either_clock_ends_the_lease() {
    let mut holder = holder();
    let mut effects = Vec::new();
    holder.step(at(0), Event::Granted(grant(7, 1, groups(&[&[1]]))), &mut effects);
    holder.step(at(0), Event::Wanted(true), &mut effects);
    holder.step(at(1), Event::Ack { voter: NodeId(1), session: SessionId(5), nonce: 1 }, &mut effects);
    let suspended = Clocks { boot: Instant::from_millis(2_000), raw: Instant::from_millis(2) };
    assert!(holder.deadline(at(2)).is_some());
    assert!(holder.deadline(suspended).is_none());
    effects.clear();
    holder.step(suspended, Event::Wanted(false), &mut effects);
    assert_eq!(show(&effects), "expired 7");
}

proptest! {
    /// The dumb twin keeps every date and every answer, and tries each date.
    #[test]
    fn the_deadline_agrees_with_its_dumb_twin(
        steps in prop::collection::vec((1u64..120, 1u64..7, 0u64..5, any::<bool>()), 1..70),
        joint in any::<bool>(),
    ) {
        let voters = if joint { groups(&[&[1, 2, 3], &[3, 4, 5, 6]]) } else { groups(&[&[1, 2, 3, 4, 5]]) };
        let mut holder = holder();
        let mut effects = Vec::new();
        holder.step(at(0), Event::Granted(grant(7, 1, voters.clone())), &mut effects);
        holder.step(at(0), Event::Wanted(true), &mut effects);
        let mut now = 0;
        let mut sent: BTreeMap<u64, u64> = BTreeMap::from([(1, 0)]);
        let mut answers: BTreeSet<(u64, u64)> = BTreeSet::new();
        for (gap, voter, back, answered) in steps {
            now += gap;
            effects.clear();
            let nonce = sent.len() as u64 - (back % sent.len() as u64);
            if answered && nonce > 0 {
                let live = sent.get(&nonce).is_some_and(|s| s + LEASE > now);
                if live {
                    answers.insert((nonce, voter));
                }
                let ack = Event::Ack { voter: NodeId(voter), session: SessionId(5), nonce };
                holder.step(at(now), ack, &mut effects);
            } else {
                holder.step(at(now), Event::Tick, &mut effects);
            }
            for effect in &effects {
                if let Effect::Renew { renewal, .. } = effect {
                    sent.insert(renewal.nonce, now);
                }
            }
            // A date counts when a majority of each group answered it or a later one.
            let counts = |date: u64| voters.iter().all(|g| {
                let who = g.iter().filter(|v| answers.iter().any(|(n, a)| a == &v.0 && sent[n] >= date));
                who.count() * 2 > g.len()
            });
            let newest = sent.values().copied().filter(|d| counts(*d)).max();
            let twin = newest.map(|d| d + LEASE).filter(|d| *d > now);
            prop_assert_eq!(holder.deadline(at(now)).map(|d| d.boot.as_millis()), twin);
        }
    }
}
