//! A host's clocks as functions of true time. Rates differ by at most 0.1 % between any two clocks of the cluster;
//! both start near zero with each boot.

use super::rng::Rng;
use cluster_core::time::{Clocks, Instant, WallTime};
use core::time::Duration;

/// How far a clock's rate may be off, in parts per million; two of them differ by at most twice that.
const RATE_OFF_PPM: u64 = 499;
/// When the simulation starts, for people.
const EPOCH_MS: u64 = 1_700_000_000_000;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    booted: Instant,
    /// Nanoseconds that the clock showed at `booted`, and how many it gains in a million.
    start_ns: u64,
    boot_ppm: i64,
    raw_ppm: i64,
    wall_skew_ms: u64,
}

impl Clock {
    /// A host that boots at `now`, true time. The hosts that are there at the beginning have been up for a while.
    #[must_use]
    pub fn new(rng: &mut Rng, now: Instant, up_for: Duration) -> Self {
        let mut ppm =
            || i64::try_from(rng.between(0, 2 * RATE_OFF_PPM + 1)).expect("small") - RATE_OFF_PPM as i64;
        let (boot_ppm, raw_ppm) = (ppm(), ppm());
        let start_ns = u64::try_from(up_for.as_nanos()).expect("an up-time");
        Self { booted: now, start_ns, boot_ppm, raw_ppm, wall_skew_ms: rng.between(0, 1_000) }
    }

    #[must_use]
    pub fn read(&self, now: Instant) -> Clocks {
        let passed = u64::try_from(now.since(self.booted).as_nanos()).expect("a run is short");
        let at = |ppm: i64| Instant::from_nanos(self.start_ns + scaled(passed, ppm));
        Clocks { boot: at(self.boot_ppm), raw: at(self.raw_ppm) }
    }

    /// In how much true time CLOCK_BOOTTIME will show `at`.
    #[must_use]
    pub fn until_boot(&self, now: Instant, at: Instant) -> Duration {
        let left = u64::try_from(at.since(self.read(now).boot).as_nanos()).expect("a run is short");
        Duration::from_nanos(scaled(left, -self.boot_ppm) + 1)
    }

    #[must_use]
    pub fn wall(&self, now: Instant) -> WallTime {
        WallTime(EPOCH_MS + now.as_millis() + self.wall_skew_ms)
    }
}

fn scaled(ns: u64, ppm: i64) -> u64 {
    let change = i128::from(ns) * i128::from(ppm) / 1_000_000;
    u64::try_from(i128::from(ns) + change).expect("a clock runs forward")
}
