//! Deafness: when this agent last began not to hear those whom it had heard.
//!
//! Who was cut off cleanly, alone or with others, stopped hearing some from the moment on at which these stopped hearing
//! it. Who heard others longer than they heard it, or the other way round, is half connected; its leader finds out by
//! comparing (`recovery::returns`). Not here: what one peer's silence means (`edge`), and whose fault it is.

use crate::{ids::NodeId, time::Instant, timing::Timing};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Silences remembered; the oldest is forgotten.
const SILENCES_MAX: usize = 16;
/// Peers whose words are remembered. More than there are neighbours.
const PEERS_MAX: usize = 32;

#[derive(Clone, Debug)]
pub(super) struct Deafness {
    /// No word of a peer for so long is a silence, if it had spoken for `steady`.
    shortest: Duration,
    /// Two heartbeats, or more than one question's answers. Who says a word now and then, as a cut-off node hears of those
    /// whom it asks whether they are back, falls silent all the time.
    steady: Duration,
    /// Silences of several peers that began so close together are one.
    together: Duration,
    heard: BTreeMap<NodeId, Words>,
    /// When those began that are over or whose peers are forgotten, newest last.
    began: VecDeque<Instant>,
}

/// A peer's latest words that came without a silence between them.
#[derive(Clone, Copy, Debug)]
struct Words {
    first: Instant,
    last: Instant,
}

impl Deafness {
    pub fn new(timing: &Timing) -> Self {
        Self {
            shortest: timing.heartbeat * 5 / 2,
            steady: timing.heartbeat * 3 / 4,
            together: timing.heartbeat / 4,
            heard: BTreeMap::new(),
            began: VecDeque::new(),
        }
    }

    pub fn heard(&mut self, now: Instant, peer: NodeId) {
        match self.heard.get_mut(&peer) {
            Some(words) if now.since(words.last) < self.shortest => words.last = now,
            before => {
                let before = before.copied();
                // After a short silence it still is one of those who speak: who flaps and then is gone falls silent.
                let first = before
                    .filter(|words| self.is_silence(now, words) && now.since(words.last) < 2 * self.shortest)
                    .map_or(now, |words| words.first);
                self.heard.insert(peer, Words { first, last: now });
                self.remember(now, before);
            }
        }
        if self.heard.len() > PEERS_MAX {
            self.forget_one(now);
        }
    }

    /// One of those who said a word now and then; else the one that has been silent for longest.
    fn forget_one(&mut self, now: Instant) {
        let kept = |words: &Words| self.is_silence(now, words) || now.since(words.last) < self.shortest;
        let least = self.heard.iter().min_by_key(|(_, words)| (kept(words), words.last));
        if let Some(peer) = least.map(|(peer, _)| *peer) {
            let words = self.heard.remove(&peer);
            self.remember(now, words);
        }
    }

    fn remember(&mut self, now: Instant, words: Option<Words>) {
        if let Some(began) = words.filter(|words| self.is_silence(now, words)).map(|words| words.last)
            && !self.is_among(began, self.began.iter())
        {
            self.began.push_back(began);
            if self.began.len() > SILENCES_MAX {
                self.began.pop_front();
            }
        }
    }

    fn is_silence(&self, now: Instant, words: &Words) -> bool {
        words.last.since(words.first) >= self.steady && now.since(words.last) >= self.shortest
    }

    fn is_among<'a>(&self, began: Instant, mut silences: impl Iterator<Item = &'a Instant>) -> bool {
        silences.any(|at| at.apart(began) < self.together)
    }

    /// When the newest silences began, over or not; close ones once.
    pub fn began(&self, now: Instant) -> Vec<Instant> {
        let mut began: Vec<Instant> = self.began.iter().copied().collect();
        for words in self.heard.values().filter(|words| self.is_silence(now, words)) {
            if !self.is_among(words.last, began.iter()) {
                began.push(words.last);
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

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    /// Words of the peer every 400 ms, the last one at `to`.
    fn speaks(deaf: &mut Deafness, peer: NodeId, from: u64, to: u64) {
        (from..to).step_by(400).chain([to]).for_each(|ms| deaf.heard(at(ms), peer));
    }

    fn began(deaf: &Deafness, ms: u64) -> Vec<u64> {
        deaf.began(at(ms)).into_iter().map(Instant::as_millis).collect()
    }

    #[test]
    fn the_newest_silences_are_remembered_by_their_begin() {
        let mut deaf = Deafness::new(&LAN);
        speaks(&mut deaf, A, 0, 2_000);
        assert_eq!(began(&deaf, 2_900), [], "a short one is none");
        assert_eq!(began(&deaf, 3_000), [2_000], "one that lasts counts");
        speaks(&mut deaf, A, 5_000, 8_050);
        assert_eq!(began(&deaf, 8_050), [2_000]);
        // B goes on while A is silent; both fall silent together.
        speaks(&mut deaf, B, 4_000, 8_000);
        assert_eq!(began(&deaf, 20_000), [2_000, 8_050], "together");
        for n in 0..80 {
            let from = 20_000 + 4_000 * n;
            speaks(&mut deaf, NodeId(n % 40), from, from + 1_000);
        }
        assert_eq!((deaf.heard.len(), deaf.began.len()), (PEERS_MAX, SILENCES_MAX));
    }

    #[test]
    fn who_flaps_and_then_is_gone_falls_silent_twice() {
        let mut deaf = Deafness::new(&LAN);
        speaks(&mut deaf, A, 0, 4_000);
        deaf.heard(at(5_200), A);
        deaf.heard(at(5_450), A);
        assert_eq!(began(&deaf, 66_000), [4_000, 5_450]);
    }

    #[test]
    fn a_word_now_and_then_isnt_a_silence_and_makes_none_forgotten() {
        let mut deaf = Deafness::new(&LAN);
        for n in 0..8 {
            speaks(&mut deaf, NodeId(n), 0, 3_000);
        }
        // Cut off with one that it goes on to hear, it asks a hundred others whether they are back.
        for second in 0..240 {
            speaks(&mut deaf, NodeId(8), 3_000 + second * 1_000, 4_000 + second * 1_000);
            deaf.heard(at(4_000 + second * 1_000), NodeId(100 + second % 100));
        }
        assert_eq!(began(&deaf, 245_000), [3_000, 243_000]);
    }
}
