//! Calendar: what time it is for alerting. It begins with the ledger's clock, goes on with this leader's own monotonic
//! one, and follows the ledger's when that is ahead; no host's clock is asked. The ledger's may have been set ahead by an
//! earlier leader: so what is proposed is stamped by this calendar, and the two agree again with the next entry.

use crate::time::{Instant, WallTime};

#[derive(Debug, Default)]
pub struct Calendar {
    /// What it said last, and when. Never runs backwards.
    latest: Option<(WallTime, Instant)>,
}

impl Calendar {
    pub fn at(&mut self, now: Instant, ledger: WallTime) -> WallTime {
        let (before, since) = self.latest.unwrap_or((ledger, now));
        let passed_ms = now.as_millis().saturating_sub(since.as_millis());
        let wall = ledger.max(WallTime(before.0.saturating_add(passed_ms)));
        self.latest = Some((wall, now.max(since)));
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_while_the_ledger_stands_and_never_back() {
        let mut calendar = Calendar::default();
        let mut at = |ms, ledger| calendar.at(Instant::from_millis(ms), WallTime(ledger)).0;
        assert_eq!(at(500, 1_000), 1_000);
        assert_eq!(at(800, 1_000), 1_300);
        assert_eq!(at(900, 1_250), 1_400, "the entry was proposed a moment ago");
        assert_eq!(at(1_000, 1_250), 1_500);
        assert_eq!(at(1_100, 9_000), 9_000);
        assert_eq!(at(1_050, 9_000), 9_000);
    }
}
