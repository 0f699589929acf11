//! One agent's process: the core's real machines, wired as the product wires them, with a virtual world around them.
//!
//! Not here: what the world does with the output (see world.rs), what Raft does to it (see log.rs), the leader's
//! part (see leader.rs), and what a node does with its placements (see runner.rs).

use super::{
    Breaks,
    leader::Office,
    outbox::Pending,
    raft::{Raft, RaftDisk, RaftMsg},
    rng::Rng,
    runner::{GuardFile, GuardNews, Runner},
};
use cluster_core::{
    cut::{self, Cut},
    ids::{BootId, Generation, Incarnation, InstanceId, LeaseEpoch, LogId, NodeId, RequestId, SessionId},
    instance,
    lease::{self, Book, Fact, Grant, Groups, Holder, Page, Renewal, Verdict},
    ledger::{Body, Command, FEATURE_LEVEL, Ledger, NodeProfile},
    membership::{
        self, Heartbeat, Hello, MemberRecord, MemberState, Membership, Opinion, Report, Roll, View,
    },
    time::{Clocks, Instant, WallTime},
    timing::LAN,
};
use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    sync::Arc,
};

/// The entry that set the voters.
pub const VOTER_CONFIG: LogId = LogId { term: 1, index: 1 };

/// What survives the agent's process, and the host.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub raft: RaftDisk,
    pub snapshot: Ledger,
    pub incarnation: u64,
    pub pages: BTreeMap<LeaseEpoch, Page>,
    pub guards: BTreeMap<InstanceId, GuardFile>,
    /// The highest generation of each slot that was told to have ended: never started again.
    pub ended: BTreeMap<(String, u32), Generation>,
}

#[derive(Clone, Debug)]
pub enum Msg {
    Heartbeat { beat: Heartbeat, ages: Vec<(LeaseEpoch, Duration)> },
    Hello(Hello),
    Report(Report),
    AskHelp(NodeId),
    HelpAnswer { subject: NodeId, opinion: Opinion },
    Poll(NodeId),
    PollAnswer { subject: NodeId, hears: bool },
    Renew(Renewal),
    Renewed { session: SessionId, nonce: u64, verdict: Verdict },
    AskPromise { epoch: LeaseEpoch, at: LogId },
    Promised { epoch: LeaseEpoch, remaining: Duration },
    Raft(RaftMsg),
    Propose(Rc<Command>),
    Replied { request: RequestId },
}

#[derive(Clone, Debug)]
pub enum Input {
    Tick,
    Msg {
        from: NodeId,
        msg: Msg,
    },
    StreamOpened {
        peer: NodeId,
    },
    StreamEnded {
        peer: NodeId,
    },
    Synced {
        upto: u64,
        version: u64,
    },
    /// The log was read to its end.
    Replayed,
    Guard(GuardNews),
    /// What a burst of probes or a fresh connection came to.
    Found(membership::Event),
    /// An operator's command, given to this agent.
    Order(Body),
}

/// What the world is to do.
#[derive(Clone, Debug)]
pub enum Out {
    Send { to: NodeId, msg: Msg },
    Connect { peer: NodeId },
    Disconnect { peer: NodeId },
    Probe { address: String },
    Burst { peer: NodeId, nonce: u64, count: u32, every: Duration },
    TryConnection { peer: NodeId },
    Sync { after: Duration, upto: u64, version: u64 },
    StartGuard { instance: InstanceId },
    StopGuard { instance: InstanceId },
    Committed { upto: u64 },
    Applied { at: LogId, command: Rc<Command> },
    Acknowledged { at: LogId },
    Note(String),
}

/// What a step may look at and touch outside its own process.
pub struct Env<'a> {
    pub clocks: Clocks,
    pub wall: WallTime,
    pub rng: &'a mut Rng,
    pub disk: &'a mut Disk,
    pub slow_disk: bool,
    pub out: &'a mut Vec<Out>,
    pub breaks: Breaks,
}

/// The identity of a process.
#[derive(Clone, Debug)]
pub struct Who {
    pub node: NodeId,
    pub boot: BootId,
    pub session: SessionId,
    pub voters: BTreeSet<NodeId>,
    pub everyone: Vec<NodeId>,
}

