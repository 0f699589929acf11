//! Returns: when a dead node that asks for it counts as alive again.
//!
//! Each death and each return changes the view, and every agent's streams with it. A host that started anew, or was cut
//! off as a whole and is back, is taken at once, or nearly. One that was half connected (it heard others while they
//! didn't hear it, or they heard it while it was deaf) will most likely fall silent again, as a bad cable or a flapping
//! filter does; so it waits until it was heard, and heard others, for a while without a break.
//!
//! Which it was, shows by comparing two ages: since when nobody heard the node, by the observers' word in its death's
//! record, and since when the node heard some of them no more, by its own. In a clean cut they are the same, whether it
//! was cut off alone or with others.
//!
//! Each agent that leads has one, before which they wait anew. Not here: who is dead (`cut`), and what a returned node is
//! given (`steady`, `placement`).

use crate::{
    ids::{NodeId, SessionId},
    time::Instant,
    timing::Timing,
};
use core::time::Duration;
use std::collections::BTreeMap;

/// A node that lived on through a clean cut was heard for so long.
pub const HOLD_CLEAN: Duration = Duration::from_secs(1);
/// One that was half connected: longer than a filter that flips every 20 s lets it be heard.
pub const HOLD_HALF: Duration = Duration::from_secs(30);
/// Who doesn't ask this leader for so long, or doesn't hear the answers, has fallen silent or deaf meanwhile, and begins
/// again. Agents ask every two seconds, and leaders may change.
const ASKS_WITHIN: Duration = Duration::from_secs(15);

/// A dead node's question, and what is known of its death.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub node: NodeId,
    /// The process that asks, and the one that spoke for the node when it died.
    pub session: SessionId,
    pub died: SessionId,
    /// How long ago nobody heard the node any more.
    pub unheard: Duration,
    /// How long ago each of the newest silences of its peers began.
    pub silences: Vec<Duration>,
    /// Whether its last question was answered.
    pub answered: bool,
}

/// Why a node isn't alive yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub half_connected: bool,
    pub left: Duration,
}

impl core::fmt::Display for Held {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let left = self.left.as_secs_f64();
        if self.half_connected {
            let hold = HOLD_HALF.as_secs();
            write!(
                f,
                "it was half connected when it died: it counts as alive once it was heard without a break for \
                       {hold} s, {left:.0} s more"
            )
        } else {
            write!(f, "it was cut off, and counts as alive in {left:.1} s")
        }
    }
}

#[derive(Debug)]
pub struct Returns {
    /// A clean cut seen from both sides: the ages differ by less. One heartbeat of the only neighbour may just have been
    /// missed; who is deaf speaks on for a suspicion and a second opinion, which are longer.
    clean_within: Duration,
    asking: BTreeMap<NodeId, Row>,
}

/// Questions of one process about one death without a break.
#[derive(Clone, Copy, Debug)]
struct Row {
    session: SessionId,
    /// Since when nobody heard it.
    lost: Instant,
    since: Instant,
    /// When it last had heard the answer before.
    answered: Instant,
}

impl Returns {
    #[must_use]
    pub fn new(timing: &Timing) -> Self {
        Self { clean_within: timing.heartbeat * 5 / 4, asking: BTreeMap::new() }
    }

