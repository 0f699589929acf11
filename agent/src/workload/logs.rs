//! A slot's output: a byte stream over all its restarts, of which the newest few segments are kept.
//!
//! A segment's name is the stream's offset at its start, so nothing is renamed, an offset means the same before and
//! after a rotation, and a reader sees at once what is gone.
//!
//! Not here: whose output it is, lines, times.

use super::spec::LogLimits;
use std::{
    fs, io,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// The most that one read returns.
pub const MAX_READ_BYTES: usize = 1 << 20;

/// Where to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// So many bytes before the end.
    Tail(u64),
    /// This offset of the stream, or the oldest one kept.
    Offset(u64),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Of its first byte.
    pub offset: u64,
    pub bytes: Vec<u8>,
    /// Where the stream ends for now; there is more to read until `offset + bytes.len()` reaches it.
    pub end: u64,
}

/// The directory of a slot's segments.
#[must_use]
pub fn slot_dir(guards: &Path, workload: &str, index: u32) -> PathBuf {
    guards.join("logs").join(workload).join(index.to_string())
}

fn segment_path(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:020}.log"))
}

/// Start and length of each segment, oldest first.
fn segments(dir: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let start = entry.file_name().to_str().and_then(|n| n.strip_suffix(".log")?.parse().ok());
        if let Some(start) = start {
            match entry.metadata() {
                Ok(meta) => found.push((start, meta.len())),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {} // rotated away just now
                Err(e) => return Err(e),
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The writing end. A slot has one at a time, its guard.
pub struct Writer {
    dir: PathBuf,
    limits: LogLimits,
    file: fs::File,
    start: u64,
    length: u64,
}

impl Writer {
    /// Goes on where the last writer stopped.
    pub fn open(dir: &Path, limits: LogLimits) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let (start, length) = segments(dir)?.last().copied().unwrap_or((0, 0));
        let file = append(dir, start)?;
        Ok(Self { dir: dir.to_owned(), limits, file, start, length })
    }

    /// Appends. After an error the stream goes on with what comes next: output is lost rather than held up.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = self.limits.segment_bytes.max(1).saturating_sub(self.length);
            if room == 0 {
                self.rotate()?;
                continue;
            }
            let fits = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
            let written = self.file.write(&bytes[..fits])?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.length += written as u64;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let start = self.start + self.length;
        // Room is made first: a full disk must not keep it full.
        let kept = segments(&self.dir)?;
        let keep = usize::try_from(self.limits.segments.max(1) - 1).unwrap_or(usize::MAX);
        for (old, _) in kept.iter().take(kept.len().saturating_sub(keep)) {
            fs::remove_file(segment_path(&self.dir, *old))?;
        }
        self.file = append(&self.dir, start)?;
        (self.start, self.length) = (start, 0);
        Ok(())
    }
}

fn append(dir: &Path, start: u64) -> io::Result<fs::File> {
    fs::OpenOptions::new().create(true).append(true).open(segment_path(dir, start))
}

/// Reads up to `max` bytes, at most `MAX_READ_BYTES`. A slot without output has an empty stream.
pub fn read(dir: &Path, from: From, max: usize) -> io::Result<Chunk> {
    let segments = match segments(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let Some((&(oldest, _), &(last, last_length))) = segments.first().zip(segments.last()) else {
        return Ok(Chunk::default());
    };
    let end = last + last_length;
    let max = max.min(MAX_READ_BYTES);
    let offset = match from {
        From::Tail(bytes) => end.saturating_sub(bytes),
        From::Offset(offset) => offset,
    };
    let offset = offset.clamp(oldest, end);
    let mut bytes = Vec::new();
    for (start, length) in segments {
        let at = offset + bytes.len() as u64;
        if at < start || at >= start + length || bytes.len() == max {
            continue;
        }
        let mut file = match fs::File::open(segment_path(dir, start)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue, // rotated away just now
            other => other?,
        };
        file.seek(SeekFrom::Start(at - start))?;
        let room = ((max - bytes.len()) as u64).min(start + length - at);
        file.take(room).read_to_end(&mut bytes)?;
    }
    Ok(Chunk { offset, bytes, end })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is written in whatever pieces, by however many writers in turn: a suffix of it is kept, at the
        /// right offsets, and no more than the limits allow.
        #[test]
        fn keeps_a_bounded_suffix(pieces in prop::collection::vec((0usize..40, any::<bool>()), 0..40)) {
            let dir = tempfile::tempdir().unwrap();
            let limits = LogLimits { segment_bytes: 32, segments: 2 };
            let mut writer = Writer::open(dir.path(), limits).unwrap();
            let mut all = Vec::new();
            for (length, anew) in pieces {
                let piece: Vec<u8> = (0..length).map(|i| ((all.len() + i) % 251) as u8).collect();
                if anew {
                    writer = Writer::open(dir.path(), limits).unwrap();
                }
                writer.write(&piece).unwrap();
                all.extend(piece);
            }
            let kept = read(dir.path(), From::Offset(0), 1_000).unwrap();
            let from = usize::try_from(kept.offset).unwrap();
            prop_assert_eq!(&kept.bytes[..], &all[from..]);
            prop_assert_eq!(kept.end, all.len() as u64);
            prop_assert!(kept.bytes.len() <= 64);
            prop_assert!(kept.bytes.len() >= all.len().min(32));
            let tail = read(dir.path(), From::Tail(10), 4).unwrap();
            let start = all.len().saturating_sub(10);
            prop_assert_eq!(&tail.bytes[..], &all[start..all.len().min(start + 4)]);
        }
    }

    #[test]
    fn no_output_is_an_empty_stream() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&dir.path().join("none"), From::Tail(9), 9).unwrap(), Chunk::default());
    }
}
