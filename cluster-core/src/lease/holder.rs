//! Holder: keeps one node's lease alive by asking the voters, and says until when it lasts.
//!
//! A round of renewals, one to each voter, carries one nonce and is dated by the moment *before* it entered the wire.
//! The lease runs from the newest date that a majority acknowledged: whatever the wire and the voters took is on the
//! holder's account, never on the cluster's. So late, doubled and reordered answers do no harm; they are merely old.
//! A voter's refusal ends nothing by itself: its log may yet be cut back. The deadline ends it.
//!
//! Not here: the wire, the page that guards read, what to do when the lease is lost. It depends on nothing else of
//! the agent's, so that a small process can run it alone.

use super::{
    Groups,
    book::Refusal,
    quorum::{is_majority, reached_by_majority},
};
use crate::{
    ids::{BootId, LeaseEpoch, LogId, NodeId, SessionId},
    time::{Clocks, Instant},
    timing::Timing,
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Rounds that may still be answered, at most; the oldest is forgotten, and an answer to it then counts for nothing.
/// A lease of any profile holds no more than 40 hurried ones.
const MAX_ROUNDS: usize = 64;

/// What the ledger granted this node, and who keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub epoch: LeaseEpoch,
    pub voters: Groups,
    pub voter_config: LogId,
    pub lease: Duration,
}

/// One renewal, to one voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    pub node: NodeId,
    pub epoch: LeaseEpoch,
    pub boot: BootId,
    pub session: SessionId,
    pub nonce: u64,
    pub voter_config: LogId,
    pub lease_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new epoch, or new voters for the same one. Repeating it changes nothing.
    Granted(Grant),
    /// The ledger issued no epoch any more to this node.
    Withdrawn,
    /// Whether anything here needs the lease. Nodes that hold nothing send nothing.
    Wanted(bool),
    Tick,
    Ack {
        voter: NodeId,
        session: SessionId,
        nonce: u64,
    },
    Refused {
        voter: NodeId,
        session: SessionId,
        nonce: u64,
        reason: Refusal,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send it now. If it can't leave at once, drop it: a later one is dated better.
    Renew { voter: NodeId, renewal: Renewal },
    /// Guards of this epoch may run on to here. Never earlier than the one said before for the same epoch.
    Extend { epoch: LeaseEpoch, deadline: Clocks },
    /// The deadline passed; guards have killed. Said once; if voters acknowledge again, `Extend` follows.
    Expired { epoch: LeaseEpoch },
    /// So many voters call the epoch revoked that no majority can be had: ask the ledger for another one.
    Revoked { epoch: LeaseEpoch },
    /// A voter knows a newer set of voters than `Granted` named.
    VotersChanged { newer: LogId },
}

/// One lease epoch as this process knows it.
#[derive(Debug)]
struct Term {
    grant: Grant,
    /// Nonces that are out, with the moment before they were sent; oldest first.
    rounds: VecDeque<(u64, Clocks)>,
    /// The newest nonce that each voter acknowledged, with its date.
    acked: BTreeMap<NodeId, (u64, Clocks)>,
    /// The date that `deadline` counts from.
    held_since: Option<Clocks>,
    deadline: Option<Clocks>,
    /// The newest nonce that each voter answered with "revoked".
    refused: BTreeMap<NodeId, u64>,
    said_revoked: bool,
}

impl Term {
    fn may_reach_majority(&self) -> bool {
        is_majority(&self.grant.voters, |v| !self.refused.contains_key(&v))
    }
}

/// One per process of a node.
#[derive(Debug)]
pub struct Holder {
    node: NodeId,
    boot: BootId,
    session: SessionId,
    timing: Timing,
    wanted: bool,
    last_nonce: u64,
    last_sent: Option<Instant>,
    term: Option<Term>,
}

impl Holder {
    /// `session` must be new with each process: answers to another one's renewals count for nothing.
    #[must_use]
    pub fn new(node: NodeId, boot: BootId, session: SessionId, timing: Timing) -> Self {
        Self { node, boot, session, timing, wanted: false, last_nonce: 0, last_sent: None, term: None }
    }

    /// The only way in. `now` is read before anything that comes out is sent.
    pub fn step(&mut self, now: Clocks, event: Event, effects: &mut Vec<Effect>) {
        self.expire(now, effects);
        match event {
            Event::Granted(grant) => self.granted(grant),
            Event::Withdrawn => self.term = None,
            Event::Wanted(wanted) => self.wanted = wanted,
            Event::Tick => {}
            Event::Ack { voter, session, nonce } if session == self.session => {
                self.acked(now, voter, nonce, effects);
            }
            Event::Refused { voter, session, nonce, reason } if session == self.session => {
                self.refused(voter, nonce, reason, effects);
            }
            Event::Ack { .. } | Event::Refused { .. } => {}
        }
        if self.next_round().is_some_and(|at| at <= now.boot) {
            self.send_round(now, effects);
        }
    }

    /// Until when the lease lasts; `None` when there is none, or it is over.
    #[must_use]
    pub fn deadline(&self, now: Clocks) -> Option<Clocks> {
        self.term.as_ref()?.deadline.filter(|d| !d.is_over(now))
    }

    #[must_use]
    pub fn epoch(&self) -> Option<LeaseEpoch> {
        self.term.as_ref().map(|t| t.grant.epoch)
    }

