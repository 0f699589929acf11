//! Book: what one voter acknowledged to whom, what it refuses, and what it may promise to a leader.
//!
//! A voter acknowledges an epoch only while it is the node's current one in the ledger as applied here, and while no
//! entry in this voter's log ends it, committed or not. It remembers until when each acknowledgement counts; after a
//! start it remembers nothing, so it assumes that it acknowledged everybody at that moment. It promises only on a
//! revocation that is on its own disk: one that a crash could take away would let it acknowledge again.
//!
//! Facts come in by `step`, in the order of the log; a renewal is a question that is answered and remembered, a
//! promise one that is only answered. Not here: reading the log, answering over the wire, deciding to revoke.

use super::{Groups, holder::Renewal, on_any_clock};
use crate::{
    ids::{BootId, LeaseEpoch, LogId, NodeId},
    ledger::{Body, Ledger},
    time::Instant,
};
use core::time::Duration;
use std::collections::BTreeMap;

/// What happened to this voter's log and ledger.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// An entry is in the log, before its append is acknowledged to anybody. At the start: each entry found there.
    Appended { at: LogId, body: &'a Body },
    /// A configuration of voters is in the log (or in the snapshot, at the start).
    Configured { at: LogId, voters: &'a Groups },
    /// Entries from this index on are gone.
    Truncated { from: u64 },
    /// Entries up to this index are synced to disk.
    Durable { upto: u64 },
    /// The ledger after entries were applied; only those that `concerns` names matter.
    Applied { ledger: &'a Ledger },
    /// A snapshot took the place of the log up to its index, and is on disk. Also the one found at the start.
    Installed { ledger: &'a Ledger },
    /// The log and snapshot that were found at the start have been told in full, and are on disk.
    Opened,
}

/// Why a voter doesn't acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An entry in this voter's log or snapshot ends the epoch.
    Revoked,
    /// Not what the ledger, as far as it is applied here, issued to this node and boot.
    NotCurrent,
    /// The renewal names other voters than the newest configuration in this voter's log.
    OldVoterConfig { newer: LogId },
    /// This voter hasn't read its log to the end yet.
    Recovering,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Acked,
    Refused(Refusal),
}

/// Whether applying this entry may change what a voter acknowledges: `Fact::Applied` is needed after it.
#[must_use]
pub fn concerns(body: &Body) -> bool {
    matches!(body, Body::Founded { .. } | Body::NodeUp { .. } | Body::EpochSafe { .. })
        || !body.revokes().is_empty()
}

#[derive(Clone, Copy, Debug)]
struct Acked {
    at: Instant,
    until: Instant,
}

/// One per voter's process. Instants are CLOCK_MONOTONIC_RAW.
#[derive(Debug)]
pub struct Book {
    me: NodeId,
    opened: bool,
    /// The moment at which it may have acknowledged anything: its start, or when it became a voter.
    assumed_at: Instant,
    /// The longest lease that the log and snapshot here ever allowed.
    longest: Duration,
    acked: BTreeMap<LeaseEpoch, Acked>,
    /// Entries of the log that end epochs and that the ledger here doesn't include yet; by index.
    pending: BTreeMap<u64, (LogId, Vec<LeaseEpoch>)>,
    /// What the applied ledger says.
    current: BTreeMap<NodeId, (LeaseEpoch, BootId)>,
    ended: BTreeMap<LeaseEpoch, LogId>,
    durable: u64,
    /// Configurations in the log, oldest first; the first may be from before the snapshot.
    configs: Vec<(LogId, Groups)>,
}

impl Book {
    /// `now` is the voter's start.
    #[must_use]
    pub fn new(me: NodeId, now: Instant) -> Self {
        Self {
            me,
            opened: false,
            assumed_at: now,
            longest: Duration::ZERO,
            acked: BTreeMap::new(),
            pending: BTreeMap::new(),
            current: BTreeMap::new(),
            ended: BTreeMap::new(),
            durable: 0,
            configs: Vec::new(),
        }
    }

    /// One fact, before anything that follows from it is told to another host.
    pub fn step(&mut self, now: Instant, fact: Fact<'_>) {
        match fact {
            Fact::Appended { at, body } => self.appended(at, body),
            Fact::Configured { at, voters } => self.configured(now, at, voters),
            Fact::Truncated { from } => self.truncated(from),
            Fact::Durable { upto } => self.durable = self.durable.max(upto),
            Fact::Applied { ledger } => self.applied(now, ledger),
            Fact::Installed { ledger } => {
                self.durable = self.durable.max(ledger.applied.index);
                self.applied(now, ledger);
            }
            Fact::Opened => self.opened = true,
        }
    }

    /// `now` is read after the renewal left the wire. What it acknowledges it remembers.
    pub fn renew(&mut self, now: Instant, renewal: &Renewal) -> Verdict {
        if let Some(refusal) = self.refusal(renewal) {
            return Verdict::Refused(refusal);
        }
        let lease = Duration::from_millis(renewal.lease_ms);
        let until = now + on_any_clock(lease);
        let kept = self.acked.get(&renewal.epoch).map_or(until, |a| a.until);
        self.acked.insert(renewal.epoch, Acked { at: now, until: until.max(kept) });
        Verdict::Acked
    }

    /// How long from `now` on what this voter acknowledged to the revoked epoch counts. `None`: not yet, its disk
    /// doesn't hold that revocation. Round up on the wire.
    #[must_use]
    pub fn promise(&self, now: Instant, epoch: LeaseEpoch, revoked_at: LogId) -> Option<Duration> {
        let in_log = self.pending.get(&revoked_at.index);
        let in_log = in_log.is_some_and(|(at, epochs)| *at == revoked_at && epochs.contains(&epoch));
        let known = in_log || self.ended.get(&epoch) == Some(&revoked_at);
        if !self.opened || !known || revoked_at.index > self.durable {
            return None;
        }
        let assumed = self.assumed_at + on_any_clock(self.longest);
        let until = self.acked.get(&epoch).map_or(assumed, |a| a.until.max(assumed));
        Some(until.since(now))
    }

    /// For how long what this voter acknowledged to each living epoch still counts.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> BTreeMap<LeaseEpoch, Duration> {
        let living = self.current.values().map(|(epoch, _)| *epoch);
        living.filter_map(|epoch| Some((epoch, self.acked.get(&epoch)?.until.since(now)))).collect()
    }

    /// How long ago it last acknowledged each living epoch. One that it never did is listed only while this voter is
    /// so young that it may have forgotten: as old as itself.
    #[must_use]
    pub fn ack_ages(&self, now: Instant) -> Vec<(LeaseEpoch, Duration)> {
        let young = self.opened && now.since(self.assumed_at) < 2 * self.longest;
        let age = |epoch: LeaseEpoch| match self.acked.get(&epoch) {
            Some(acked) => Some((epoch, now.since(acked.at))),
            None => young.then(|| (epoch, now.since(self.assumed_at))),
        };
        self.current.values().filter_map(|(epoch, _)| age(*epoch)).collect()
    }

    fn refusal(&self, renewal: &Renewal) -> Option<Refusal> {
        if !self.opened {
            return Some(Refusal::Recovering);
        }
        let in_log = self.pending.values().any(|(_, epochs)| epochs.contains(&renewal.epoch));
        if in_log || self.ended.contains_key(&renewal.epoch) {
            return Some(Refusal::Revoked);
        }
        let current = self.current.get(&renewal.node) == Some(&(renewal.epoch, renewal.boot));
        // A longer lease than the log here knows of would outlast what this voter assumes after a restart.
        if !current || Duration::from_millis(renewal.lease_ms) > self.longest {
            return Some(Refusal::NotCurrent);
        }
        let newest = self.configs.last().map_or(LogId::default(), |(at, _)| *at);
        (renewal.voter_config != newest).then_some(Refusal::OldVoterConfig { newer: newest })
    }

    fn appended(&mut self, at: LogId, body: &Body) {
        if let Body::Founded { settings, .. } = body {
            self.longest = self.longest.max(Duration::from_millis(settings.lease_ms));
        }
        let epochs = body.revokes();
        if !epochs.is_empty() {
            self.pending.insert(at.index, (at, epochs));
        }
    }

    fn configured(&mut self, now: Instant, at: LogId, voters: &Groups) {
        if self.configs.iter().any(|(known, _)| *known == at) {
            return;
        }
        // One of the snapshot's may come while newer ones stand in the log behind it.
        self.configs.retain(|(known, _)| known.index != at.index);
        let place = self.configs.partition_point(|(known, _)| known.index < at.index);
        let mine = |groups: &Groups| groups.iter().all(|g| g.contains(&self.me));
        let before = self.configs[..place].last().is_some_and(|(_, groups)| mine(groups));
        if voters.len() == 1 && mine(voters) && !before {
            // A new voter stands in for one that acknowledged what this one never saw.
            self.assumed_at = self.assumed_at.max(now);
        }
        self.configs.insert(place, (at, voters.clone()));
    }

    fn truncated(&mut self, from: u64) {
        self.pending.retain(|index, _| *index < from);
        self.configs.retain(|(at, _)| at.index < from);
        self.durable = self.durable.min(from.saturating_sub(1));
    }

    fn applied(&mut self, now: Instant, ledger: &Ledger) {
        if let Some(cluster) = &ledger.cluster {
            self.longest = self.longest.max(Duration::from_millis(cluster.settings.lease_ms));
        }
        self.current = ledger.nodes.iter().map(|(id, n)| (*id, (n.epoch, n.boot))).collect();
        self.current.retain(|_, (epoch, _)| *epoch != LeaseEpoch(0));
        self.ended = ledger.revocations.iter().map(|(epoch, r)| (*epoch, r.at)).collect();
        // From here on the ledger speaks for these entries: what one of them ended stands in it.
        self.pending.retain(|index, _| *index > ledger.applied.index);
        // Configurations that only a later one follows within the applied part can't come back.
        let settled = self.configs.iter().rposition(|(at, _)| at.index <= ledger.applied.index);
        self.configs.drain(..settled.unwrap_or(0));
        let living: Vec<LeaseEpoch> = self.current.values().map(|(epoch, _)| *epoch).collect();
        let ended = &self.ended;
        self.acked.retain(|e, a| a.until > now || living.contains(e) || ended.contains_key(e));
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
