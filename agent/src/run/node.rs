//! The main loop: everything that this agent is told goes to the machines here, one thing at a time, and what they
//! want is carried out. All of the agent's deciding state has this one owner.
//!
//! `gossip` is what membership makes it do, `place` its own place in the ledger. Not here: how anything is done
//! (streams, files, processes, proposals), nor any decision.

mod gossip;
mod place;

use super::{
    follow::Heard,
    identity::Membership as Stored,
    input::Input,
    instances::Instances,
    leader::{Leader, Office},
    lease::Lease,
    live,
    replica::Replica,
};
use crate::{
    clock,
    consensus::{self, Consensus},
    http::Pulse,
    limits::LOOP_QUEUE,
    shared::{Identity, Live},
    wire::{
        client::Peers,
        convert::Beat,
        streams::{Stream, StreamEvent},
    },
    workload::spec::GuardEvent,
};
use cluster_core::{
    cut::{self, Cut},
    ids::{BootId, LogId, NodeId, ViewEpoch},
    lease::Groups,
    ledger::{Event, Ledger},
    membership::{self, MemberRecord, Membership, Roll, View, tick_every},
    recovery::{self, LiveView},
    time::Instant,
    timing::Timing,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{broadcast, mpsc, watch};

/// Between two looks at everything that has a time.
const TICK: Duration = Duration::from_millis(40);
/// Later than this behind its time, the loop was kept from hearing others.
const LATE: Duration = Duration::from_millis(80);
/// A `NodeUp` without an answer is proposed again after this.
const JOIN_AGAIN: Duration = Duration::from_secs(2);
/// Between two attempts to learn whether a leader's process still accepts connections.
const LEADER_CHECK_TIMEOUT: Duration = Duration::from_millis(100);

/// What the loop is made of; see `run`, which makes it.
pub struct Parts {
    pub identity: Identity,
    pub boot: BootId,
    pub timing: Timing,
    pub record: MemberRecord,
    pub seeds: Vec<String>,
    pub stored: Stored,
    pub consensus: Consensus,
    pub replica: Arc<Replica>,
    pub peers: Arc<Peers>,
    pub inputs: mpsc::Sender<Input>,
    pub office: Office,
    pub proposer: Arc<super::propose::Proposer>,
    pub instances: Instances,
    pub lease: Lease,
    pub live: watch::Sender<Arc<Live>>,
    pub heard: watch::Receiver<Heard>,
    pub local_events: broadcast::Sender<Event>,
    /// What `/healthz` listens to: this loop turns.
    pub pulse: Arc<Pulse>,
}

pub struct Node {
    p: Parts,
    members: Membership,
    cut: Cut,
    leader: Option<Leader>,
    gossip: BTreeMap<NodeId, Stream<Beat>>,
    connected: BTreeSet<NodeId>,
    stream_events: mpsc::Sender<StreamEvent>,
    heard: LiveView,
    voters: BTreeMap<NodeId, String>,
    voter_config: LogId,
    seen_index: u64,
    seen_view: Option<(ViewEpoch, u64)>,
    joining: Option<Instant>,
    join_refused: Option<String>,
    leaving: bool,
    ticked_at: Instant,
    members_due: Instant,
}

impl Node {
    pub fn new(p: Parts, stream_events: mpsc::Sender<StreamEvent>) -> Self {
        let now = clock::raw();
        let mut members = Membership::new(p.record.clone(), p.timing, now, rand::random());
        members.step(now, membership::Event::Seeds(p.seeds.clone()), &mut Vec::new());
        let cut = Cut::new(p.identity.node, p.timing, now);
        // Gossip tells of others; that this agent is here, it knows.
        let heard = LiveView { heard: BTreeMap::from([(p.identity.node, recovery::Heard::Alive)]) };
        Self {
            p,
            members,
            cut,
            leader: None,
            gossip: BTreeMap::new(),
            connected: BTreeSet::new(),
            stream_events,
            heard,
            voters: BTreeMap::new(),
            voter_config: LogId::default(),
            seen_index: 0,
            seen_view: None,
            joining: None,
            join_refused: None,
            leaving: false,
            ticked_at: now,
            members_due: now,
        }
    }

    /// Runs until the node has left or can't go on; says why.
    pub async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut guards: mpsc::Receiver<GuardEvent>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), String> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut applied = self.p.replica.applied();
        let mut status = self.p.consensus.watch();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                _ = stop.changed() => return Ok(()),
                // Before the rest: whatever is going on, heartbeats must go out.
                _ = tick.tick() => self.tick(),
                Some(event) = guards.recv() => self.p.instances.guard(clock::raw(), event),
                count = inputs.recv_many(&mut batch, LOOP_QUEUE) => {
                    if count == 0 {
                        return Ok(());
                    }
                    for input in batch.drain(..) {
                        if let Some(end) = self.take(input) {
                            return end;
                        }
                    }
                }
                changed = applied.changed() => {
                    if changed.is_err() {
                        return Err("the ledger's feeder ended".into());
                    }
                    applied.mark_unchanged();
                }
                changed = status.changed() => {
                    if changed.is_err() {
                        return Err("consensus has ended on this node; start the agent again".into());
                    }
                }
            }
            self.settle();
            let stopped = self.p.consensus.status();
            if stopped.role == consensus::Role::Stopped {
                let why = stopped.failure.unwrap_or_else(|| "for a reason it didn't say".into());
                return Err(format!("consensus has stopped on this node ({why}); start the agent again"));
            }
            if let Some(refused) = self.join_refused.take() {
                return Err(refused);
            }
        }
    }

    /// One input. Some: the loop is over.
    fn take(&mut self, input: Input) -> Option<Result<(), String>> {
        let now = clock::raw();
        match input {
            Input::Beat(beat, at) => self.beat(now, *beat, at),
            Input::Met(meeting) => self.met(now, meeting),
            Input::Promise { voter, epoch, remaining } => {
                self.lead(|leader, ledger, live| leader.promise(now, ledger, live, voter, epoch, remaining));
            }
            Input::Sent { alert, channel, phase, attempt, outcome } => {
                self.lead(|leader, ledger, live| {
                    leader.sent(now, ledger, live, (alert, channel, phase, attempt, outcome));
                });
            }
            Input::Joined(answer) => self.joined(answer),
            Input::Stream(event) => self.stream(now, event),
            Input::Leave(answer) => self.leave(answer),
            Input::Left(answer, outcome) => {
                let left = outcome.is_ok();
                if left {
                    self.p.lease.retire();
                    let mut effects = Vec::new();
                    self.members.step(now, membership::Event::Leave, &mut effects);
                    self.carry_out(now, effects);
                } else {
                    self.leaving = false;
                }
                let _gone = answer.send(outcome);
                return left.then_some(Ok(()));
            }
            Input::Fatal(why) => return Some(Err(why)),
        }
        None
    }

    fn beat(&mut self, now: Instant, beat: Beat, at: Instant) {
        let waited = now.since(at);
        if waited > LATE {
            self.late(now, waited);
        }
        let Beat { heartbeat, ack_ages, .. } = beat;
        let from = heartbeat.from;
        let mut effects = Vec::new();
        self.members.step(now, membership::Event::Heartbeat(heartbeat), &mut effects);
        self.carry_out(now, effects);
        if let Some(leader) = &mut self.leader
            && self.voters.contains_key(&from)
        {
            leader.ack_ages(now, from, ack_ages);
        }
    }

    fn tick(&mut self) {
        self.p.pulse.beat();
        let now = clock::raw();
        let behind = now.since(self.ticked_at).saturating_sub(TICK);
        self.ticked_at = now;
        if behind > LATE {
            self.late(now, behind);
        }
        if now >= self.members_due {
            self.members_due = now + tick_every(&self.p.timing);
            let mut effects = Vec::new();
            self.members.step(now, membership::Event::Tick, &mut effects);
            self.carry_out(now, effects);
            let mut cuts = Vec::new();
            self.cut.step(now, cut::Event::Tick, &mut cuts);
            self.declare(cuts);
            if let Some(leader) = &mut self.leader {
                let ages = self.p.replica.book().ack_ages(now);
                leader.ack_ages(now, self.p.identity.node, ages);
            }
        }
        self.p.instances.tick(now);
        self.publish(now);
    }

    fn late(&mut self, now: Instant, by: Duration) {
        let mut effects = Vec::new();
        self.members.step(now, membership::Event::Late(by), &mut effects);
        self.carry_out(now, effects);
        let mut cuts = Vec::new();
        self.cut.step(now, cut::Event::Late(by), &mut cuts);
        self.declare(cuts);
    }

    /// After each input: what follows from a changed ledger, a changed leader, or time.
    fn settle(&mut self) {
        let now = clock::raw();
        self.follow_configuration(now);
        self.change_leader(now);
        let index = *self.p.replica.applied().borrow();
        if index != self.seen_index {
            self.seen_index = index;
            self.ledger_changed(now);
        }
        self.join(now);
        let wanted = self.p.instances.need_lease();
        self.p.lease.settle(self.p.stored.cluster(), wanted);
        self.p.instances.lease(now, self.p.lease.held());
        self.lead(|leader, ledger, live| leader.look(now, ledger, live));
    }

    fn follow_configuration(&mut self, now: Instant) {
        let status = self.p.consensus.status();
        let (config, voters) = if status.voters.is_empty() {
            let heard = self.p.heard.borrow();
            (heard.config, heard.voters.clone())
        } else {
            (status.voter_config.unwrap_or_default(), status.voters.into_iter().collect())
        };
        if config != self.voter_config || voters.len() != self.voters.len() {
            (self.voter_config, self.voters) = (config, voters);
            let groups = self.groups();
            self.lead(|leader, ledger, live| leader.voters(now, ledger, live, &groups));
            self.grant();
        }
    }

    fn groups(&self) -> Groups {
        vec![self.voters.keys().copied().collect()]
    }

    fn change_leader(&mut self, now: Instant) {
        let status = self.p.consensus.status();
        let leads = status.role == consensus::Role::Leader && status.leader == Some(self.p.identity.node);
        let same = self.leader.as_ref().is_some_and(|l| l.term == status.term);
        if leads == self.leader.is_some() && (!leads || same) {
            return;
        }
        self.leader = None;
        let mut cuts = Vec::new();
        self.cut.step(now, cut::Event::Leading(leads), &mut cuts);
        if let (true, Some(cluster)) = (leads, self.p.stored.cluster()) {
            let (office, lease, groups) = (self.p.office.clone(), self.p.timing.lease, self.groups());
            self.leader = Some(Leader::new(office, cluster, status.term, now, lease, groups.clone()));
            self.lead(|leader, ledger, live| leader.voters(now, ledger, live, &groups));
        }
        self.declare(cuts);
    }

    fn declare(&mut self, effects: Vec<cut::Effect>) {
        for effect in effects {
            match effect {
                cut::Effect::Suspected { .. } | cut::Effect::Poll { .. } | cut::Effect::AgentState { .. } => {
                }
                cut::Effect::Declare(verdicts) => {
                    self.lead(|leader, ledger, _| leader.declare(ledger, verdicts));
                }
            }
        }
    }

    /// Lets the leader's machines act, if this agent leads.
    fn lead(&mut self, act: impl FnOnce(&mut Leader, &Ledger, &LiveView)) {
        if let Some(leader) = &mut self.leader {
            let (heard, replica) = (&self.heard, &self.p.replica);
            replica.read(|ledger| act(leader, ledger, heard));
        }
    }

    fn ledger_changed(&mut self, now: Instant) {
        let replica = self.p.replica.clone();
        // The members' addresses and sessions change without the view's epoch: look at the nodes, too.
        let seen = replica.read(|ledger| (ledger.view_epoch, nodes_fingerprint(ledger)));
        if self.seen_view != Some(seen) {
            self.seen_view = Some(seen);
            // Carried out after the ledger is let go: what follows may look at it again.
            let view = replica.read(|ledger| View::from(ledger));
            let roll = Arc::new(Roll::of(&view));
            let mut effects = Vec::new();
            self.members.step(now, membership::Event::View(roll), &mut effects);
            self.carry_out(now, effects);
            let mut cuts = Vec::new();
            self.cut.step(now, cut::Event::View(view), &mut cuts);
            self.declare(cuts);
        }
        replica.read(|ledger| {
            self.agree_on_times(ledger);
            // This session's own entry is applied: the copy is no older than this agent's start.
            if self.knows_me(ledger) {
                self.p.instances.desire(now, ledger);
            }
        });
        self.grant();
    }

    /// The ledger's profile counts, and this agent can't follow another than its file's: leases would never be held.
    fn agree_on_times(&mut self, ledger: &Ledger) {
        let mine = self.p.timing.name;
        if let Some(theirs) = ledger.cluster.as_ref().map(|c| &c.settings.profile).filter(|p| *p != mine) {
            self.join_refused = Some(format!(
                "this cluster was founded with profile \"{theirs}\", this agent is configured with \"{mine}\"; set \
                 profile = \"{theirs}\""
            ));
        }
    }

    fn publish(&mut self, now: Instant) {
        let next = live::picture(&live::Sources {
            now,
            identity: &self.p.identity,
            cluster: self.p.stored.cluster(),
            members: &self.members,
            connected: &self.connected,
            status: &self.p.consensus.status(),
            heard: &self.p.heard.borrow(),
            voters: &self.voters,
            replica: &self.p.replica,
            leader: self.leader.as_ref(),
            notes: &self.p.instances.notes,
        });
        self.p.live.send_replace(Arc::new(next));
    }
}

/// Changes whenever what gossip needs of the ledger's nodes does.
fn nodes_fingerprint(ledger: &Ledger) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = std::hash::DefaultHasher::new();
    for (id, n) in &ledger.nodes {
        (id, n.session, n.incarnation, &n.profile.address, n.state as u8).hash(&mut hasher);
    }
    hasher.finish()
}
