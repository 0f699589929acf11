//! The story on the screen: a line per event, in the order in which things happened.
//!
//! Events reach the demo by several ways, and not in order. A line waits a moment, so that an earlier one can still
//! come before it.

use crate::clock;
use std::io::Write as _;

/// How long a line waits for earlier ones.
const SETTLE_MS: u64 = 120;

/// UTC in milliseconds, as in the ledger: everything here happens on one machine.
#[must_use]
pub fn now_ms() -> u64 {
    clock::wall().0
}

pub struct Timeline {
    zero_ms: u64,
    waiting: Vec<(u64, String)>,
    out: fn(&str),
}

impl Timeline {
    #[must_use]
    pub fn new(zero_ms: u64) -> Self {
        Self { zero_ms, waiting: Vec::new(), out: say }
    }

    /// How long until so much time has passed since the beginning.
    #[must_use]
    pub fn until_ms(&self, after_ms: u64) -> u64 {
        (self.zero_ms + after_ms).saturating_sub(now_ms())
    }

    /// A line about something that is no event of the cluster.
    pub fn note(&mut self, at_ms: u64, text: &str) {
        let line = format!("{:<7} {text}", self.stamp(at_ms));
        self.waiting.push((at_ms, line));
    }

    pub fn event(&mut self, at_ms: u64, event: &str, details: &str) {
        let line = format!("{:<7} {event:<13} {details}", self.stamp(at_ms));
        self.waiting.push((at_ms, line));
    }

    fn stamp(&self, at_ms: u64) -> String {
        format!("+{}", at_ms.saturating_sub(self.zero_ms))
    }

    /// Prints what has waited long enough.
    pub fn settle(&mut self) {
        self.print_before(now_ms().saturating_sub(SETTLE_MS));
    }

    /// Prints everything.
    pub fn finish(&mut self) {
        self.print_before(u64::MAX);
    }

    fn print_before(&mut self, limit_ms: u64) {
        // Stable: what came first stays first among equals.
        self.waiting.sort_by_key(|(at_ms, _)| *at_ms);
        let ready = self.waiting.partition_point(|(at_ms, _)| *at_ms < limit_ms);
        for (_, line) in self.waiting.drain(..ready) {
            (self.out)(&line);
        }
    }
}

/// One line to standard output. A reader that went away misses nothing: what was started must be ended all the same.
pub fn say(line: &str) {
    let _gone = writeln!(std::io::stdout().lock(), "{line}");
}

/// 1234 as `1.23 s`.
#[must_use]
pub fn seconds(ms: u64) -> String {
    format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    thread_local!(static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) });

    #[test]
    fn lines_come_in_the_order_of_their_times_and_aligned() {
        let out = |line: &str| SAID.with_borrow_mut(|said| said.push(line.to_owned()));
        let mut timeline = Timeline { out, ..Timeline::new(1_000) };
        timeline.event(5_000, "started", "b");
        timeline.event(2_500, "alert_resolved", "a");
        timeline.print_before(4_000);
        timeline.note(3_000, "late");
        timeline.finish();
        let said = SAID.take();
        assert_eq!(said, ["+1500   alert_resolved a", "+2000   late", "+4000   started       b"]);
        assert_eq!(seconds(2_009), "2.00 s");
    }
}