#[derive(Debug)]
pub struct Agent {
    pub who: Who,
    pub raft: Raft,
    pub ledger: Ledger,
    pub(super) book: Book,
    pub(super) membership: Membership,
    pub(super) cut: Cut,
    pub(super) holder: Holder,
    pub(super) office: Option<Office>,
    pub(super) runner: Runner,
    pub(super) outbox: VecDeque<Pending>,
    /// Whom the leader owes an answer.
    pub(super) waiting: BTreeMap<RequestId, NodeId>,
    pub(super) replayed: bool,
    ticks: u64,
    pub(super) asked_up_at: Option<Instant>,
}

pub fn name(node: NodeId) -> String {
    format!("n{}", node.0)
}

pub fn profile(node: NodeId) -> NodeProfile {
    NodeProfile {
        name: name(node),
        address: format!("10.0.0.{}:1", node.0),
        feature_level: FEATURE_LEVEL,
        ..NodeProfile::default()
    }
}

impl Agent {
    /// A process that starts: it knows what is on disk, and reads its log until `Replayed`.
    #[must_use]
    pub fn start(who: Who, live: &BTreeSet<InstanceId>, env: &mut Env<'_>) -> Self {
        let now = env.clocks.raw;
        env.disk.incarnation += 1;
        let snapshot = env.disk.snapshot.clone();
        let commit = snapshot.applied.index;
        let raft = Raft::new(&who, &env.disk.raft, commit, now, env.rng);
        let mut membership = Membership::new(record(&who, env.disk.incarnation), LAN, now, env.rng.next());
        let mut cut = Cut::new(who.node, LAN, now);
        let view = View::from(&snapshot);
        let mut effects = Vec::new();
        membership.step(now, membership::Event::View(Arc::new(Roll::of(&view))), &mut effects);
        cut.step(now, cut::Event::View(view), &mut Vec::new());
        cut.step(now, cut::Event::Voters(vec![who.voters.clone()]), &mut Vec::new());
        let mut book = Book::new(who.node, now);
        book.step(now, Fact::Installed { ledger: &snapshot });
        book.step(now, Fact::Configured { at: VOTER_CONFIG, voters: &vec![who.voters.clone()] });
        if env.breaks.voter_acks_before_replay {
            book.step(now, Fact::Opened);
        }
        let holder = Holder::new(who.node, who.boot, who.session, LAN);
        let runner = Runner::start(live, env);
        let mut agent = Self {
            who,
            raft,
            ledger: snapshot,
            book,
            membership,
            cut,
            holder,
            office: None,
            runner,
            outbox: VecDeque::new(),
            waiting: BTreeMap::new(),
            replayed: false,
            ticks: 0,
            asked_up_at: None,
        };
        agent.membership_did(effects, env);
        agent
    }

    /// The only way in.
    pub fn step(&mut self, input: Input, env: &mut Env<'_>) {
        let now = env.clocks.raw;
        let mut did = Vec::new();
        match input {
            Input::Tick => self.tick(env),
            Input::Msg { from, msg } => self.receive(from, msg, env),
            Input::StreamOpened { peer } => {
                let hello = self.membership.hello();
                env.out.push(Out::Send { to: peer, msg: Msg::Hello(hello) });
                self.gossip(membership::Event::StreamOpened { peer }, env);
            }
            Input::StreamEnded { peer } => self.gossip(membership::Event::StreamEnded { peer }, env),
            Input::Synced { upto, version } => {
                if self.raft.synced(upto, version, &mut did) {
                    let durable = self.raft.durable();
                    env.disk.raft.log =
                        self.raft.log[..usize::try_from(durable).expect("in memory")].to_vec();
                    self.book.step(now, Fact::Durable { upto: durable });
                }
            }
            Input::Replayed => self.open(env),
            Input::Guard(news) => self.runner.news(&news, env),
            Input::Found(event) => self.gossip(event, env),
            Input::Order(body) => self.submit(body, env),
        }
        self.carry_out(did, env);
        self.live(env);
    }

