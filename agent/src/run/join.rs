//! How an agent finds its cluster: it meets its seeds for ever, founds with others that wait, or joins what exists.
//!
//! Names are resolved anew with each attempt, any one reachable seed is enough, and nothing here gives up.

use super::{identity::Membership, input::Input};
use crate::{
    clock,
    consensus::{Consensus, ConsensusError},
    shared::{Identity, Live},
    storage::StorageError,
    wire::{
        client::Peers,
        peer::{self, Acquaintance, Meeting, PeerError, PledgeAnswer, PledgeWord},
    },
};
use cluster_core::{
    founding::{Candidate, Effect, Event, Founding, Pledge},
    ids::{ClusterId, Incarnation, NodeId, SetId},
    ledger::Settings,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

const MEET_TIMEOUT: Duration = Duration::from_millis(700);
/// Between two rounds while there is no cluster, or nobody of it was met.
const ROUND_EAGER: Duration = Duration::from_millis(150);
/// While somebody is heard and nobody of those asked knew who votes: perhaps nobody does yet.
const ROUND_HEARD: Duration = Duration::from_millis(500);
const NEIGHBOURS_ASKED: usize = 3;
/// The first one is asked alone for so long: where hundreds join, one that belongs to the cluster is enough for each.
const FIRST_ALONE: Duration = Duration::from_millis(100);
/// Between two rounds while gossip flows and knows no leader. With one nobody asks: a seed's work would grow with the
/// cluster, and gossip looks for other parts by itself.
const ROUND_LEADERLESS: Duration = Duration::from_secs(10);
/// Between two looks whether it is still calm.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two warnings about the same trouble.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// Agents met in one round.
const MEET_MAX: usize = 32;
/// Voters taken of one answer.
const VOTERS_MAX: usize = 32;

/// The founding machine, shared with the service that answers pledges.
pub type SharedFounding = Arc<tokio::sync::Mutex<Founding>>;

pub struct Joiner {
    pub identity: Identity,
    pub incarnation: Incarnation,
    pub seeds: Vec<String>,
    pub membership: Membership,
    pub founding: SharedFounding,
    pub consensus: Consensus,
    pub peers: Arc<Peers>,
    pub live: watch::Receiver<Arc<Live>>,
    pub hints: Arc<Mutex<BTreeMap<NodeId, String>>>,
    pub inputs: mpsc::Sender<Input>,
    pub settings: Settings,
}

/// This agent, as it introduces itself.
#[must_use]
pub fn introduction(identity: &Identity, incarnation: Incarnation) -> Acquaintance {
    Acquaintance {
        node: identity.node,
        name: identity.name.clone(),
        address: identity.address.clone(),
        zone: identity.zone.clone(),
        role: identity.role,
        incarnation,
        session: identity.session,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// An agent that waits for a cluster and may found it, as founding hears of it. Whoever only joins counts for nothing there:
/// two sets overlap only if they are of those who were told how many there are.
#[must_use]
pub fn waits(meeting: &Meeting) -> Option<Event> {
    let sender = &meeting.sender;
    let (address, zone, role) = (sender.address.clone(), sender.zone.clone(), sender.role);
    let event = Event::Waiting { node: sender.node, candidate: Candidate { address, zone, role } };
    (meeting.cluster.is_none() && meeting.founds).then_some(event)
}

/// What the answer to a word about a pledge means. No answer means nothing.
fn heard(from: NodeId, word: &PledgeWord, answer: Result<PledgeAnswer, PeerError>) -> Option<Event> {
    match (word, answer) {
        (PledgeWord::Ask(pledge), Ok(answer)) if answer.responder == from => {
            Some(Event::Answered { from, set: pledge.set, granted: answer.granted })
        }
        // Who refuses to answer the question belongs to a cluster.
        (PledgeWord::Ask(pledge), Err(PeerError::Refused(_))) => {
            Some(Event::Answered { from, set: pledge.set, granted: false })
        }
        // Only the founder itself can say so: another agent may have taken over its address.
        (PledgeWord::Enquire { founder, set }, Ok(answer))
            if answer.responder == *founder && !answer.holds =>
        {
            Some(Event::Abandoned { founder: *founder, set: *set })
        }
        _ => None,
    }
}

impl Joiner {
    /// Never returns, unless this agent's own files fail.
    pub async fn run(self) -> StorageError {
        let mut warned: Option<tokio::time::Instant> = None;
        if let Err(error) = self.finish_founding().await {
            return error;
        }
        loop {
            let met = self.meet_all().await;
            let mut named = BTreeMap::new();
            for (address, outcome) in met {
                let trouble = match outcome {
                    Ok(meeting) => match self.met(meeting, &mut named).await {
                        Ok(trouble) => trouble.map(|t| format!("{address}: {t}")),
                        Err(error) => return error,
                    },
                    Err(PeerError::Refused(why) | PeerError::Taken(why)) => Some(format!("{address}: {why}")),
                    Err(PeerError::Unreachable(_)) => None,
                };
                if let Some(trouble) = trouble
                    && warned.is_none_or(|at| at.elapsed() >= WARN_EVERY)
                {
                    warned = Some(tokio::time::Instant::now());
                    tracing::warn!("{trouble}");
                }
            }
            if self.membership.cluster().is_none() {
                self.look_at(named).await;
                if let Err(error) = self.found().await {
                    return error;
                }
            }
            tokio::time::sleep(if self.is_heard() { ROUND_HEARD } else { ROUND_EAGER }).await;
            let mut led_at = tokio::time::Instant::now();
            while !self.is_eager() && led_at.elapsed() < ROUND_LEADERLESS {
                tokio::time::sleep(LOOK_EVERY).await;
                if self.live.borrow().leader.is_some() {
                    led_at = tokio::time::Instant::now();
                }
            }
        }
    }

    /// Whether nobody of the cluster is heard yet, or none of its voters known. A cluster without a leader is no reason:
    /// all of it would ask at once.
    fn is_eager(&self) -> bool {
        !self.is_heard() || !self.knows_voters()
    }

    /// Whether this agent hears anybody of its cluster.
    fn is_heard(&self) -> bool {
        let live = self.live.borrow();
        let others = || live.members.values().any(|m| m.connected && m.node != self.identity.node);
        self.membership.cluster().is_some() && (live.leader.is_some() || others())
    }

    fn knows_voters(&self) -> bool {
        !self.live.borrow().voters.is_empty()
            || !self.hints.lock().expect("no holder of this lock panics").is_empty()
    }

    /// A few members that are heard: where all seeds are gone, each of them can tell who votes.
    fn neighbours(&self) -> Vec<String> {
        let live = self.live.borrow();
        let heard = live.members.values().filter(|m| m.connected && m.node != self.identity.node);
        let mut addresses: Vec<String> = heard.map(|m| m.address.clone()).collect();
        addresses.sort_by_cached_key(|_| rand::random::<u64>());
        addresses.truncate(NEIGHBOURS_ASKED);
        addresses
    }

    /// Asks one seed or neighbour; unless that one belongs to this cluster, all the others and whoever would found one with
    /// this agent, at once.
    async fn meet_all(&self) -> Vec<(String, Result<Meeting, PeerError>)> {
        let (waiting, companions) = {
            let founding = self.founding.lock().await;
            let owned = |(node, address): (NodeId, &str)| (node, address.to_owned());
            let companions: Vec<(NodeId, String)> = founding.companions().map(owned).collect();
            (founding.waiting().map(owned).collect::<Vec<_>>(), companions)
        };
        let unfounded = self.membership.cluster().is_none();
        let others = companions.iter().filter(|_| unfounded).map(|(_, address)| address);
        // Who is at home already is content with one, each time another.
        let many = if self.is_eager() { MEET_MAX } else { 1 };
        let neighbours = if unfounded || self.knows_voters() { Vec::new() } else { self.neighbours() };
        // Whoever comes first may be asked alone, so each time another does.
        let mut first: Vec<&String> = self.seeds.iter().chain(&neighbours).collect();
        first.sort_by_cached_key(|_| rand::random::<u64>());
        let mut seen = BTreeSet::from([&self.identity.address]);
        let addresses = first.into_iter().chain(others).filter(|a| seen.insert(*a)).take(many);
        let mine = Arc::new(self.meeting(waiting).await);
        let (mut calls, mut met) = (JoinSet::new(), Vec::new());
        for (nth, address) in addresses.enumerate() {
            let Ok(channel) = self.peers.channel(address) else { continue };
            let (said, address) = (mine.clone(), address.clone());
            calls.spawn(async move { (address, peer::meet(channel, &said, MEET_TIMEOUT).await) });
            if nth == 0
                && let Ok(Some(Ok((address, answer)))) =
                    tokio::time::timeout(FIRST_ALONE, calls.join_next()).await
            {
                let at_home = answer.as_ref().is_ok_and(|meeting| {
                    let ours = mine.cluster.is_none() || meeting.cluster == mine.cluster;
                    meeting.cluster.is_some() && meeting.cluster_name == mine.cluster_name && ours
                });
                met.push((address, answer));
                if at_home {
                    return met;
                }
            }
        }
        met.extend(calls.join_all().await);
        met
    }

    /// Takes in one answer, and `named` whom it names as waiting. Returns what a person should know of it.
    async fn met(
        &self,
        meeting: Meeting,
        named: &mut BTreeMap<NodeId, String>,
    ) -> Result<Option<String>, StorageError> {
        let other = &meeting.sender;
        if other.node == self.identity.node {
            return Ok(None);
        }
        if meeting.cluster_name != self.identity.cluster_name {
            return Ok(Some(format!(
                "that agent belongs to cluster \"{}\", this one to \"{}\"; take it out of join.seeds, or correct `cluster`",
                meeting.cluster_name, self.identity.cluster_name
            )));
        }
        let Some(cluster) = meeting.cluster else {
            if self.membership.cluster().is_none() {
                self.heard_waiting(&meeting).await;
                named.extend(meeting.waiting);
            }
            return Ok(None);
        };
        if !self.membership.adopt(cluster).await? {
            return Ok(Some(format!(
                "that agent belongs to another founding of cluster \"{}\" (id {cluster}); one of the two data \
                 directories is stale: move it aside and let its node join again",
                meeting.cluster_name
            )));
        }
        self.introduce(meeting).await;
        Ok(None)
    }

    async fn heard_waiting(&self, meeting: &Meeting) {
        if let Some(waits) = waits(meeting) {
            self.founding.lock().await.step(clock::raw(), waits, &mut Vec::new());
        }
    }

    /// Only who answers for itself counts as waiting: those that others named are looked at, all at once.
    async fn look_at(&self, mut named: BTreeMap<NodeId, String>) {
        let founding = self.founding.lock().await;
        named.retain(|node, address| {
            founding.seeks(*node) && *address != self.identity.address && !self.seeds.contains(address)
        });
        drop(founding);
        let mine = Arc::new(self.meeting(Vec::new()).await);
        let mut calls = JoinSet::new();
        for address in named.into_values().take(MEET_MAX) {
            let Ok(channel) = self.peers.channel(&address) else { continue };
            let said = mine.clone();
            calls.spawn(async move { peer::meet(channel, &said, MEET_TIMEOUT).await });
        }
        for answer in calls.join_all().await.into_iter().flatten() {
            if answer.cluster_name == self.identity.cluster_name {
                self.heard_waiting(&answer).await;
            }
        }
    }

    /// What this agent says of itself to whom it meets.
    async fn meeting(&self, waiting: Vec<(NodeId, String)>) -> Meeting {
        Meeting {
            cluster_name: self.identity.cluster_name.clone(),
            cluster: self.membership.cluster(),
            sender: introduction(&self.identity, self.incarnation),
            founds: self.founding.lock().await.founds(),
            members: Vec::new(),
            waiting,
            voters: Vec::new(),
        }
    }

    /// Tells the gossip whom this agent met, so that streams are dialled.
    async fn introduce(&self, meeting: Meeting) {
        {
            let mut hints = self.hints.lock().expect("no holder of this lock panics");
            // Who doesn't know either takes nothing back of what another said.
            if !meeting.voters.is_empty() {
                *hints = meeting.voters.iter().take(VOTERS_MAX).cloned().collect();
            }
        }
        let _stopping = self.inputs.send(Input::Met(meeting)).await;
    }

    /// One step of founding, if it is this agent's part; and the next one right after those it asked have answered: once all
    /// have pledged themselves, the cluster isn't to wait for whom this agent meets next.
    async fn found(&self) -> Result<(), StorageError> {
        for _step in 0..2 {
            let effects = self.step_durably(Event::Tick { dice: SetId(rand::random()) }).await?;
            let asks = effects.iter().any(|effect| matches!(effect, Effect::Ask { .. }));
            if let Some(pledge) = self.say(effects).await? {
                return self.initialise(pledge).await;
            }
            if !asks {
                break;
            }
        }
        Ok(())
    }

    /// Tells the others what founding wants them to know, and takes in their answers. Some: the set is complete.
    async fn say(&self, effects: Vec<Effect>) -> Result<Option<Pledge>, StorageError> {
        let mut calls = JoinSet::new();
        for effect in effects {
            let (to, address, word) = match effect {
                Effect::Ask { to, address, pledge } => (to, address, PledgeWord::Ask(pledge)),
                Effect::Release { to, address, set } => {
                    (to, address, PledgeWord::Release { founder: self.identity.node, set })
                }
                Effect::Enquire { founder, address, set } => {
                    (founder, address, PledgeWord::Enquire { founder, set })
                }
                Effect::Found(pledge) => return Ok(Some(pledge)),
                Effect::Persist(_) | Effect::Answer { .. } => continue,
            };
            let Ok(channel) = self.peers.channel(&address) else { continue };
            let name = self.identity.cluster_name.clone();
            calls.spawn(async move {
                let answer = peer::pledge(channel, &name, &word, MEET_TIMEOUT).await;
                tracing::debug!(%to, address, ?word, ?answer, "founding");
                (to, word, answer)
            });
        }
        while let Some(Ok((from, word, answer))) = calls.join_next().await {
            if let Some(event) = heard(from, &word, answer) {
                self.step_durably(event).await?;
            }
        }
        Ok(None)
    }

    /// What must be durable is so before another task can ask the machine anything.
    async fn step_durably(&self, event: Event) -> Result<Vec<Effect>, StorageError> {
        let mut effects = Vec::new();
        let mut founding = self.founding.lock().await;
        founding.step(clock::raw(), event, &mut effects);
        for effect in &effects {
            if let Effect::Persist(pledge) = effect {
                self.membership.pledge(pledge.clone()).await?;
                if pledge.is_some() {
                    self.consensus.prepare();
                }
            }
        }
        Ok(effects)
    }

    /// All have pledged: the cluster's id first, then its first configuration. The pledge is kept until that stands,
    /// so that a crash in between is made good by the next life. The first leader writes the first entry.
    async fn initialise(&self, pledge: Pledge) -> Result<(), StorageError> {
        let Some(cluster) = self.membership.found(ClusterId(rand::random()), pledge.set).await? else {
            return Ok(());
        };
        let count = usize::try_from(self.settings.voters).unwrap_or(1);
        let address = |id: NodeId| {
            let here = (id == self.identity.node).then(|| self.identity.address.clone());
            here.unwrap_or_else(|| pledge.members[&id].address.clone())
        };
        let voters: BTreeMap<NodeId, String> =
            pledge.voters(count).into_iter().map(|id| (id, address(id))).collect();
        tracing::info!(%cluster, voters = voters.len(), "founding the cluster");
        match self.consensus.initialize(voters).await {
            Ok(()) | Err(ConsensusError::AlreadyFounded) => self.membership.pledge(None).await,
            Err(error) => {
                tracing::error!(%error, "the cluster can't be founded yet");
                Ok(())
            }
        }
    }

    /// An earlier life of this founder was cut off between naming the cluster and founding it.
    async fn finish_founding(&self) -> Result<(), StorageError> {
        let mine = self.membership.pledged().await.filter(|p| p.founder == self.identity.node);
        match mine {
            Some(pledge) if self.membership.cluster().is_some() => self.initialise(pledge).await,
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUNDER: NodeId = NodeId(1);

    fn answer(responder: NodeId, holds: bool) -> Result<PledgeAnswer, PeerError> {
        Ok(PledgeAnswer { responder, granted: false, pledged_to: None, holds })
    }

    #[test]
    fn only_the_founder_s_own_no_frees_a_member() {
        let word = PledgeWord::Enquire { founder: FOUNDER, set: SetId(7) };
        let freed = Event::Abandoned { founder: FOUNDER, set: SetId(7) };
        assert_eq!(heard(FOUNDER, &word, answer(FOUNDER, false)), Some(freed));
        assert_eq!(heard(FOUNDER, &word, answer(FOUNDER, true)), None);
        assert_eq!(
            heard(FOUNDER, &word, answer(NodeId(2), false)),
            None,
            "another agent has its address now"
        );
        for silence in [PeerError::Unreachable(String::new()), PeerError::Refused("it has a cluster".into())]
        {
            assert_eq!(heard(FOUNDER, &word, Err(silence)), None);
        }
    }

    #[test]
    fn a_refusal_is_an_answer_and_silence_is_none() {
        let pledge = Pledge { set: SetId(7), founder: FOUNDER, members: BTreeMap::new() };
        let (from, word) = (NodeId(2), PledgeWord::Ask(pledge));
        let refused = Event::Answered { from, set: SetId(7), granted: false };
        assert_eq!(heard(from, &word, Err(PeerError::Refused(String::new()))), Some(refused.clone()));
        assert_eq!(heard(from, &word, answer(from, false)), Some(refused));
        assert_eq!(heard(from, &word, answer(NodeId(3), false)), None);
        assert_eq!(heard(from, &word, Err(PeerError::Unreachable(String::new()))), None);
    }
}
