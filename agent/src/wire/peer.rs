//! What agents say to each other, as our own types: the client's calls, and the trait that the server speaks to.
//!
//! Not here: long-lived streams (`streams`), and any decision.

use super::{
    convert::ages_to_wire,
    findings::{SentReport, opinion_from_wire, report_to_wire},
    raft::{Question, raft_to_wire},
};
use crate::{
    keeper::{
        contacts::Introduction,
        secret::{Key, KeyId},
    },
    limits::MESSAGE_BYTES,
};
use cluster_core::{
    founding::{Candidate, Pledge},
    ids::{ClusterId, Incarnation, LeaseEpoch, NodeId, SessionId, SetId},
    ledger::Role,
    membership::Opinion,
};
use holdfast_proto::internal as pb;
use std::time::Duration;
use tonic::{Code, Request, Status, transport::Channel};

/// A call to another agent failed; nothing is known of what it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Not there, or it ended in the middle.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// It answered that it won't.
    #[error("refused: {0}")]
    Refused(String),
    /// It hears another living process that speaks as this node.
    #[error("{0}")]
    Taken(String),
}

impl From<Status> for PeerError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal => {
                Self::Unreachable(status.message().to_owned())
            }
            Code::AlreadyExists => Self::Taken(status.message().to_owned()),
            _ => Self::Refused(status.message().to_owned()),
        }
    }
}

/// An agent, as agents introduce each other before there is gossip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquaintance {
    pub node: NodeId,
    pub name: String,
    pub address: String,
    pub zone: String,
    pub role: Role,
    pub incarnation: Incarnation,
    pub session: SessionId,
    pub version: String,
}

/// Both the question and the answer of a meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    pub cluster_name: String,
    /// None while it waits for a cluster.
    pub cluster: Option<ClusterId>,
    pub sender: Acquaintance,
    /// The sender may found one; others only join.
    pub founds: bool,
    pub members: Vec<Acquaintance>,
    /// Others that wait for a cluster.
    pub waiting: Vec<(NodeId, String)>,
    /// Who votes, as far as is known.
    pub voters: Vec<(NodeId, String)>,
}

/// The tonic client of one agent, with this project's limits.
#[must_use]
pub fn client(channel: Channel) -> pb::peer_service_client::PeerServiceClient<Channel> {
    pb::peer_service_client::PeerServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
}

fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

/// Waits for an answer no longer than `timeout`, connecting included.
async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, PeerError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Err(PeerError::Unreachable(format!("nothing within {} ms", timeout.as_millis()))),
    }
}

/// "Who are you, and whom do you know?"
pub async fn meet(channel: Channel, mine: &Meeting, timeout: Duration) -> Result<Meeting, PeerError> {
    let request = pb::MeetRequest {
        cluster_name: mine.cluster_name.clone(),
        cluster_id: mine.cluster.map_or(0, |c| c.0),
        sender: Some(record(&mine.sender)),
        founds: mine.founds,
        waiting: mine.waiting.iter().map(|(n, a)| place(*n, a)).collect(),
        feature_level: u32::from(cluster_core::ledger::FEATURE_LEVEL),
    };
    let answer = within(timeout, client(channel).meet(timed(request, timeout))).await?;
    meeting_from_answer(answer).ok_or_else(|| PeerError::Refused("its answer names nobody".into()))
}

/// What agents say about one founding set before there is a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PledgeWord {
    /// To a member: pledge yourself.
    Ask(Pledge),
    /// To a member: the set is given up.
    Release { founder: NodeId, set: SetId },
    /// To the founder: do you still hold it?
    Enquire { founder: NodeId, set: SetId },
}

/// What was answered to it. An agent that belongs to a cluster refuses instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PledgeAnswer {
    pub responder: NodeId,
    pub granted: bool,
    pub pledged_to: Option<NodeId>,
    /// The responder is the founder of that set and hasn't given it up.
    pub holds: bool,
}

