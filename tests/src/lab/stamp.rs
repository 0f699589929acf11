//! The truth about who ran when: a workload that stamps its generation and CLOCK_BOOTTIME, which all hosts of the lab
//! share, every five milliseconds, and what its file proves.

use super::error::LabError;
use std::{
    collections::BTreeMap, ffi::OsString, fs::OpenOptions, io::Write as _, path::Path, time::Duration,
};

const EVERY: Duration = Duration::from_millis(5);

/// If this process was started as `PROGRAM stamp FILE`, stamps for ever; returns at once otherwise. Each binary that
/// runs a lab calls it first.
pub fn run_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next() == Some(OsString::from("stamp"))
        && let Some(file) = arguments.next()
    {
        stamp(Path::new(&file));
    }
}

fn stamp(path: &Path) -> ! {
    let generation = std::env::var("HOLDFAST_GENERATION").unwrap_or_else(|_| "0".into());
    let mut file =
        OpenOptions::new().create(true).append(true).open(path).expect("the lab's directory is there");
    loop {
        // One write each: lines of two writers never mix.
        let line = format!("{generation} {}\n", boot_time_ns());
        file.write_all(line.as_bytes()).expect("the lab's disk has room");
        std::thread::sleep(EVERY);
    }
}

/// Nanoseconds of CLOCK_BOOTTIME.
#[must_use]
pub fn boot_time_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    assert_eq!(result, 0, "Linux has CLOCK_BOOTTIME");
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// When each generation was first and last seen running.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    pub generations: BTreeMap<u64, Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first_ns: u64,
    pub last_ns: u64,
}

impl Stamps {
    pub fn read(path: &Path) -> Result<Self, LabError> {
        let text = std::fs::read_to_string(path).map_err(LabError::io(format!("read {path:?}")))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut generations: BTreeMap<u64, Span> = BTreeMap::new();
        let stamps = text.lines().filter_map(|line| {
            let (generation, at) = line.split_once(' ')?;
            Some((generation.parse::<u64>().ok()?, at.parse::<u64>().ok()?))
        });
        for (generation, at) in stamps {
            let span = generations.entry(generation).or_insert(Span { first_ns: at, last_ns: at });
            span.first_ns = span.first_ns.min(at);
            span.last_ns = span.last_ns.max(at);
        }
        Self { generations }
    }

    /// Two generations that ran at the same moment, and for how long: promise 1 is broken.
    #[must_use]
    pub fn overlap(&self) -> Option<(u64, u64, Duration)> {
        let mut spans: Vec<(u64, Span)> = self.generations.iter().map(|(g, s)| (*g, *s)).collect();
        spans.sort_by_key(|(_, span)| span.first_ns);
        spans.windows(2).find_map(|pair| {
            let ((one, first), (other, second)) = (pair[0], pair[1]);
            let both = first.last_ns.checked_sub(second.first_ns)?;
            Some((one, other, Duration::from_nanos(both)))
        })
    }

    /// The newest generation, by number.
    #[must_use]
    pub fn newest(&self) -> Option<(u64, Span)> {
        self.generations.last_key_value().map(|(g, s)| (*g, *s))
    }

    /// From the last stamp of the generation before the newest to the newest one's first.
    #[must_use]
    pub fn last_gap(&self) -> Option<Duration> {
        let mut newest_first = self.generations.values().rev();
        let (after, before) = (newest_first.next()?, newest_first.next()?);
        Some(Duration::from_nanos(after.first_ns.saturating_sub(before.last_ns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_one_after_the_other_do_not_overlap() {
        let stamps = Stamps::parse("1 100\n1 200\n3 201\n3 300\n");
        assert_eq!(stamps.overlap(), None);
        assert_eq!(stamps.last_gap(), Some(Duration::from_nanos(1)));
        assert_eq!(stamps.newest().map(|n| n.0), Some(3));
    }

    #[test]
    fn one_shared_moment_is_an_overlap() {
        let stamps = Stamps::parse("1 100\n2 150\n1 200\n2 300\n");
        assert_eq!(stamps.overlap(), Some((1, 2, Duration::from_nanos(50))));
        assert_eq!(Stamps::parse("1 100\n1 200\n2 200\n").overlap(), Some((1, 2, Duration::ZERO)));
    }

    #[test]
    fn a_line_cut_short_by_a_crash_is_not_a_stamp() {
        assert_eq!(Stamps::parse("1 100\n2 \n").generations.len(), 1);
    }
}
