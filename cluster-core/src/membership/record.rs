//! What agents tell each other: one record a member, heartbeats, the committed view, and which of two records wins.
//!
//! Not here: when anything is said, and what follows from it.

use crate::{
    ids::{Incarnation, NodeId, SessionId, ViewEpoch},
    ledger::{Ledger, NodeState, Role},
};
use core::{cmp::Ordering, time::Duration};

pub use crate::ledger::AgentState;

/// Of the reason that a sick member gives; the rest is cut off.
pub const SICK_BYTES: usize = 128;

/// What gossip says of a member; at equal incarnations the later one of these wins (SWIM, section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    Alive,
    /// Somebody hears nothing of it. For people to see; nothing is decided by it.
    Suspect,
    /// Declared so by a committed decision.
    Dead,
    /// Gone by its own word, or by a committed decision.
    Left,
}

impl From<NodeState> for MemberState {
    fn from(state: NodeState) -> Self {
        match state {
            NodeState::Alive => Self::Alive,
            NodeState::Dead => Self::Dead,
            NodeState::Left => Self::Left,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub state: MemberState,
    pub session: SessionId,
    /// Counts what the member itself changed in its record within one incarnation.
    pub revision: u64,
    /// Why the member itself says that it can't do its work; at most `SICK_BYTES`.
    pub sick: Option<String>,
    pub name: String,
    /// Where its gRPC port is reached.
    pub address: String,
    /// Where its HTTP port is reached, if it has one. Not in the ledger: known of joiners and of who changed of late.
    pub http: Option<String>,
    pub zone: String,
    pub role: Role,
    pub version: String,
}

impl MemberRecord {
    /// Whether this record replaces `other`, which is of the same node. A total order, so that all tables that have
    /// seen the same records hold the same ones, in whatever order they came.
    #[must_use]
    pub fn beats(&self, other: &Self) -> bool {
        assert!(self.node == other.node, "records of two nodes can't be compared");
        self.order(other) == Ordering::Greater
    }

    /// What decides between two honest records of one member: who knows one of equal rank learns nothing.
    #[must_use]
    pub fn rank(&self) -> (Incarnation, MemberState, u64) {
        (self.incarnation, self.state, self.revision)
    }

    fn order(&self, other: &Self) -> Ordering {
        // The rest only breaks ties between records that no honest single life of a node can produce.
        self.rank()
            .cmp(&other.rank())
            .then_with(|| self.session.cmp(&other.session))
            .then_with(|| (&self.address, &self.http).cmp(&(&other.address, &other.http)))
            .then_with(|| (&self.name, &self.zone).cmp(&(&other.name, &other.zone)))
            .then_with(|| (&self.sick, &self.version).cmp(&(&other.sick, &other.version)))
            .then_with(|| (self.role as u8).cmp(&(other.role as u8)))
    }

    /// About as many bytes as it takes in a message.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let text = [&self.name, &self.address, &self.zone, &self.version];
        let optional = [&self.http, &self.sick].into_iter().flatten().map(|t| t.len() + 2).sum::<usize>();
        // Two random ids of eleven bytes, six small numbers, two bytes before each text.
        36 + text.iter().map(|t| t.len() + 2).sum::<usize>() + optional
    }
}

/// How a member fares, in per mille but where it says otherwise: for placement and for people. Told often, and only as
/// far as there is room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Of all its processors.
    pub load: u16,
    pub memory: u16,
    /// The share of time in which something waited (PSI, some).
    pub cpu_pressure: u16,
    pub memory_pressure: u16,
    pub io_pressure: u16,
    /// Of the fullest of its disks, in use.
    pub disk: u16,
    /// When its certificate ends, in seconds since the epoch: only once that is near or over.
    pub certificate_ends: Option<u64>,
    /// As in its heartbeats.
    pub health: u8,
}

/// One member's vitals, as it told them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VitalsOf {
    pub node: NodeId,
    pub incarnation: Incarnation,
    /// Counts within an incarnation; the higher one is newer.
    pub revision: u64,
    pub vitals: Vitals,
}

/// How a fresh connection to a peer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DialOutcome {
    /// Its agent answered over it.
    Answered,
    /// Its host accepted, and its agent said nothing.
    Silent,
    /// Its host refused: nothing listens there.
    Refused,
    /// Nothing came back at all.
    NoRoute,
}

/// What one agent found out about a subject whom another asked it to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// What its keeper answered by datagram, if it did.
    pub keeper: Option<AgentState>,
    pub dial: Option<DialOutcome>,
    /// Whether the asked one had a heartbeat of it since about when the asker began to suspect it.
    pub hears: bool,
}