/// Asks for a pledge, frees from it, or asks whether it still counts.
pub async fn pledge(
    channel: Channel,
    cluster_name: &str,
    word: &PledgeWord,
    timeout: Duration,
) -> Result<PledgeAnswer, PeerError> {
    let request = pledge_to_request(cluster_name, word);
    let answer = within(timeout, client(channel).pledge(timed(request, timeout))).await?;
    Ok(PledgeAnswer {
        responder: NodeId(answer.responder),
        granted: answer.granted,
        pledged_to: (answer.pledged_to != 0).then_some(NodeId(answer.pledged_to)),
        holds: answer.holds,
    })
}

/// One message of consensus.
pub async fn raft(channel: Channel, question: Question, timeout: Duration) -> Result<Vec<u8>, PeerError> {
    let request = timed(raft_to_wire(question), timeout);
    Ok(within(timeout, client(channel).raft(request)).await?.payload)
}

/// An encoded command for the ledger; the answer is its position and the encoded reply.
pub async fn propose(
    channel: Channel,
    cluster: ClusterId,
    command: Vec<u8>,
    hops: u32,
    timeout: Duration,
) -> Result<(u64, u64, Vec<u8>), PeerError> {
    let request = pb::ProposeRequest { cluster_id: cluster.0, command, hops };
    let answer = within(timeout, client(channel).propose(timed(request, timeout))).await?;
    Ok((answer.term, answer.index, answer.reply))
}

/// Asks a voter until when its last acknowledgement to a revoked epoch counts. None: it can't say yet.
pub async fn promise(
    channel: Channel,
    cluster: ClusterId,
    epoch: cluster_core::ids::LeaseEpoch,
    at: cluster_core::ids::LogId,
    timeout: Duration,
) -> Result<Option<Duration>, PeerError> {
    let request = pb::PromiseRequest {
        cluster_id: cluster.0,
        epoch: epoch.0,
        revoked_term: at.term,
        revoked_index: at.index,
    };
    let answer = within(timeout, client(channel).promise(timed(request, timeout))).await?;
    Ok(answer.promised.then(|| Duration::from_micros(answer.remaining_us)))
}

/// Asks the agent of node `to` for the key by which this node, `me`, speaks to its keeper.
pub async fn introduce(
    channel: Channel,
    cluster: ClusterId,
    me: NodeId,
    to: NodeId,
    timeout: Duration,
) -> Result<Introduction, PeerError> {
    let request = pb::IntroduceRequest { cluster_id: cluster.0, node: me.0, to: to.0 };
    let answer = within(timeout, client(channel).introduce(timed(request, timeout))).await?;
    introduction_from_wire(answer).ok_or_else(|| PeerError::Refused("its answer holds no key".into()))
}

/// Which node answers here.
pub async fn ping(channel: Channel, cluster: ClusterId, timeout: Duration) -> Result<NodeId, PeerError> {
    let request = timed(pb::PingRequest { cluster_id: cluster.0 }, timeout);
    Ok(NodeId(within(timeout, client(channel).ping(request)).await?.node))
}

/// Asks another agent, as `me`, to try the subject.
pub async fn help(
    channel: Channel,
    cluster: ClusterId,
    me: NodeId,
    subject: NodeId,
    timeout: Duration,
) -> Result<Opinion, PeerError> {
    let request = pb::HelpRequest { cluster_id: cluster.0, from: me.0, subject: subject.0 };
    let answer = within(timeout, client(channel).help(timed(request, timeout))).await?;
    let opinion = answer.opinion.ok_or_else(|| PeerError::Refused("its answer holds no opinion".into()))?;
    opinion_from_wire(opinion).map_err(|unknown| PeerError::Refused(unknown.to_string()))
}