    fn tick(&mut self, env: &mut Env<'_>) {
        let now = env.clocks.raw;
        self.ticks += 1;
        let mut did = Vec::new();
        if self.replayed {
            self.raft.tick(now, env.rng, &mut did);
        }
        self.carry_out(did, env);
        if self.ticks.is_multiple_of(2) {
            self.gossip(membership::Event::Tick, env);
            self.judge(cut::Event::Tick, env);
        }
        self.govern(env);
        self.come_up(env);
        self.send_outbox(env);
    }

    fn receive(&mut self, from: NodeId, msg: Msg, env: &mut Env<'_>) {
        let now = env.clocks.raw;
        match msg {
            Msg::Heartbeat { beat, ages } => {
                self.gossip(membership::Event::Heartbeat(beat), env);
                self.hear_ages(from, ages, env);
            }
            Msg::Report(report) => self.judge(cut::Event::Report(report), env),
            Msg::AskHelp(subject) => self.gossip(membership::Event::HelpAsked { by: from, subject }, env),
            Msg::HelpAnswer { subject, opinion } => {
                self.gossip(membership::Event::HelpAnswered { helper: from, subject, opinion }, env);
            }
            Msg::Poll(subject) => self.gossip(membership::Event::Polled { by: from, subject }, env),
            Msg::PollAnswer { subject, hears } => {
                self.judge(cut::Event::PollAnswer { observer: from, subject, hears }, env);
            }
            Msg::Hello(hello) => self.gossip(membership::Event::Hello(hello), env),
            Msg::Renew(renewal) => {
                let verdict = self.book.renew(now, &renewal);
                let msg = Msg::Renewed { session: renewal.session, nonce: renewal.nonce, verdict };
                env.out.push(Out::Send { to: from, msg });
            }
            Msg::Renewed { session, nonce, verdict } => {
                let event = match verdict {
                    Verdict::Acked => lease::Event::Ack { voter: from, session, nonce },
                    Verdict::Refused(reason) => lease::Event::Refused { voter: from, session, nonce, reason },
                };
                self.hold(event, env);
            }
            Msg::AskPromise { epoch, at } => {
                if let Some(remaining) = self.book.promise(now, epoch, at) {
                    env.out.push(Out::Send { to: from, msg: Msg::Promised { epoch, remaining } });
                }
            }
            Msg::Promised { epoch, remaining } => self.hear_promise(from, epoch, remaining, env),
            Msg::Raft(msg) if self.replayed => {
                let mut did = Vec::new();
                self.raft.receive(now, from, msg, env.rng, &mut did);
                self.carry_out(did, env);
            }
            Msg::Raft(_) => {}
            Msg::Propose(command) => {
                if self.raft.leads() {
                    self.waiting.insert(command.request, from);
                    self.propose_command(command, env);
                }
            }
            Msg::Replied { request } => self.outbox.retain(|p| p.command.request != request),
        }
    }

    pub(super) fn gossip(&mut self, event: membership::Event, env: &mut Env<'_>) {
        let mut effects = Vec::new();
        self.membership.step(env.clocks.raw, event, &mut effects);
        self.membership_did(effects, env);
    }

    fn membership_did(&mut self, effects: Vec<membership::Effect>, env: &mut Env<'_>) {
        use membership::Effect as E;
        for effect in effects {
            match effect {
                E::Send { to, heartbeat } => {
                    let votes = self.who.voters.contains(&self.who.node);
                    let ages = if votes { self.book.ack_ages(env.clocks.raw) } else { Vec::new() };
                    env.out.push(Out::Send { to, msg: Msg::Heartbeat { beat: heartbeat, ages } });
                }
                E::Connect { peer, .. } | E::Reconnect { peer, .. } => env.out.push(Out::Connect { peer }),
                E::Disconnect { peer } => env.out.push(Out::Disconnect { peer }),
                E::Probe { address } => env.out.push(Out::Probe { address }),
                E::Refuted { incarnation } => env.disk.incarnation = incarnation.0,
                E::Changed { .. } | E::Removed { .. } | E::Duplicate { .. } => {}
                E::ProbeBurst { peer, nonce, count, every, .. } => {
                    env.out.push(Out::Burst { peer, nonce, count, every });
                }
                E::Dial { peer, .. } => env.out.push(Out::TryConnection { peer }),
                E::AskHelp { helper, subject } => {
                    env.out.push(Out::Send { to: helper, msg: Msg::AskHelp(subject) });
                }
                E::AnswerHelp { to, subject, opinion } => {
                    env.out.push(Out::Send { to, msg: Msg::HelpAnswer { subject, opinion } });
                }
                E::Report(report) => {
                    for to in self.who.voters.clone() {
                        env.out.push(Out::Send { to, msg: Msg::Report(report.clone()) });
                    }
                }
                E::AnswerPoll { to, subject, hears } => {
                    env.out.push(Out::Send { to, msg: Msg::PollAnswer { subject, hears } });
                }
            }
        }
    }

