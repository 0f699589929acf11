//! The thread that alone writes the log file: drains its queue into one transaction, commits it with one durable
//! commit, and only then says so. After the first failure nothing is written any more: what a failed sync left on the
//! disk can't be known.

use super::{
    StorageError,
    log::{COMMITTED, Done, Job, LOG, MARKS, PURGED, VOTE, Write, panic_text, translate},
    record,
};
use redb::Database;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tokio::sync::mpsc;

/// Writes that share one commit.
const BATCHED_WRITES: usize = 1_024;
/// Bytes that share one commit, give or take the last write.
const BATCHED_BYTES: usize = 8 << 20;

pub(crate) struct Writer {
    db: Database,
    path: PathBuf,
    committed: Arc<Mutex<Option<Vec<u8>>>>,
    failed: Option<String>,
}

impl Writer {
    pub(crate) fn new(db: Database, path: PathBuf, committed: Arc<Mutex<Option<Vec<u8>>>>) -> Self {
        Self { db, path, committed, failed: None }
    }

    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut open = true;
        while open {
            let mut batch = Vec::new();
            open = collect(&mut queue, &mut batch);
            if !batch.is_empty() {
                self.commit(batch);
            }
        }
        // The hint alone is worth one commit when the file is closed in order.
        if self.failed.is_none() {
            self.commit(Vec::new());
        }
    }

    fn commit(&mut self, batch: Vec<(Write, Done)>) {
        let result = match &self.failed {
            Some(first) => Err(StorageError::Failed { path: self.path.clone(), first: first.clone() }),
            None => catch_unwind(AssertUnwindSafe(|| self.write(&batch)))
                .unwrap_or_else(|panic| Err(StorageError::damaged(&self.path, panic_text(panic.as_ref())))),
        };
        if let Err(error) = &result
            && self.failed.is_none()
        {
            tracing::error!(path = %self.path.display(), %error, "the Raft log can't be written any more");
            self.failed = Some(error.to_string());
        }
        for (_, done) in batch {
            done(result.clone());
        }
    }

    fn write(&self, batch: &[(Write, Done)]) -> Result<(), StorageError> {
        let hint = self.committed.lock().expect("no holder of this lock panics").take();
        if batch.is_empty() && hint.is_none() {
            return Ok(());
        }
        self.transaction(batch, hint).map_err(|error| translate(&self.path, error))
    }

    fn transaction(&self, batch: &[(Write, Done)], hint: Option<Vec<u8>>) -> Result<(), redb::Error> {
        let mut txn = self.db.begin_write()?;
        txn.set_two_phase_commit(true);
        {
            let mut log = txn.open_table(LOG)?;
            let mut marks = txn.open_table(MARKS)?;
            let mut mark = |name: &str, body: &[u8]| -> Result<(), redb::Error> {
                marks.insert(name, record::seal(name.as_bytes(), body).as_slice())?;
                Ok(())
            };
            for (write, _) in batch {
                match write {
                    Write::Append { first, entries } => {
                        for (index, body) in (*first..).zip(entries) {
                            log.insert(index, record::seal(&index.to_le_bytes(), body).as_slice())?;
                        }
                    }
                    Write::Vote(body) => mark(VOTE, body)?,
                    Write::TruncateFrom(index) => log.retain_in(*index.., |_, _| false)?,
                    Write::Purge { upto, mark: body } => {
                        log.retain_in(..=*upto, |_, _| false)?;
                        mark(PURGED, body)?;
                    }
                }
            }
            if let Some(body) = hint {
                mark(COMMITTED, &body)?;
            }
        }
        // The sync on which every acknowledgement of this batch rests: redb's default durability is immediate.
        txn.commit()?;
        Ok(())
    }
}

/// Waits for one job, then takes what else is there. `false`: the queue is closed, and this is the last batch.
fn collect(queue: &mut mpsc::Receiver<Job>, batch: &mut Vec<(Write, Done)>) -> bool {
    let mut next = queue.blocking_recv();
    let mut bytes = 0;
    loop {
        match next {
            Some(Job::Write(write, done)) => {
                bytes += size_of_write(&write);
                batch.push((write, done));
            }
            Some(Job::Close) | None => return false,
        }
        if batch.len() >= BATCHED_WRITES || bytes >= BATCHED_BYTES {
            return true;
        }
        match queue.try_recv() {
            Ok(job) => next = Some(job),
            Err(mpsc::error::TryRecvError::Empty) => return true,
            Err(mpsc::error::TryRecvError::Disconnected) => return false,
        }
    }
}

fn size_of_write(write: &Write) -> usize {
    match write {
        Write::Append { entries, .. } => entries.iter().map(Vec::len).sum(),
        Write::Vote(body) | Write::Purge { mark: body, .. } => body.len(),
        Write::TruncateFrom(_) => 0,
    }
}
