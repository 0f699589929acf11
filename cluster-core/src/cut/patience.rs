//! Patience: how long the half-dead are waited for, whom most of their observers find gone and some still reach.
//!
//! Nobody is in a hurry about them: their leases lapse by themselves, and their singletons move. But they come in
//! groups, as packets are lost on a whole switch, and one after the other crosses the high mark. So their decision is
//! made once no other has joined them for a while, and the view changes once.

use crate::{ids::NodeId, time::Instant};
use core::time::Duration;
use std::collections::BTreeSet;

/// No other has joined them for so long.
const QUIET: Duration = Duration::from_secs(10);
/// Whatever still joins them, nobody waits for longer.
const LONGEST: Duration = Duration::from_secs(40);

#[derive(Clone, Debug, Default)]
pub(super) struct Patience {
    waiting: Option<Waiting>,
}

#[derive(Clone, Debug)]
struct Waiting {
    since: Instant,
    grew_at: Instant,
    known: BTreeSet<NodeId>,
}

impl Patience {
    /// Whether the half-dead, who are these now, were waited for long enough. With none the waiting is over.
    pub fn ends(&mut self, at: Instant, half_dead: &[NodeId]) -> bool {
        if half_dead.is_empty() {
            self.waiting = None;
            return false;
        }
        let fresh = || Waiting { since: at, grew_at: at, known: BTreeSet::new() };
        let waiting = self.waiting.get_or_insert_with(fresh);
        for node in half_dead {
            if waiting.known.insert(*node) {
                waiting.grew_at = at;
            }
        }
        at.since(waiting.grew_at) >= QUIET || at.since(waiting.since) >= LONGEST
    }

    /// They were declared, or it isn't this process's business any more.
    pub fn over(&mut self) {
        self.waiting = None;
    }
}
