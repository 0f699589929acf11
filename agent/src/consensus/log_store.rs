//! openraft's log store: the whole (compacted, hence short) log in memory for reading, each change told to the
//! observer first and then queued for the log file. Appends report back when the file's sync is done.
//!
//! Not the file: that is `storage::log`, and a store without one is the memory store.

use super::{
    codec::{decode, encode},
    observed::Observed,
    settings::APPEND_BYTES,
    types::{Entry, RaftLogId, Types, Vote},
};
use crate::storage::{
    StorageError,
    log::{LogFile, Recovered, Write},
};
use openraft::{
    EntryPayload, OptionalSend, RaftLogReader,
    entry::RaftEntry,
    storage::{IOFlushed, LogState, RaftLogStorage},
};
use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    ops::RangeBounds,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

#[derive(Default)]
struct Mirror {
    vote: Option<Vote>,
    committed: Option<RaftLogId>,
    purged: Option<RaftLogId>,
    entries: BTreeMap<u64, Entry>,
    /// Truncations so far: a sync of what one of them cut off says nothing about what came in its place.
    truncations: u64,
}

/// Cheap to clone; also openraft's reader.
#[derive(Clone)]
pub(crate) struct LogStore {
    mirror: Arc<Mutex<Mirror>>,
    file: Option<LogFile>,
    observed: Observed,
}

impl LogStore {
    /// Entries that the observer hasn't been told of yet; [`replay`](Self::replay) does that.
    pub(crate) fn new(
        file: Option<LogFile>,
        recovered: Recovered,
        path: &Path,
        observed: Observed,
    ) -> Result<Self, StorageError> {
        let damaged = |error: super::codec::CodecError| StorageError::damaged(path, error.to_string());
        let mut mirror = Mirror {
            vote: recovered.vote.map(|b| decode("vote", &b)).transpose().map_err(damaged)?,
            committed: recovered
                .committed
                .map(|b| decode("committed mark", &b))
                .transpose()
                .map_err(damaged)?,
            purged: recovered.purged.map(|b| decode("purged mark", &b)).transpose().map_err(damaged)?,
            entries: BTreeMap::new(),
            truncations: 0,
        };
        for (index, bytes) in recovered.entries {
            let entry: Entry = decode("log entry", &bytes).map_err(damaged)?;
            if entry.index() != index {
                return Err(StorageError::damaged(
                    path,
                    format!("entry {index} says it is {}", entry.index()),
                ));
            }
            mirror.entries.insert(index, entry);
        }
        let next = mirror.purged.as_ref().map_or(0, |p| p.index() + 1);
        if let Some(first) = mirror.entries.keys().next()
            && *first > next
        {
            return Err(StorageError::damaged(path, format!("entries {next} to {} are missing", first - 1)));
        }
        // The hint may be ahead: others had the entry on disk before this node's own write of it was. What is here is
        // then a beginning of what is committed, for a truncation is on disk before anything is appended after it.
        mirror.committed = mirror.committed.min(mirror.last());
        Ok(Self { mirror: Arc::new(Mutex::new(mirror)), file, observed })
    }

    /// Tells the observer every entry behind the snapshot.
    pub(crate) fn replay(&self, snapshot: Option<&RaftLogId>) {
        let from = snapshot.map_or(0, |s| s.index() + 1);
        for entry in self.lock().entries.range(from..).map(|(_, entry)| entry) {
            self.observed.appended(entry);
        }
    }

    /// What was found on disk is on disk.
    pub(crate) fn replayed(&self) {
        if let Some(last) = self.last() {
            self.observed.durable(last.index());
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.lock().entries.len() as u64
    }

    pub(crate) fn last(&self) -> Option<RaftLogId> {
        self.lock().last()
    }

    pub(crate) fn purged(&self) -> Option<RaftLogId> {
        self.lock().purged
    }

    /// Entries up to `last` are on disk, unless a truncation came in between.
    fn synced(&self, truncations: u64, last: u64) {
        let mirror = self.lock();
        if mirror.truncations == truncations {
            self.observed.durable(last);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().expect("no holder of this lock panics")
    }

    async fn write(&self, write: Write) -> io::Result<()> {
        match &self.file {
            Some(file) => file.write(write).await.map_err(io::Error::other),
            None => Ok(()),
        }
    }
}

impl Mirror {
    fn last(&self) -> Option<RaftLogId> {
        self.entries.last_key_value().map(|(_, e)| e.log_id()).or(self.purged)
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.lock().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.lock().vote)
    }

    /// At least one entry, then as many as fit one message.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in self.lock().entries.range(start..end).map(|(_, entry)| entry) {
            bytes += size_of_entry(entry);
            if bytes > APPEND_BYTES && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }
}

fn size_of_entry(entry: &Entry) -> usize {
    /// Ids and field names around a command.
    const AROUND_BYTES: usize = 128;
    match &entry.payload {
        EntryPayload::Normal(command) => command.0.len() + AROUND_BYTES,
        EntryPayload::Blank | EntryPayload::Membership(_) => AROUND_BYTES,
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let mirror = self.lock();
        Ok(LogState { last_purged_log_id: mirror.purged, last_log_id: mirror.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    /// Returns after the sync: a vote that could be forgotten must not be heard of.
    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.write(Write::Vote(encode(vote))).await?;
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        self.lock().committed = committed;
        if let (Some(file), Some(committed)) = (&self.file, committed) {
            file.note_committed(encode(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        Ok(self.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        let mut first = None;
        let mut last = 0;
        let truncations;
        {
            let mut mirror = self.lock();
            truncations = mirror.truncations;
            for entry in entries {
                // Before it is written: whatever the observer concludes must hold once a peer hears of the entry.
                self.observed.appended(&entry);
                first.get_or_insert(entry.index());
                last = entry.index();
                if self.file.is_some() {
                    encoded.push(encode(&entry));
                }
                mirror.entries.insert(entry.index(), entry);
            }
        }
        match (&self.file, first) {
            (Some(file), Some(first)) => {
                // Called by the writer thread after the sync that holds these entries.
                let store = self.clone();
                let done = Box::new(move |result: Result<(), StorageError>| {
                    if result.is_ok() {
                        store.synced(truncations, last);
                    }
                    callback.io_completed(result.map_err(io::Error::other));
                });
                file.submit(Write::Append { first, entries: encoded }, done).await.map_err(io::Error::other)
            }
            _ => {
                self.synced(truncations, last);
                callback.io_completed(Ok(()));
                Ok(())
            }
        }
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        let from = last.map_or(0, |last| last.index() + 1);
        {
            let mut mirror = self.lock();
            mirror.truncations += 1;
            self.observed.truncated(from);
            mirror.entries.split_off(&from);
        }
        self.write(Write::TruncateFrom(from)).await
    }

    /// Doesn't wait for the sync: entries that come back after a crash are merely purged again.
    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        {
            let mut mirror = self.lock();
            let kept = mirror.entries.split_off(&(upto.index() + 1));
            mirror.entries = kept;
            mirror.purged = mirror.purged.max(Some(upto));
        }
        let Some(file) = &self.file else { return Ok(()) };
        let write = Write::Purge { upto: upto.index(), mark: encode(&upto) };
        file.submit(write, Box::new(|_| {})).await.map_err(io::Error::other)
    }
}
