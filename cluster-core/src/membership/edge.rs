//! Edge: how long one peer has been silent to this agent, and from when on that is odd for this peer.
//!
//! Phi accrual (Hayashibara et al., SRDS 2004, section 4): the gaps between its last heartbeats are taken as normally
//! distributed; phi is how many decimal places of luck it would take for the next one to be merely late. Their middle is
//! the interval that was promised, and those that came late alone tell how far they stray: one that is sent early, for
//! what it carries, makes nobody patient. The silence at which phi is high enough is worked out when a heartbeat comes,
//! so that asking costs nothing. A floor and a ceiling bound what the history can say. A stream's end is odd at once.
//! What this agent slept through is not held against the peer (`credit`), and a silence beyond the ceiling, which was
//! looked into, was no late heartbeat but an outage. All of it only leads to a second opinion, never to a decision.

use super::link::DIAL_AFTER;
use crate::{ids::SessionId, time::Instant, timing::Timing};
use core::time::Duration;
use std::collections::VecDeque;

/// Gaps remembered: at 400 ms thirteen seconds.
const GAPS_MAX: usize = 32;
/// Deviations above the middle at which phi is 8: one in 10^8 heartbeats, were gaps truly normal.
pub(super) const DEVIATIONS: f64 = 5.226;
/// The least deviation, in heartbeats: the scheduler's noise and the ticks'.
pub(super) const DEVIATION_MIN: f64 = 0.1;

/// A stream may take so long to come about: by then both ends have dialled. To ask after the peer sooner costs more
/// handshakes than the stream has still to wait for, on both sides and among helpers: where many start at once, all would
/// ask and none be done.
fn comes_within(timing: &Timing) -> Duration {
    DIAL_AFTER + timing.suspect_ceiling
}

#[derive(Clone, Debug)]
pub struct Edge {
    /// When this agent first knew of the peer, or of its present life.
    since: Instant,
    heard_at: Option<Instant>,
    /// What this agent slept through since the last sign.
    credit: Duration,
    /// The last moment at which there was nothing odd, and what this agent slept through since.
    fair_at: Instant,
    fair_credit: Duration,
    /// So long after `fair_at` it is odd.
    limit: Duration,
    /// By how much each came late, in microseconds, with the sum of their squares.
    late: VecDeque<u32>,
    squares: u64,
    open: bool,
    /// A heartbeat came since the edge was last wanted without a stream, in whichever of the peer's lives.
    stood: bool,
    ended_at: Option<Instant>,
    session: Option<SessionId>,
    /// The number of the last heartbeat taken of that session.
    seq: u64,
}

impl Edge {
    #[must_use]
    pub fn new(now: Instant, timing: &Timing) -> Self {
        Self {
            since: now,
            heard_at: None,
            credit: Duration::ZERO,
            fair_at: now,
            fair_credit: Duration::ZERO,
            limit: timing.suspect_ceiling,
            late: VecDeque::new(),
            squares: 0,
            open: false,
            stood: false,
            ended_at: None,
            session: None,
            seq: 0,
        }
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Of its present life.
    #[must_use]
    pub fn heard_at(&self) -> Option<Instant> {
        self.heard_at
    }

    /// Whether a heartbeat ever came over this edge, as it is wanted now.
    #[must_use]
    pub fn stood(&self) -> bool {
        self.stood
    }

    /// Whether the peer is silent for so long that one who is well would have been heard, over a stream made anew too.
    #[must_use]
    pub fn is_long_silent(&self, now: Instant, timing: &Timing) -> bool {
        let first = if self.stood { timing.suspect_ceiling } else { comes_within(timing) };
        self.silence(now) >= first + timing.suspect_ceiling
    }

    /// Since the last sign, or since the peer is known, less what this agent slept through.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Duration {
        now.since(self.heard_at.unwrap_or(self.since)).saturating_sub(self.credit)
    }

    #[must_use]
    pub fn ended(&self, now: Instant) -> Option<Duration> {
        self.ended_at.map(|t| now.since(t))
    }

    /// Whether the peer was last heard in another session than this.
    #[must_use]
    pub fn is_of_another(&self, session: SessionId) -> bool {
        self.session.is_some_and(|s| s != session)
    }

