//! openraft's own suite for stores, on a directory and in memory; and what our store adds to it.

use super::{
    Machine as _,
    log_store::LogStore,
    observed::Observed,
    settings::Store,
    state_machine::StateMachine,
    store::{SNAPSHOT_FILE, open_store},
    test_cluster::{Numbers, Witness},
    types::{Command, Entry, RaftLogId, SnapshotBytes, SnapshotMeta, Types, Vote},
};
use cluster_core::ids::{LogId, NodeId};
use openraft::{
    BasicNode, Membership, RaftLogReader, StorageError,
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt, RaftStateMachine as _},
    testing::log::{StoreBuilder, Suite},
};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

struct Builder {
    on_disk: bool,
}

impl StoreBuilder<Types, LogStore, StateMachine, Option<tempfile::TempDir>> for Builder {
    async fn build(
        &self,
    ) -> Result<(Option<tempfile::TempDir>, LogStore, StateMachine), StorageError<Types>> {
        let dir = self.on_disk.then(|| tempfile::tempdir().unwrap());
        let store = match &dir {
            Some(dir) => Store::Directory { path: dir.path().join("raft"), must_exist: false },
            None => Store::Memory,
        };
        let (log, _, machine) = open(store).await;
        Ok((dir, log, machine))
    }
}

async fn open(store: Store) -> (LogStore, Arc<Witness>, StateMachine) {
    let witness = Arc::new(Witness::default());
    let observer = witness.clone();
    let open = move || open_store(&store, Box::new(Numbers::default()), observer).unwrap();
    let (log, _, machine) = tokio::task::spawn_blocking(open).await.unwrap();
    (log, witness, machine)
}

// The suite brings its own runtime.
#[test]
fn openrafts_suite_passes_on_a_directory() {
    run_suite(true);
}

#[test]
fn openrafts_suite_passes_in_memory() {
    run_suite(false);
}

fn run_suite(on_disk: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(Suite::test_all(Builder { on_disk })).unwrap();
}

fn blank(term: u64, index: u64) -> Entry {
    Entry::new_blank(RaftLogId::new_term_index(term, index))
}

fn normal(term: u64, index: u64, bytes: usize) -> Entry {
    Entry::new_normal(RaftLogId::new_term_index(term, index), Command(vec![1; bytes].into()))
}

fn configured(term: u64, index: u64, ids: &[u64]) -> Entry {
    let voters: BTreeSet<u64> = ids.iter().copied().collect();
    let nodes =
        ids.iter().map(|id| (*id, BasicNode::new("here"))).collect::<std::collections::BTreeMap<_, _>>();
    Entry::new_membership(
        RaftLogId::new_term_index(term, index),
        Membership::new(vec![voters], nodes).unwrap(),
    )
}

