//! What this agent answers other agents. Decisions are the machines'; this only finds the right one to ask.

use super::{
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
    keeper::{contacts::Introduction, secret::Secret},
    shared::{AgentState, Identity, Live, LiveState, ProposeError},
    wire::{
        convert::{Beat, RenewalAnswer},
        peer::{Acquaintance, Meeting, PledgeAnswer, PledgeWord},
        peer_server::{FollowItem, PeerHandler, Refused},
    },
};
use cluster_core::{
    founding::{Effect, Event},
    ids::{ClusterId, Incarnation, LeaseEpoch, LogId, NodeId},
    lease::Renewal,
};
use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot, watch};

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
}

impl Handler {
    fn ours(&self, cluster: ClusterId) -> Result<(), Refused> {
        match self.membership.cluster() {
            Some(mine) if mine == cluster => Ok(()),
            Some(mine) => Err(Refused::No(format!("this agent belongs to cluster {mine}, not to {cluster}"))),
            None => Err(Refused::Unavailable("this agent belongs to no cluster yet".into())),
        }
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
        let heard = live.members.get(&sender.node);
        session.is_some_and(|s| s != sender.session)
            && heard.is_some_and(|m| m.agent == AgentState::Up && m.connected && m.silence < LIVES_WITHIN)
    }
}

/// Whether a heartbeat counts here. While only one of the two belongs to the cluster already, it doesn't, and the stream
/// stays: a refusal would end it, and its end would be held against a peer that is about to belong to the cluster, too.
fn is_for_us(mine: Option<ClusterId>, theirs: Option<ClusterId>) -> Result<bool, Refused> {
    match (mine, theirs) {
        (Some(mine), Some(theirs)) if mine != theirs => {
            Err(Refused::No(format!("this agent belongs to cluster {mine}, not to {theirs}")))
        }
        (mine, theirs) => Ok(mine == theirs),
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
            let mut waiting = Vec::new();
            if cluster.is_none() && same_name {
                let mut founding = self.founding.lock().await;
                if meeting.cluster.is_none() {
                    founding.step(clock::raw(), waits(&meeting.sender), &mut Vec::new());
                }
                waiting = founding.waiting().map(|(n, a)| (n, a.to_owned())).collect();
            }
            if same_name && cluster.is_some() && meeting.cluster.is_none_or(|c| Some(c) == cluster) {
                let _stopping = self.inputs.send(Input::Met(meeting)).await;
            }
            let leader = {
                let live = self.live.borrow();
                live.leader.and_then(|l| Some((l, live.members.get(&l)?.address.clone())))
            };
            Ok(Meeting {
                cluster_name: self.identity.cluster_name.clone(),
                cluster,
                sender: introduction(&self.identity, self.incarnation),
                members: self.acquaintances(),
                waiting,
                leader,
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
                        let saved = self.membership.pledge(pledge).await;
                        saved.map_err(|e| Refused::Unavailable(e.to_string()))?;
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

    fn beat(&self, beat: Beat) -> BoxFuture<'_, Result<(), Refused>> {
        let at = clock::raw();
        Box::pin(async move {
            if beat.cluster_name != self.identity.cluster_name {
                return Err(Refused::No(format!(
                    "this agent belongs to cluster \"{}\"",
                    self.identity.cluster_name
                )));
            }
            if !is_for_us(self.membership.cluster(), beat.cluster)? {
                return Ok(());
            }
            let queued = self.inputs.send(Input::Beat(Box::new(beat), at)).await;
            queued.map_err(|_| Refused::Unavailable("this agent is stopping".into()))
        })
    }

    fn beats_ended(&self, _peer: NodeId) -> BoxFuture<'_, ()> {
        // The stream that this agent dialled to the peer tells the same, and it is the one that the table watches.
        Box::pin(async {})
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
        let (key, key_id) = (self.secret.key_for(from, me), self.secret.id());
        Ok(Introduction { key, key_id, udp_address: None })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_of_an_agent_that_is_still_founding_are_dropped_and_those_of_another_cluster_refused() {
        let (ours, others) = (Some(ClusterId(1)), Some(ClusterId(2)));
        assert_eq!(is_for_us(ours, ours), Ok(true));
        assert_eq!(is_for_us(ours, None), Ok(false));
        assert_eq!(is_for_us(None, ours), Ok(false));
        assert!(matches!(is_for_us(ours, others), Err(Refused::No(_))));
    }
}
