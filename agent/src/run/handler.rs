//! What this agent answers other agents. Decisions are the machines'; this only finds the right one to ask.

use super::{
    ears::Ears,
    follow,
    identity::Membership,
    input::Input,
    join::{SharedFounding, introduction, waits},
    propose::Proposer,
    replica::Replica,
    transport::kind_of,
};
use crate::{
    clock,
    consensus::Consensus,
    http::Pulse,
    keeper::{contacts::Introduction, secret::Secret},
    limits::{LOOP_STALLED_AFTER, OPINION_TIMEOUT, QUESTIONS_IN_FLIGHT},
    shared::{Identity, Live, LiveState, ProposeError},
    wire::{
        convert::RenewalAnswer,
        findings::SentReport,
        following::FollowItem,
        gossip::Ear,
        peer::{Acquaintance, Meeting, PledgeAnswer, PledgeWord},
        peer_server::{PeerHandler, Refused},
    },
};
use cluster_core::{
    founding::{Effect, Event},
    ids::{ClusterId, Incarnation, LeaseEpoch, LogId, NodeId},
    lease::Renewal,
    membership::{AgentState, Opinion},
};
use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// A node whose last heartbeat is younger than this lives, so a second process that speaks as it is a copy.
const LIVES_WITHIN: Duration = Duration::from_millis(900);
/// Leaving waits for everything that runs here to end and to start elsewhere.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(600);

pub struct Handler {
    pub identity: Identity,
    pub incarnation: Incarnation,
    pub membership: Membership,
    pub founding: SharedFounding,
    pub consensus: Consensus,
    pub proposer: Arc<Proposer>,
    pub replica: Arc<Replica>,
    pub live: watch::Receiver<Arc<Live>>,
    pub inputs: mpsc::Sender<Input>,
    /// Of this node's keeper.
    pub secret: Secret,
    pub ears: Arc<Ears>,
    pub pulse: Arc<Pulse>,
    pub questions: Semaphore,
}

impl Handler {
    fn ours(&self, cluster: ClusterId) -> Result<(), Refused> {
        self.ears.ours(cluster)
    }

    /// Puts a question to the main loop and waits for its answer, no longer than it is worth anything.
    async fn ask_loop<T>(
        &self,
        cluster: ClusterId,
        question: impl FnOnce(oneshot::Sender<T>) -> Input,
    ) -> Result<T, Refused> {
        self.ours(cluster)?;
        let Ok(_place) = self.questions.try_acquire() else {
            return Err(Refused::Unavailable(format!("{QUESTIONS_IN_FLIGHT} questions wait already")));
        };
        let (answer, answered) = oneshot::channel();
        self.hand_in(question(answer)).await?;
        match tokio::time::timeout(OPINION_TIMEOUT, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Refused::Unavailable("this agent has no answer".into())),
            Err(_) => Err(Refused::Unavailable("this agent found no answer in time".into())),
        }
    }

    async fn hand_in(&self, input: Input) -> Result<(), Refused> {
        let queued = self.inputs.send(input).await;
        queued.map_err(|_| Refused::Unavailable("this agent is stopping".into()))
    }

    /// A raft message may be the first word of a cluster that this agent pledged itself to found.
    async fn ours_or_founding(&self, cluster: ClusterId, from: NodeId) -> Result<(), Refused> {
        if self.membership.cluster().is_none() {
            let pledged = self.membership.pledged().await;
            let partner = pledged.is_some_and(|p| p.members.contains_key(&from));
            if !partner {
                return Err(Refused::Unavailable("this agent belongs to no cluster yet".into()));
            }
            self.membership.adopt(cluster).await.map_err(|e| Refused::Unavailable(e.to_string()))?;
        }
        self.ours(cluster)
    }

    fn acquaintances(&self) -> Vec<Acquaintance> {
        let live = self.live.borrow();
        let known =
            live.members.values().filter(|m| m.node != self.identity.node && m.state == LiveState::Alive);
        known
            .map(|m| Acquaintance {
                node: m.node,
                name: m.name.clone(),
                address: m.address.clone(),
                zone: m.zone.clone(),
                role: m.role,
                incarnation: m.incarnation,
                session: m.session,
                version: m.version.clone(),
            })
            .collect()
    }

    /// Whether some other living process speaks as this node.
    fn is_taken(&self, sender: &Acquaintance) -> bool {
        let session = self.replica.read(|l| l.nodes.get(&sender.node).map(|n| n.session));
        let live = self.live.borrow();
        let up = live.members.get(&sender.node).is_some_and(|m| m.agent == AgentState::Up);
        let heard = live.silences.get(&sender.node).is_some_and(|silence| *silence < LIVES_WITHIN);
        up && heard && session.is_some_and(|s| s != sender.session)
    }
}

