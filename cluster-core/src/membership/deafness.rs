//! Deafness: when this agent last began to hear nobody at all.
//!
//! Who was cut off cleanly heard nobody from the moment on at which nobody heard it. Who heard others longer than they
//! heard it, or the other way round, is half connected; its leader finds out by comparing (`recovery::returns`).
//! Not here: the silence of one peer (`edge`), and whose fault it is.

use crate::{time::Instant, timing::Timing};
use core::time::Duration;
use std::collections::VecDeque;

/// Silences remembered; the oldest is forgotten. One that is over is followed by a few more: a node that is dead for
/// all others hears only what it asks for.
const SILENCES_MAX: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct Deafness {
    /// Nobody for so long is a silence.
    shortest: Duration,
    heard_at: Instant,
    /// When those began that are over, newest last.
    began: VecDeque<Instant>,
}

impl Deafness {
    pub fn new(timing: &Timing, now: Instant) -> Self {
        Self { shortest: timing.heartbeat * 5 / 2, heard_at: now, began: VecDeque::new() }
    }

    /// Anybody.
    pub fn heard(&mut self, now: Instant) {
        if now.since(self.heard_at) >= self.shortest {
            self.began.push_back(self.heard_at);
            if self.began.len() > SILENCES_MAX {
                self.began.pop_front();
            }
        }
        self.heard_at = now;
    }

    /// When the newest silences began.
    pub fn began(&self, now: Instant) -> impl Iterator<Item = Instant> {
        let lasts = now.since(self.heard_at) >= self.shortest;
        self.began.iter().copied().chain(lasts.then_some(self.heard_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::LAN;

    #[test]
    fn the_newest_silences_are_remembered_by_their_begin() {
        let at = Instant::from_millis;
        let mut deaf = Deafness::new(&LAN, at(0));
        let began = |deaf: &Deafness, ms| deaf.began(at(ms)).map(Instant::as_millis).collect::<Vec<_>>();
        assert_eq!(began(&deaf, 900), []);
        deaf.heard(at(900));
        assert_eq!(began(&deaf, 1_800), [], "two short ones are none");
        assert_eq!(began(&deaf, 1_900), [900], "one that lasts counts");
        deaf.heard(at(5_000));
        deaf.heard(at(5_400));
        deaf.heard(at(7_000));
        assert_eq!(began(&deaf, 7_000), [900, 5_400]);
        (0..20).for_each(|n| deaf.heard(at(10_000 + 1_000 * n)));
        assert_eq!(began(&deaf, 29_000).len(), SILENCES_MAX);
    }
}
