//! The only place that reads a clock for the core, and the ticks on which this process does what it does again and again.

use cluster_core::{
    ids::BootId,
    time::{Clocks, Instant, WallTime},
};
use rustix::time::{ClockId, clock_gettime};
use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Between two looks at everything that has a time, while anything is under way. What needn't be exact falls on the same
/// moments: to wake costs more than what is done then.
pub const TICK: Duration = Duration::from_millis(50);

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

/// How long until the first tick that is no sooner than `wait` from now.
#[must_use]
pub fn until_tick(wait: Duration) -> Duration {
    static FIRST: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    until_tick_after(FIRST.elapsed(), wait)
}

fn until_tick_after(now: Duration, wait: Duration) -> Duration {
    let tick = TICK.as_nanos();
    let over = (now + wait).as_nanos() % tick;
    let missing = if over == 0 { 0 } else { tick - over };
    wait + Duration::from_nanos(u64::try_from(missing).expect("it is less than a tick"))
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
    fn a_tick_is_never_sooner_than_asked_for_and_less_than_one_later() {
        let ms = Duration::from_millis;
        for (now, wait, until) in
            [(0, 0, 0), (0, 1, 50), (10, 0, 40), (10, 40, 40), (10, 41, 90), (149, 100, 101)]
        {
            assert_eq!(until_tick_after(ms(now), ms(wait)), ms(until), "{wait} ms at {now} ms");
        }
        let until = until_tick(TICK);
        assert!(until >= TICK && until < 2 * TICK);
    }

    #[test]
    fn clocks_go_forward_and_the_boot_id_stays() {
        let before = now();
        let after = now();
        assert!(before.boot <= after.boot && before.raw <= after.raw);
        assert_eq!(boot_id().expect("/proc is mounted").0, boot_id().expect("/proc is mounted").0);
    }
}
