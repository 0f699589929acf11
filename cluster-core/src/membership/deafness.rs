//! Deafness: when this agent last began not to hear those whom it had heard.
//!
//! Who was cut off cleanly, alone or with others, stopped hearing some from the moment on at which these stopped hearing
//! it. Who heard others longer than they heard it, or the other way round, is half connected; its leader finds out by
//! comparing (`recovery::returns`). Not here: what one peer's silence means (`edge`), and whose fault it is.

use crate::{ids::NodeId, time::Instant, timing::Timing};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Silences remembered; the oldest is forgotten. A node that is dead for all others hears only what it asks for, so that
/// a few more follow.
const SILENCES_MAX: usize = 16;
/// Peers whose last word is remembered; at the limit the one that was silent longest is forgotten. More than there are
/// neighbours.
const PEERS_MAX: usize = 32;

#[derive(Clone, Debug)]
pub(super) struct Deafness {
    /// No word of a peer for so long is a silence.
    shortest: Duration,
    /// Silences of several peers that began so close together are one.
    together: Duration,
    heard_at: BTreeMap<NodeId, Instant>,
    /// When those began that are over, newest last.
    began: VecDeque<Instant>,
}

impl Deafness {
    pub fn new(timing: &Timing) -> Self {
        Self {
            shortest: timing.heartbeat * 5 / 2,
            together: timing.heartbeat / 4,
            heard_at: BTreeMap::new(),
            began: VecDeque::new(),
        }
    }

    pub fn heard(&mut self, now: Instant, peer: NodeId) {
        let before = self.heard_at.insert(peer, now);
        if let Some(began) = before.filter(|at| now.since(*at) >= self.shortest)
            && !self.is_among(began, self.began.iter())
        {
            self.began.push_back(began);
            if self.began.len() > SILENCES_MAX {
                self.began.pop_front();
            }
        }
        if self.heard_at.len() > PEERS_MAX
            && let Some(silent) = self.heard_at.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer)
        {
            self.heard_at.remove(&silent);
        }
    }

    fn is_among<'a>(&self, began: Instant, mut silences: impl Iterator<Item = &'a Instant>) -> bool {
        silences.any(|at| at.apart(began) < self.together)
    }

    /// When the newest silences began, over or not; close ones once.
    pub fn began(&self, now: Instant) -> Vec<Instant> {
        let mut began: Vec<Instant> = self.began.iter().copied().collect();
        for at in self.heard_at.values().filter(|at| now.since(**at) >= self.shortest) {
            if !self.is_among(*at, began.iter()) {
                began.push(*at);
            }
        }
        began
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::LAN;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[test]
    fn the_newest_silences_are_remembered_by_their_begin() {
        let at = Instant::from_millis;
        let mut deaf = Deafness::new(&LAN);
        let began =
            |deaf: &Deafness, ms| deaf.began(at(ms)).into_iter().map(Instant::as_millis).collect::<Vec<_>>();
        deaf.heard(at(0), A);
        deaf.heard(at(900), A);
        assert_eq!(began(&deaf, 1_800), [], "two short ones are none");
        assert_eq!(began(&deaf, 1_900), [900], "one that lasts counts");
        deaf.heard(at(5_000), A);
        assert_eq!(began(&deaf, 5_000), [900]);
        // B goes on while A is silent; both fall silent together.
        deaf.heard(at(8_000), B);
        assert_eq!(began(&deaf, 8_000), [900, 5_000]);
        deaf.heard(at(8_050), A);
        assert_eq!(began(&deaf, 20_000), [900, 5_000, 8_050], "together");
        for n in 0..80 {
            deaf.heard(at(20_000 + 1_000 * n), NodeId(n % 40));
        }
        assert_eq!(deaf.heard_at.len(), PEERS_MAX);
        assert!(deaf.began.len() <= SILENCES_MAX);
    }
}
