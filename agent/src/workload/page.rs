//! The deadline page: one mapped file per lease epoch, written by the lease's holder and read by every guard.
//!
//! A sequence lock makes a reader see one deadline and never a half of two; a checksum makes it refuse anything else.
//! It lies in a file so that it outlives the agent, but nothing in it needs a disk: it means nothing on another boot.
//!
//! Not here: what a guard makes of it (`guard::lease`).

use cluster_core::{
    ids::{BootId, LeaseEpoch},
    time::{Clocks, Instant},
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::{
    fs, io,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering, fence},
    },
};

const MAGIC: u64 = u64::from_le_bytes(*b"HFDEADLN");
const VERSION: u64 = 1;
const PAGE_BYTES: usize = 4_096;
/// A writer holds the lock for nanoseconds, unless it died in between: then no amount of tries helps.
const MAX_READ_TRIES: u32 = 64;

/// The page's words, in order.
#[derive(Clone, Copy)]
enum Word {
    Magic,
    Version,
    Boot,
    Epoch,
    /// Odd while the words below are being written.
    Sequence,
    DeadlineBoot,
    DeadlineRaw,
    /// 1: the epoch was taken back; 0 otherwise.
    Revoked,
    Checksum,
}

/// What a page said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub boot: BootId,
    pub epoch: LeaseEpoch,
    /// Zero on both clocks: none was granted yet.
    pub deadline: Clocks,
    pub revoked: bool,
}

/// Why there is nothing to believe on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    #[error("it isn't a deadline page of version {VERSION}")]
    Foreign,
    #[error("its writer stopped in the middle of a word")]
    Torn,
    #[error("its checksum is wrong")]
    Checksum,
}

#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("cannot {what} the deadline page {path}: {source}; check the disk and the directory's owner", path = .path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

/// A shared mapping of a page's file.
struct Mapping(NonNull<AtomicU64>);

// SAFETY: the words are atomics, and the mapping lives as long as the value.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this length in `new`, and nothing borrows it any more.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), PAGE_BYTES) };
    }
}

impl Mapping {
    fn new(file: &fs::File, protection: ProtFlags) -> io::Result<Self> {
        if file.metadata()?.len() != PAGE_BYTES as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it isn't one page long"));
        }
        // SAFETY: a new shared mapping of a file of that length; nobody shortens a page's file.
        let at = unsafe { mmap(std::ptr::null_mut(), PAGE_BYTES, protection, MapFlags::SHARED, file, 0)? };
        NonNull::new(at.cast()).map(Self).ok_or_else(|| io::Error::other("mapped at address zero"))
    }

    fn word(&self, word: Word) -> &AtomicU64 {
        // SAFETY: inside the page, which is aligned and mapped while `self` lives.
        unsafe { self.0.add(word as usize).as_ref() }
    }

    fn load(&self, word: Word) -> u64 {
        self.word(word).load(Ordering::Relaxed)
    }

    fn read(&self) -> Result<Content, ReadFault> {
        if self.load(Word::Magic) != MAGIC || self.load(Word::Version) != VERSION {
            return Err(ReadFault::Foreign);
        }
        for _ in 0..MAX_READ_TRIES {
            let before = self.word(Word::Sequence).load(Ordering::Acquire);
            let content = Content {
                boot: BootId(self.load(Word::Boot)),
                epoch: LeaseEpoch(self.load(Word::Epoch)),
                deadline: Clocks {
                    boot: Instant::from_nanos(self.load(Word::DeadlineBoot)),
                    raw: Instant::from_nanos(self.load(Word::DeadlineRaw)),
                },
                revoked: self.load(Word::Revoked) != 0,
            };
            let sum = self.load(Word::Checksum);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.load(Word::Sequence) == before {
                return if sum == checksum(&content) { Ok(content) } else { Err(ReadFault::Checksum) };
            }
            std::hint::spin_loop();
        }
        Err(ReadFault::Torn)
    }

    /// Only under the writer's lock.
    fn write(&self, content: &Content) {
        let sequence = self.load(Word::Sequence) | 1;
        self.word(Word::Sequence).store(sequence, Ordering::Relaxed);
        fence(Ordering::Release);
        let words = [
            (Word::Boot, content.boot.0),
            (Word::Epoch, content.epoch.0),
            (Word::DeadlineBoot, content.deadline.boot.as_nanos()),
            (Word::DeadlineRaw, content.deadline.raw.as_nanos()),
            (Word::Revoked, u64::from(content.revoked)),
            (Word::Checksum, checksum(content)),
        ];
        for (word, value) in words {
            self.word(word).store(value, Ordering::Relaxed);
        }
        self.word(Word::Sequence).store(sequence.wrapping_add(1), Ordering::Release);
    }
}

