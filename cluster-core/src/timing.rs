//! The three profiles: how long everything takes to be noticed. Chosen at founding, the ledger's from then on.

use core::time::Duration;

/// Times that must fit each other; one set a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub name: &'static str,
    /// Between two heartbeats on an edge.
    pub heartbeat: Duration,
    /// Silence that is never yet suspicious, whatever the history says.
    pub suspect_floor: Duration,
    /// Silence that is always suspicious.
    pub suspect_ceiling: Duration,
    /// A second opinion: so many probes, so far apart; others are asked after `help_after`; the verdict is due after `opinion`.
    pub probes: u32,
    pub probe_every: Duration,
    pub help_after: Duration,
    pub opinion: Duration,
    /// How long a lease runs from the sending of the renewal that a majority acknowledged.
    pub lease: Duration,
    /// Between two renewals while all is well.
    pub renew_every: Duration,
    /// Between two renewals once the newest majority is older than `renew_hurry_after`.
    pub renew_hurry: Duration,
    pub renew_hurry_after: Duration,
    /// How long the cut waits for other subjects that may belong to the same outage.
    pub cut_coalesce: Duration,
    /// After this long between the watermarks the leader asks the others.
    pub cut_poll_after: Duration,
    /// An agent that is gone or stalled for so long, though its host lives, is told to people.
    pub agent_down_after: Duration,
    /// Raft's.
    pub raft_heartbeat: Duration,
    pub election_min: Duration,
    pub election_max: Duration,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// For hosts of one network: the default.
pub const LAN: Timing = Timing {
    name: "lan",
    heartbeat: ms(400),
    suspect_floor: ms(650),
    suspect_ceiling: ms(1_000),
    probes: 10,
    probe_every: ms(30),
    help_after: ms(150),
    opinion: ms(350),
    lease: ms(2_000),
    renew_every: ms(400),
    renew_hurry: ms(50),
    renew_hurry_after: ms(550),
    // Less than a tick, so that it is over at the next one.
    cut_coalesce: ms(40),
    cut_poll_after: ms(300),
    agent_down_after: ms(10_000),
    raft_heartbeat: ms(100),
    election_min: ms(200),
    election_max: ms(400),
};

/// For agents on one machine.
pub const LOCAL: Timing = Timing { name: "local", ..LAN };

/// For sites far apart.
pub const WAN: Timing = Timing {
    name: "wan",
    heartbeat: ms(1_000),
    suspect_floor: ms(2_000),
    suspect_ceiling: ms(3_000),
    probes: 10,
    probe_every: ms(90),
    help_after: ms(450),
    opinion: ms(1_200),
    lease: ms(8_000),
    renew_every: ms(1_000),
    renew_hurry: ms(250),
    renew_hurry_after: ms(1_500),
    cut_coalesce: ms(200),
    cut_poll_after: ms(900),
    agent_down_after: ms(10_000),
    raft_heartbeat: ms(250),
    election_min: ms(1_500),
    election_max: ms(3_000),
};

impl Timing {
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [LOCAL, LAN, WAN].into_iter().find(|t| t.name == name)
    }
}
