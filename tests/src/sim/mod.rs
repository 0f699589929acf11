//! The simulator: five nodes of the core's real machines in a virtual world, wherein a seed fixes everything.
//!
//! Real: membership, cut, lease (holder, book, lost, guard's rule), ledger, recovery, instance slots. Stand-ins: the
//! network, clocks, disks, processes, guards, and Raft (see raft.rs). One checker a promise stands in `check`.
//! Not here: sockets, real time, load. What the stand-ins hide, the lab must show.

mod agent;
mod chaos;
pub mod check;
mod clock;
mod genesis;
mod guard;
mod hosts;
mod leader;
mod log;
mod net;
mod outbox;
mod raft;
mod rng;
mod runner;
pub mod scale;
mod streams;
mod world;

pub use world::{Outcome, Stats, run};

use core::{str::FromStr, time::Duration};

/// Faults that are put back by hand, to see that the checkers find them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaks {
    /// A guard takes a deadline from any page that it finds.
    pub guard_accepts_any_epoch: bool,
    /// A voter that restarted answers renewals from its snapshot, before it read its log.
    pub voter_acks_before_replay: bool,
    /// A node doesn't remember over a restart which generations it told to have ended.
    pub forgets_ended_generations: bool,
}

impl FromStr for Breaks {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "guard-accepts-any-epoch" => Ok(Self { guard_accepts_any_epoch: true, ..Self::default() }),
            "voter-acks-before-replay" => Ok(Self { voter_acks_before_replay: true, ..Self::default() }),
            "forgets-ended-generations" => Ok(Self { forgets_ended_generations: true, ..Self::default() }),
            _ => Err(format!(
                "\"{name}\" can't be broken: guard-accepts-any-epoch, voter-acks-before-replay and \
                 forgets-ended-generations can"
            )),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub breaks: Breaks,
    /// Prints every event.
    pub trace: bool,
    /// How long things go wrong; then all is healed.
    pub trouble: Duration,
    /// After that everything must be well within this time.
    pub calm: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            breaks: Breaks::default(),
            trace: false,
            trouble: Duration::from_secs(40),
            calm: Duration::from_secs(25),
        }
    }
}
