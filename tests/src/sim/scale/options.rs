//! What a run is given, and what comes of it.
//!
//! Not here: how it is played (`world`), and what can go wrong in it (`faults`).

use super::{faults::Plan, provider::Got};
use crate::sim::check::Violation;
use cluster_core::ids::NodeId;
use core::time::Duration;
use std::collections::BTreeSet;

/// Mistakes that are put back by hand, to see that the checkers find them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Break {
    #[default]
    Nothing,
    /// A process that got no time blames others for what it didn't hear meanwhile.
    NoLocalHealth,
    /// One observer's word is enough.
    HEqualsOne,
    /// Nobody contradicts what is said of it.
    NoRefutation,
    /// People are told of each alert at once.
    NoGroupWaits,
    /// A new leader doesn't know what people were told.
    NoMemory,
}

impl Break {
    /// By which the command line knows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::NoLocalHealth => "no-local-health",
            Self::HEqualsOne => "h-equals-one",
            Self::NoRefutation => "no-refutation",
            Self::NoGroupWaits => "no-group-waits",
            Self::NoMemory => "no-memory",
        }
    }
}

impl core::str::FromStr for Break {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known =
            [Self::NoLocalHealth, Self::HEqualsOne, Self::NoRefutation, Self::NoGroupWaits, Self::NoMemory];
        known.into_iter().find(|mistake| mistake.name() == name).ok_or_else(|| {
            let known = known.map(Self::name).join(", ");
            format!("\"{name}\" can't be broken: {known} can")
        })
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub nodes: u32,
    pub voters: u32,
    pub lasts: Duration,
    /// Everywhere, each way.
    pub loss_percent: u64,
    /// All are members from the beginning; else all know only the first, which is one.
    pub formed: bool,
    pub plan: Plan,
    pub put_back: Break,
    /// The leader tells people, over a real ledger; without it there is neither.
    pub tells: Option<Tells>,
    /// Everything must be found and agreed at the end.
    pub ends_calm: bool,
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            nodes: 5,
            voters: 3,
            lasts: Duration::from_secs(60),
            loss_percent: 0,
            formed: true,
            plan: Plan::default(),
            put_back: Break::Nothing,
            tells: None,
            ends_calm: true,
            trace: false,
        }
    }
}

/// What people may be told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tells {
    /// These nodes die together, and return.
    pub lost: BTreeSet<u32>,
}

/// What a run cost, and how often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub events: u64,
    pub messages: u64,
    pub message_bytes: u64,
    pub beats: u64,
    pub beat_bytes: u64,
    pub probes: u64,
    pub dials: u64,
    pub dropped: u64,
    pub bursts: u64,
    pub helps: u64,
    pub reports: u64,
    pub polls: u64,
    pub agent_states: u64,
    pub views: u64,
    pub elections: u64,
    /// Nodes that were found gone by somebody although nothing was wrong with them.
    pub false_findings: u64,
    pub wire_bytes: u64,
}

/// One decision that nodes are dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub at: Duration,
    pub epoch: u64,
    pub nodes: Vec<NodeId>,
    /// When the last living node had it.
    pub known: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    pub node: u32,
    pub at: Duration,
    pub first_report: Option<Duration>,
    pub declared: Option<Duration>,
    pub known: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Outcome {
    pub violation: Option<Violation>,
    /// Equal for equal runs.
    pub hash: u64,
    pub counts: Counts,
    pub declared: Vec<Declared>,
    pub crashes: Vec<Crash>,
    /// When the last node that runs had the newest view with all in it.
    pub agreed_at: Option<Duration>,
    /// What people got, in order.
    pub told: Vec<Got>,
    /// What the first ten seconds cost is not in it: (since, counts at that moment).
    pub settled: (Duration, Counts),
}
