//! Expiry: a posted alert that nobody extended in time is over, as far as anyone knows.
//!
//! Not here: what a post says, and when it is worth an extension (the agent that is posted to).

use crate::{
    ledger::{Body, Ledger},
    time::{Instant, WallTime},
};
use core::time::Duration;

/// While there was no leader, nobody could extend anything: whoever posts gets this long to do so. Those that post each
/// minute have then had their turn.
pub const EXPIRY_GRACE: Duration = Duration::from_secs(90);

#[derive(Debug)]
pub struct Expiry {
    from: Instant,
}

impl Expiry {
    /// For a leader from the moment it became that.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { from: now + EXPIRY_GRACE }
    }

    /// The key of each alert that ran out, and the entry that ends it.
    #[must_use]
    pub fn step(&self, now: Instant, wall: WallTime, ledger: &Ledger) -> Vec<(String, Body)> {
        if now < self.from {
            return Vec::new();
        }
        let over = ledger.posted().filter(|(_, until)| *until <= wall);
        over.map(|(alert, _)| {
            let dedup_key = alert.dedup_key.clone();
            let summary = "it wasn't posted again in time, and is taken to be over".to_owned();
            (dedup_key.clone(), Body::AlertEnded { dedup_key, summary })
        })
        .collect()
    }
}
