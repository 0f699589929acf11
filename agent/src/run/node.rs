//! The main loop: everything that this agent is told goes to the machines here, one thing at a time, and what they
//! want is carried out. All of the agent's deciding state has this one owner.
//!
//! `gossip` is what membership makes it do, `opinion` what it asks others and is asked, `edges` the streams that stand,
//! `office` what it does as a voter and leader, `place` its own place in the ledger. Not here: how anything is done
//! (streams, files, processes, proposals), nor any decision.

mod edges;
mod gossip;
mod office;
mod opinion;
mod place;
mod view;

use super::{
    follow::Heard,
    identity::Membership as Stored,
    input::Input,
    instances::Instances,
    last_resort::LastResort,
    leader::{Leader, Office},
    lease::Lease,
    live,
    replica::Replica,
    reporter::{Newest, Reporter},
};
use crate::{
    clock::{self, Alarm, TICK},
    consensus::{self, Consensus},
    http::Pulse,
    keeper::{self, prober::Prober, secret::Secret},
    limits::{DIALS_IN_FLIGHT, LOOP_QUEUE},
    shared::{Identity, Live},
    wire::{client::Peers, gossip::Ear},
    workload::spec::GuardEvent,
};
use cluster_core::{
    cut::{self, Cut},
    ids::{BootId, LogId, NodeId},
    ledger::{AgentState, Event, Ledger, NodeProfile, Settings},
    membership::{self, DialOutcome, MemberRecord, Membership, Opinion, Trouble},
    recovery::{self, LiveView},
    time::Instant,
    timing::Timing,
};
use edges::Edges;
use opinion::Askers;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use view::{Adopted, JOINERS_WAIT, News};

/// The longest rest: the keeper is told in time that this loop turns.
const REST_MAX: Duration = Duration::from_millis(250);
/// A `NodeUp` without an answer is proposed again after this.
const JOIN_AGAIN: Duration = Duration::from_secs(2);
/// One that was refused for now, after this.
const ASK_AGAIN: Duration = Duration::from_millis(1_100);
/// Between two pictures of the present while nothing happens.
const PICTURE_EVERY: Duration = Duration::from_millis(250);
/// The same while much happens, and once more for every so many members, up to `PICTURE_EVERY`.
const PICTURE_PAUSE: Duration = Duration::from_millis(25);
const PICTURE_MEMBERS: usize = 25;
/// Members are looked at again after so long though nothing is heard of them, and at each piece of news.
const MEMBERS_EVERY: Duration = Duration::from_secs(1);

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
    pub last_resort: LastResort,
    pub prober: Prober,
    /// The keeper's, by which this agent introduces it.
    pub secret: Secret,
    pub ear: Arc<dyn Ear>,
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
    edges: Edges,
    reporter: Reporter,
    reports: Newest,
    /// What was reported last, for the log.
    found: Vec<(NodeId, Trouble, Option<DialOutcome>)>,
    helping: Askers<Opinion>,
    polled: Askers<bool>,
    dials: Arc<Semaphore>,
    heard: LiveView,
    voters: BTreeMap<NodeId, String>,
    voter_config: LogId,
    seen_index: u64,
    adopted: Adopted,
    /// When the ledger's view is to be adopted, if that was put off.
    adopt_at: Option<Instant>,
    seen_agents: Option<(Duration, BTreeMap<NodeId, AgentState>)>,
    joining: Option<Instant>,
    /// The ledger has this node as it is.
    in_order: bool,
    /// Whether the newest `NodeUp` was answered, however.
    answered: bool,
    join_refused: Option<String>,
    /// Why this node isn't a living member, by the leader's newest answer.
    refused: Option<String>,
    /// A person removed the node while this process spoke for it: it stays out.
    removed: bool,
    leaving: bool,
    ticked_at: Instant,
    /// When the next tick is due, as things stood after the last input.
    tick_at: Instant,
    /// Who leads, by consensus and by the voter that is followed.
    led_by: [Option<NodeId>; 2],
    accounted_at: Instant,
    ask_keys_at: Instant,
    keys_asked: BTreeMap<NodeId, gossip::AskedKey>,
    profile: NodeProfile,
    /// The leader's machines are to look anew: the ledger changed, or who is heard.
    look: bool,
    /// Something happened that the picture of the present doesn't show yet; and something of who leads or votes.
    news: bool,
    urgent: bool,
    pictured_at: Instant,
    /// When the members in it were looked at.
    members_at: Instant,
}

