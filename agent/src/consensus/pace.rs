//! Pace: when openraft's own timers run. It looks at them fifty times a second, nearly always to find nothing due, and what
//! an idle agent costs is how often it wakes. So they stand still while there is nothing to find: a leader's heartbeats are
//! asked for here, at the agent's ticks; and a voter that hears its leader doesn't campaign by itself before that one's lease
//! on it is over, so its timers begin to run then.
//!
//! Not here: when to campaign, and what a heartbeat says (openraft's), and campaigning on evidence (`election`).

use super::{settings::Timings, state_machine::StateMachine, types::Types};
use crate::clock::{self, Alarm, TICK};
use openraft::{Raft, ServerState, async_runtime::watch::WatchReceiver};
use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// When this voter last accepted a word of its leader.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    last: Mutex<Option<Instant>>,
    forgotten: Notify,
}

impl Heard {
    pub(crate) fn at(&self, at: Instant) {
        let mut last = self.lock();
        *last = last.max(Some(at));
    }

    /// Its lease here is to end before its time.
    pub(crate) fn forget(&self) {
        *self.lock() = None;
        self.forgotten.notify_one();
    }

    fn ago(&self) -> Option<Duration> {
        self.lock().map(|at| at.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last.lock().expect("no holder of this lock panics")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// A heartbeat is due, and the next one in a moment.
    Lead,
    /// Nothing can be due for so long.
    Rest(Duration),
    /// Nothing is due before the state changes.
    Stand,
    /// openraft has to look for itself.
    Run,
}

/// `led`: a leader is known. `heard`: how long ago it was heard. `votes`: by the newest configuration or the committed one.
fn pace(
    state: ServerState,
    led: bool,
    heard: Option<Duration>,
    votes: impl Fn() -> bool,
    timings: &Timings,
) -> Pace {
    // A leader's lease on its followers is the longest time-out.
    let lease = heard.map_or(Duration::ZERO, |ago| timings.election_max.saturating_sub(ago));
    match state {
        ServerState::Leader => Pace::Lead,
        ServerState::Follower if led && !lease.is_zero() => Pace::Rest(lease),
        ServerState::Learner | ServerState::Shutdown if !votes() => Pace::Stand,
        _ => Pace::Run,
    }
}

/// Returns when the core has ended.
pub(crate) async fn keep(
    raft: Raft<Types, StateMachine>,
    heard: Arc<Heard>,
    timings: Timings,
    mut alarm: Alarm,
) {
    let mut metrics = raft.server_metrics();
    loop {
        let pace = {
            let metrics = metrics.borrow_watched();
            let configurations = [&metrics.membership_config, &metrics.committed_membership_config];
            let votes =
                || configurations.iter().any(|c| c.membership().voter_ids().any(|id| id == metrics.id));
            pace(metrics.state, metrics.current_leader.is_some(), heard.ago(), votes, &timings)
        };
        raft.runtime_config().tick(pace == Pace::Run);
        let wait = match pace {
            Pace::Lead => {
                if raft.trigger().heartbeat().await.is_err() {
                    return;
                }
                // The tick that is nearest to the interval: a whole number of ticks would be missed half the time.
                Some(timings.heartbeat.saturating_sub(TICK / 4))
            }
            Pace::Rest(wait) => Some(wait),
            Pace::Stand => None,
            // Then its leader may be heard again.
            Pace::Run => Some(timings.heartbeat),
        };
        if let Some(wait) = wait {
            alarm.rings_within(clock::until_tick(wait));
        }
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { return },
            () = alarm.rings() => {}
            () = heard.forgotten.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_run_unless_this_voter_leads_or_hears_its_leader() {
        let at = |state, led, heard: Option<u64>, votes| {
            pace(state, led, heard.map(Duration::from_millis), || votes, &Timings::LAN)
        };
        let rest = Pace::Rest(Duration::from_millis(300));
        assert_eq!(at(ServerState::Leader, true, None, true), Pace::Lead);
        assert_eq!(at(ServerState::Follower, true, Some(100), true), rest);
        assert_eq!(at(ServerState::Follower, true, Some(400), true), Pace::Run, "its lease is over");
        assert_eq!(at(ServerState::Follower, true, None, true), Pace::Run, "it wasn't heard yet");
        assert_eq!(at(ServerState::Follower, false, Some(100), true), Pace::Run, "another may be elected");
        assert_eq!(at(ServerState::Candidate, false, Some(100), true), Pace::Run);
        assert_eq!(
            at(ServerState::Learner, true, Some(100), true),
            Pace::Run,
            "what takes its vote isn't committed"
        );
        assert_eq!(at(ServerState::Learner, true, Some(100), false), Pace::Stand, "it has no vote");
    }
}
