//! Duplicate: notices that two living processes speak as one node, as happens when a disk was cloned.
//!
//! One change of session is a restart, and a few old heartbeats may still arrive after it. Only two sessions that keep
//! taking turns are two processes. Not here: refusing them.

use crate::{ids::SessionId, time::Instant};
use core::time::Duration;

/// Turns within `WINDOW` that no restart explains: an old life's last words arrive in one go, or two.
const TURNS: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Sessions {
    current: SessionId,
    other: Option<SessionId>,
    turns: u32,
    since: Instant,
}

impl Sessions {
    #[must_use]
    pub fn new(session: SessionId, now: Instant) -> Self {
        Self { current: session, other: None, turns: 0, since: now }
    }

    /// Both sessions, once it is clear that both live. Said again after as many further turns.
    pub fn heard(&mut self, now: Instant, session: SessionId) -> Option<[SessionId; 2]> {
        if session == self.current {
            return None;
        }
        let returns = self.other == Some(session);
        if !returns || now.since(self.since) > WINDOW {
            (self.turns, self.since) = (0, now);
        }
        self.other = Some(self.current);
        self.current = session;
        self.turns += 1;
        if self.turns < TURNS {
            return None;
        }
        self.turns = 0;
        self.other.map(|other| [session.min(other), session.max(other)])
    }
}