impl Node {
    pub fn new(p: Parts) -> Self {
        let now = clock::raw();
        let mut members = Membership::new(p.record.clone(), p.timing, now, rand::random());
        members.step(now, membership::Event::Seeds(p.seeds.clone()), &mut Vec::new());
        let cut = Cut::new(p.identity.node, p.timing, now);
        // Gossip tells of others; that this agent is here, it knows.
        let heard = BTreeMap::from([(p.identity.node, recovery::Heard::Alive)]);
        let heard = LiveView { heard, ..LiveView::default() };
        let id = &p.identity;
        let reporter = Reporter::new(id.node, id.session, p.stored.clone(), p.peers.clone());
        Self {
            profile: place::profile(id),
            p,
            members,
            cut,
            leader: None,
            edges: Edges::default(),
            reporter,
            reports: Newest::default(),
            found: Vec::new(),
            helping: Askers::default(),
            polled: Askers::default(),
            dials: Arc::new(Semaphore::new(DIALS_IN_FLIGHT)),
            heard,
            voters: BTreeMap::new(),
            voter_config: LogId::default(),
            seen_index: 0,
            adopted: Adopted::default(),
            adopt_at: None,
            seen_agents: None,
            joining: None,
            in_order: false,
            answered: false,
            join_refused: None,
            refused: None,
            removed: false,
            leaving: false,
            ticked_at: now,
            tick_at: now,
            led_by: [None; 2],
            accounted_at: now,
            ask_keys_at: now,
            keys_asked: BTreeMap::new(),
            look: true,
            news: true,
            urgent: true,
            pictured_at: now,
            members_at: now,
        }
    }

