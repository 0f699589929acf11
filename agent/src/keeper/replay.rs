//! The voter's guard against repeated renewals: of one session of one node, only newer nonces are put to the book.
//!
//! A repeated renewal breaks no promise: the voter would merely book for longer than the holder counts, and a lost
//! node's work would wait. Sessions have no order, so one that was never seen is believed; an attacker who has kept
//! datagrams of more sessions than are remembered here gains that delay, as long as the epoch is current.
//!
//! Not here: renewals by stream, which can't be repeated.

use cluster_core::ids::{NodeId, SessionId};
use std::collections::{BTreeMap, VecDeque};

/// A session begins with each keeper's process; the oldest is forgotten.
const SESSIONS_OF_A_NODE: usize = 16;
/// Beyond it some other node is forgotten: its next renewal counts as its first.
const NODES_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub struct ReplayGuard {
    newest: BTreeMap<NodeId, VecDeque<(SessionId, u64)>>,
}

impl ReplayGuard {
    /// Whether this nonce is newer than all before it. Remembers it then.
    pub fn is_new(&mut self, node: NodeId, session: SessionId, nonce: u64) -> bool {
        if self.newest.len() >= NODES_MAX && !self.newest.contains_key(&node) {
            self.newest.pop_first();
        }
        let sessions = self.newest.entry(node).or_default();
        match sessions.iter_mut().find(|(known, _)| *known == session) {
            Some((_, newest)) if *newest >= nonce => false,
            Some((_, newest)) => {
                *newest = nonce;
                true
            }
            None => {
                if sessions.len() == SESSIONS_OF_A_NODE {
                    sessions.pop_front();
                }
                sessions.push_back((session, nonce));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[test]
    fn only_newer_nonces_of_a_session_pass() {
        let mut guard = ReplayGuard::default();
        let one = SessionId(1);
        assert!(guard.is_new(A, one, 5));
        assert!(!guard.is_new(A, one, 5), "repeated");
        assert!(!guard.is_new(A, one, 4), "overtaken");
        assert!(guard.is_new(A, one, 6));
        assert!(guard.is_new(B, one, 5), "another node counts for itself");
    }

    #[test]
    fn a_new_keeper_begins_anew_and_the_old_ones_datagrams_stay_old() {
        let mut guard = ReplayGuard::default();
        assert!(guard.is_new(A, SessionId(1), 1_000));
        assert!(guard.is_new(A, SessionId(2), 1), "a restarted keeper counts from one");
        assert!(!guard.is_new(A, SessionId(1), 1_000));
        assert!(!guard.is_new(A, SessionId(1), 7));
    }

    #[test]
    fn memory_is_bounded() {
        let mut guard = ReplayGuard::default();
        for session in 0..100 {
            assert!(guard.is_new(A, SessionId(session), 1));
        }
        assert_eq!(guard.newest[&A].len(), SESSIONS_OF_A_NODE);
        for node in 0..NODES_MAX as u64 + 10 {
            guard.is_new(NodeId(node), SessionId(1), 1);
        }
        assert_eq!(guard.newest.len(), NODES_MAX);
    }
}
