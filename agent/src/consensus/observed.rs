//! Keeps the observer's view of the log exact: each append, truncation and snapshot is told in order and before it is
//! written, and the voters in force are told again when a truncation takes the newer configuration away.
//!
//! Not a store: it remembers only which configurations the log holds.

use super::{
    LogObserver,
    types::{Entry, RaftLogId, StoredMembership, is_joint, log_id, voters},
};
use cluster_core::ids::{LogId, NodeId};
use openraft::{EntryPayload, entry::RaftEntry};
use std::sync::{Arc, Mutex};

#[derive(Clone)]
struct Voters {
    at: LogId,
    ids: Vec<NodeId>,
    joint: bool,
}

#[derive(Clone)]
pub(crate) struct Observed {
    observer: Arc<dyn LogObserver>,
    /// Configurations of the snapshot and of the log, oldest first. A log that is compacted holds few.
    history: Arc<Mutex<Vec<Voters>>>,
}

impl Observed {
    pub(crate) fn new(observer: Arc<dyn LogObserver>) -> Self {
        Self { observer, history: Arc::default() }
    }

    pub(crate) fn opened(&self, snapshot: Option<(&RaftLogId, &StoredMembership, &[u8])>) {
        let mut history = self.lock();
        self.observer.opened(snapshot.map(|s| log_id(s.0)), snapshot.map(|s| s.2));
        if let Some((_, membership, _)) = snapshot {
            self.restart_history(&mut history, membership);
        }
    }

    pub(crate) fn appended(&self, entry: &Entry) {
        let at = log_id(&entry.log_id());
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(command) => self.observer.appended(at, &command.0),
            EntryPayload::Membership(membership) => {
                let now = Voters { at, ids: voters(membership), joint: is_joint(membership) };
                let mut history = self.lock();
                self.observer.voters_appended(at, &now.ids, now.joint);
                history.push(now);
            }
        }
    }

    pub(crate) fn durable(&self, upto: u64) {
        self.observer.durable(upto);
    }

    pub(crate) fn truncated(&self, from_index: u64) {
        let mut history = self.lock();
        let before = history.len();
        history.retain(|voters| voters.at.index < from_index);
        self.observer.truncated(from_index);
        if history.len() < before
            && let Some(now) = history.last()
        {
            self.observer.voters_appended(now.at, &now.ids, now.joint);
        }
    }

    /// What the log holds behind the snapshot stays.
    pub(crate) fn snapshot_installed(&self, at: &RaftLogId, membership: &StoredMembership, bytes: &[u8]) {
        let mut history = self.lock();
        self.observer.snapshot_installed(log_id(at), bytes);
        let newer: Vec<_> = history.iter().filter(|v| v.at.index > at.index()).cloned().collect();
        self.restart_history(&mut history, membership);
        for voters in newer {
            self.observer.voters_appended(voters.at, &voters.ids, voters.joint);
            history.push(voters);
        }
    }

    fn restart_history(&self, history: &mut Vec<Voters>, membership: &StoredMembership) {
        history.clear();
        if let Some(at) = membership.log_id().as_ref().map(log_id) {
            let config = membership.membership();
            let now = Voters { at, ids: voters(config), joint: is_joint(config) };
            self.observer.voters_appended(at, &now.ids, now.joint);
            history.push(now);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Voters>> {
        self.history.lock().expect("an observer that panicked has taken consensus with it")
    }
}
