//! Which cluster this agent belongs to, and what it pledged: one file, changed by one hand, durable before it counts.

use crate::storage::{
    StorageError,
    node::{Identity, NodeFile},
};
use cluster_core::{
    founding::Pledge,
    ids::{ClusterId, Incarnation},
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

    /// Names the cluster that this node founds; its pledge stays until that is done. False when it belongs to one.
    pub async fn found(&self, cluster: ClusterId) -> Result<bool, StorageError> {
        let mut stored = self.stored.lock().await;
        if let Some(mine) = stored.identity.cluster_id {
            return Ok(mine == cluster);
        }
        stored.change(|i| i.cluster_id = Some(cluster)).await?;
        self.cluster.send_replace(Some(cluster));
        Ok(true)
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