    /// When `Tick` is due next, on CLOCK_BOOTTIME. Later ones do no harm beyond their lateness.
    #[must_use]
    pub fn next_tick(&self) -> Option<Instant> {
        let deadline = self.term.as_ref().and_then(|t| t.deadline).map(|d| d.boot);
        [self.next_round(), deadline].into_iter().flatten().min()
    }

    fn granted(&mut self, grant: Grant) {
        match &mut self.term {
            Some(term) if term.grant == grant => return,
            // The same epoch: what was promised stands. Answers to renewals that named the old voters don't count
            // towards a majority of the new ones.
            Some(term) if term.grant.epoch == grant.epoch => {
                term.grant = grant;
                term.rounds.clear();
                term.acked.clear();
                term.refused.clear();
            }
            _ => {
                self.term = Some(Term {
                    grant,
                    rounds: VecDeque::with_capacity(MAX_ROUNDS),
                    acked: BTreeMap::new(),
                    held_since: None,
                    deadline: None,
                    refused: BTreeMap::new(),
                    said_revoked: false,
                });
            }
        }
        self.last_sent = None;
    }

    fn acked(&mut self, now: Clocks, voter: NodeId, nonce: u64, effects: &mut Vec<Effect>) {
        let Some(term) = &mut self.term else { return };
        let Some(&(_, sent)) = term.rounds.iter().find(|(n, _)| *n == nonce) else { return };
        if !term.grant.voters.iter().any(|g| g.contains(&voter)) {
            return;
        }
        let newest = term.acked.entry(voter).or_insert((nonce, sent));
        if newest.0 > nonce {
            return;
        }
        *newest = (nonce, sent);
        if term.refused.get(&voter).is_some_and(|refused| *refused < nonce) {
            term.refused.remove(&voter);
            term.said_revoked = !term.may_reach_majority();
        }
        let by_nonce = |v: NodeId| term.acked.get(&v).map(|(nonce, _)| *nonce);
        let Some(reached) = reached_by_majority(&term.grant.voters, by_nonce) else { return };
        let date = term.acked.values().find(|(n, _)| *n == reached).map(|(_, sent)| *sent);
        let date = date.expect("the nonce that a majority reached was somebody's");
        let deadline = date.after(term.grant.lease);
        if term.held_since.is_none_or(|held| held.boot < date.boot) {
            term.held_since = Some(date);
        }
        if term.deadline.is_none_or(|d| d.boot < deadline.boot) && !deadline.is_over(now) {
            term.deadline = Some(deadline);
            effects.push(Effect::Extend { epoch: term.grant.epoch, deadline });
        }
    }

    fn refused(&mut self, voter: NodeId, nonce: u64, reason: Refusal, effects: &mut Vec<Effect>) {
        let Some(term) = &mut self.term else { return };
        if !term.rounds.iter().any(|(n, _)| *n == nonce) {
            return;
        }
        match reason {
            Refusal::Revoked => {
                let older = term.acked.get(&voter).is_none_or(|(acked, _)| *acked < nonce);
                if older && term.grant.voters.iter().any(|g| g.contains(&voter)) {
                    term.refused.insert(voter, nonce);
                }
                if !term.may_reach_majority() && !term.said_revoked {
                    term.said_revoked = true;
                    effects.push(Effect::Revoked { epoch: term.grant.epoch });
                }
            }
            Refusal::OldVoterConfig { newer } if newer > term.grant.voter_config => {
                effects.push(Effect::VotersChanged { newer });
            }
            // It hasn't caught up yet, or is still reading its log: the next round asks again.
            Refusal::OldVoterConfig { .. } | Refusal::NotCurrent | Refusal::Recovering => {}
        }
    }

    fn expire(&mut self, now: Clocks, effects: &mut Vec<Effect>) {
        let Some(term) = &mut self.term else { return };
        if term.deadline.is_some_and(|d| d.is_over(now)) {
            term.deadline = None;
            effects.push(Effect::Expired { epoch: term.grant.epoch });
        }
    }

    /// When the next round is due; hurried while the newest majority is older than it should be, or there is none.
    fn next_round(&self) -> Option<Instant> {
        let term = self.term.as_ref().filter(|_| self.wanted)?;
        let Some(last) = self.last_sent else { return Some(Instant::ZERO) };
        let calm = last + self.timing.renew_every;
        let hurried_from =
            term.held_since.map_or(Instant::ZERO, |since| since.boot + self.timing.renew_hurry_after);
        Some(calm.min(hurried_from.max(last + self.timing.renew_hurry)))
    }

    fn send_round(&mut self, now: Clocks, effects: &mut Vec<Effect>) {
        let Some(term) = &mut self.term else { return };
        self.last_nonce += 1;
        self.last_sent = Some(now.boot);
        while term.rounds.front().is_some_and(|(_, sent)| sent.after(term.grant.lease).is_over(now))
            || term.rounds.len() == MAX_ROUNDS
        {
            term.rounds.pop_front();
        }
        term.rounds.push_back((self.last_nonce, now));
        let renewal = Renewal {
            node: self.node,
            epoch: term.grant.epoch,
            boot: self.boot,
            session: self.session,
            nonce: self.last_nonce,
            voter_config: term.grant.voter_config,
            lease_ms: u64::try_from(term.grant.lease.as_millis()).unwrap_or(u64::MAX),
        };
        let voters: BTreeSet<NodeId> = term.grant.voters.iter().flatten().copied().collect();
        effects.extend(voters.into_iter().map(|voter| Effect::Renew { voter, renewal }));
    }
}

#[cfg(test)]
#[path = "holder_tests.rs"]
mod tests;
