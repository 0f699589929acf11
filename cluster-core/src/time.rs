//! Time as the core sees it: numbers that the caller hands in. Never read from a clock in here.

use core::{
    ops::{Add, Sub},
    time::Duration,
};
use serde::{Deserialize, Serialize};

/// Nanoseconds on one monotonic clock, since an origin that the caller owns. Instants of different clocks, hosts or
/// boots must never be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instant(u64);

impl Instant {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Zero when `earlier` is in fact later: callers need not think about it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How far the two lie apart, whichever comes first.
    #[must_use]
    pub const fn apart(self, other: Self) -> Duration {
        Duration::from_nanos(self.0.abs_diff(other.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at the origin.
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// One reading of the two clocks that a lease's holder lives by; it is over when either says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// `CLOCK_BOOTTIME`: goes on while the host is suspended.
    pub boot: Instant,
    /// `CLOCK_MONOTONIC_RAW`: not slewed by time synchronisation.
    pub raw: Instant,
}

impl Clocks {
    /// This reading, `d` later.
    #[must_use]
    pub fn after(self, d: Duration) -> Self {
        Self { boot: self.boot + d, raw: self.raw + d }
    }

    /// As a deadline: whether either clock has reached it.
    #[must_use]
    pub fn is_over(self, now: Self) -> bool {
        now.boot >= self.boot || now.raw >= self.raw
    }

    /// The earlier of two deadlines, clock by clock.
    #[must_use]
    pub fn min_each(self, other: Self) -> Self {
        Self { boot: self.boot.min(other.boot), raw: self.raw.min(other.raw) }
    }
}

/// Milliseconds since 1970 in UTC, by some host's wall clock: for people to read, never for decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Zero when `earlier` is in fact later.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
