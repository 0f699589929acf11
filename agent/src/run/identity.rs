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
use tokio::sync::{Mutex, watch};

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
}

impl Membership {
    #[must_use]
    pub fn new(identity: Identity, file: Option<NodeFile>) -> Self {
        let cluster = Arc::new(watch::Sender::new(identity.cluster_id));
        Self { stored: Arc::new(Mutex::new(Stored { identity, file, was_pledged: false })), cluster }
    }

    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        *self.cluster.borrow()
    }

    /// Joins a cluster that others founded, for good. A pledge to another founding is void from then on, in the same
    /// write: it must not found a second time after a restart. Returns false when this node belongs to another cluster.
    pub async fn adopt(&self, cluster: ClusterId) -> Result<bool, StorageError> {
        let mut stored = self.stored.lock().await;
        match stored.identity.cluster_id {
            Some(mine) => Ok(mine == cluster),
            None => {
                stored.was_pledged = stored.identity.pledge.is_some();
                stored
                    .change(|i| {
                        i.cluster_id = Some(cluster);
                        i.pledge = None;
                    })
                    .await?;
                self.cluster.send_replace(Some(cluster));
                Ok(true)
            }
        }
    }

    /// Names the cluster that this node founds from `set`; the pledge to that stays until it is done. None when the
    /// pledge doesn't stand any more: this node has joined another founding. The name that an earlier try gave stays.
    pub async fn found(&self, cluster: ClusterId, set: SetId) -> Result<Option<ClusterId>, StorageError> {
        let mut stored = self.stored.lock().await;
        if stored.identity.pledge.as_ref().is_none_or(|p| p.set != set) {
            return Ok(None);
        }
        if stored.identity.cluster_id.is_none() {
            stored.change(|i| i.cluster_id = Some(cluster)).await?;
            self.cluster.send_replace(Some(cluster));
        }
        Ok(stored.identity.cluster_id)
    }

    /// Whether this process was pledged to a founding when it joined.
    pub async fn was_pledged(&self) -> bool {
        self.stored.lock().await.was_pledged
    }

    pub async fn pledge(&self, pledge: Option<Pledge>) -> Result<(), StorageError> {
        self.stored.lock().await.change(|i| i.pledge = pledge).await
    }

    pub async fn pledged(&self) -> Option<Pledge> {
        self.stored.lock().await.identity.pledge.clone()
    }

    /// Remembers the highest incarnation used, so that a later life begins above it.
    pub async fn incarnation(&self, incarnation: Incarnation) -> Result<(), StorageError> {
        let mut stored = self.stored.lock().await;
        if stored.identity.incarnation >= incarnation.0 {
            return Ok(());
        }
        stored.change(|i| i.incarnation = incarnation.0).await
    }
}

impl Stored {
    /// The change counts only once it is on disk.
    async fn change(&mut self, change: impl FnOnce(&mut Identity)) -> Result<(), StorageError> {
        let mut next = self.identity.clone();
        change(&mut next);
        if next == self.identity {
            return Ok(());
        }
        if let Some(file) = self.file.clone() {
            let saved = next.clone();
            tokio::task::spawn_blocking(move || file.save(&saved))
                .await
                .expect("saving a file doesn't panic")?;
        }
        self.identity = next;
        Ok(())
    }
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
}
