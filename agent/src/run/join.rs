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
        peer::{self, Acquaintance, Meeting},
    },
};
use cluster_core::{
    founding::{Effect, Event, Founding, Pledge},
    ids::{ClusterId, Incarnation, NodeId},
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

/// One question whether this node runs elsewhere; a seed that is down costs a start so much.
const ASK_TIMEOUT: Duration = Duration::from_millis(300);
/// An agent whose identity another one uses for so long gives way.
const GIVE_WAY_AFTER: Duration = Duration::from_secs(3);
const MEET_TIMEOUT: Duration = Duration::from_millis(700);
/// Between two rounds while there is no cluster, or nobody of it was met.
const ROUND_EAGER: Duration = Duration::from_millis(150);
/// Between two rounds once there is gossip (which probes seeds by itself).
const ROUND_CALM: Duration = Duration::from_secs(2);
/// Between two warnings about the same trouble.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// Agents met in one round.
const MEET_MAX: usize = 32;

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

/// A copied data directory must not speak as the node that it was copied from: not in gossip, and above all not in
/// consensus, where it would vote and lead with another's promises. So before a process that belongs to a cluster takes
/// part in anything it asks its seeds whether they hear its node already. Returns once nobody does, or nobody answers;
/// otherwise it asks again for a while, as an earlier life's last words look the same, and then says why it gives way.
pub async fn nobody_else(
    identity: &Identity,
    incarnation: Incarnation,
    cluster: ClusterId,
    seeds: &[String],
    peers: &Peers,
) -> Result<(), String> {
    let mine = Arc::new(Meeting {
        cluster_name: identity.cluster_name.clone(),
        cluster: Some(cluster),
        sender: introduction(identity, incarnation),
        members: Vec::new(),
        waiting: Vec::new(),
        leader: None,
    });
    let until = tokio::time::Instant::now() + GIVE_WAY_AFTER;
    loop {
        let mut calls = JoinSet::new();
        for address in seeds.iter().filter(|a| **a != identity.address).take(MEET_MAX) {
            let Ok(channel) = peers.channel(address) else { continue };
            let mine = mine.clone();
            calls.spawn(async move { peer::meet(channel, &mine, ASK_TIMEOUT).await });
        }
        let taken = calls.join_all().await.into_iter().find_map(|answer| match answer {
            Err(peer::PeerError::Taken(why)) => Some(why),
            _ => None,
        });
        match taken {
            None => return Ok(()),
            Some(why) if tokio::time::Instant::now() >= until => return Err(why),
            Some(_) => tokio::time::sleep(ROUND_EAGER).await,
        }
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
            for (address, outcome) in met {
                let trouble = match outcome {
                    Ok(meeting) => match self.met(meeting).await {
                        Ok(trouble) => trouble.map(|t| format!("{address}: {t}")),
                        Err(error) => return error,
                    },
                    Err(peer::PeerError::Refused(why) | peer::PeerError::Taken(why)) => {
                        Some(format!("{address}: {why}"))
                    }
                    Err(peer::PeerError::Unreachable(_)) => None,
                };
                if let Some(trouble) = trouble
                    && warned.is_none_or(|at| at.elapsed() >= WARN_EVERY)
                {
                    warned = Some(tokio::time::Instant::now());
                    tracing::warn!("{trouble}");
                }
            }
            if self.membership.cluster().is_none()
                && let Err(error) = self.found().await
            {
                return error;
            }
            let eager = self.membership.cluster().is_none() || self.live.borrow().leader.is_none();
            tokio::time::sleep(if eager { ROUND_EAGER } else { ROUND_CALM }).await;
        }
    }

    /// Asks every seed, and everyone else known to wait, at once.
    async fn meet_all(&self) -> Vec<(String, Result<Meeting, peer::PeerError>)> {
        let waiting: Vec<(NodeId, String)> =
            self.founding.lock().await.waiting().map(|(n, a)| (n, a.to_owned())).collect();
        let unfounded = self.membership.cluster().is_none();
        let others = waiting.iter().filter(|_| unfounded).map(|(_, address)| address);
        let addresses: BTreeSet<&String> =
            self.seeds.iter().chain(others).filter(|a| **a != self.identity.address).take(MEET_MAX).collect();
        let mine = Arc::new(Meeting {
            cluster_name: self.identity.cluster_name.clone(),
            cluster: self.membership.cluster(),
            sender: introduction(&self.identity, self.incarnation),
            members: Vec::new(),
            waiting: waiting.clone(),
            leader: None,
        });
        let mut calls = JoinSet::new();
        for address in addresses {
            let Ok(channel) = self.peers.channel(address) else { continue };
            let (mine, address) = (mine.clone(), address.clone());
            calls.spawn(async move { (address, peer::meet(channel, &mine, MEET_TIMEOUT).await) });
        }
        calls.join_all().await
    }

    /// Takes in one answer. Returns what a person should know of it.
    async fn met(&self, meeting: Meeting) -> Result<Option<String>, StorageError> {
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
        let now = clock::raw();
        let mut founding = self.founding.lock().await;
        let sender = (meeting.sender.node, meeting.sender.address.clone());
        // Only who answers for itself counts as waiting; others named are met in the next round.
        let event = Event::Waiting { node: sender.0, address: sender.1 };
        founding.step(now, event, &mut Vec::new());
        drop(founding);
        for (_, address) in &meeting.waiting {
            self.note_rumour(address).await;
        }
    }

    /// Somebody says that an agent waits at this address: look for yourself.
    async fn note_rumour(&self, address: &str) {
        if *address == self.identity.address || self.seeds.iter().any(|s| s == address) {
            return;
        }
        let Ok(channel) = self.peers.channel(address) else { return };
        let mine = Meeting {
            cluster_name: self.identity.cluster_name.clone(),
            cluster: None,
            sender: introduction(&self.identity, self.incarnation),
            members: Vec::new(),
            waiting: Vec::new(),
            leader: None,
        };
        if let Ok(answer) = peer::meet(channel, &mine, MEET_TIMEOUT).await
            && answer.cluster.is_none()
            && answer.cluster_name == self.identity.cluster_name
        {
            let event = Event::Waiting { node: answer.sender.node, address: answer.sender.address };
            self.founding.lock().await.step(clock::raw(), event, &mut Vec::new());
        }
    }

    /// Tells the gossip whom this agent met, so that streams are dialled.
    async fn introduce(&self, meeting: Meeting) {
        {
            let mut hints = self.hints.lock().expect("no holder of this lock panics");
            hints.clear();
            let named = meeting.members.iter().map(|m| (m.node, m.address.clone()));
            hints.extend(named.chain([(meeting.sender.node, meeting.sender.address.clone())]));
            hints.extend(meeting.leader.clone());
        }
        let _stopping = self.inputs.send(Input::Met(meeting)).await;
    }

    /// One step of founding, if it is this agent's part.
    async fn found(&self) -> Result<(), StorageError> {
        let mut effects = Vec::new();
        self.founding.lock().await.step(clock::raw(), Event::Tick, &mut effects);
        let mut asks = JoinSet::new();
        for effect in effects {
            match effect {
                Effect::Persist(pledge) => self.membership.pledge(pledge).await?,
                Effect::Ask { to, address, pledge } => {
                    if let Ok(channel) = self.peers.channel(&address) {
                        let name = self.identity.cluster_name.clone();
                        asks.spawn(async move {
                            (to, peer::pledge(channel, &name, &pledge, false, MEET_TIMEOUT).await)
                        });
                    }
                }
                Effect::Release { address, .. } => {
                    let freed = Pledge { founder: self.identity.node, members: BTreeMap::new() };
                    if let Ok(channel) = self.peers.channel(&address) {
                        let name = self.identity.cluster_name.clone();
                        let told = peer::pledge(channel, &name, &freed, true, MEET_TIMEOUT).await;
                        tracing::debug!(address, ?told, "released from a founding set");
                    }
                }
                Effect::Found(pledge) => self.initialise(pledge).await?,
                Effect::Answer { .. } => unreachable!("only a question is answered"),
            }
        }
        while let Some(Ok((from, answer))) = asks.join_next().await {
            // Who refuses to answer the question has pledged otherwise, or belongs to a cluster.
            let granted = match answer {
                Ok(granted) => Some(granted),
                Err(peer::PeerError::Refused(_)) => Some(false),
                Err(_) => None,
            };
            if let Some(granted) = granted {
                let event = Event::Answered { from, granted };
                self.founding.lock().await.step(clock::raw(), event, &mut Vec::new());
            }
        }
        Ok(())
    }

    /// All have pledged: the cluster's id first, then its first configuration. The pledge is kept until that stands,
    /// so that a crash in between is made good by the next life. The first leader writes the first entry.
    async fn initialise(&self, pledge: Pledge) -> Result<(), StorageError> {
        let cluster = self.membership.cluster().unwrap_or_else(|| ClusterId(rand::random()));
        if !self.membership.found(cluster).await? {
            return Ok(());
        }
        let count = usize::try_from(self.settings.voters).unwrap_or(1).min(pledge.members.len());
        let voters: BTreeMap<NodeId, String> =
            std::iter::once((self.identity.node, self.identity.address.clone()))
                .chain(pledge.members.into_iter().filter(|(n, _)| *n != self.identity.node))
                .take(count)
                .collect();
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
