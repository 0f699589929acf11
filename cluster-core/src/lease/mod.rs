//! Leases: which node may run workloads now, kept by a majority of voters, so that no copy starts before the other ended.
//!
//! Four pieces, none of which trusts a leader's clock or memory: the holder renews, each voter's book remembers what
//! it acknowledged, the leader collects promises once an epoch is revoked, and a guard takes only deadlines of its own
//! epoch. The argument why that is safe, and what it rests on, is `docs/adr/0003-leases.md`.
//!
//! Not here: who is dead, where work goes next, sending anything, writing the deadline page.

mod book;
mod guard;
mod holder;
mod lost;
mod promise;
mod quorum;

pub use book::{Book, Fact, Refusal, Verdict, concerns};
pub use guard::{KILL_BEFORE, Page, accept, has_room, kill_at};
pub use holder::{Effect, Event, Grant, Holder, Renewal};
pub use lost::{Loss, Lost, Observed};
pub use promise::Collector;
pub use quorum::{Groups, is_majority};

use core::time::Duration;

/// Two clocks of the cluster run apart by at most one part in this many (0.1 %).
const RATE_BOUND: u32 = 1_000;

/// `d` on one clock lasts at most this long on any other.
#[must_use]
pub fn on_any_clock(d: Duration) -> Duration {
    d + d / RATE_BOUND + Duration::from_nanos(1)
}