#[tokio::test]
async fn one_message_of_entries_stays_below_the_limit() {
    let (mut log, _, _) = open(Store::Memory).await;
    let entries: Vec<_> = (0..6).map(|index| normal(1, index, 1 << 20)).collect();
    log.blocking_append(entries).await.unwrap();
    assert_eq!(log.limited_get_log_entries(0, 6).await.unwrap().len(), 1);
    log.truncate_after(None).await.unwrap();
    log.blocking_append((0..6).map(|index| normal(1, index, 600_000))).await.unwrap();
    assert_eq!(log.limited_get_log_entries(2, 6).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_truncation_gives_the_voters_back_that_were_in_force() {
    let (mut log, witness, _) = open(Store::Memory).await;
    log.blocking_append([configured(1, 0, &[1]), blank(1, 1), configured(1, 2, &[1, 2, 3])]).await.unwrap();
    assert_eq!(*witness.voters.lock().unwrap(), [1, 2, 3].map(NodeId));
    log.truncate_after(Some(RaftLogId::new_term_index(1, 1))).await.unwrap();
    assert_eq!(*witness.voters.lock().unwrap(), [NodeId(1)]);
}

#[tokio::test]
async fn the_observer_hears_of_an_entry_before_its_write_is_submitted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::Directory { path: dir.path().join("raft"), must_exist: false };
    let (mut log, witness, _) = open(store).await;
    // Not awaited: no write can have begun.
    let appending = log.append([normal(1, 0, 3)], IOFlushed::noop());
    drop(appending);
    assert!(witness.log.lock().unwrap().is_empty());
    log.append([normal(1, 0, 3)], IOFlushed::noop()).await.unwrap();
    assert_eq!(witness.log.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_vote_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::Directory { path: dir.path().join("raft"), must_exist: false };
    let open = || open_store(&store, Box::new(Numbers::default()), Arc::new(Witness::default())).unwrap();
    let (mut log, file, _) = open();
    let vote = Vote::new(7, 3);
    log.save_vote(&vote).await.unwrap();
    file.unwrap().close().await;
    let (mut log, _, _) = open();
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
}

#[tokio::test]
async fn a_committed_mark_ahead_of_the_log_is_only_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::Directory { path: dir.path().join("raft"), must_exist: false };
    let open = || open_store(&store, Box::new(Numbers::default()), Arc::new(Witness::default())).unwrap();
    let (mut log, file, _) = open();
    log.save_committed(Some(RaftLogId::new_term_index(1, 5))).await.unwrap();
    log.blocking_append([blank(1, 0), blank(1, 1)]).await.unwrap();
    file.unwrap().close().await;
    let (mut log, _, _) = open();
    assert_eq!(log.read_committed().await.unwrap(), Some(RaftLogId::new_term_index(1, 1)));
}

/// A leader's snapshot of no numbers, up to entry 5.
fn from_a_leader() -> (SnapshotMeta, SnapshotBytes) {
    let last_log_id = Some(RaftLogId::new_term_index(2, 5));
    (SnapshotMeta { last_log_id, ..SnapshotMeta::default() }, Arc::new(Numbers::default().snapshot()))
}

#[tokio::test]
async fn the_observer_hears_of_a_snapshot_only_once_it_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raft");
    let (_log, witness, mut machine) = open(Store::Directory { path: path.clone(), must_exist: false }).await;
    let (meta, bytes) = from_a_leader();
    // Nothing can be saved where there is no directory.
    std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
    machine.install_snapshot(&meta, bytes.clone()).await.unwrap_err();
    assert!(witness.installed.lock().unwrap().is_empty(), "a voter would promise what a crash takes away");
    std::fs::rename(dir.path().join("elsewhere"), &path).unwrap();
    machine.install_snapshot(&meta, bytes).await.unwrap();
    assert_eq!(*witness.installed.lock().unwrap(), [LogId { term: 2, index: 5 }]);
}

#[tokio::test]
async fn a_snapshot_without_its_log_is_no_fresh_start() {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("raft");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join(SNAPSHOT_FILE), b"x").unwrap();
    let store = Store::Directory { path, must_exist: false };
    let witness = Arc::new(Witness::default());
    let opened = open_store(&store, Box::new(Numbers::default()), witness);
    let error = opened.err().unwrap().to_string();
    assert!(error.contains("log.redb is missing although there is a snapshot"), "{error}");
}

#[tokio::test]
async fn a_log_that_was_purged_behind_a_lost_snapshot_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::Directory { path: dir.path().join("raft"), must_exist: false };
    let witness = Arc::new(Witness::default());
    let (log, file, _) = open_store(&store, Box::new(Numbers::default()), witness.clone()).unwrap();
    let mut log: LogStore = log;
    log.blocking_append([blank(1, 0), blank(1, 1)]).await.unwrap();
    log.purge(RaftLogId::new_term_index(1, 0)).await.unwrap();
    file.unwrap().close().await;
    drop(Observed::new(witness.clone()));
    let error = open_store(&store, Box::new(Numbers::default()), witness).err().unwrap().to_string();
    assert!(error.contains("snapshot is missing although the log was purged"), "{error}");
}
