//! One simulated node: its host, its agent's process with the real machines, and what waits for it.
//!
//! Not here: what the machines' effects come to (`carry`), and when anything happens (`world`).

use super::streams::Mail;
use cluster_core::{
    cut::Cut,
    ids::{Incarnation, NodeId, SessionId},
    ledger::{NodeState, Role},
    membership::{AgentState, DialOutcome, MemberRecord, MemberState, Membership, View, ViewMember},
    time::Instant,
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// What waits for a process that doesn't run, at most; what comes then is lost.
pub const INBOX_MAX: usize = 20_000;
/// An agent feeds its keeper at least this often; else its keeper calls it stalled.
const FED_WITHIN: u64 = 1_000_000_000;

/// What comes to an agent's process.
#[derive(Debug)]
pub enum Input {
    Mail { from: u32, mail: Mail },
    Opened { peer: u32 },
    Ended { peer: u32 },
    ProbeAnswered { peer: u32, nonce: u64, agent: AgentState },
    Dialled { peer: u32, outcome: DialOutcome },
}

#[derive(Debug)]
pub struct Node {
    pub index: u32,
    pub machine: Option<Box<Membership>>,
    pub cut: Option<Box<Cut>>,
    /// Counts the processes of its agent.
    pub life: u32,
    /// Counts its host's starts after the first.
    pub boots: u32,
    pub incarnation: u64,
    pub host_up: bool,
    /// Its process gets no time.
    pub frozen: bool,
    pub frozen_since: u64,
    /// Counts changes of `frozen`, so that an outdated thaw does nothing.
    pub stamp: u32,
    pub starved: bool,
    pub last_run: u64,
    pub cut_stepped: u64,
    pub inbox: VecDeque<Input>,
    pub missed_tick: bool,
    pub ticks: u32,
    /// The streams that its machine asked for.
    pub wanted: BTreeSet<u32>,
    pub view: Arc<View>,
    pub view_asked_at: u64,
    /// The view has this life of it as alive.
    pub listed: bool,
    pub up_asked_at: u64,
    pub up_answered: bool,
    pub up_unanswered: u32,
    /// Something is wrong with it that may end in its death.
    pub faulty: bool,
    offset: u64,
    drift_ppm: i64,
}

pub fn id(index: u32) -> NodeId {
    NodeId(u64::from(index) + 1)
}

pub fn index(node: NodeId) -> u32 {
    u32::try_from(node.0 - 1).expect("a simulated node")
}

pub fn address(index: u32) -> String {
    format!("10.{}.{}.{}:7400", index >> 16, (index >> 8) & 255, index & 255)
}

pub fn at_address(address: &str) -> Option<u32> {
    let host = address.strip_suffix(":7400")?.strip_prefix("10.")?;
    host.split('.').try_fold(0, |sum, part| Some(sum << 8 | part.parse::<u32>().ok()?))
}

impl Node {
    pub fn new(index: u32, offset: u64, drift_ppm: i64) -> Self {
        Self {
            index,
            machine: None,
            cut: None,
            life: 0,
            boots: 0,
            incarnation: 0,
            host_up: true,
            frozen: false,
            frozen_since: 0,
            stamp: 0,
            starved: false,
            last_run: 0,
            cut_stepped: 0,
            inbox: VecDeque::new(),
            missed_tick: false,
            ticks: 0,
            wanted: BTreeSet::new(),
            view: Arc::default(),
            view_asked_at: 0,
            listed: false,
            up_asked_at: 0,
            up_answered: false,
            up_unanswered: 0,
            faulty: false,
            offset,
            drift_ppm,
        }
    }

    /// What its monotonic clock shows at `now`, true time.
    pub fn clock(&self, now: u64) -> Instant {
        let drift = i128::from(now) * i128::from(self.drift_ppm) / 1_000_000;
        Instant::from_nanos(u64::try_from(i128::from(self.offset + now) + drift).expect("it runs forward"))
    }

    pub fn session(&self) -> SessionId {
        SessionId(u64::from(self.index) << 32 | u64::from(self.life))
    }

    pub fn runs(&self) -> bool {
        self.machine.is_some() && !self.frozen
    }

    /// As its keeper says it.
    pub fn agent_state(&self, now: u64) -> AgentState {
        match self.machine {
            None => AgentState::Gone,
            Some(_) if now.saturating_sub(self.last_run) > FED_WITHIN => AgentState::Stalled,
            Some(_) => AgentState::Up,
        }
    }

    pub fn record(&self) -> MemberRecord {
        MemberRecord {
            node: id(self.index),
            incarnation: Incarnation(self.incarnation),
            state: MemberState::Alive,
            session: self.session(),
            revision: 0,
            sick: None,
            name: format!("node-{}", self.index + 1),
            address: address(self.index),
            http: None,
            zone: String::new(),
            role: Role::Member,
            version: "0.1.0".to_owned(),
        }
    }

    pub fn view_member(&self) -> ViewMember {
        ViewMember::of(&self.record(), NodeState::Alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_back() {
        assert!([0, 1, 255, 256, 9_999, 70_000].iter().all(|&i| at_address(&address(i)) == Some(i)));
        assert_eq!(at_address("10.0.0.1:80"), None);
    }
}
