//! The main loop: everything that this agent is told goes to the machines here, one thing at a time, and what they
//! want is carried out. All of the agent's deciding state has this one owner.
//!
//! Not here: how anything is done (streams, files, processes, proposals), nor any decision.

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
        peer::{Acquaintance, Meeting},
        streams::{self, Stream, StreamEvent},
    },
    workload::spec::GuardEvent,
};
use cluster_core::{
    cut::{self, Cut},
    ids::{BootId, LeaseEpoch, LogId, NodeId, RequestId, ViewEpoch},
    lease::Groups,
    ledger::{Body, Event, EventType, FEATURE_LEVEL, Ledger, NodeProfile, NodeState, Reply},
    membership::{self, AgentState, Hello, MemberRecord, MemberState, Membership, View, tick_every},
    recovery::{self, LiveView},
    time::Instant,
    timing::Timing,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

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
                _ = tick.tick() => self.tick(),
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
        let mut cuts = Vec::new();
        self.cut.step(now, cut::Event::Report(heartbeat.report()), &mut cuts);
        self.declare(cuts);
        let mut effects = Vec::new();
        self.members.step(now, membership::Event::Heartbeat(heartbeat), &mut effects);
        self.carry_out(now, effects);
        if let Some(leader) = &mut self.leader
            && self.voters.contains_key(&from)
        {
            leader.ack_ages(now, from, ack_ages);
        }
    }

    fn met(&mut self, now: Instant, meeting: Meeting) {
        let hello =
            Hello { record: record(&meeting.sender), members: meeting.members.iter().map(record).collect() };
        let mut effects = Vec::new();
        self.members.step(now, membership::Event::Hello(hello), &mut effects);
        self.carry_out(now, effects);
    }

    fn stream(&mut self, now: Instant, event: StreamEvent) {
        let event = match event {
            StreamEvent::Opened { peer } => {
                self.connected.insert(peer);
                membership::Event::StreamOpened { peer }
            }
            StreamEvent::Ended { peer, why } => {
                tracing::debug!(%peer, why, "the stream to a peer ended");
                self.connected.remove(&peer);
                self.check_leader(peer);
                membership::Event::StreamEnded { peer }
            }
        };
        let mut effects = Vec::new();
        self.members.step(now, event, &mut effects);
        self.carry_out(now, effects);
    }

    /// When the leader's stream ends and its port is closed, its process is gone: no need to wait out its lease.
    fn check_leader(&self, peer: NodeId) {
        let status = self.p.consensus.status();
        let Some(address) = self.gossip.get(&peer).map(|s| s.address.clone()) else { return };
        if status.leader != Some(peer) || !self.voters.contains_key(&self.p.identity.node) {
            return;
        }
        let consensus = self.p.consensus.clone();
        // Ends with its time-out; one for each end of a stream.
        tokio::spawn(async move {
            let dial = tokio::net::TcpStream::connect(&address);
            if let Ok(Err(error)) = tokio::time::timeout(LEADER_CHECK_TIMEOUT, dial).await
                && error.kind() == std::io::ErrorKind::ConnectionRefused
            {
                tracing::info!(leader = %peer, "the leader's process is gone");
                consensus.leader_is_gone(peer);
            }
        });
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
            self.cut.step(now, cut::Event::Report(self.members.report(now)), &mut cuts);
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
                cut::Effect::Suspected { .. } => {}
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
        replica.read(|ledger| {
            // The members' addresses and sessions change without the view's epoch: count the entries about nodes too.
            let view = (ledger.view_epoch, nodes_fingerprint(ledger));
            if self.seen_view != Some(view) {
                self.seen_view = Some(view);
                let mut effects = Vec::new();
                self.members.step(now, membership::Event::View(View::from(ledger)), &mut effects);
                self.carry_out(now, effects);
                let mut cuts = Vec::new();
                self.cut.step(now, cut::Event::View(View::from(ledger)), &mut cuts);
                self.declare(cuts);
            }
            // This session's own entry is applied: the copy is no older than this agent's start.
            if self.knows_me(ledger) {
                self.p.instances.desire(now, ledger);
            }
        });
        self.grant();
    }

    fn knows_me(&self, ledger: &Ledger) -> bool {
        ledger.nodes.get(&self.p.identity.node).is_some_and(|n| n.session == self.p.identity.session)
    }

    /// Hands the epoch that the ledger issued to the lease's holder.
    fn grant(&mut self) {
        let me = self.p.identity.node;
        let boot = self.p.boot;
        let (groups, config, lease) = (self.groups(), self.voter_config, self.p.timing.lease);
        let epoch = self.p.replica.read(|ledger| {
            let alive = ledger.nodes.get(&me).filter(|n| n.state == NodeState::Alive && n.boot == boot);
            alive.map(|n| n.epoch).filter(|e| *e != LeaseEpoch(0))
        });
        self.p.lease.granted(epoch, groups, config, lease, &self.voters);
    }

    /// Asks for its place in the ledger whenever it isn't there as it should be.
    fn join(&mut self, now: Instant) {
        let me = self.p.identity.node;
        if self.leaving || self.p.stored.cluster().is_none() {
            return;
        }
        if self.joining.is_some_and(|at| now.since(at) < JOIN_AGAIN) {
            return;
        }
        let profile = self.profile();
        let (founded, known) = self.p.replica.read(|l| (l.cluster.is_some(), l.nodes.get(&me).cloned()));
        let in_order = known.as_ref().is_some_and(|n| {
            n.state == NodeState::Alive
                && n.epoch != LeaseEpoch(0)
                && n.session == self.p.identity.session
                && n.profile == profile
        });
        if in_order || (!founded && known.is_none() && self.p.live.borrow().leader.is_none()) {
            return;
        }
        let replaces = known.filter(|n| n.boot != self.p.boot && n.epoch != LeaseEpoch(0)).map(|n| n.epoch);
        let body = Body::NodeUp {
            node: me,
            profile,
            boot: self.p.boot,
            session: self.p.identity.session,
            incarnation: self.members.me().incarnation,
            replaces,
        };
        self.joining = Some(now);
        let (proposer, inputs) = (self.p.proposer.clone(), self.p.inputs.clone());
        let actor = format!("node:{}", self.p.identity.name);
        // Answers exactly once, after the proposer's own time-out at the latest.
        tokio::spawn(async move {
            use crate::shared::Raft as _;
            let answer = proposer.propose(actor, RequestId(rand::random()), body).await;
            let answer = answer.map(|(_, reply)| reply).map_err(|e| e.to_string());
            let _stopping = inputs.send(Input::Joined(answer)).await;
        });
    }

    fn joined(&mut self, answer: Result<Reply, String>) {
        match answer {
            Ok(Reply::Rejected(why)) if why.reason == "NAME_TAKEN" => self.join_refused = Some(why.message),
            Ok(Reply::Rejected(why)) => tracing::warn!(%why, "the ledger refuses this node for now"),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error, "this node's entry isn't written yet");
                self.joining = None;
            }
        }
    }

    fn profile(&self) -> NodeProfile {
        let id = &self.p.identity;
        NodeProfile {
            name: id.name.clone(),
            address: id.address.clone(),
            zone: id.zone.clone(),
            role: id.role,
            labels: id.labels.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            feature_level: FEATURE_LEVEL,
        }
    }

    fn carry_out(&mut self, now: Instant, effects: Vec<membership::Effect>) {
        use membership::Effect;
        for effect in effects {
            match effect {
                Effect::Send { to, heartbeat } => self.send(now, to, heartbeat),
                Effect::Connect { peer, address } => self.connect(peer, address),
                Effect::Disconnect { peer } => {
                    self.gossip.remove(&peer);
                    self.connected.remove(&peer);
                }
                Effect::Probe { address } => self.probe(address),
                Effect::Changed { record, before } => self.changed(&record, before),
                Effect::Removed { node } => {
                    self.heard.heard.remove(&node);
                }
                Effect::Refuted { incarnation } => {
                    let (stored, inputs) = (self.p.stored.clone(), self.p.inputs.clone());
                    // One small write; a failure to keep it ends the agent.
                    tokio::spawn(async move {
                        if let Err(error) = stored.incarnation(incarnation).await {
                            let _stopping = inputs.send(Input::Fatal(error.to_string())).await;
                        }
                    });
                }
                Effect::Duplicate { node, sessions } => self.duplicate(node, sessions),
            }
        }
    }

    fn duplicate(&mut self, node: NodeId, sessions: [cluster_core::ids::SessionId; 2]) {
        tracing::error!(%node, ?sessions, "two living agents speak as one node: a cloned disk");
        let settled = self.p.replica.read(|l| l.nodes.get(&node).map(|n| n.session));
        // The one that the ledger knows stays; the other one, if it is this agent, ends.
        if node == self.p.identity.node && settled.is_some_and(|s| s != self.p.identity.session) {
            self.join_refused = Some(format!(
                "node {node} runs already in another process: its data directory was copied; stop one of the two and \
                 give it an empty data_dir"
            ));
        }
    }

    fn send(&self, now: Instant, to: NodeId, heartbeat: membership::Heartbeat) {
        let Some(stream) = self.gossip.get(&to) else { return };
        let votes = self.voters.contains_key(&self.p.identity.node);
        let ack_ages = if votes { self.p.replica.book().ack_ages(now) } else { Vec::new() };
        stream.send(Beat {
            cluster: self.p.stored.cluster(),
            cluster_name: self.p.identity.cluster_name.clone(),
            heartbeat,
            ack_ages,
        });
    }

    fn connect(&mut self, peer: NodeId, address: String) {
        if self.gossip.get(&peer).is_some_and(|s| s.address == address) {
            return;
        }
        let stream = streams::gossip(self.p.peers.clone(), peer, address, self.stream_events.clone());
        self.gossip.insert(peer, stream);
        self.connected.remove(&peer);
    }

    /// One hello to an address that gossip doesn't reach: a seed, or a member thought dead.
    fn probe(&self, address: String) {
        if address == self.p.identity.address {
            return;
        }
        let Ok(channel) = self.p.peers.channel(&address) else { return };
        let mine = Meeting {
            cluster_name: self.p.identity.cluster_name.clone(),
            cluster: self.p.stored.cluster(),
            sender: super::join::introduction(&self.p.identity, self.members.me().incarnation),
            members: Vec::new(),
            waiting: Vec::new(),
            leader: None,
        };
        let (inputs, ours) = (self.p.inputs.clone(), mine.cluster);
        tokio::spawn(async move {
            let answer = crate::wire::peer::meet(channel, &mine, LEADER_CHECK_TIMEOUT * 5).await;
            if let Ok(meeting) = answer
                && meeting.cluster == ours
            {
                let _stopping = inputs.send(Input::Met(meeting)).await;
            }
        });
    }

    fn changed(&mut self, record: &MemberRecord, before: Option<MemberState>) {
        let heard = match record.state {
            MemberState::Alive => Some(recovery::Heard::Alive),
            MemberState::Suspect => Some(recovery::Heard::Suspect),
            MemberState::Dead | MemberState::Left => None,
        };
        match heard {
            Some(heard) => self.heard.heard.insert(record.node, heard),
            None => self.heard.heard.remove(&record.node),
        };
        if record.state == MemberState::Suspect && before != Some(MemberState::Suspect) {
            tracing::info!(node = record.name, "suspected");
            let event = Event {
                index: self.seen_index,
                time: clock::wall(),
                kind: EventType::NodeSuspected,
                subject: record.name.clone(),
                summary: format!("{} is silent, says {}", record.name, self.p.identity.name),
                fields: BTreeMap::from([("observer".into(), self.p.identity.name.clone())]),
            };
            let _nobody_watches = self.p.local_events.send(event);
        }
    }

    /// Leaving is asked of the ledger by a task that waits; the loop goes on meanwhile.
    fn leave(&mut self, answer: oneshot::Sender<Result<(), String>>) {
        let id = &self.p.identity;
        if self.voters.contains_key(&id.node) {
            let why = format!(
                "{} is a voter, and this version can't change the voters of a running cluster yet: to take this host \
                 down for good, move its work away with `holdfast node drain {}` and stop the agent",
                id.name, id.name
            );
            let _gone = answer.send(Err(why));
            return;
        }
        self.leaving = true;
        let (proposer, inputs) = (self.p.proposer.clone(), self.p.inputs.clone());
        let (replica, me, name) = (self.p.replica.clone(), id.node, id.name.clone());
        tokio::spawn(async move {
            let outcome = super::leave::leave(&proposer, &replica, me, &name).await;
            let _stopping = inputs.send(Input::Left(answer, outcome)).await;
        });
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

fn record(a: &Acquaintance) -> MemberRecord {
    MemberRecord {
        node: a.node,
        incarnation: a.incarnation,
        state: MemberState::Alive,
        session: a.session,
        agent: AgentState::Up,
        name: a.name.clone(),
        address: a.address.clone(),
        http: None,
        zone: a.zone.clone(),
        role: a.role,
        version: a.version.clone(),
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
