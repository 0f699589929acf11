//! Restart: whether an instance that ended is started again on this node, and when.
//!
//! A few failures within a window are answered by a restart, each after twice the wait of the one before, so that a
//! crash loop costs little. What is older than the window is forgotten. When the attempts are used up the node gives
//! up, says so once, and the ladder goes on elsewhere.
//!
//! Not here: starting anything, judging health, choosing another node.

use crate::time::Instant;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The most attempts that a policy may allow: what bounds one slot's memory of failures.
pub const MAX_ATTEMPTS: u32 = 1_000;

/// How often, and how fast, an instance may be restarted. The key `recovery.restart` of a workload file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Failures within `window` that are answered by a restart; the next one is not. At most `MAX_ATTEMPTS`.
    pub attempts: u32,
    pub window: Duration,
    /// The wait after the first failure in a window; it doubles with each further one.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts: 3,
            window: Duration::from_secs(300),
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
        }
    }
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    StartAt(Instant),
    /// The attempts are used up; every later failure gets this answer too.
    GiveUp,
}

/// The record of one placement's failures on this node. A new placement, or a new version, gets a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    policy: Policy,
    /// When it failed, oldest first; never more than `policy.attempts` of them.
    failures: VecDeque<Instant>,
    given_up: bool,
}

impl Restart {
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let policy = Policy { attempts: policy.attempts.min(MAX_ATTEMPTS), ..policy };
        Self { policy, failures: VecDeque::new(), given_up: false }
    }

    /// The only way in. `now` may not run backwards.
    pub fn failed(&mut self, now: Instant) -> Answer {
        assert!(self.failures.back().is_none_or(|&last| last <= now), "time ran backwards");
        while self.failures.front().is_some_and(|&t| now.since(t) >= self.policy.window) {
            self.failures.pop_front();
        }
        let recent = u32::try_from(self.failures.len()).expect("bounded by MAX_ATTEMPTS");
        if self.given_up || recent == self.policy.attempts {
            self.given_up = true;
            return Answer::GiveUp;
        }
        self.failures.push_back(now);
        Answer::StartAt(now + wait(&self.policy, recent))
    }
}

/// The wait after a failure that had `earlier` others before it in its window.
fn wait(policy: &Policy, earlier: u32) -> Duration {
    let factor = 2u32.checked_pow(earlier).unwrap_or(u32::MAX);
    policy.backoff_min.saturating_mul(factor).min(policy.backoff_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: Policy = Policy {
        attempts: 3,
        window: Duration::from_secs(10),
        backoff_min: Duration::from_millis(500),
        backoff_max: Duration::from_millis(1_800),
    };

    /// Plays failures at these milliseconds: when each is answered by a start, or never.
    fn play(failures_ms: &[u64]) -> Vec<Option<u64>> {
        let mut restart = Restart::new(POLICY);
        failures_ms
            .iter()
            .map(|&ms| match restart.failed(Instant::from_millis(ms)) {
                Answer::StartAt(t) => Some(t.as_millis()),
                Answer::GiveUp => None,
            })
            .collect()
    }

    #[test]
    fn waits_longer_each_time_then_gives_up_for_good() {
        let answers = play(&[0, 600, 1_700, 3_600, 60_000]);
        assert_eq!(answers, [Some(500), Some(1_600), Some(3_500), None, None]);
    }

    #[test]
    fn forgets_what_is_as_old_as_the_window() {
        assert_eq!(play(&[0, 600, 10_000, 10_600]), [Some(500), Some(1_600), Some(11_000), Some(11_600)]);
    }

    #[test]
    fn no_attempts_means_no_restart() {
        let mut restart = Restart::new(Policy { attempts: 0, ..POLICY });
        assert_eq!(restart.failed(Instant::ZERO), Answer::GiveUp);
    }

    proptest! {
        /// The queue forgets early failures; its dumb twin remembers every one and counts. They must agree.
        #[test]
        fn agrees_with_its_dumb_twin(gaps in prop::collection::vec(0u64..6_000, 1..60)) {
            let mut restart = Restart::new(POLICY);
            let mut all = Vec::new();
            let mut now = Instant::ZERO;
            for gap in gaps {
                now = now + Duration::from_millis(gap);
                let recent = all.iter().filter(|&&t| now.since(t) < POLICY.window).count();
                let gives_up = restart.failed(now) == Answer::GiveUp;
                prop_assert_eq!(gives_up, recent == 3);
                if gives_up {
                    break;
                }
                all.push(now);
            }
        }
    }
}
