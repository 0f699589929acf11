//! The only place that reads a clock for the core.

use cluster_core::{
    ids::BootId,
    time::{Clocks, Instant, WallTime},
};
use rustix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

fn read(id: ClockId) -> Instant {
    let t = clock_gettime(id);
    let seconds = u64::try_from(t.tv_sec).expect("monotonic clocks start at zero");
    let nanos = u64::try_from(t.tv_nsec).expect("the kernel keeps nanoseconds below a second");
    Instant::from_nanos(seconds * 1_000_000_000 + nanos)
}

/// Both clocks that a lease's holder lives by.
#[must_use]
pub fn now() -> Clocks {
    Clocks { boot: read(ClockId::Boottime), raw: raw() }
}

/// `CLOCK_MONOTONIC_RAW`: what voters, the leader and every other machine count in.
#[must_use]
pub fn raw() -> Instant {
    read(ClockId::MonotonicRaw)
}

/// The host's wall clock, for people to read.
#[must_use]
pub fn wall() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// The kernel's boot id is missing or malformed.
#[derive(Debug, thiserror::Error)]
#[error("/proc/sys/kernel/random/boot_id: {0}; Holdfast needs /proc mounted to tell one boot from the next")]
pub struct NoBootId(String);

/// 64 bits of the kernel's random boot id.
pub fn boot_id() -> Result<BootId, NoBootId> {
    let text =
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(|e| NoBootId(e.to_string()))?;
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    let first = digits.get(..16).ok_or_else(|| NoBootId(format!("\"{}\" is too short", text.trim())))?;
    first.parse().map_err(|_| NoBootId(format!("\"{}\" is no id", text.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward_and_the_boot_id_stays() {
        let before = now();
        let after = now();
        assert!(before.boot <= after.boot && before.raw <= after.raw);
        assert_eq!(boot_id().expect("/proc is mounted").0, boot_id().expect("/proc is mounted").0);
    }
}
