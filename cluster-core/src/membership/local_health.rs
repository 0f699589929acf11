//! Local health: how late this agent itself was (Lifeguard, Dadgar et al. 2017, section 3.1).
//!
//! Who is paused, starved or swapped out hears nobody, and is the only one to blame. So a machine that judges silence
//! first asks here how much of it was its own: a step that comes much later than was promised is a stall, and so
//! is what the caller knows of itself. No moment is counted twice. Not here: what is done with it.

use crate::{time::Instant, timing::Timing};
use core::time::Duration;

/// The worst health; zero is the best.
pub const SCORE_MAX: u8 = 8;
/// From here on an agent's findings are its own trouble.
const SCORE_BAD: u8 = 5;
/// Of the time waited for a processor, in per mille.
const PRESSURE_HIGH: u16 = 600;
/// A score falls by one in so much time without a stall.
const EASE_EVERY: Duration = Duration::from_secs(5);

/// How often the machines that judge silence are to be ticked.
#[must_use]
pub fn tick_every(timing: &Timing) -> Duration {
    timing.heartbeat / 8
}

#[derive(Clone, Debug)]
pub struct LocalHealth {
    tick: Duration,
    /// Lateness below this is the scheduler's usual noise.
    tolerance: Duration,
    /// Stalls of this length cost a fresh window.
    long: Duration,
    last: Instant,
    /// The next step was promised by then, if that isn't a tick after the last one.
    promised: Option<Instant>,
    credited_until: Instant,
    grace_until: Instant,
    score: u8,
    eased_at: Instant,
}

impl LocalHealth {
    #[must_use]
    pub fn new(timing: &Timing, now: Instant) -> Self {
        Self {
            tick: tick_every(timing),
            tolerance: timing.heartbeat / 4,
            long: timing.suspect_floor,
            last: now,
            promised: None,
            credited_until: now,
            grace_until: now,
            score: 0,
            eased_at: now,
        }
    }

    /// To be called at each step, before anything is judged. How long this agent slept since the last one.
    #[must_use]
    pub fn observe(&mut self, now: Instant) -> Duration {
        assert!(self.last <= now, "time ran backwards");
        let tick = self.last + self.tick;
        let due = self.promised.take().map_or(tick, |at| at.max(tick));
        self.last = now;
        if now.since(self.eased_at) >= EASE_EVERY {
            self.eased_at = now;
            self.score = self.score.saturating_sub(1);
        }
        if now.since(due) < self.tolerance { Duration::ZERO } else { self.stalled(due, now) }
    }

    /// The caller says that it was kept from reading what came for `by`. How much of that is news.
    #[must_use]
    pub fn late(&mut self, now: Instant, by: Duration) -> Duration {
        self.stalled(now - by, now)
    }

    fn stalled(&mut self, from: Instant, to: Instant) -> Duration {
        let slept = to.since(from.max(self.credited_until));
        if slept.is_zero() {
            return slept;
        }
        self.credited_until = to;
        self.eased_at = to;
        self.score = (self.score + 1).min(SCORE_MAX);
        // After a short stall what came meanwhile is read within a moment; after a long one streams have to be made anew.
        let grace = if slept >= self.long { self.long } else { self.tolerance };
        self.grace_until = self.grace_until.max(to + grace);
        slept
    }

    /// The next step comes by then; one that comes sooner takes the promise back.
    pub fn promise(&mut self, by: Instant) {
        self.promised = Some(by);
    }

    /// Processes of this host waited so much of the time for a processor (PSI): it may be late without knowing when.
    pub fn pressed(&mut self, now: Instant, per_mille: u16) {
        if per_mille >= PRESSURE_HIGH {
            self.score = (self.score + 1).min(SCORE_MAX);
            self.eased_at = now;
        }
    }

    /// Whether this agent was late so often of late that it had better say nothing against others.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.score >= SCORE_BAD
    }

    /// After a long stall nobody is blamed before what came meanwhile could be read, and streams be made anew.
    #[must_use]
    pub fn in_grace(&self, now: Instant) -> bool {
        now < self.grace_until
    }

    /// When that is over.
    #[must_use]
    pub fn grace_until(&self) -> Instant {
        self.grace_until
    }

    #[must_use]
    pub fn score(&self) -> u8 {
        self.score
    }
}