/// Findings to a voter, and from a voter to the leader what it acknowledged how long ago.
pub async fn report(
    channel: Channel,
    cluster: ClusterId,
    me: NodeId,
    sent: Option<&SentReport>,
    ages: &[(LeaseEpoch, Duration)],
    timeout: Duration,
) -> Result<(), PeerError> {
    let (report, ack_ages) = (sent.map(report_to_wire), ages_to_wire(ages));
    let request = pb::ReportRequest { cluster_id: cluster.0, from: me.0, report, ack_ages };
    within(timeout, client(channel).report(timed(request, timeout))).await.map(|_| ())
}

/// Asks, as the leader `me`, whether the agent there hears the subject.
pub async fn poll(
    channel: Channel,
    cluster: ClusterId,
    me: NodeId,
    subject: NodeId,
    timeout: Duration,
) -> Result<bool, PeerError> {
    let request = pb::PollRequest { cluster_id: cluster.0, from: me.0, subject: subject.0 };
    Ok(within(timeout, client(channel).poll(timed(request, timeout))).await?.hears)
}

/// Asks the agent at this address to leave its cluster for good.
pub async fn leave(channel: Channel, timeout: Duration) -> Result<(), PeerError> {
    within(timeout, client(channel).leave(timed(pb::LeaveRequest {}, timeout))).await.map(|_| ())
}

pub(super) fn record(a: &Acquaintance) -> pb::Record {
    pb::Record {
        node: a.node.0,
        name: a.name.clone(),
        address: a.address.clone(),
        zone: a.zone.clone(),
        role: role_number(a.role),
        incarnation: a.incarnation.0,
        state: 0,
        version: a.version.clone(),
        session: a.session.0,
        revision: 0,
        sick: None,
        http: None,
    }
}

pub(super) fn acquaintance(r: pb::Record) -> Acquaintance {
    Acquaintance {
        node: NodeId(r.node),
        name: r.name,
        address: r.address,
        zone: r.zone,
        role: role_of(r.role),
        incarnation: Incarnation(r.incarnation),
        session: SessionId(r.session),
        version: r.version,
    }
}

pub(super) const fn role_number(role: Role) -> u32 {
    match role {
        Role::Member => 0,
        Role::Witness => 1,
    }
}

pub(super) const fn role_of(number: u32) -> Role {
    if number == 1 { Role::Witness } else { Role::Member }
}

fn place(node: NodeId, address: &str) -> pb::Record {
    pb::Record { node: node.0, address: address.to_owned(), ..pb::Record::default() }
}

pub(super) fn places_from(records: Vec<pb::Record>) -> Vec<(NodeId, String)> {
    records.into_iter().map(|r| (NodeId(r.node), r.address)).collect()
}

fn pledge_to_request(cluster_name: &str, word: &PledgeWord) -> pb::PledgeRequest {
    use pb::pledge_request::Word;
    let (kind, founder, set, members) = match word {
        PledgeWord::Ask(p) => (Word::Ask, p.founder, p.set, p.members.iter().map(candidate_record).collect()),
        PledgeWord::Release { founder, set } => (Word::Release, *founder, *set, Vec::new()),
        PledgeWord::Enquire { founder, set } => (Word::Enquire, *founder, *set, Vec::new()),
    };
    pb::PledgeRequest {
        cluster_name: cluster_name.to_owned(),
        founder: founder.0,
        members,
        word: kind.into(),
        set_id: set.0,
    }
}

/// None: a word that this build doesn't know.
pub(super) fn pledge_from_request(r: pb::PledgeRequest) -> Option<PledgeWord> {
    use pb::pledge_request::Word;
    let (founder, set) = (NodeId(r.founder), SetId(r.set_id));
    Some(match Word::try_from(r.word).ok()? {
        Word::Ask => {
            let members = r.members.into_iter().map(candidate_from).collect();
            PledgeWord::Ask(Pledge { set, founder, members })
        }
        Word::Release => PledgeWord::Release { founder, set },
        Word::Enquire => PledgeWord::Enquire { founder, set },
    })
}