/// What an observer concludes of a peer after a second opinion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Neither the peer's host nor its agent answered anybody in any way.
    HostGone,
    /// Its host answers; its agent's process is not there.
    AgentGone,
    /// Its host answers; its agent's process is there and says nothing.
    AgentStalled,
    /// Others reach its agent, or its datagrams come: only the way from here is bad.
    LinkBad,
}

/// One peer in trouble, as one observer found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub node: NodeId,
    /// The life of the peer that this is about, as the observer knew it.
    pub incarnation: Incarnation,
    pub trouble: Trouble,
    /// Since the last sign of it, less the observer's own stalls.
    pub silence: Duration,
    /// How long ago the suspicion began.
    pub suspected: Duration,
    /// How long ago its stream to the observer ended, if no other stands.
    pub ended: Option<Duration>,
    /// How many others were asked to try, and how many of them answered (that they reached it or not).
    pub helpers_asked: u8,
    pub helpers_answered: u8,
    pub dial: Option<DialOutcome>,
}

/// All findings of one observer, and whom it asks about. To every voter: when these change, and with each heartbeat while
/// there are any; once without any when the last one is withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub observer: NodeId,
    /// The committed view that the observer speaks of; zero when it has none yet.
    pub view: ViewEpoch,
    /// The observer's own trouble, as in a heartbeat.
    pub health: u8,
    pub findings: Vec<Finding>,
    /// Whom the observer is looking into, has no answer from and asked others about: a finding may follow. It accuses
    /// nobody. The cut waits for it a little when others are due.
    pub asking: Vec<NodeId>,
}

/// How many records a heartbeat carries, and whether it wants as many back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exchange {
    /// Only what changed of late.
    #[default]
    Deltas,
    /// All that the sender knows beside the committed view, and some of the view if the receiver has another one. The
    /// receiver's next heartbeat answers in kind.
    Ask,
    /// The same, in answer.
    Answer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub from: NodeId,
    pub session: SessionId,
    pub incarnation: Incarnation,
    /// Rises from one heartbeat of a session to the next, whoever gets them.
    pub seq: u64,
    /// The sender's own trouble: 0 is well, `local_health::SCORE_MAX` is very late all the time.
    pub health: u8,
    pub view: ViewEpoch,
    pub exchange: Exchange,
    pub deltas: Vec<MemberRecord>,
    /// The sender's own, when they changed, and some of others.
    pub vitals: Vec<VitalsOf>,
}

/// What two agents say first: the joiner of itself, the seed of all that it knows. Also the answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub record: MemberRecord,
    pub members: Vec<MemberRecord>,
}

/// The members as the ledger has them. Whole: who isn't in it was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub epoch: ViewEpoch,
    pub members: Vec<ViewMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewMember {
    pub node: NodeId,
    pub name: String,
    pub address: String,
    pub zone: String,
    pub role: Role,
    pub version: String,
    pub state: NodeState,
    pub incarnation: Incarnation,
    pub session: SessionId,
}

impl ViewMember {
    /// As a committed view has a member that says this of itself.
    #[must_use]
    pub fn of(record: &MemberRecord, state: NodeState) -> Self {
        Self {
            node: record.node,
            name: record.name.clone(),
            address: record.address.clone(),
            zone: record.zone.clone(),
            role: record.role,
            version: record.version.clone(),
            state,
            incarnation: record.incarnation,
            session: record.session,
        }
    }
}

impl From<&Ledger> for View {
    fn from(ledger: &Ledger) -> Self {
        let members = ledger.nodes.iter().map(|(&node, n)| ViewMember {
            node,
            name: n.profile.name.clone(),
            address: n.profile.address.clone(),
            zone: n.profile.zone.clone(),
            role: n.profile.role,
            version: n.profile.version.clone(),
            state: n.state,
            incarnation: n.incarnation,
            session: n.session,
        });
        Self { epoch: ledger.view_epoch, members: members.collect() }
    }
}

impl From<&ViewMember> for MemberRecord {
    fn from(m: &ViewMember) -> Self {
        Self {
            node: m.node,
            incarnation: m.incarnation,
            state: m.state.into(),
            session: m.session,
            revision: 0,
            sick: None,
            name: m.name.clone(),
            address: m.address.clone(),
            http: None,
            zone: m.zone.clone(),
            role: m.role,
            version: m.version.clone(),
        }
    }
}
