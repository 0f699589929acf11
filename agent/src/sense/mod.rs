//! How this host and this agent fare, as the kernel tells it: for placement, for people, and for the agent's own doubt in
//! what it sees. What isn't there is left out.
//!
//! Not here: what follows from it (`cluster_core::membership`).

mod disks;
mod parse;

pub use disks::{DISKS_EVERY, Disks, Fullness};

use crate::{clock, security::Validity};
use cluster_core::membership::Vitals;
use parse::{load, memory, pressure, run_delay_ns};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Between two looks.
pub const SENSE_EVERY: Duration = Duration::from_secs(2);
/// Threads looked at; the agent has a few, its runtime's blocking ones come and go.
const THREADS_MAX: usize = 64;
/// With less room than this on the disk of `data_dir` the log can't grow, and nothing here can be trusted to be kept.
const DISK_FREE_MIN: u64 = 16 * 1024 * 1024;

/// One look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sensed {
    pub vitals: Vitals,
    /// The share of the time since the last look, in per mille, for which a thread of this agent waited for a processor.
    /// The agent's own: a host that is busy with its work is no worse an observer.
    pub pressure: Option<u16>,
    /// Why this node can't do its work.
    pub sick: Option<String>,
}

/// Looks again and again; keeps what differences need.
#[derive(Debug)]
pub struct Senses {
    data_dir: PathBuf,
    processors: u32,
    waited: Option<(Instant, BTreeMap<OsString, u64>)>,
    /// What this agent shows others, with TLS.
    certificate: Validity,
    disks: Fullness,
}

impl Senses {
    #[must_use]
    pub fn new(data_dir: PathBuf, disks: Fullness, certificate: Validity) -> Self {
        let processors =
            std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        Self { data_dir, processors, waited: None, certificate, disks }
    }

    /// May block, for as long as the kernel takes to say how full a disk is.
    pub fn look(&mut self) -> Sensed {
        let read = |path: &str| fs::read_to_string(path).ok();
        let psi =
            |what: &str| read(&format!("/proc/pressure/{what}")).and_then(|t| pressure(&t)).unwrap_or(0);
        let vitals = Vitals {
            load: read("/proc/loadavg").and_then(|t| load(&t, self.processors)).unwrap_or(0),
            memory: read("/proc/meminfo").and_then(|t| memory(&t)).unwrap_or(0),
            cpu_pressure: psi("cpu"),
            memory_pressure: psi("memory"),
            io_pressure: psi("io"),
            // Membership knows its own.
            health: 0,
            disk: self.disks.get(),
            certificate_ends: self.certificate.near(clock::wall()),
        };
        Sensed { vitals, pressure: self.waiting(), sick: full(&self.data_dir) }
    }

    fn waiting(&mut self) -> Option<u16> {
        let now = Instant::now();
        let threads = fs::read_dir("/proc/self/task").ok()?.take(THREADS_MAX).filter_map(Result::ok);
        let delay = |t: fs::DirEntry| {
            let delay = run_delay_ns(&fs::read_to_string(t.path().join("schedstat")).ok()?)?;
            Some((t.file_name(), delay))
        };
        let waited: BTreeMap<OsString, u64> = threads.filter_map(delay).collect();
        let (then, before) = self.waited.replace((now, waited.clone()))?;
        let over = u64::try_from(now.duration_since(then).as_nanos()).unwrap_or(u64::MAX).max(1);
        let longest = waited.iter().filter_map(|(thread, ns)| ns.checked_sub(*before.get(thread)?)).max()?;
        Some(u16::try_from((longest.saturating_mul(1_000) / over).min(1_000)).expect("it was just limited"))
    }
}

fn full(data_dir: &Path) -> Option<String> {
    let disk = rustix::fs::statvfs(data_dir).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    (free < DISK_FREE_MIN).then(|| format!("the disk of data_dir has {} MB left; make room", free >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_look_has_no_difference_yet_and_the_second_does() {
        let mut senses = Senses::new(std::env::temp_dir(), Fullness::default(), Validity::default());
        assert_eq!(senses.look().pressure, None);
        std::thread::sleep(Duration::from_millis(5));
        let again = senses.look();
        assert!(again.pressure.is_none_or(|p| p <= 1_000));
        assert!(again.vitals.memory > 0 && again.vitals.memory <= 1_000, "{again:?}");
    }

    #[test]
    fn a_place_that_cant_be_asked_isnt_full() {
        assert_eq!(full(Path::new("/nonexistent")), None);
    }
}