    /// A heartbeat came. False if it is one of this life that came before: no sign of anything.
    pub fn heard(&mut self, now: Instant, session: SessionId, seq: u64, timing: &Timing) -> bool {
        if self.session != Some(session) {
            self.squares = 0;
            self.late.clear();
            (self.session, self.heard_at) = (Some(session), None);
        } else if seq <= self.seq {
            return false;
        }
        let gap = self.silence(now);
        if self.heard_at.is_some() && gap <= timing.suspect_ceiling {
            self.remember(gap.saturating_sub(timing.heartbeat));
        }
        (self.seq, self.stood) = (seq, true);
        (self.heard_at, self.credit) = (Some(now), Duration::ZERO);
        (self.fair_at, self.fair_credit) = (now, Duration::ZERO);
        self.limit = self.odd_after(timing);
        self.ended_at = None;
        true
    }

    fn remember(&mut self, late: Duration) {
        let late = u32::try_from(late.as_micros()).expect("a ceiling is less than an hour");
        let square = |late: u32| u64::from(late) * u64::from(late);
        if self.late.len() == GAPS_MAX {
            self.squares -= square(self.late.pop_front().expect("it is full"));
        }
        self.late.push_back(late);
        self.squares += square(late);
    }

    /// The silence at which phi reaches its threshold, within floor and ceiling.
    fn odd_after(&self, timing: &Timing) -> Duration {
        // The interval that was promised counts as one observation, so that there always is one.
        #[expect(clippy::cast_precision_loss, reason = "at most GAPS_MAX of a few seconds in microseconds")]
        let (count, squares) = ((self.late.len() + 1) as f64, self.squares as f64 / 1e12);
        let expected = timing.heartbeat.as_secs_f64();
        // As many stray to the other side.
        let deviation = (2.0 * squares / count).sqrt().max(expected * DEVIATION_MIN);
        let odd = Duration::from_secs_f64(expected + DEVIATIONS * deviation);
        odd.clamp(timing.suspect_floor, timing.suspect_ceiling)
    }

    pub fn opened(&mut self, now: Instant, timing: &Timing) {
        self.open = true;
        if !self.stood {
            self.vouched(now, timing.suspect_ceiling);
        }
    }

    pub fn closed(&mut self, now: Instant) {
        self.open = false;
        self.ended_at = Some(now);
    }

    /// This agent was asleep for so long.
    pub fn credit(&mut self, slept: Duration) {
        self.credit = self.credit.saturating_add(slept);
        self.fair_credit = self.fair_credit.saturating_add(slept);
    }

    /// The edge is wanted from now on: silence before it is nobody's fault. Whether its stream is one that stands from
    /// before and fell silent.
    pub fn wanted(&mut self, now: Instant, timing: &Timing) -> bool {
        let stale = self.open && self.heard_at.is_some() && self.silence(now) >= timing.suspect_ceiling;
        if stale || !self.open {
            (self.since, self.heard_at, self.ended_at, self.credit) = (now, None, None, Duration::ZERO);
        }
        self.stood &= self.open;
        self.vouched(now, if self.open { timing.suspect_ceiling } else { comes_within(timing) });
        stale
    }

    /// The peer gave a sign of life in another way than by a heartbeat: nothing is odd before `limit` passed.
    pub fn vouched(&mut self, now: Instant, limit: Duration) {
        (self.fair_at, self.fair_credit, self.limit) = (now, Duration::ZERO, limit);
    }

    /// A new life of the peer is known, which nobody here heard yet.
    pub fn reborn(&mut self, now: Instant, timing: &Timing) {
        (self.since, self.heard_at, self.credit) = (now, None, Duration::ZERO);
        self.ended_at = None;
        self.vouched(now, timing.suspect_ceiling);
    }

    /// From when on its silence is odd, if it goes on.
    #[must_use]
    pub fn odd_at(&self) -> Instant {
        match self.ended_at {
            Some(ended) if ended >= self.fair_at => ended,
            _ => self.fair_at + self.limit + self.fair_credit,
        }
    }
}
