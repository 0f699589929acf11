//! What this agent does while it leads: it declares, records, collects promises, places, and tells people. Decisions
//! are the machines'; here they are fed and what they want is carried out.

use super::{input::Input, propose::Proposer, replica::Replica};
use crate::{
    clock,
    consensus::{self, Consensus},
    shared::Identity,
    wire::{client::Peers, codec, peer},
};
use cluster_core::{
    alerting::{self, Alerting},
    cut::Verdict,
    ids::{ClusterId, LeaseEpoch, LogId, NodeId, RequestId},
    lease::{Groups, Lost, Observed},
    ledger::{Body, Death, Ledger, NodeState, Reply, SendOutcome, Settings},
    recovery::{self, LiveView, Recovery, View},
    time::{Instant, WallTime},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// One question for a promise.
const PROMISE_TIMEOUT: Duration = Duration::from_millis(400);
/// Between two looks for nodes that died or left a day ago.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Between two looks at everything while nothing is under way and nothing changes: a look costs as much as there are nodes.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Between two looks of a new leader whether a majority has answered it.
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(10);
/// A quorum that takes longer to confirm a leader confirms nothing that it saw before.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(300);
/// An end of a lease that the ledger doesn't show after this long is proposed again.
const PROPOSE_AGAIN: Duration = Duration::from_secs(1);

/// What a leader works with, whichever term it is.
#[derive(Clone)]
pub struct Office {
    pub identity: Identity,
    pub consensus: Consensus,
    pub replica: Arc<Replica>,
    pub peers: Arc<Peers>,
    pub inputs: mpsc::Sender<Input>,
    pub settings: Settings,
}

pub struct Leader {
    pub(super) office: Office,
    cluster: ClusterId,
    pub term: u64,
    recovery: Recovery,
    pub(super) alerting: Alerting,
    lost: Lost,
    lost_proposed: BTreeMap<LeaseEpoch, Instant>,
    /// When to look again for nodes that are gone for good.
    forget_due: Instant,
    /// When to look at everything again though nothing changed.
    pub look_due: Instant,
}

impl Leader {
    /// Announces itself in the ledger; the first one of a cluster founds it there.
    #[must_use]
    pub fn new(
        office: Office,
        cluster: ClusterId,
        term: u64,
        now: Instant,
        lease: Duration,
        voters: Groups,
    ) -> Self {
        let me = office.identity.node;
        tracing::info!(term, "this agent leads");
        let this = Self {
            cluster,
            term,
            recovery: Recovery::new(),
            alerting: Alerting::new(me, term, now),
            lost: Lost::new(now, lease, voters),
            lost_proposed: BTreeMap::new(),
            forget_due: now,
            look_due: now,
            office,
        };
        this.announce();
        this
    }

    /// Says in the ledger who leads; the first leader of a cluster founds it there. A new leader may not write before
    /// a majority has answered it, so this waits for that.
    fn announce(&self) {
        let (office, cluster, term) = (self.office.clone(), self.cluster, self.term);
        // Ends when the entries stand, or when this term is over.
        tokio::spawn(async move {
            while !matches!(office.consensus.confirm_leader().await, Ok(confirmed) if confirmed == term) {
                let status = office.consensus.status();
                if status.term != term || status.role != consensus::Role::Leader {
                    return;
                }
                tokio::time::sleep(ANNOUNCE_AGAIN).await;
            }
            let actor = format!("node:{}", office.identity.name);
            if office.replica.read(|l| l.cluster.is_none()) {
                let (name, settings) = (office.identity.cluster_name.clone(), office.settings.clone());
                let founded = Body::Founded { cluster, name, settings };
                let command = Proposer::command(actor.clone(), RequestId(cluster.0), founded);
                write(&office.consensus, command, "Founded").await;
            }
            let elected = Body::LeaderElected { node: office.identity.node };
            write(&office.consensus, Proposer::command(actor, RequestId(0), elected), "LeaderElected").await;
        });
    }

    /// How long until this epoch is safe, once enough voters promised.
    #[must_use]
    pub fn safe_in(&self, now: Instant, epoch: LeaseEpoch) -> Option<Duration> {
        self.recovery.safe_in(now, epoch)
    }

    /// A voter's account of what it last acknowledged.
    pub fn ack_ages(&mut self, now: Instant, voter: NodeId, ages: Vec<(LeaseEpoch, Duration)>) {
        self.lost.step(now, Observed::Ages { voter, ages });
    }

    /// The voters in force.
    pub fn voters(&mut self, now: Instant, ledger: &Ledger, live: &LiveView, voters: &Groups) {
        self.lost.step(now, Observed::Voters { groups: voters.clone() });
        self.recover(now, ledger, live, recovery::Input::Voters(voters.clone()));
        self.alert(now, ledger, live, alerting::Input::Voters(voters.clone()));
    }

    pub fn promise(
        &mut self,
        now: Instant,
        ledger: &Ledger,
        live: &LiveView,
        voter: NodeId,
        epoch: LeaseEpoch,
        remaining: Duration,
    ) {
        self.recover(now, ledger, live, recovery::Input::Promise { voter, epoch, remaining });
    }

    /// Whether anything is under way that waits for time to pass.
    #[must_use]
    pub fn is_busy(&self, ledger: &Ledger) -> bool {
        self.recovery.is_busy() || self.alerting.is_busy(ledger)
    }

    /// Time went by.
    pub fn tick(&mut self, now: Instant, ledger: &Ledger, live: &LiveView) {
        if now >= self.look_due || self.is_busy(ledger) {
            self.look(now, ledger, live);
        } else {
            self.end_lost_leases(now, ledger, live);
        }
    }

    /// Looks at everything anew: after each change of the ledger or of who is heard, and now and then.
    pub fn look(&mut self, now: Instant, ledger: &Ledger, live: &LiveView) {
        self.look_due = now + LOOK_EVERY;
        self.end_lost_leases(now, ledger, live);
        self.forget_gone_nodes(now, ledger);
        self.recover(now, ledger, live, recovery::Input::Tick);
        self.alert(now, ledger, live, alerting::Input::Tick);
    }

    pub fn sent(
        &mut self,
        now: Instant,
        ledger: &Ledger,
        live: &LiveView,
        message: u64,
        attempt: u32,
        outcome: SendOutcome,
    ) {
        let dice = rand::random();
        let input = alerting::Input::SendFinished { message, attempt, outcome, dice };
        self.alert(now, ledger, live, input);
    }

    /// The cut: one decision for all of them.
    pub fn declare(&self, ledger: &Ledger, verdicts: Vec<Verdict>) {
        let death = |v: Verdict| Death {
            epoch: ledger.nodes.get(&v.node).map_or(LeaseEpoch(0), |n| n.epoch),
            node: v.node,
            incarnation: v.incarnation,
            last_seen_at: ago(v.last_seen),
            suspected_at: ago(v.suspected),
            observers: v.observers,
            evidence: v.evidence,
        };
        let deaths: Vec<Death> = verdicts.into_iter().map(death).collect();
        if !deaths.is_empty() {
            self.propose_confirmed(Body::NodesDead { deaths });
        }
    }

    /// What enough observers found of a node's agent. As with a death: a leader that is cut off finds much.
    pub fn tell(&self, body: Body) {
        self.propose_confirmed(body);
    }

    /// Nodes that live, hold work, and whom no majority of voters acknowledged for a lease time.
    fn end_lost_leases(&mut self, now: Instant, ledger: &Ledger, live: &LiveView) {
        let alive = |n: &&cluster_core::ledger::Node| n.state == NodeState::Alive && n.epoch != LeaseEpoch(0);
        let holding = ledger.placements().filter_map(|(_, _, p)| {
            let node = ledger.nodes.get(&p.node).filter(alive)?;
            (node.epoch == p.epoch).then_some((p.epoch, p.node))
        });
        let epochs: BTreeMap<LeaseEpoch, NodeId> = holding.collect();
        let held = !epochs.is_empty();
        self.lost.step(now, Observed::Holding { epochs });
        self.lost_proposed.retain(|_, at| now.since(*at) < PROPOSE_AGAIN);
        if !held {
            return;
        }
        let heard =
            |id: &NodeId| matches!(live.heard.get(id), Some(recovery::Heard::Alive | recovery::Heard::Sick));
        let unheard: BTreeSet<NodeId> = ledger.nodes.keys().filter(|id| !heard(id)).copied().collect();
        for loss in self.lost.losses(now, &unheard) {
            if self.lost_proposed.insert(loss.epoch, now).is_some() {
                continue;
            }
            let age = loss.last_acked.map(|at| now.since(at));
            let last_seen_at = ago(age.unwrap_or_default());
            let name = ledger.node_name(loss.node);
            let since = age.map_or_else(|| "this term".to_owned(), |a| format!("{:.2} s", a.as_secs_f64()));
            let evidence = vec![format!(
                "no majority of the voters acknowledged {name}'s lease for {since}, though it holds work"
            )];
            self.propose_confirmed(Body::LeaseLost {
                node: loss.node,
                epoch: loss.epoch,
                last_seen_at,
                evidence,
            });
        }
    }

    /// Out of the list, a day after they died or left. Not a voter: consensus still counts on it, and it is asked for
    /// promises at the address that the list has.
    fn forget_gone_nodes(&mut self, now: Instant, ledger: &Ledger) {
        if now < self.forget_due {
            return;
        }
        self.forget_due = now + FORGET_EVERY;
        let status = self.office.consensus.status();
        let votes = |id: &NodeId| status.voters.iter().any(|(voter, _)| voter == id);
        let nodes: Vec<NodeId> = ledger.forgettable(clock::wall()).filter(|id| !votes(id)).collect();
        if !nodes.is_empty() {
            self.propose(Body::NodesForgotten { nodes });
        }
    }

    fn recover(&mut self, now: Instant, ledger: &Ledger, live: &LiveView, input: recovery::Input) {
        let mut effects = Vec::new();
        self.recovery.step(now, &View { ledger, live }, input, &mut effects);
        for effect in effects {
            match effect {
                recovery::Effect::Propose(body) => self.propose(body),
                recovery::Effect::AskPromises { epoch, at, voters } => {
                    for voter in voters {
                        self.ask(ledger, voter, epoch, at);
                    }
                }
            }
        }
    }

    fn ask(&self, ledger: &Ledger, voter: NodeId, epoch: LeaseEpoch, at: LogId) {
        let inputs = self.office.inputs.clone();
        if voter == self.office.identity.node {
            let remaining = self.office.replica.book().promise(clock::raw(), epoch, at);
            tokio::spawn(async move { answer_promise(&inputs, voter, epoch, remaining).await });
            return;
        }
        let Some(address) = ledger.nodes.get(&voter).map(|n| n.profile.address.clone()) else { return };
        let Ok(channel) = self.office.peers.channel(&address) else { return };
        let cluster = self.cluster;
        // Ends with its time-out; at most one a voter and revocation every 200 ms.
        tokio::spawn(async move {
            if let Ok(remaining) = peer::promise(channel, cluster, epoch, at, PROMISE_TIMEOUT).await {
                answer_promise(&inputs, voter, epoch, remaining).await;
            }
        });
    }

    /// A decision. Whether it stands, the ledger shows; the machines propose again what it doesn't.
    pub(super) fn propose(&self, body: Body) {
        self.propose_at(WallTime::default(), body);
    }

    /// As of `at`, or of this moment if that is later.
    pub(super) fn propose_at(&self, at: WallTime, body: Body) {
        let actor = format!("node:{}", self.office.identity.name);
        let kind = format!("{body:?}");
        let command = Proposer::command_at(at, actor, RequestId(0), body);
        let consensus = self.office.consensus.clone();
        // Bounded by consensus' own limit of proposals in flight, and ended by its time-out.
        tokio::spawn(async move { write(&consensus, command, &kind).await });
    }

    /// A decision that rests on what others don't say. A leader that is itself cut off hears nobody; its proposal would
    /// wait in its log and might be committed when the cut heals. So a quorum must confirm it first, and promptly.
    fn propose_confirmed(&self, body: Body) {
        let (consensus, term) = (self.office.consensus.clone(), self.term);
        let kind = format!("{body:?}");
        let command = Proposer::command(format!("node:{}", self.office.identity.name), RequestId(0), body);
        tokio::spawn(async move {
            let confirmed = tokio::time::timeout(CONFIRM_TIMEOUT, consensus.confirm_leader()).await;
            if matches!(confirmed, Ok(Ok(confirmed)) if confirmed == term) {
                write(&consensus, command, &kind).await;
            }
        });
    }
}

/// The wall's time so long ago.
pub fn ago(d: Duration) -> WallTime {
    WallTime(clock::wall().0.saturating_sub(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
}

async fn write(consensus: &Consensus, command: Vec<u8>, kind: &str) {
    let kind = kind.split([' ', '{']).next().unwrap_or_default();
    match consensus.propose(command).await {
        Ok((at, reply)) => match codec::decode_reply(&reply) {
            Ok(Reply::Rejected(why)) => {
                tracing::debug!(index = at.index, kind, %why, "refused by the ledger")
            }
            Ok(_) => tracing::debug!(index = at.index, kind, "decided"),
            Err(error) => tracing::error!(%error, kind, "the ledger's reply makes no sense"),
        },
        Err(error) => tracing::debug!(%error, kind, "not decided"),
    }
}

async fn answer_promise(
    inputs: &mpsc::Sender<Input>,
    voter: NodeId,
    epoch: LeaseEpoch,
    remaining: Option<Duration>,
) {
    if let Some(remaining) = remaining {
        let _stopping = inputs.send(Input::Promise { voter, epoch, remaining }).await;
    }
}
