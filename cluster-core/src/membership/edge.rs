//! Edge: how long one peer has been silent to this agent, and whether that is odd for this peer.
//!
//! Phi accrual (Hayashibara et al., SRDS 2004, section 4): the gaps between its last heartbeats are taken as normally
//! distributed; phi is how many decimal places of luck it would take for the next one to be merely late. A floor and a
//! ceiling bound what the history can say. A stream's end is suspicious at once. What this agent slept through is not
//! held against the peer (`credit`). All of it is local judgement: it leads to a word for people, never to a decision.

use crate::{ids::SessionId, time::Instant, timing::Timing};
use core::time::Duration;
use std::collections::VecDeque;

/// Gaps remembered: at 400 ms half a minute.
const GAPS_MAX: usize = 64;
/// One wrong suspicion in 10^8 heartbeats, were gaps truly normal.
const PHI_SUSPECT: f64 = 8.0;
/// Doublings of patience with a peer that others hear and this agent doesn't.
const PATIENCE_MAX: u32 = 6;

#[derive(Clone, Debug)]
pub struct Edge {
    /// When this agent first knew of the peer, or of its present life.
    since: Instant,
    heard_at: Option<Instant>,
    /// What this agent slept through since the last sign.
    credit: Duration,
    gaps: VecDeque<Duration>,
    open: bool,
    ended_at: Option<Instant>,
    /// When the peer last refuted a suspicion, by way of others.
    vouched_at: Option<Instant>,
    refutations: u32,
    session: Option<SessionId>,
    /// The number of the last heartbeat taken of that session.
    seq: u64,
}

impl Edge {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            heard_at: None,
            credit: Duration::ZERO,
            gaps: VecDeque::new(),
            open: false,
            ended_at: None,
            vouched_at: None,
            refutations: 0,
            session: None,
            seq: 0,
        }
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    #[must_use]
    pub fn ever_heard(&self) -> bool {
        self.heard_at.is_some()
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
    pub fn heard(&mut self, now: Instant, session: SessionId, seq: u64) -> bool {
        if self.session != Some(session) {
            self.gaps.clear();
            (self.session, self.heard_at) = (Some(session), None);
        } else if seq <= self.seq {
            return false;
        }
        if self.heard_at.is_some() {
            self.gaps.push_back(self.silence(now));
            if self.gaps.len() > GAPS_MAX {
                self.gaps.pop_front();
            }
        }
        self.seq = seq;
        self.heard_at = Some(now);
        self.credit = Duration::ZERO;
        self.ended_at = None;
        self.refutations = 0;
        true
    }

    pub fn opened(&mut self) {
        self.open = true;
    }

    pub fn closed(&mut self, now: Instant) {
        self.open = false;
        self.ended_at = Some(now);
    }

    /// This agent was asleep for so long.
    pub fn credit(&mut self, slept: Duration) {
        self.credit = self.credit.saturating_add(slept);
    }

    /// The peer refuted: somebody hears it. Be the more patient the oftener that was so.
    pub fn vouched(&mut self, now: Instant) {
        self.vouched_at = Some(now);
        self.refutations = (self.refutations + 1).min(PATIENCE_MAX);
    }

    #[must_use]
    pub fn is_suspicious(&self, now: Instant, timing: &Timing) -> bool {
        if self.ended_at.is_some_and(|ended| self.vouched_at.is_none_or(|v| v <= ended)) {
            return true;
        }
        let vouched = self.vouched_at.map_or(Duration::MAX, |v| now.since(v));
        let quiet = self.silence(now).min(vouched);
        let patience = 1 << self.refutations;
        if quiet < timing.suspect_floor * patience {
            return false;
        }
        quiet >= timing.suspect_ceiling * patience
            || phi(&self.gaps, quiet / patience, timing.heartbeat) >= PHI_SUSPECT
    }
}

/// -log10 of the chance that a heartbeat comes later than `quiet`. The tail of the normal distribution by its logistic
/// approximation (Bowling et al. 2009), in logarithms so that it doesn't underflow.
fn phi(gaps: &VecDeque<Duration>, quiet: Duration, heartbeat: Duration) -> f64 {
    let expected = heartbeat.as_secs_f64();
    let gaps: Vec<f64> = gaps.iter().map(Duration::as_secs_f64).collect();
    // The interval that was promised counts as one observation, so that there always is one.
    #[expect(clippy::cast_precision_loss, reason = "at most GAPS_MAX")]
    let count = (gaps.len() + 1) as f64;
    let mean = (expected + gaps.iter().sum::<f64>()) / count;
    let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / count;
    let deviation = variance.sqrt().max(expected / 4.0);
    let y = (quiet.as_secs_f64() - mean) / deviation;
    let exponent = y * (1.5976 + 0.070_566 * y * y);
    exponent * core::f64::consts::LOG10_E + (-exponent).exp().ln_1p() * core::f64::consts::LOG10_E
}