fn checksum(content: &Content) -> u64 {
    let words = [
        VERSION,
        content.boot.0,
        content.epoch.0,
        content.deadline.boot.as_nanos(),
        content.deadline.raw.as_nanos(),
        u64::from(content.revoked),
    ];
    let mut bytes = [0; 48];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    u64::from(crc32c::crc32c(&bytes))
}

/// Where the page of `epoch` lies under the guards' directory.
#[must_use]
pub fn path(dir: &Path, epoch: LeaseEpoch) -> PathBuf {
    dir.join(format!("page-{epoch}"))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PageError {
    let path = path.to_owned();
    move |source| PageError::Io { what, path, source }
}

/// The writing side: the lease's holder has one for its epoch.
pub struct DeadlinePage {
    mapping: Mapping,
    /// Serialises writers; holds what the page says.
    content: Mutex<Content>,
}

impl DeadlinePage {
    /// Opens the page of `epoch`, made new unless an earlier agent of this boot left it. Blocks on the disk.
    pub fn create_or_open(dir: &Path, epoch: LeaseEpoch, boot: BootId) -> Result<Self, PageError> {
        fs::create_dir_all(dir).map_err(failed("make the directory of", dir))?;
        let path = path(dir, epoch);
        if let Some(kept) = Self::open(&path, epoch, boot)? {
            return Ok(kept);
        }
        // Made aside and renamed: no guard ever maps half a page, and guards of a page that this replaces keep the old
        // one, on which no deadline moves any more.
        let fresh = path.with_extension("new");
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&fresh);
        let file = file.map_err(failed("create", &fresh))?;
        file.set_len(PAGE_BYTES as u64).map_err(failed("size", &fresh))?;
        let mapping =
            Mapping::new(&file, ProtFlags::READ | ProtFlags::WRITE).map_err(failed("map", &fresh))?;
        let content = Content { boot, epoch, deadline: Clocks::default(), revoked: false };
        mapping.word(Word::Magic).store(MAGIC, Ordering::Relaxed);
        mapping.word(Word::Version).store(VERSION, Ordering::Relaxed);
        mapping.write(&content);
        fs::rename(&fresh, &path).map_err(failed("put in place", &path))?;
        Ok(Self { mapping, content: Mutex::new(content) })
    }

    /// The page that is there, if it can be gone on with.
    fn open(path: &Path, epoch: LeaseEpoch, boot: BootId) -> Result<Option<Self>, PageError> {
        let file = match fs::OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed("open", path)(e)),
        };
        let Ok(mapping) = Mapping::new(&file, ProtFlags::READ | ProtFlags::WRITE) else { return Ok(None) };
        let content = match mapping.read() {
            Ok(content) => content,
            // Its writer died within a write. What its guards last believed stays theirs; the next grant heals it.
            Err(ReadFault::Torn | ReadFault::Checksum) => {
                Content { boot, epoch, deadline: Clocks::default(), revoked: false }
            }
            Err(ReadFault::Foreign) => return Ok(None),
        };
        let ours = content.boot == boot && content.epoch == epoch;
        Ok(ours.then(|| Self { mapping, content: Mutex::new(content) }))
    }

    /// Grants until `deadline`, absolute on both clocks. A deadline that isn't later on both than the last one, and
    /// any after `revoke`, changes nothing.
    pub fn extend(&self, deadline: Clocks) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        // What stands there counts: should another writer be left, neither takes back what the other revoked.
        *content = self.mapping.read().unwrap_or(*content);
        let later = deadline.boot > content.deadline.boot && deadline.raw > content.deadline.raw;
        if later && !content.revoked {
            content.deadline = deadline;
            self.mapping.write(&content);
        }
    }

    /// Takes the epoch back: its guards end their trees at their next look. For good.
    pub fn revoke(&self) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        *content = self.mapping.read().unwrap_or(*content);
        content.revoked = true;
        self.mapping.write(&content);
    }

    /// The last deadline granted; zero when none was.
    #[must_use]
    pub fn deadline(&self) -> Clocks {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).deadline
    }
}

/// The reading side.
pub struct PageReader(Mapping);

impl PageReader {
    /// Maps the page of `epoch`. Fails while there is none.
    pub fn open(dir: &Path, epoch: LeaseEpoch) -> Result<Self, PageError> {
        let path = path(dir, epoch);
        let file = fs::File::open(&path).map_err(failed("open", &path))?;
        Mapping::new(&file, ProtFlags::READ).map(Self).map_err(failed("map", &path))
    }

    pub fn read(&self) -> Result<Content, ReadFault> {
        self.0.read()
    }
}