impl PeerHandler for Handler {
    fn meet(&self, meeting: Meeting) -> BoxFuture<'_, Result<Meeting, Refused>> {
        Box::pin(async move {
            let cluster = self.membership.cluster();
            let same_name = meeting.cluster_name == self.identity.cluster_name;
            if same_name && cluster.is_some() && self.is_taken(&meeting.sender) {
                return Err(Refused::Taken(format!(
                    "node {} ({}) runs already, elsewhere: two agents can't share one identity; give one of them an \
                     empty data_dir",
                    meeting.sender.node, meeting.sender.name
                )));
            }
            let (mut waiting, mut founds) = (Vec::new(), false);
            if cluster.is_none() && same_name {
                let mut founding = self.founding.lock().await;
                if let Some(waits) = waits(&meeting) {
                    founding.step(clock::raw(), waits, &mut Vec::new());
                }
                founds = founding.founds();
                waiting = founding.waiting().map(|(n, a)| (n, a.to_owned())).collect();
            }
            if same_name && cluster.is_some() && meeting.cluster.is_none_or(|c| Some(c) == cluster) {
                let _stopping = self.inputs.send(Input::Met(meeting)).await;
            }
            let voters = {
                let live = self.live.borrow();
                let now_at = |id: &NodeId| live.members.get(id).map(|m| m.address.clone());
                live.voters
                    .iter()
                    .map(|(id, logged)| (*id, now_at(id).unwrap_or_else(|| logged.clone())))
                    .collect()
            };
            Ok(Meeting {
                cluster_name: self.identity.cluster_name.clone(),
                cluster,
                sender: introduction(&self.identity, self.incarnation),
                founds,
                members: self.acquaintances(),
                waiting,
                voters,
            })
        })
    }

    fn pledge(&self, cluster_name: String, word: PledgeWord) -> BoxFuture<'_, Result<PledgeAnswer, Refused>> {
        Box::pin(async move {
            let mut effects = Vec::new();
            let mut founding = self.founding.lock().await;
            // An agent of a cluster frees nobody: it may have founded that set.
            if cluster_name != self.identity.cluster_name || self.membership.cluster().is_some() {
                return Err(Refused::No("this agent doesn't found that cluster".into()));
            }
            let holds = matches!(word, PledgeWord::Enquire { set, .. } if founding.holds(set));
            match word {
                PledgeWord::Ask(pledge) => founding.step(clock::raw(), Event::Asked(pledge), &mut effects),
                PledgeWord::Release { founder, set } => {
                    founding.step(clock::raw(), Event::Abandoned { founder, set }, &mut effects);
                }
                PledgeWord::Enquire { .. } => {}
            }
            let (responder, pledged_to) = (self.identity.node, founding.pledged_to());
            let mut answer = PledgeAnswer { responder, granted: false, pledged_to, holds };
            for effect in effects {
                match effect {
                    // Held under the lock: the next question must not overtake this one on its way to the disk.
                    Effect::Persist(pledge) => {
                        let pledged = pledge.is_some();
                        let saved = self.membership.pledge(pledge).await;
                        saved.map_err(|e| Refused::Unavailable(e.to_string()))?;
                        if pledged {
                            self.consensus.prepare();
                        }
                    }
                    Effect::Answer { granted, pledged_to } => {
                        (answer.granted, answer.pledged_to) = (granted, pledged_to);
                    }
                    Effect::Ask { .. }
                    | Effect::Enquire { .. }
                    | Effect::Release { .. }
                    | Effect::Found(_) => unreachable!("only a tick asks, releases or founds"),
                }
            }
            Ok(answer)
        })
    }

    fn ear(&self) -> Arc<dyn Ear> {
        self.ears.clone()
    }

    fn ping(&self, cluster: ClusterId) -> Result<NodeId, Refused> {
        self.ours(cluster)?;
        if self.pulse.age() >= LOOP_STALLED_AFTER {
            return Err(Refused::Unavailable("this agent's loop doesn't turn".into()));
        }
        Ok(self.identity.node)
    }

    fn help(
        &self,
        cluster: ClusterId,
        by: NodeId,
        subject: NodeId,
    ) -> BoxFuture<'_, Result<Opinion, Refused>> {
        Box::pin(self.ask_loop(cluster, move |answer| Input::HelpAsked { by, subject, answer }))
    }

    fn report(
        &self,
        cluster: ClusterId,
        from: NodeId,
        sent: Option<SentReport>,
        ages: Vec<(LeaseEpoch, Duration)>,
    ) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(async move {
            self.ours(cluster)?;
            if sent.as_ref().is_some_and(|sent| sent.report.observer != from) {
                return Err(Refused::No("everyone reports for itself".into()));
            }
            if !ages.is_empty() {
                self.hand_in(Input::AckAges(from, ages)).await?;
            }
            match sent {
                Some(sent) => self.hand_in(Input::Report(Box::new(sent))).await,
                None => Ok(()),
            }
        })
    }

    fn poll(&self, cluster: ClusterId, by: NodeId, subject: NodeId) -> BoxFuture<'_, Result<bool, Refused>> {
        Box::pin(self.ask_loop(cluster, move |answer| Input::Polled { by, subject, answer }))
    }

    fn renew(&self, cluster: ClusterId, renewal: &Renewal) -> Result<RenewalAnswer, Refused> {
        self.ours(cluster)?;
        let verdict = self.replica.book().renew(clock::raw(), renewal);
        let (session, nonce) = (renewal.session, renewal.nonce);
        Ok(RenewalAnswer { voter: self.identity.node, session, nonce, verdict })
    }

    fn promise(
        &self,
        cluster: ClusterId,
        epoch: LeaseEpoch,
        at: LogId,
    ) -> Result<(NodeId, Option<Duration>), Refused> {
        self.ours(cluster)?;
        Ok((self.identity.node, self.replica.book().promise(clock::raw(), epoch, at)))
    }

    fn raft(
        &self,
        cluster: ClusterId,
        from: NodeId,
        to: NodeId,
        kind: u32,
        payload: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, Refused>> {
        Box::pin(async move {
            if to != self.identity.node {
                return Err(Refused::No(format!("this is node {}, not {to}", self.identity.node)));
            }
            self.ours_or_founding(cluster, from).await?;
            let kind =
                kind_of(kind).ok_or_else(|| Refused::No(format!("unknown kind of raft message {kind}")))?;
            let answer = self.consensus.handle(kind, &payload).await;
            answer.map_err(|e| Refused::Unavailable(e.to_string()))
        })
    }

    fn propose(
        &self,
        cluster: ClusterId,
        command: Vec<u8>,
        hops: u32,
    ) -> BoxFuture<'_, Result<(LogId, Vec<u8>), Refused>> {
        Box::pin(async move {
            self.ours(cluster)?;
            self.proposer.write(command, hops).await.map_err(|error| match error {
                ProposeError::NoLeader { .. } | ProposeError::Unreachable { .. } | ProposeError::Stopping => {
                    Refused::Unavailable(error.to_string())
                }
                ProposeError::Overloaded { .. } | ProposeError::Timeout(_) => Refused::No(error.to_string()),
            })
        })
    }

    fn follow(&self, cluster: ClusterId) -> Result<BoxStream<'static, FollowItem>, Refused> {
        self.ours(cluster)?;
        let status = self.consensus.status();
        if !status.voters.iter().any(|(id, _)| *id == self.identity.node) {
            return Err(Refused::No("this agent has no vote; follow a voter".into()));
        }
        Ok(follow::feed(&self.replica, self.consensus.clone()).boxed())
    }

    fn introduce(&self, cluster: ClusterId, from: NodeId, to: NodeId) -> Result<Introduction, Refused> {
        self.ours(cluster)?;
        let me = self.identity.node;
        if to != me {
            return Err(Refused::No(format!("this is node {me}, not {to}")));
        }
        Ok(self.secret.introduce(from, me))
    }

    fn leave(&self) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let queued = self.inputs.send(Input::Leave(answer)).await;
            queued.map_err(|_| Refused::Unavailable("this agent is stopping".into()))?;
            match tokio::time::timeout(LEAVE_TIMEOUT, answered).await {
                Ok(Ok(done)) => done.map_err(Refused::No),
                Ok(Err(_)) => Err(Refused::Unavailable("this agent is stopping".into())),
                Err(_) => Err(Refused::Unavailable(format!(
                    "what runs here hasn't ended within {} s; see `holdfast node show`",
                    LEAVE_TIMEOUT.as_secs()
                ))),
            }
        })
    }
}
