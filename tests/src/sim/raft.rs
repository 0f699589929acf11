//! The ordered log that stands in for Raft: elections, entries that are appended but not committed, suffixes that are
//! cut off, and a disk that lags behind memory. Written to be seen through, not to be fast; no snapshots are sent, no
//! voters change. Nodes without a vote are sent the log as well: they stand for the agents that follow it.
//!
//! After Ongaro and Ousterhout 2014, section 5. Acknowledged is what is on disk; votes are there before they are sent.

use super::{agent::Who, rng::Rng};
use cluster_core::{
    ids::{LogId, NodeId},
    ledger::Command,
    time::Instant,
    timing::{LAN, Timing},
};
use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// Entries in one message; the rest follows when these are acknowledged.
const BATCH: usize = 64;

#[derive(Clone, Debug)]
pub struct Entry {
    pub term: u64,
    pub command: Rc<Command>,
}

/// What survives the process.
#[derive(Clone, Debug, Default)]
pub struct RaftDisk {
    pub term: u64,
    pub voted_for: Option<NodeId>,
    pub log: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub enum RaftMsg {
    Vote {
        term: u64,
        last: LogId,
    },
    Voted {
        term: u64,
        granted: bool,
    },
    Append {
        term: u64,
        prev: LogId,
        entries: Vec<Entry>,
        commit: u64,
    },
    /// `matched`: on this disk and the same as the leader's up to here. `next`: where to go on.
    Appended {
        term: u64,
        matched: u64,
        next: u64,
    },
}

/// What the caller must do, in this order.
#[derive(Clone, Debug)]
pub enum Did {
    /// Term and vote: on disk before anything later in this list.
    Vote {
        term: u64,
        voted_for: Option<NodeId>,
    },
    Truncated {
        from: u64,
    },
    Appended {
        index: u64,
    },
    /// Begin a sync of the log as it is; report it by `synced` with these.
    Sync {
        upto: u64,
        version: u64,
    },
    Send {
        to: NodeId,
        msg: RaftMsg,
    },
    Leads,
    Follows,
    /// The leader found these committed: for the checkers.
    Committed {
        upto: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Follower,
    Candidate,
    Leader,
}

#[derive(Debug)]
pub struct Raft {
    me: NodeId,
    voters: BTreeSet<NodeId>,
    others: Vec<NodeId>,
    timing: Timing,
    term: u64,
    voted_for: Option<NodeId>,
    pub log: Vec<Entry>,
    durable: u64,
    /// Counts the truncations, so that a sync of what was cut off counts for nothing.
    version: u64,
    role: Role,
    pub leader: Option<NodeId>,
    votes: BTreeSet<NodeId>,
    /// Leader: what each has on disk, what it is sent next, when it was heard.
    matched: BTreeMap<NodeId, u64>,
    next: BTreeMap<NodeId, u64>,
    heard: BTreeMap<NodeId, Instant>,
    /// Follower: up to where the log is known to be that of the leader of this term.
    same: u64,
    pub commit: u64,
    election_at: Instant,
    leader_heard: Option<Instant>,
    beat_at: Instant,
}

impl Raft {
    #[must_use]
    pub fn new(who: &Who, disk: &RaftDisk, commit: u64, now: Instant, rng: &mut Rng) -> Self {
        let me = who.node;
        let mut raft = Self {
            me,
            voters: who.voters.clone(),
            others: who.everyone.iter().copied().filter(|n| *n != me).collect(),
            timing: LAN,
            term: disk.term,
            voted_for: disk.voted_for,
            log: disk.log.clone(),
            durable: disk.log.len() as u64,
            version: 0,
            role: Role::Follower,
            leader: None,
            votes: BTreeSet::new(),
            matched: BTreeMap::new(),
            next: BTreeMap::new(),
            heard: BTreeMap::new(),
            same: 0,
            commit,
            election_at: now,
            leader_heard: None,
            beat_at: now,
        };
        raft.wait(now, rng);
        raft
    }

    #[must_use]
    pub fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Up to where the log is on disk.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable
    }

    #[must_use]
    pub fn id_at(&self, index: u64) -> LogId {
        let term = if index == 0 { 0 } else { self.log[slot(index)].term };
        LogId { term, index }
    }

    fn last(&self) -> LogId {
        self.id_at(self.log.len() as u64)
    }

    fn wait(&mut self, now: Instant, rng: &mut Rng) {
        let (min, max) = (self.timing.election_min.as_millis(), self.timing.election_max.as_millis());
        self.election_at = now + rng.ms(min as u64, max as u64);
    }

    fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    pub fn tick(&mut self, now: Instant, rng: &mut Rng, did: &mut Vec<Did>) {
        if self.role == Role::Leader {
            let patience = 2 * self.timing.election_max;
            let with_me =
                self.heard.iter().filter(|(n, at)| self.voters.contains(n) && now.since(**at) < patience);
            if with_me.count() + 1 < self.majority() {
                // It may be alone; whoever leads now is elsewhere.
                self.follow(self.term, None, did);
                self.wait(now, rng);
            } else if now >= self.beat_at {
                self.beat_at = now + self.timing.raft_heartbeat;
                self.replicate_all(did);
            }
        } else if now >= self.election_at && self.voters.contains(&self.me) {
            self.role = Role::Candidate;
            self.leader = None;
            self.term += 1;
            self.voted_for = Some(self.me);
            self.votes = [self.me].into();
            self.same = 0;
            self.wait(now, rng);
            did.push(Did::Vote { term: self.term, voted_for: self.voted_for });
            let (term, last) = (self.term, self.last());
            let voters = self.others.iter().filter(|n| self.voters.contains(n));
            did.extend(voters.map(|to| Did::Send { to: *to, msg: RaftMsg::Vote { term, last } }));
            self.count_votes(now, did);
        }
    }

    pub fn receive(&mut self, now: Instant, from: NodeId, msg: RaftMsg, rng: &mut Rng, did: &mut Vec<Did>) {
        let (RaftMsg::Vote { term, .. }
        | RaftMsg::Voted { term, .. }
        | RaftMsg::Append { term, .. }
        | RaftMsg::Appended { term, .. }) = msg;
        let content = self.leader_heard.is_some_and(|at| now.since(at) < self.timing.election_min);
        if matches!(msg, RaftMsg::Vote { .. }) && (content || self.role == Role::Leader) && term > self.term {
            // Nobody is voted out while its word is fresh: stands for pre-vote and the leader's lease.
            return;
        }
        if term > self.term {
            self.follow(term, None, did);
        }
        match msg {
            RaftMsg::Vote { term, last } => self.vote(now, from, term, last, rng, did),
            RaftMsg::Voted { term, granted } => {
                if term == self.term && granted && self.role == Role::Candidate {
                    self.votes.insert(from);
                    self.count_votes(now, did);
                }
            }
            RaftMsg::Append { term, prev, entries, commit } if term == self.term => {
                self.leader = Some(from);
                self.leader_heard = Some(now);
                self.role = Role::Follower;
                self.wait(now, rng);
                self.append(from, prev, &entries, commit, did);
            }
            RaftMsg::Append { .. } => {
                let msg = RaftMsg::Appended { term: self.term, matched: 0, next: 0 };
                did.push(Did::Send { to: from, msg });
            }
            RaftMsg::Appended { term, matched, next } => {
                if term == self.term && self.role == Role::Leader {
                    self.heard.insert(from, now);
                    self.appended(from, matched, next, did);
                }
            }
        }
    }

    /// The leader's way to add an entry. `None`: it doesn't lead.
    pub fn propose(&mut self, command: Rc<Command>, did: &mut Vec<Did>) -> Option<LogId> {
        if self.role != Role::Leader {
            return None;
        }
        self.log.push(Entry { term: self.term, command });
        let index = self.log.len() as u64;
        did.push(Did::Appended { index });
        did.push(Did::Sync { upto: index, version: self.version });
        self.replicate_all(did);
        Some(self.last())
    }

    /// A sync ended; true if it counts: nothing of it was cut off meanwhile.
    pub fn synced(&mut self, upto: u64, version: u64, did: &mut Vec<Did>) -> bool {
        if version != self.version {
            return false;
        }
        self.durable = self.durable.max(upto);
        if self.role == Role::Leader {
            self.advance(did);
        } else if let Some(leader) = self.leader {
            let matched = self.same.min(self.durable);
            let msg = RaftMsg::Appended { term: self.term, matched, next: self.same + 1 };
            did.push(Did::Send { to: leader, msg });
        }
        true
    }

    fn follow(&mut self, term: u64, leader: Option<NodeId>, did: &mut Vec<Did>) {
        if self.role == Role::Leader {
            did.push(Did::Follows);
        }
        self.role = Role::Follower;
        self.leader = leader;
        if term > self.term {
            self.term = term;
            self.voted_for = None;
            self.same = 0;
            did.push(Did::Vote { term, voted_for: None });
        }
    }

