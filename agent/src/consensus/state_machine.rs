//! openraft's state machine: applies committed commands to the caller's [`Machine`], takes snapshots of it and
//! installs those of a leader. The machine itself lives in memory; only snapshots are on disk, and a start replays the
//! log behind the newest one.

use super::{
    Machine,
    codec::{decode, encode},
    error::ConsensusError,
    observed::Observed,
    types::{RaftLogId, Snapshot, SnapshotBytes, SnapshotMeta, StoredMembership, Types, log_id},
};
use crate::storage::{StorageError, snapshot::SnapshotFile};
use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    entry::RaftEntry,
    storage::{EntryResponder, RaftStateMachine},
};
use std::{io, path::Path, sync::Arc};
use tokio::{sync::Mutex, task::spawn_blocking};

struct Applied {
    machine: Box<dyn Machine>,
    last: Option<RaftLogId>,
    membership: StoredMembership,
}

enum Keeper {
    File(SnapshotFile),
    Memory(Option<(SnapshotMeta, SnapshotBytes)>),
}

/// The newest snapshot; the lock orders building against installing, so that an old one never replaces a newer.
struct Kept {
    newest: Option<RaftLogId>,
    keeper: Keeper,
}

/// Cheap to clone; also openraft's snapshot builder.
#[derive(Clone)]
pub(crate) struct StateMachine {
    applied: Arc<Mutex<Applied>>,
    kept: Arc<Mutex<Kept>>,
    observed: Observed,
}

impl StateMachine {
    /// Restores the newest snapshot and tells the observer of it. Blocks. `path`: none for memory.
    pub(crate) fn open(
        path: Option<&Path>,
        mut machine: Box<dyn Machine>,
        observed: Observed,
    ) -> Result<(Self, Option<RaftLogId>), ConsensusError> {
        let Some(path) = path else {
            observed.opened(None);
            return Ok((Self::with(machine, None, Keeper::Memory(None), observed), None));
        };
        let file = SnapshotFile::new(path);
        let Some(stored) = file.load()? else {
            observed.opened(None);
            return Ok((Self::with(machine, None, Keeper::File(file), observed), None));
        };
        let damaged = |reason: String| StorageError::damaged(path, reason);
        let meta: SnapshotMeta = decode("description", &stored.about).map_err(|e| damaged(e.to_string()))?;
        let last = meta.last_log_id.ok_or_else(|| damaged("it covers no entry".to_owned()))?;
        machine
            .restore(&stored.data)
            .map_err(|reason| ConsensusError::Restore { path: path.display().to_string(), reason })?;
        observed.opened(Some((&last, &meta.last_membership, &stored.data)));
        Ok((Self::with(machine, Some(meta), Keeper::File(file), observed), Some(last)))
    }

    fn with(
        machine: Box<dyn Machine>,
        meta: Option<SnapshotMeta>,
        keeper: Keeper,
        observed: Observed,
    ) -> Self {
        let meta = meta.unwrap_or_default();
        let newest = meta.last_log_id;
        let applied = Applied { machine, last: newest, membership: meta.last_membership };
        let kept = Kept { newest, keeper };
        Self { applied: Arc::new(Mutex::new(applied)), kept: Arc::new(Mutex::new(kept)), observed }
    }
}

impl Kept {
    /// On disk, synced, when it returns. Blocks.
    fn save(&mut self, meta: &SnapshotMeta, data: &SnapshotBytes) -> io::Result<()> {
        match &mut self.keeper {
            Keeper::File(file) => file.save(&encode(meta), data).map_err(io::Error::other)?,
            Keeper::Memory(slot) => *slot = Some((meta.clone(), data.clone())),
        }
        self.newest = meta.last_log_id;
        Ok(())
    }

    /// Blocks.
    fn load(&self) -> io::Result<Option<Snapshot>> {
        match &self.keeper {
            Keeper::Memory(slot) => {
                Ok(slot.clone().map(|(meta, snapshot)| openraft::Snapshot { meta, snapshot }))
            }
            Keeper::File(file) => {
                let Some(stored) = file.load().map_err(io::Error::other)? else { return Ok(None) };
                let meta = decode("snapshot's description", &stored.about)?;
                Ok(Some(openraft::Snapshot { meta, snapshot: Arc::new(stored.data) }))
            }
        }
    }
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    type SnapshotData = SnapshotBytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let this = self.clone();
        let build = move || {
            let (meta, data) = {
                let applied = this.applied.blocking_lock();
                let meta =
                    SnapshotMeta { last_log_id: applied.last, last_membership: applied.membership.clone() };
                (meta, Arc::new(applied.machine.snapshot()))
            };
            let mut kept = this.kept.blocking_lock();
            if kept.newest > meta.last_log_id
                && let Some(newer) = kept.load()?
            {
                return Ok(newer);
            }
            kept.save(&meta, &data)?;
            Ok(openraft::Snapshot { meta, snapshot: data })
        };
        spawn_blocking(build).await.map_err(io::Error::other)?
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotBytes;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        let applied = self.applied.lock().await;
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let at = entry.log_id();
            let mut applied = self.applied.lock().await;
            applied.last = Some(at);
            let reply = match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(command) => applied.machine.apply(log_id(&at), &command.0),
                EntryPayload::Membership(membership) => {
                    applied.membership = StoredMembership::new(Some(at), membership);
                    Vec::new()
                }
            };
            drop(applied);
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotBytes) -> io::Result<()> {
        let (this, meta) = (self.clone(), meta.clone());
        let install = move || {
            let at =
                meta.last_log_id.ok_or_else(|| io::Error::other("the leader's snapshot covers no entry"))?;
            let mut kept = this.kept.blocking_lock();
            let mut applied = this.applied.blocking_lock();
            // Restored first: a snapshot that this program can't read must not replace one that it can.
            applied.machine.restore(&snapshot).map_err(io::Error::other)?;
            kept.save(&meta, &snapshot)?;
            // On disk from here on: only now may this voter promise on the ground of what the snapshot revokes. It has
            // answered for the time until now by what it acknowledged.
            this.observed.snapshot_installed(&at, &meta.last_membership, &snapshot);
            applied.last = Some(at);
            applied.membership = meta.last_membership;
            Ok(())
        };
        spawn_blocking(install).await.map_err(io::Error::other)?
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let kept = self.kept.clone();
        spawn_blocking(move || kept.blocking_lock().load()).await.map_err(io::Error::other)?
    }
}
