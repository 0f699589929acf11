//! Which cluster this agent belongs to, and what it pledged: one file, changed by one hand, durable before it counts.

use crate::storage::{
    StorageError,
    node::{Identity, NodeFile},
};
use cluster_core::{
    founding::Pledge,
    ids::{ClusterId, Incarnation, SetId},
};
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Membership {
    stored: Arc<Mutex<Stored>>,
    cluster: Arc<watch::Sender<Option<ClusterId>>>,
}

struct Stored {
    identity: Identity,
    /// None with `--dev`: nothing outlives the process.
    file: Option<NodeFile>,
    was_pledged: bool,
    cluster: Arc<watch::Sender<Option<ClusterId>>>,
}

impl Membership {
    #[must_use]
    pub fn new(identity: Identity, file: Option<NodeFile>) -> Self {
        let cluster = Arc::new(watch::Sender::new(identity.cluster_id));
        let stored = Stored { identity, file, was_pledged: false, cluster: cluster.clone() };
        Self { stored: Arc::new(Mutex::new(stored)), cluster }
    }

    async fn stored(&self) -> OwnedMutexGuard<Stored> {
        self.stored.clone().lock_owned().await
    }

    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        *self.cluster.borrow()
    }

    /// Joins a cluster that others founded, for good. A pledge to another founding is void from then on, in the same
    /// write: it must not found a second time after a restart. Returns false when this node belongs to another cluster.
    pub async fn adopt(&self, cluster: ClusterId) -> Result<bool, StorageError> {
        let mut stored = self.stored().await;
        if let Some(mine) = stored.identity.cluster_id {
            return Ok(mine == cluster);
        }
        stored.was_pledged = stored.identity.pledge.is_some();
        change(stored, |i| {
            i.cluster_id = Some(cluster);
            i.pledge = None;
        })
        .await?;
        Ok(true)
    }

    /// Names the cluster that this node founds from `set`; the pledge to that stays until it is done. None when the
    /// pledge doesn't stand any more: this node has joined another founding. The name that an earlier try gave stays.
    pub async fn found(&self, cluster: ClusterId, set: SetId) -> Result<Option<ClusterId>, StorageError> {
        let stored = self.stored().await;
        if stored.identity.pledge.as_ref().is_none_or(|p| p.set != set) {
            return Ok(None);
        }
        let stored = change(stored, |i| _ = i.cluster_id.get_or_insert(cluster)).await?;
        Ok(stored.identity.cluster_id)
    }

    /// Whether this process was pledged to a founding when it joined.
    pub async fn was_pledged(&self) -> bool {
        self.stored.lock().await.was_pledged
    }

    pub async fn pledge(&self, pledge: Option<Pledge>) -> Result<(), StorageError> {
        change(self.stored().await, |i| i.pledge = pledge).await.map(drop)
    }

    pub async fn pledged(&self) -> Option<Pledge> {
        self.stored.lock().await.identity.pledge.clone()
    }

    /// Remembers that this node has a log from now on: without it, it may not go on as if it had never voted.
    pub async fn has_log(&self) -> Result<(), StorageError> {
        change(self.stored().await, |i| i.has_log = true).await.map(drop)
    }

    /// Remembers the highest incarnation used, so that a later life begins above it.
    pub async fn incarnation(&self, incarnation: Incarnation) -> Result<(), StorageError> {
        change(self.stored().await, |i| i.incarnation = i.incarnation.max(incarnation.0)).await.map(drop)
    }
}

/// The change counts only once it is on disk. Whoever asked may give up meanwhile, as a call does whose caller is gone:
/// the write goes on, and keeps the file to itself until it ended.
async fn change(
    mut stored: OwnedMutexGuard<Stored>,
    change: impl FnOnce(&mut Identity),
) -> Result<OwnedMutexGuard<Stored>, StorageError> {
    let mut next = stored.identity.clone();
    change(&mut next);
    if next == stored.identity {
        return Ok(stored);
    }
    let write = move || {
        if let Some(file) = &stored.file {
            file.save(&next)?;
        }
        stored
            .cluster
            .send_if_modified(|known| core::mem::replace(known, next.cluster_id) != next.cluster_id);
        stored.identity = next;
        Ok(stored)
    };
    tokio::task::spawn_blocking(write).await.expect("saving a file doesn't panic")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::ids::NodeId;
    use std::collections::BTreeMap;

    fn pledged() -> Membership {
        let pledge = Pledge { set: SetId(7), founder: NodeId(1), members: BTreeMap::new() };
        let identity = Identity {
            node: NodeId(1),
            name: "n1".into(),
            cluster: "shop".into(),
            cluster_id: None,
            pledge: Some(pledge),
            incarnation: 1,
            has_log: false,
            created_at_ms: 0,
        };
        Membership::new(identity, None)
    }

    #[tokio::test]
    async fn a_founder_that_joined_another_founding_meanwhile_founds_nothing() {
        let membership = pledged();
        assert!(membership.adopt(ClusterId(9)).await.unwrap());
        assert_eq!(membership.found(ClusterId(5), SetId(7)).await.unwrap(), None);
        assert_eq!(membership.cluster(), Some(ClusterId(9)));
    }

    #[tokio::test]
    async fn a_second_try_founds_under_the_first_one_s_name() {
        let membership = pledged();
        assert_eq!(membership.found(ClusterId(5), SetId(7)).await.unwrap(), Some(ClusterId(5)));
        assert_eq!(membership.found(ClusterId(6), SetId(7)).await.unwrap(), Some(ClusterId(5)));
        assert_eq!(
            membership.found(ClusterId(6), SetId(8)).await.unwrap(),
            None,
            "that set isn't pledged to"
        );
    }

    /// A call whose caller gave up is dropped wherever it waits.
    #[tokio::test]
    async fn a_change_that_nobody_waits_for_any_more_ends_before_the_next_one_begins() {
        let directory = tempfile::tempdir().unwrap();
        let identity = pledged().stored().await.identity.clone();
        let membership = Membership::new(identity, Some(NodeFile::new(directory.path())));
        for set in 0..100 {
            let pledge = Pledge { set: SetId(set), founder: NodeId(1), members: BTreeMap::new() };
            let given_up = tokio::time::timeout(std::time::Duration::ZERO, membership.pledge(Some(pledge)));
            let _given_up = given_up.await;
            membership.incarnation(Incarnation(set + 2)).await.unwrap();
            assert_eq!(membership.pledged().await.map(|p| p.set), Some(SetId(set)));
        }
    }
}