/// Removes the pages of other boots: no guard of theirs is left.
pub fn remove_stale(dir: &Path, boot: BootId) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(epoch) = name.to_str().and_then(|n| n.strip_prefix("page-")?.parse().ok()) else { continue };
        let stale = PageReader::open(dir, LeaseEpoch(epoch))
            .is_ok_and(|page| page.read().is_ok_and(|content| content.boot != boot));
        if stale {
            fs::remove_file(path(dir, LeaseEpoch(epoch)))?;
        }
    }
    Ok(())
}

/// Now plus `ms` on both clocks: the deadline of a renewal sent now.
#[must_use]
pub fn deadline_in(duration: std::time::Duration) -> Clocks {
    let now = crate::clock::now();
    Clocks { boot: now.boot + duration, raw: now.raw + duration }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: LeaseEpoch = LeaseEpoch(3);
    const BOOT: BootId = BootId(9);

    fn at(ms: u64) -> Clocks {
        Clocks { boot: Instant::from_millis(ms), raw: Instant::from_millis(ms) }
    }

    #[test]
    fn a_page_is_kept_for_the_next_agent_and_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let page = DeadlinePage::create_or_open(dir.path(), EPOCH, BOOT).unwrap();
        let reader = PageReader::open(dir.path(), EPOCH).unwrap();
        assert_eq!(reader.read().unwrap().deadline, Clocks::default());
        page.extend(at(500));
        page.extend(at(400));
        page.extend(Clocks { boot: at(900).boot, raw: at(450).raw });
        drop(page);
        let page = DeadlinePage::create_or_open(dir.path(), EPOCH, BOOT).unwrap();
        assert_eq!(page.deadline(), at(500));
        page.extend(at(450));
        assert_eq!(reader.read().unwrap().deadline, at(500));
        page.extend(at(600));
        assert_eq!(reader.read().unwrap().deadline, at(600));
        let second_writer = DeadlinePage::create_or_open(dir.path(), EPOCH, BOOT).unwrap();
        page.revoke();
        page.extend(at(700));
        second_writer.extend(at(800));
        assert_eq!(reader.read().unwrap().deadline, at(600));
        assert!(reader.read().unwrap().revoked);
    }

    #[test]
    fn another_boots_page_is_replaced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        DeadlinePage::create_or_open(dir.path(), EPOCH, BootId(1)).unwrap().extend(at(500));
        let old = PageReader::open(dir.path(), EPOCH).unwrap();
        let page = DeadlinePage::create_or_open(dir.path(), EPOCH, BOOT).unwrap();
        page.extend(at(900));
        assert_eq!(old.read().unwrap().deadline, at(500));
        remove_stale(dir.path(), BOOT).unwrap();
        assert!(path(dir.path(), EPOCH).exists());
        remove_stale(dir.path(), BootId(2)).unwrap();
        assert!(!path(dir.path(), EPOCH).exists());
    }

    #[test]
    fn every_damaged_word_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let page = DeadlinePage::create_or_open(dir.path(), EPOCH, BOOT).unwrap();
        page.extend(at(500));
        let reader = PageReader::open(dir.path(), EPOCH).unwrap();
        for word in [Word::Magic, Word::Version, Word::Boot, Word::Epoch, Word::DeadlineBoot, Word::Checksum]
        {
            page.mapping.word(word).fetch_xor(2, Ordering::Relaxed);
            assert!(reader.read().is_err(), "word {}", word as usize);
            page.mapping.word(word).fetch_xor(2, Ordering::Relaxed);
        }
        page.mapping.word(Word::Sequence).fetch_add(1, Ordering::Relaxed);
        assert_eq!(reader.read(), Err(ReadFault::Torn));
        page.extend(at(600));
        assert_eq!(reader.read().unwrap().deadline, at(600));
    }

    #[test]
    fn a_reader_never_sees_half_of_two_deadlines() {
        let dir = tempfile::tempdir().unwrap();
        let page = DeadlinePage::create_or_open(dir.path(), EPOCH, BOOT).unwrap();
        let reader = PageReader::open(dir.path(), EPOCH).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (1..20_000).for_each(|ms| page.extend(at(ms))));
            let mut last = Clocks::default();
            while last != at(19_999) {
                // Torn is honest under a busy writer; a checksum fault would be a seqlock that let a mixture through.
                match reader.read() {
                    Ok(content) => {
                        assert_eq!(content.deadline.boot, content.deadline.raw);
                        assert!(content.deadline.boot >= last.boot);
                        last = content.deadline;
                    }
                    Err(fault) => assert_eq!(fault, ReadFault::Torn),
                }
            }
        });
    }
}
