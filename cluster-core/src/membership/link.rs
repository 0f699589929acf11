//! Link: what this agent keeps of one peer with whom heartbeats flow, or should.
//!
//! Not here: what is done with it (`weave` for streams, `watch` for silence).

use super::{
    duplicate::Sessions,
    edge::Edge,
    record::{DialOutcome, Exchange, Finding, Trouble},
};
use crate::{
    ids::{Incarnation, NodeId, ViewEpoch},
    time::Instant,
    timing::Timing,
};
use core::time::Duration;

/// What costs a handshake each time, and finds what it found before, comes at last so many doublings later. Where
/// hundreds of agents start on a few processors, the handshakes of those who ask after each other leave none for the
/// streams that would end the asking.
const PATIENCE_MAX: u32 = 2;

/// The higher id dials if there was no stream for so long.
pub const DIAL_AFTER: Duration = Duration::from_secs(2);

/// By how much to wait longer, after so many times.
fn patience(times: u32) -> u32 {
    1 << times.min(PATIENCE_MAX)
}

/// What is the matter with the peer, as the last inquiry found.
#[derive(Clone, Debug)]
pub struct Found {
    pub trouble: Trouble,
    pub incarnation: Incarnation,
    pub suspected_at: Instant,
    pub helpers_asked: u8,
    pub helpers_answered: u8,
    pub dial: Option<DialOutcome>,
    /// No keeper answered: only a connection tells whether its host lives.
    pub without_keeper: bool,
    /// How often it was looked at again since.
    pub looks: u32,
}

#[derive(Clone, Debug)]
pub struct Link {
    pub edge: Edge,
    /// The overlay, or a greeting, has this edge. Else the link stands only until it is given up, or the peer ends it.
    pub wanted: bool,
    /// A heartbeat came since it is wanted.
    pub delivered: bool,
    /// No longer wanted: kept until those that took its place deliver, and until then at most.
    pub retire_at: Option<Instant>,
    /// The address to which this end keeps a stream.
    pub dialled: Option<String>,
    /// When this end dials if no stream stands.
    pub dial_at: Instant,
    /// When the next heartbeat to it is due, and its place within a heartbeat.
    pub beat_at: Instant,
    pub phase: Duration,
    /// The last round of news that it got.
    pub round: u64,
    /// What the next heartbeat to it carries.
    pub exchange: Exchange,
    pub sessions: Option<Sessions>,
    /// The peer's committed view, by its last heartbeat.
    pub view: Option<ViewEpoch>,
    pub found: Option<Found>,
    /// When the peer's host last gave any sign.
    pub sign_at: Option<Instant>,
    /// When the present silence was first looked into.
    pub suspected_at: Option<Instant>,
    /// How often since the last heartbeat an inquiry cleared it, and how often in a row it was unsure.
    pub cleared: u32,
    pub unsure: u32,
    /// When the peer in trouble is looked at again, and the nonce of that look.
    pub watch_at: Instant,
    pub watch_nonce: u64,
    pub inquired_at: Instant,
    pub redial_at: Instant,
}

impl Link {
    #[must_use]
    pub fn new(now: Instant, timing: &Timing) -> Self {
        Self {
            edge: Edge::new(now, timing),
            wanted: false,
            delivered: false,
            retire_at: None,
            dialled: None,
            dial_at: now,
            beat_at: now,
            phase: Duration::ZERO,
            round: 0,
            exchange: Exchange::Deltas,
            sessions: None,
            view: None,
            found: None,
            sign_at: None,
            suspected_at: None,
            cleared: 0,
            unsure: 0,
            watch_at: now,
            watch_nonce: 0,
            inquired_at: now,
            redial_at: now,
        }
    }

    pub fn answer(&mut self) {
        // An own question carries the answer as well.
        if self.exchange == Exchange::Deltas {
            self.exchange = Exchange::Answer;
        }
    }

    /// The peer, or its host, was heard of just now: nothing that was found before holds. Whether anything was.
    pub fn is_well(&mut self, now: Instant) -> bool {
        (self.sign_at, self.suspected_at) = (Some(now), None);
        (self.cleared, self.unsure) = (0, 0);
        self.found.take().is_some()
    }

    /// Whether this end waits to dial.
    #[must_use]
    pub fn awaits_dial(&self) -> bool {
        self.wanted && !self.edge.is_open() && self.dialled.is_none()
    }

    /// By how much the next inquiry waits longer. Over an edge that never stood others hear the peer, or nobody can.
    #[must_use]
    pub fn patience(&self) -> u32 {
        if self.edge.heard_at().is_none() { patience(self.cleared) } else { 1 }
    }

    /// The same for the next look at a peer in trouble. A keeper costs a datagram, and is asked as often as ever.
    #[must_use]
    pub fn look_patience(&self) -> u32 {
        let found = self.found.as_ref().filter(|found| found.without_keeper);
        found.filter(|_| self.edge.heard_at().is_none()).map_or(1, |found| patience(found.looks))
    }

    /// Its host answers others, or here in another way than by this link.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.trouble == Trouble::LinkBad)
    }

    /// Whether this end dials, and no stream stands yet.
    #[must_use]
    pub fn awaits_stream(&self) -> bool {
        self.dialled.is_some() && !self.edge.is_open()
    }

    #[must_use]
    pub fn hears(&self, now: Instant, floor: Duration) -> bool {
        self.edge.heard_at().is_some_and(|at| now.since(at) < floor)
    }

    #[must_use]
    pub fn finding(&self, now: Instant, node: NodeId) -> Option<Finding> {
        let found = self.found.as_ref()?;
        Some(Finding {
            node,
            incarnation: found.incarnation,
            trouble: found.trouble,
            silence: self.edge.silence(now),
            suspected: now.since(found.suspected_at),
            ended: self.edge.ended(now),
            helpers_asked: found.helpers_asked,
            helpers_answered: found.helpers_answered,
            dial: found.dial,
        })
    }
}
