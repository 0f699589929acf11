//! The Raft log, the vote and two marks in one redb file, behind one writer thread: many queued writes, one commit,
//! one sync, then the callbacks. Nothing is reported as done before the sync that made it durable.
//!
//! Bytes only; it doesn't know what an entry says. It keeps nothing in memory: whoever opens it gets everything back
//! once, in [`Recovered`], and the log is short because it is purged after each snapshot. That is also why redb's
//! quick repair is off: it would double the cost of a commit to spare a walk over a few megabytes.

use super::{StorageError, files, log_writer, record};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};
use tokio::sync::mpsc;

/// Raised with each change of what the file holds or means.
pub(crate) const FORMAT: u32 = 1;
/// redb's page cache. The log isn't read after it was opened, so it only has to hold what a commit touches.
const CACHE_BYTES: usize = 2 << 20;
/// Writes that wait for the writer thread; whoever submits one more waits.
const QUEUED_WRITES: usize = 1_024;

pub(crate) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
pub(crate) const MARKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("marks");
pub(crate) const FORMAT_MARK: &str = "format";
pub(crate) const VOTE: &str = "vote";
pub(crate) const COMMITTED: &str = "committed";
pub(crate) const PURGED: &str = "purged";

/// All that the file held when it was opened; entries are in order and without a gap.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub vote: Option<Vec<u8>>,
    pub committed: Option<Vec<u8>>,
    pub purged: Option<Vec<u8>>,
    pub entries: Vec<(u64, Vec<u8>)>,
}

/// One change of the file. Those submitted earlier are on disk no later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Append {
        first: u64,
        entries: Vec<Vec<u8>>,
    },
    Vote(Vec<u8>),
    /// Entries at this index and after it go.
    TruncateFrom(u64),
    /// Entries up to this index go; `mark` is kept in their place.
    Purge {
        upto: u64,
        mark: Vec<u8>,
    },
}

/// Called on the writer thread after the sync; must not block.
pub type Done = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

pub(crate) enum Job {
    Write(Write, Done),
    Close,
}

/// A handle on the writer thread; cheap to clone.
#[derive(Clone)]
pub struct LogFile {
    path: Arc<Path>,
    jobs: mpsc::Sender<Job>,
    /// Written with the next commit, whatever causes that: it is a hint, so it costs no sync of its own.
    committed: Arc<Mutex<Option<Vec<u8>>>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl LogFile {
    /// Opens the file, or makes it unless `must_exist`. Blocks.
    pub fn open(path: &Path, must_exist: bool) -> Result<(Self, Recovered), StorageError> {
        if !path.exists() {
            if must_exist {
                let because = "this node has voted in its cluster";
                return Err(StorageError::Missing { path: path.to_owned(), because });
            }
            create(path)?;
        }
        let db = guarded(path, || builder().open(path))?;
        // What a killed process wrote and didn't sync is read back all the same: it must be on the disk before this
        // node builds on it.
        let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|source| StorageError::io("sync", path, source))?;
        Self::start(db, path)
    }

    /// For doubles of a disk: a file that was never written is made.
    #[cfg(test)]
    pub(crate) fn open_backend(
        backend: impl redb::StorageBackend,
        name: &str,
    ) -> Result<(Self, Recovered), StorageError> {
        let path = Path::new(name);
        let db = guarded(path, || builder().create_with_backend(backend))?;
        format(&db, path)?;
        Self::start(db, path)
    }

    fn start(db: Database, path: &Path) -> Result<(Self, Recovered), StorageError> {
        let recovered = guarded_read(path, || recover(&db, path))?;
        let (jobs, queue) = mpsc::channel(QUEUED_WRITES);
        let committed = Arc::new(Mutex::new(None));
        let writer = log_writer::Writer::new(db, path.to_owned(), committed.clone());
        let thread = std::thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|source| StorageError::io("start the writer thread of", path, source))?;
        let thread = Arc::new(Mutex::new(Some(thread)));
        Ok((Self { path: path.into(), jobs, committed, thread }, recovered))
    }

    /// Queues a write; waits only while the queue is full. `done` isn't called when this fails.
    pub async fn submit(&self, write: Write, done: Done) -> Result<(), StorageError> {
        self.jobs.send(Job::Write(write, done)).await.map_err(|_| self.closed())
    }

    /// Queues a write and waits for its sync.
    pub async fn write(&self, write: Write) -> Result<(), StorageError> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let done: Done = Box::new(move |result| {
            // Whoever waited may have been cancelled.
            let _ = tell.send(result);
        });
        self.submit(write, done).await?;
        told.await.map_err(|_| self.closed())?
    }

    /// The newest index known to be committed, as a hint for the next start.
    pub fn note_committed(&self, mark: Vec<u8>) {
        *self.committed.lock().expect("no holder of this lock panics") = Some(mark);
    }

    /// Returns once everything queued before is on disk and the file is closed.
    pub async fn close(&self) {
        // A send that fails means that the thread has ended already.
        let _ = self.jobs.send(Job::Close).await;
        let thread = self.thread.lock().expect("no holder of this lock panics").take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            debug_assert!(joined.is_ok(), "joining the writer thread can't be cancelled");
        }
    }

    fn closed(&self) -> StorageError {
        StorageError::Closed { path: self.path.to_path_buf() }
    }
}

fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    // Without it redb trusts a closed file, and an altered page may panic much later.
    builder.set_check_integrity_on_open(true);
    builder
}

/// A whole file or none: made under another name, then renamed.
fn create(path: &Path) -> Result<(), StorageError> {
    let unfinished = files::beside(path);
    if unfinished.exists() {
        std::fs::remove_file(&unfinished)
            .map_err(|source| StorageError::io("remove the unfinished", &unfinished, source))?;
    }
    let db = guarded(path, || builder().create(&unfinished))?;
    format(&db, path)?;
    drop(db);
    std::fs::rename(&unfinished, path).map_err(|source| StorageError::io("create", path, source))?;
    files::sync_parent(path)
}

/// Writes the format into a file that has none.
fn format(db: &Database, path: &Path) -> Result<(), StorageError> {
    guarded(path, || {
        let txn = db.begin_write()?;
        txn.open_table(LOG)?;
        let mut marks = txn.open_table(MARKS)?;
        if marks.get(FORMAT_MARK)?.is_none() {
            marks.insert(FORMAT_MARK, FORMAT.to_le_bytes().as_slice())?;
        }
        drop(marks);
        txn.commit()?;
        Ok::<_, redb::Error>(())
    })
}

fn recover(db: &Database, path: &Path) -> Result<Recovered, StorageError> {
    let broken = |error: redb::Error| translate(path, error);
    let txn = db.begin_read().map_err(|e| broken(e.into()))?;
    let marks = txn.open_table(MARKS).map_err(|e| broken(e.into()))?;
    check_format(&marks, path)?;
    let mark = |name: &'static str| -> Result<Option<Vec<u8>>, StorageError> {
        let Some(value) = marks.get(name).map_err(|e| broken(e.into()))? else { return Ok(None) };
        let body = record::unseal(name.as_bytes(), value.value());
        let what = || StorageError::damaged(path, format!("the checksum of its mark \"{name}\" is wrong"));
        Ok(Some(body.ok_or_else(what)?.to_vec()))
    };
    let (vote, committed, purged) = (mark(VOTE)?, mark(COMMITTED)?, mark(PURGED)?);

    let log = txn.open_table(LOG).map_err(|e| broken(e.into()))?;
    let mut entries: Vec<(u64, Vec<u8>)> = Vec::new();
    for item in log.iter().map_err(|e| broken(e.into()))? {
        let (index, value) = item.map_err(|e| broken(e.into()))?;
        let index = index.value();
        if let Some((before, _)) = entries.last()
            && *before + 1 != index
        {
            return Err(StorageError::damaged(path, format!("entry {} follows entry {before}", index)));
        }
        let body = record::unseal(&index.to_le_bytes(), value.value())
            .ok_or_else(|| StorageError::damaged(path, format!("the checksum of entry {index} is wrong")))?;
        entries.push((index, body.to_vec()));
    }
    Ok(Recovered { vote, committed, purged, entries })
}

fn check_format(
    marks: &impl ReadableTable<&'static str, &'static [u8]>,
    path: &Path,
) -> Result<(), StorageError> {
    let value = marks.get(FORMAT_MARK).map_err(|e| translate(path, e.into()))?;
    let bytes = value.as_ref().and_then(|v| <[u8; 4]>::try_from(v.value()).ok());
    match bytes.map(u32::from_le_bytes) {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => {
            Err(StorageError::TooNew { path: path.to_owned(), found, known: FORMAT })
        }
        _ => Err(StorageError::damaged(path, "it doesn't say its format")),
    }
}

/// redb may panic over pages that it didn't write; that too is a damaged file and nothing else.
fn guarded<T, E: Into<redb::Error>>(
    path: &Path,
    f: impl FnOnce() -> Result<T, E>,
) -> Result<T, StorageError> {
    guarded_read(path, || f().map_err(|e| translate(path, e.into())))
}

fn guarded_read<T>(path: &Path, f: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
    let caught = catch_unwind(AssertUnwindSafe(f));
    caught.unwrap_or_else(|panic| Err(StorageError::damaged(path, panic_text(panic.as_ref()))))
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("its pages don't fit together").to_owned()
}

pub(crate) fn translate(path: &Path, error: redb::Error) -> StorageError {
    let path = PathBuf::from(path);
    match error {
        redb::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
            StorageError::damaged(path, source.to_string())
        }
        redb::Error::Io(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            StorageError::damaged(path, "it was cut short")
        }
        redb::Error::Io(source) => StorageError::io("read or write", path, source),
        redb::Error::DatabaseAlreadyOpen => StorageError::InUse { path },
        redb::Error::UpgradeRequired(found) => StorageError::damaged(
            path,
            format!("its inner format is {found}, which this program never wrote"),
        ),
        other => StorageError::damaged(path, other.to_string()),
    }
}