fn candidate_record((node, c): (&NodeId, &Candidate)) -> pb::Record {
    let (node, address, zone) = (node.0, c.address.clone(), c.zone.clone());
    pb::Record { node, address, zone, role: role_number(c.role), ..pb::Record::default() }
}

fn candidate_from(r: pb::Record) -> (NodeId, Candidate) {
    (NodeId(r.node), Candidate { address: r.address, zone: r.zone, role: role_of(r.role) })
}

pub(super) fn introduction_to_wire(i: Introduction) -> pb::IntroduceResponse {
    pb::IntroduceResponse {
        key: i.key.0.to_vec(),
        key_id: i.key_id.0.to_vec(),
        udp_address: i.udp_address.unwrap_or_default(),
    }
}

pub(super) fn introduction_from_wire(w: pb::IntroduceResponse) -> Option<Introduction> {
    Some(Introduction {
        key: Key(w.key.try_into().ok()?),
        key_id: KeyId(w.key_id.try_into().ok()?),
        udp_address: (!w.udp_address.is_empty()).then_some(w.udp_address),
    })
}

pub(super) fn meeting_from_request(r: pb::MeetRequest) -> Option<Meeting> {
    Some(Meeting {
        cluster_name: r.cluster_name,
        cluster: (r.cluster_id != 0).then_some(ClusterId(r.cluster_id)),
        sender: acquaintance(r.sender?),
        founds: r.founds,
        members: Vec::new(),
        waiting: places_from(r.waiting),
        voters: Vec::new(),
    })
}

fn meeting_from_answer(r: pb::MeetResponse) -> Option<Meeting> {
    Some(Meeting {
        cluster_name: r.cluster_name,
        cluster: (r.cluster_id != 0).then_some(ClusterId(r.cluster_id)),
        sender: acquaintance(r.responder?),
        founds: r.founds,
        members: r.members.into_iter().map(acquaintance).collect(),
        waiting: places_from(r.waiting),
        voters: places_from(r.voters),
    })
}

pub(super) fn meeting_to_answer(m: Meeting) -> pb::MeetResponse {
    pb::MeetResponse {
        cluster_name: m.cluster_name,
        cluster_id: m.cluster.map_or(0, |c| c.0),
        responder: Some(record(&m.sender)),
        members: m.members.iter().map(record).collect(),
        waiting: m.waiting.iter().map(|(n, a)| place(*n, a)).collect(),
        pledged_to: 0,
        feature_level: u32::from(cluster_core::ledger::FEATURE_LEVEL),
        voters: m.voters.iter().map(|(n, a)| place(*n, a)).collect(),
        founds: m.founds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_about_a_pledge_survives_the_wire() {
        let candidate = |role| Candidate { address: "h1:7400".into(), zone: "cellar".into(), role };
        let members = [(NodeId(1), candidate(Role::Member)), (NodeId(2), candidate(Role::Witness))];
        let (founder, set) = (NodeId(1), SetId(7));
        for word in [
            PledgeWord::Ask(Pledge { set, founder, members: members.into() }),
            PledgeWord::Release { founder, set },
            PledgeWord::Enquire { founder, set },
        ] {
            assert_eq!(pledge_from_request(pledge_to_request("shop", &word)), Some(word));
        }
        let unknown = pb::PledgeRequest { word: 9, ..pb::PledgeRequest::default() };
        assert_eq!(pledge_from_request(unknown), None);
    }

    #[test]
    fn an_introduction_reads_back_and_a_short_key_is_refused() {
        for udp_address in [None, Some("10.0.0.1:7400".to_owned())] {
            let given = Introduction { key: Key([1; 32]), key_id: KeyId([2; 8]), udp_address };
            assert!(introduction_from_wire(introduction_to_wire(given.clone())) == Some(given));
        }
        let short =
            pb::IntroduceResponse { key: vec![1; 31], key_id: vec![2; 8], udp_address: String::new() };
        assert!(introduction_from_wire(short).is_none());
    }
}
