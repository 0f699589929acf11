//! What this agent found, on its way to the voters: one task and one slot a voter, in which a newer report takes the
//! place of an older one that waits. Every report has a number, so that a voter that gets it by two ways, or late, can
//! tell.
//!
//! Not here: what is found (`cluster_core::membership`), and the same report over gossip streams (`node::opinion`).

use super::identity::Membership;
use crate::{
    limits::REPORT_TIMEOUT,
    wire::{client::Peers, findings::SentReport, peer},
};
use cluster_core::{
    ids::{LeaseEpoch, NodeId, SessionId},
    membership::Report,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

#[derive(Clone, Debug, Default)]
struct Letter {
    sent: Option<SentReport>,
    ages: Vec<(LeaseEpoch, Duration)>,
}

struct Voter {
    address: String,
    slot: watch::Sender<Letter>,
    _task: AbortOnDropHandle<()>,
}

pub struct Reporter {
    me: NodeId,
    session: SessionId,
    membership: Membership,
    peers: Arc<Peers>,
    sequence: u64,
    /// The others that vote; at most seven.
    voters: BTreeMap<NodeId, Voter>,
}

impl Reporter {
    pub const fn new(me: NodeId, session: SessionId, membership: Membership, peers: Arc<Peers>) -> Self {
        Self { me, session, membership, peers, sequence: 0, voters: BTreeMap::new() }
    }

    /// Who votes, and where. An unsent report for one that goes is dropped.
    pub fn follow(&mut self, voters: &BTreeMap<NodeId, String>) {
        self.voters.retain(|node, voter| voters.get(node) == Some(&voter.address));
        for (node, address) in voters.iter().filter(|(node, _)| **node != self.me) {
            if !self.voters.contains_key(node) {
                let voter = self.voter(address.clone());
                self.voters.insert(*node, voter);
            }
        }
    }

    fn voter(&self, address: String) -> Voter {
        let (slot, mut letters) = watch::channel(Letter::default());
        let (me, membership, peers) = (self.me, self.membership.clone(), self.peers.clone());
        let to = address.clone();
        let task = tokio::spawn(async move {
            while letters.changed().await.is_ok() {
                let letter = letters.borrow_and_update().clone();
                let (Some(cluster), Ok(channel)) = (membership.cluster(), peers.channel(&to)) else {
                    continue;
                };
                let sent = letter.sent.as_ref();
                let told = peer::report(channel, cluster, me, sent, &letter.ages, REPORT_TIMEOUT).await;
                if let Err(error) = told {
                    // While it stands it is said again with the next heartbeat.
                    tracing::debug!(%error, address = to, "a voter took no report");
                }
            }
        });
        Voter { address, slot, _task: AbortOnDropHandle::new(task) }
    }

    /// To every other voter. Returns it with its number, for those that are reached otherwise as well.
    pub fn say(&mut self, report: Report) -> SentReport {
        self.sequence += 1;
        let sent = SentReport { session: self.session, sequence: self.sequence, report };
        for voter in self.voters.values() {
            voter.slot.send_replace(Letter { sent: Some(sent.clone()), ages: Vec::new() });
        }
        sent
    }

    /// This voter's account to the leader, which has no stream with it. Never in place of a report that waits.
    pub fn account(&self, leader: NodeId, ages: Vec<(LeaseEpoch, Duration)>) {
        if let Some(voter) = self.voters.get(&leader) {
            voter.slot.send_modify(|letter| letter.ages = ages);
        }
    }
}

/// Which reports are news: each session's in the order in which they were made, once.
#[derive(Debug, Default)]
pub struct Newest(BTreeMap<NodeId, (SessionId, u64)>);

impl Newest {
    pub fn is_news(&mut self, sent: &SentReport) -> bool {
        let known = self.0.get(&sent.report.observer);
        if known.is_some_and(|(session, number)| *session == sent.session && *number >= sent.sequence) {
            return false;
        }
        self.0.insert(sent.report.observer, (sent.session, sent.sequence));
        true
    }

    /// Of these nodes only.
    pub fn keep(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.0.retain(|node, _| is_member(*node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::ids::ViewEpoch;

    fn sent(session: u64, sequence: u64) -> SentReport {
        let (findings, asking) = (Vec::new(), Vec::new());
        let report = Report { observer: NodeId(1), view: ViewEpoch(1), health: 0, findings, asking };
        SentReport { session: SessionId(session), sequence, report }
    }

    #[test]
    fn doubled_and_late_reports_are_no_news_and_a_new_life_counts_anew() {
        let mut newest = Newest::default();
        assert!(newest.is_news(&sent(1, 1)));
        assert!(!newest.is_news(&sent(1, 1)), "it came by the other way, too");
        assert!(newest.is_news(&sent(1, 3)));
        assert!(!newest.is_news(&sent(1, 2)), "it was overtaken");
        assert!(newest.is_news(&sent(2, 1)));
        newest.keep(|_| false);
        assert!(newest.is_news(&sent(2, 1)));
    }
}