    /// Runs until the node has left or can't go on; says why.
    pub async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut guards: mpsc::Receiver<GuardEvent>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), String> {
        let mut alarm = Alarm::new().map_err(|error| format!("the kernel gives no timer: {error}"))?;
        alarm.rings_within(clock::until_tick(Duration::ZERO));
        let mut applied = self.p.replica.applied();
        let mut status = self.p.consensus.watch();
        let mut heard = self.p.heard.clone();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                _ = stop.changed() => return Ok(()),
                // Before the rest: whatever is going on, heartbeats must go out.
                () = alarm.rings() => {}
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
                // What ends it shows in the status, below.
                _ = status.changed() => {}
                Ok(()) = heard.changed() => {}
            }
            let now = clock::raw();
            if self.is_tick(now) {
                self.tick(now);
            }
            self.settle();
            alarm.rings_within(self.rest());
            let stopped = self.p.consensus.status();
            if stopped.role == consensus::Role::Stopped {
                let why = stopped.failure.as_deref().unwrap_or("for a reason it didn't say");
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
            Input::Sent { message, attempt, outcome } => {
                self.lead(|leader, ledger, live| leader.sent(now, ledger, live, message, attempt, outcome));
            }
            Input::Joined(answer) => self.joined(answer),
            Input::Stream(event) => self.stream(now, event),
            Input::Report(sent) => self.reported(now, *sent),
            Input::KeyAsked(asked) => self.key_asked(asked),
            Input::Key(from, introduction) => self.key_given(from, *introduction),
            Input::AckAges(voter, ages) => self.ack_ages(now, voter, ages),
            Input::Sensed(sensed) => self.sensed(now, sensed),
            Input::Probed(probed) => {
                let keeper::prober::Probed { peer, nonce, agent } = probed;
                self.gossip(now, membership::Event::ProbeAnswered { peer, nonce, agent });
            }
            Input::Dialled(peer, outcome) => self.dialled(now, peer, outcome),
            Input::HelpAsked { by, subject, answer } => self.help_asked(now, by, subject, answer),
            Input::HelpAnswered { helper, subject, opinion } => {
                self.gossip(now, membership::Event::HelpAnswered { helper, subject, opinion });
            }
            Input::Polled { by, subject, answer } => self.polled(now, by, subject, answer),
            Input::PollAnswered { observer, subject, hears } => {
                self.cut(now, cut::Event::PollAnswer { observer, subject, hears });
            }
            Input::Leave(answer) => self.leave(answer),
            Input::Left(answer, outcome) => {
                let left = outcome.is_ok();
                if left {
                    self.p.lease.retire();
                    self.gossip(now, membership::Event::Leave);
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

    /// Whether a tick is due; or will be so soon that this agent, which something else woke, needn't wake once more for it.
    fn is_tick(&self, now: Instant) -> bool {
        now >= self.tick_at || (now + TICK >= self.tick_at && now.since(self.ticked_at) >= TICK * 3 / 4)
    }

    /// How long this loop may wait for something to come.
    fn rest(&mut self) -> Duration {
        let now = clock::raw();
        self.tick_at = self.next_tick();
        // The nearest of the moments that all timers here fall on: the first one after it would double the wait.
        let rest = clock::until_tick(self.tick_at.since(now).saturating_sub(TICK / 4));
        self.gossip(now, membership::Event::Rest(now + rest));
        self.cut(now, cut::Event::Rest(now + rest));
        rest
    }

    /// When to look at the time again though nothing comes.
    fn next_tick(&self) -> Instant {
        let soon = self.ticked_at + TICK;
        if !self.rests() {
            return soon;
        }
        let looks = self.leader.as_ref().map(|leader| leader.look_due);
        let due = looks.into_iter().fold(self.members.next_tick(), Instant::min);
        due.clamp(soon, self.ticked_at + REST_MAX)
    }

    /// Nothing is under way here that waits for time to pass; membership and a leader that looks know their own moments.
    fn rests(&self) -> bool {
        let (replica, leads) = (&self.p.replica, self.leader.as_ref());
        self.in_order
            && !(self.news || self.urgent || self.leaving || self.p.instances.need_lease())
            && self.adopt_at.is_none()
            && !self.cut.is_busy()
            && self.p.live.borrow().leader.is_some()
            && leads.is_none_or(|leader| !replica.read(|ledger| leader.is_busy(ledger)))
    }

    fn tick(&mut self, now: Instant) {
        self.p.pulse.beat();
        self.ticked_at = now;
        self.gossip(now, membership::Event::Tick);
        self.cut(now, cut::Event::Tick);
        self.account(now);
        self.ask_keys(now);
        self.p.instances.tick(now);
        self.lead(|leader, ledger, live| leader.tick(now, ledger, live));
    }

    /// What waited was not heard in time: nobody is to blame for that but this agent.
    fn late(&mut self, now: Instant, by: Duration) {
        self.gossip(now, membership::Event::Late(by));
        self.cut(now, cut::Event::Late(by));
    }

    /// After each input: what follows from a changed ledger, a changed leader, or time.
    fn settle(&mut self) {
        let now = clock::raw();
        self.follow_configuration(now);
        self.change_leader(now);
        let led_by = [self.p.consensus.status().leader, self.p.heard.borrow().leader];
        self.urgent |= core::mem::replace(&mut self.led_by, led_by) != led_by;
        let index = *self.p.replica.applied().borrow();
        if index != self.seen_index {
            self.seen_index = index;
            (self.news, self.look) = (true, true);
            self.ledger_changed(now);
        }
        if self.adopt_at.is_some_and(|at| now >= at) {
            self.adopt(now);
        }
        self.join(now);
        let wanted = self.p.instances.need_lease();
        self.p.lease.settle(self.p.stored.cluster(), wanted);
        self.p.instances.lease(now, self.p.lease.held());
        if core::mem::take(&mut self.look) {
            self.lead(|leader, ledger, live| leader.look(now, ledger, live));
        }
        let fresh_for = match (self.urgent, self.news) {
            (true, _) => PICTURE_PAUSE,
            (false, true) => {
                let parts = self.p.live.borrow().members.len() / PICTURE_MEMBERS + 1;
                PICTURE_PAUSE.saturating_mul(u32::try_from(parts).unwrap_or(u32::MAX)).min(PICTURE_EVERY)
            }
            (false, false) => PICTURE_EVERY,
        };
        if now.since(self.pictured_at) >= fresh_for {
            let members_changed = self.news || self.urgent || now.since(self.members_at) >= MEMBERS_EVERY;
            if members_changed {
                self.members_at = now;
            }
            (self.news, self.urgent, self.pictured_at) = (false, false, now);
            self.publish(now, members_changed);
        }
    }

    fn ledger_changed(&mut self, now: Instant) {
        let replica = self.p.replica.clone();
        match replica.read(|ledger| self.adopted.news(ledger)) {
            News::None => {}
            News::Joiners => _ = self.adopt_at.get_or_insert(now + JOINERS_WAIT),
            News::Urgent => self.adopt(now),
        }
        let agents = replica.read(|ledger| (agent_timeout(ledger), ledger.agents_down()));
        if self.seen_agents.as_ref() != Some(&agents) {
            self.seen_agents = Some(agents.clone());
            let (timeout, down) = agents;
            self.cut(now, cut::Event::Agents { timeout, down });
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

    fn publish(&mut self, now: Instant, members_changed: bool) {
        let mut notes = self.p.instances.notes.clone();
        notes.extend(self.refused.iter().map(|why| format!("This node isn't a living member: {why}")));
        if self.leader.is_some() {
            notes.extend(self.p.proposer.gate.notes());
        }
        let before = self.p.live.borrow().clone();
        let next = live::picture(&live::Sources {
            now,
            before: &before,
            members_changed,
            identity: &self.p.identity,
            cluster: self.p.stored.cluster(),
            members: &self.members,
            connected: self.edges.connected(),
            status: &self.p.consensus.status(),
            elected: self.p.consensus.leader(),
            heard: &self.p.heard.borrow(),
            voters: &self.voters,
            replica: &self.p.replica,
            leader: self.leader.as_ref(),
            notes: &notes,
        });
        // Who never joined a cluster isn't cut off from one.
        if next.cluster.is_some() {
            let stopped = self.p.instances.cut_off();
            self.p.last_resort.look(now, clock::wall(), next.leader.is_some(), &stopped);
        }
        self.p.live.send_replace(Arc::new(next));
    }
}

fn agent_timeout(ledger: &Ledger) -> Duration {
    let committed = ledger.cluster.as_ref().map(|c| c.settings.agent_timeout_ms);
    Duration::from_millis(committed.unwrap_or_else(|| Settings::default().agent_timeout_ms))
}