    /// Whether the node may be alive now. `now` is the leader's own monotonic clock.
    ///
    /// # Errors
    /// It has to wait, and to go on asking.
    pub fn ask(&mut self, now: Instant, ask: &Ask) -> Result<(), Held> {
        if ask.session != ask.died {
            return Ok(());
        }
        // Those who don't ask any more are forgotten: no more rows than nodes that asked of late.
        self.asking.retain(|_, row| now.since(row.answered) < ASKS_WITHIN);
        let fresh = Row { session: ask.session, lost: now - ask.unheard, since: now, answered: now };
        let row = self.asking.entry(ask.node).or_insert(fresh);
        let same_death = fresh.lost.apart(row.lost) < self.clean_within;
        if row.session != ask.session || !same_death {
            *row = fresh;
        }
        if ask.answered {
            row.answered = now;
        }
        let clean = |silent: &Duration| silent.abs_diff(ask.unheard) < self.clean_within;
        let half_connected = !ask.silences.iter().any(clean);
        let hold = if half_connected { HOLD_HALF } else { HOLD_CLEAN };
        let left = hold.saturating_sub(now.since(row.since));
        // Who asks again, as it couldn't be written, hasn't to wait again.
        if left.is_zero() { Ok(()) } else { Err(Held { half_connected, left }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::LAN;

    const NODE: NodeId = NodeId(4);

    /// At `ms` the process that died asks, unheard and silent for so long.
    fn ask(returns: &mut Returns, ms: u64, unheard_ms: u64, silent_ms: &[u64]) -> Result<(), Held> {
        returns.ask(Instant::from_millis(ms), &asks(7, unheard_ms, silent_ms, true))
    }

    fn asks(session: u64, unheard_ms: u64, silent_ms: &[u64], answered: bool) -> Ask {
        Ask {
            node: NODE,
            session: SessionId(session),
            died: SessionId(7),
            unheard: Duration::from_millis(unheard_ms),
            silences: silent_ms.iter().copied().map(Duration::from_millis).collect(),
            answered,
        }
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_process_that_started_since_is_taken_at_once() {
        let new = asks(8, 20_000, &[], false);
        assert_eq!(Returns::new(&LAN).ask(Instant::from_millis(1), &new), Ok(()));
    }

    #[test]
    fn after_a_clean_cut_it_is_heard_for_a_second() {
        let mut returns = Returns::new(&LAN);
        let held = ask(&mut returns, 20_000, 20_000, &[60_000, 20_300]).expect_err("not yet");
        assert_eq!(held, Held { half_connected: false, left: HOLD_CLEAN });
        // Silences that came later change nothing.
        assert_eq!(ask(&mut returns, 21_000, 21_000, &[61_000, 21_300, 900]), Ok(()));
    }

    #[test]
    fn who_was_half_connected_is_heard_for_long_without_a_break() {
        // Its last words were heard 700 ms after it had gone deaf.
        let mut returns = Returns::new(&LAN);
        for second in 0..15 {
            let ms = 20_000 + 2_000 * second;
            let held = ask(&mut returns, ms, ms - 700, &[ms]).expect_err("not yet");
            assert!(held.half_connected);
            assert_eq!(held.left, HOLD_HALF - s(2 * second));
        }
        assert_eq!(ask(&mut returns, 50_000, 49_300, &[50_000]), Ok(()));
    }

    #[test]
    fn who_asks_no_more_or_does_not_hear_the_answers_begins_again() {
        let mut returns = Returns::new(&LAN);
        let left = |held: Result<(), Held>| held.expect_err("not yet").left;
        assert_eq!(left(ask(&mut returns, 20_000, 20_000, &[18_000])), HOLD_HALF);
        // One answer may be lost.
        let unanswered = asks(7, 22_000, &[20_000], false);
        assert_eq!(left(returns.ask(Instant::from_millis(22_000), &unanswered)), HOLD_HALF - s(2));
        assert_eq!(left(ask(&mut returns, 24_000, 24_000, &[22_000])), HOLD_HALF - s(4));
        for (ms, waited) in [(26_000, s(6)), (38_000, s(18)), (39_000, s(0)), (41_000, s(2))] {
            let deaf = asks(7, ms, &[ms - 2_000], false);
            assert_eq!(left(returns.ask(Instant::from_millis(ms), &deaf)), HOLD_HALF - waited, "{ms}");
        }
        assert_eq!(left(ask(&mut returns, 57_000, 57_000, &[55_000])), HOLD_HALF, "silent for too long");
    }

    #[test]
    fn who_may_be_alive_may_ask_again_until_it_dies_again() {
        let mut returns = Returns::new(&LAN);
        assert!(ask(&mut returns, 20_000, 5_000, &[5_000]).is_err());
        assert_eq!(ask(&mut returns, 22_000, 7_000, &[7_000]), Ok(()));
        assert_eq!(ask(&mut returns, 24_000, 9_000, &[9_000]), Ok(()), "it couldn't be written");
        assert!(ask(&mut returns, 28_000, 2_000, &[2_000]).is_err(), "another death");
    }

    #[test]
    fn who_never_stopped_hearing_others_was_half_connected() {
        let held = ask(&mut Returns::new(&LAN), 9_000, 3_000, &[]).expect_err("not yet");
        assert!(held.half_connected);
        assert!(held.to_string().contains("30 s more"), "{held}");
    }
}