    fn vote(
        &mut self,
        now: Instant,
        from: NodeId,
        term: u64,
        last: LogId,
        rng: &mut Rng,
        did: &mut Vec<Did>,
    ) {
        let fresh = term == self.term && self.voted_for.is_none_or(|v| v == from);
        let granted = fresh && self.role == Role::Follower && last >= self.last();
        if granted {
            self.voted_for = Some(from);
            self.wait(now, rng);
            did.push(Did::Vote { term, voted_for: self.voted_for });
        }
        did.push(Did::Send { to: from, msg: RaftMsg::Voted { term: self.term, granted } });
    }

    fn count_votes(&mut self, now: Instant, did: &mut Vec<Did>) {
        if self.votes.len() < self.majority() {
            return;
        }
        self.role = Role::Leader;
        self.leader = Some(self.me);
        let next = self.log.len() as u64 + 1;
        self.matched.clear();
        self.next = self.others.iter().map(|n| (*n, next)).collect();
        self.heard = self.others.iter().map(|n| (*n, now)).collect();
        did.push(Did::Leads);
    }

    fn append(&mut self, from: NodeId, prev: LogId, entries: &[Entry], commit: u64, did: &mut Vec<Did>) {
        let have = self.log.len() as u64;
        if prev.index > have || self.id_at(prev.index) != prev {
            let next = prev.index.min(have + 1).saturating_sub(1).max(self.commit + 1);
            let msg = RaftMsg::Appended { term: self.term, matched: 0, next };
            did.push(Did::Send { to: from, msg });
            return;
        }
        let mut changed = false;
        for (index, entry) in (prev.index + 1..).zip(entries) {
            if index <= self.log.len() as u64 {
                if self.id_at(index).term == entry.term {
                    continue;
                }
                assert!(index > self.commit, "a committed entry would be cut off");
                self.log.truncate(slot(index));
                self.durable = self.durable.min(index - 1);
                self.version += 1;
                did.push(Did::Truncated { from: index });
            }
            self.log.push(entry.clone());
            did.push(Did::Appended { index });
            changed = true;
        }
        self.same = self.same.max(prev.index + entries.len() as u64);
        self.commit = self.commit.max(commit.min(self.same));
        if changed {
            did.push(Did::Sync { upto: self.log.len() as u64, version: self.version });
        }
        let matched = self.same.min(self.durable);
        let msg = RaftMsg::Appended { term: self.term, matched, next: self.same + 1 };
        did.push(Did::Send { to: from, msg });
    }

    fn appended(&mut self, from: NodeId, matched: u64, next: u64, did: &mut Vec<Did>) {
        let known = self.matched.entry(from).or_insert(0);
        *known = matched.max(*known);
        let before = self.next.insert(from, next.max(1).min(self.log.len() as u64 + 1));
        self.advance(did);
        // It refused the start, or took a full batch: go on at once.
        if before.is_some_and(|b| next < b) || next + 1 < self.log.len() as u64 {
            self.replicate(from, did);
        }
    }

    fn advance(&mut self, did: &mut Vec<Did>) {
        let on_disk =
            |n: &NodeId| if *n == self.me { self.durable } else { *self.matched.get(n).unwrap_or(&0) };
        let mut reached: Vec<u64> = self.voters.iter().map(on_disk).collect();
        reached.sort_unstable_by(|a, b| b.cmp(a));
        let upto = reached[self.majority() - 1];
        if upto > self.commit && self.id_at(upto).term == self.term {
            self.commit = upto;
            did.push(Did::Committed { upto });
        }
    }

    fn replicate_all(&self, did: &mut Vec<Did>) {
        self.others.iter().for_each(|to| self.replicate(*to, did));
    }

    fn replicate(&self, to: NodeId, did: &mut Vec<Did>) {
        let next = self.next.get(&to).copied().unwrap_or(1);
        let prev = self.id_at(next - 1);
        let entries: Vec<Entry> = self.log[slot(next)..].iter().take(BATCH).cloned().collect();
        let msg = RaftMsg::Append { term: self.term, prev, entries, commit: self.commit };
        did.push(Did::Send { to, msg });
    }
}

/// Where the entry with this index, from 1, stands in the vector.
fn slot(index: u64) -> usize {
    usize::try_from(index - 1).expect("a log in memory")
}

/// How long an ordinary sync takes, and one of a slow disk.
#[must_use]
pub fn sync_time(slow: bool, rng: &mut Rng) -> Duration {
    if slow { rng.ms(100, 1_500) } else { rng.us(300, 6_000) }
}
