//! Calendar: what time it is for alerting, from the ledger's clock and the time that went by since it last moved. The
//! ledger's stands while nothing is written; no host's clock is asked.

use crate::time::{Instant, WallTime};

#[derive(Debug, Default)]
pub struct Calendar {
    /// The latest time of the ledger, and when this leader first saw it.
    seen: Option<(WallTime, Instant)>,
    /// Never runs backwards.
    latest: WallTime,
}

impl Calendar {
    pub fn at(&mut self, now: Instant, ledger: WallTime) -> WallTime {
        let (clock, since) = match self.seen {
            Some((clock, since)) if clock == ledger => (clock, since),
            _ => (ledger, now),
        };
        self.seen = Some((clock, since));
        let passed = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
        self.latest = self.latest.max(WallTime(clock.0.saturating_add(passed)));
        self.latest
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
        assert_eq!(at(900, 1_250), 1_300, "the entry was proposed a moment ago");
        assert_eq!(at(1_000, 1_250), 1_350);
        assert_eq!(at(1_100, 9_000), 9_000);
    }
}