    pub(super) fn judge(&mut self, event: cut::Event, env: &mut Env<'_>) {
        let mut effects = Vec::new();
        self.cut.step(env.clocks.raw, event, &mut effects);
        self.declare(effects, env);
    }

    /// What the ledger has of agents that don't answer while their hosts do.
    pub(super) fn tell_of_agents(&mut self, now: Instant) {
        let timeout = Duration::from_millis(
            self.ledger.cluster.as_ref().map_or(60_000, |c| c.settings.agent_timeout_ms),
        );
        let event = cut::Event::Agents { timeout, down: self.ledger.agents_down() };
        self.cut.step(now, event, &mut Vec::new());
    }

    fn hold(&mut self, event: lease::Event, env: &mut Env<'_>) {
        let mut effects = Vec::new();
        self.holder.step(env.clocks, event, &mut effects);
        for effect in effects {
            match effect {
                lease::Effect::Renew { voter, renewal } => {
                    env.out.push(Out::Send { to: voter, msg: Msg::Renew(renewal) });
                }
                lease::Effect::Extend { epoch, deadline } => {
                    env.disk.pages.insert(epoch, Page { epoch, boot: self.who.boot, deadline });
                }
                lease::Effect::Expired { epoch } => env.out.push(Out::Note(format!("lease {epoch} expired"))),
                lease::Effect::Revoked { epoch } => env.out.push(Out::Note(format!("told: {epoch} revoked"))),
                lease::Effect::VotersChanged { .. } => {}
            }
        }
    }

    /// What follows from the ledger and the lease, after every step.
    fn live(&mut self, env: &mut Env<'_>) {
        let mine = self.ledger.nodes.get(&self.who.node).filter(|n| n.boot == self.who.boot);
        let event = match mine.filter(|n| n.epoch != LeaseEpoch(0)) {
            Some(node) => lease::Event::Granted(Grant {
                epoch: node.epoch,
                voters: self.groups(),
                voter_config: VOTER_CONFIG,
                lease: LAN.lease,
            }),
            None => lease::Event::Withdrawn,
        };
        self.hold(event, env);
        let wanted = self.ledger.placements_on(self.who.node).next().is_some();
        self.hold(lease::Event::Wanted(wanted), env);
        let deadline = self.holder.deadline(env.clocks);
        let room = deadline.is_some_and(|d| lease::has_room(d, env.clocks));
        let lease = self.holder.epoch().filter(|_| room);
        let reports = self.runner.settle(&self.ledger, self.who.node, lease, env);
        for body in reports {
            self.submit(body, env);
        }
    }

    pub(super) fn groups(&self) -> Groups {
        vec![self.who.voters.clone()]
    }
}

fn record(who: &Who, incarnation: u64) -> MemberRecord {
    MemberRecord {
        node: who.node,
        incarnation: Incarnation(incarnation),
        state: MemberState::Alive,
        session: who.session,
        revision: 0,
        sick: None,
        name: name(who.node),
        address: profile(who.node).address,
        http: None,
        zone: String::new(),
        role: cluster_core::ledger::Role::Member,
        version: String::new(),
    }
}

/// The slot's placement as the instance machine wants it.
#[must_use]
pub fn desired(placement: &cluster_core::ledger::Placement) -> Option<instance::Placement> {
    placement.evicted.is_none().then(|| instance::Placement {
        generation: placement.generation,
        epoch: placement.epoch,
        version: placement.version,
        restart: instance::Policy {
            attempts: 5,
            window: Duration::from_secs(60),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(2),
        },
    })
}
