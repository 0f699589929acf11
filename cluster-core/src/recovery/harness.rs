//! Plays the cluster around a leader's machines, over a real ledger: a log that commits after 30 ms, voters that
//! promise, nodes that start what they are given, providers that answer. Writes down what happened, in words.
//!
//! Not here: what is expected of it (the tests), who is declared dead and when (the script says so).

mod script;

pub(crate) use crate::ledger::tests::{replicas, singleton};

use super::{Effect, Heard, Input, LiveView, Recovery, View};
use crate::{
    alerting::{self, Alerting},
    ids::{
        BootId, ClusterId, FailureId, Generation, Incarnation, InstanceId, LeaseEpoch, LogId, NodeId,
        RequestId, SessionId,
    },
    ledger::{
        AgentState, AlertingConfig, Body, Channel, Command, Death, Exit, FEATURE_LEVEL, Failure, Ledger,
        Message, NodeProfile, Phase, Reply, Report, Role, Route, SendOutcome, Settings, Subject,
        WorkloadSpec,
    },
    time::{Instant, WallTime},
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

const TICK: u64 = 10;
/// From proposal to commit.
const COMMIT: u64 = 30;
pub const WALL: u64 = 1_700_000_000_000;
/// How long voters' last acknowledgements run after a node fell silent.
const LEASE: u64 = 2_000;

pub(crate) struct Play {
    pub now: u64,
    /// Milliseconds between two steps of the machines.
    pub tick: u64,
    pub ledger: Ledger,
    pub live: LiveView,
    pub recovery: Recovery,
    pub alerting: Alerting,
    pub term: u64,
    voters: BTreeSet<NodeId>,
    queue: Vec<(u64, Happens)>,
    last_ack: BTreeMap<NodeId, u64>,
    off: BTreeSet<NodeId>,
    ending: BTreeSet<Generation>,
    pub mute_voters: BTreeSet<NodeId>,
    /// Workloads that never come up: their node gives up at once.
    pub broken: BTreeSet<String>,
    /// Milliseconds until a channel's provider answers; the default is 20.
    pub answers_after: BTreeMap<String, u64>,
    pub refuses: BTreeSet<String>,
    /// Those that refuse say that trying again is no use, or how long they want silence.
    pub for_good: bool,
    pub asks_for_silence: Option<u64>,
    pub commits: bool,
    /// How far hosts' clocks are ahead.
    pub clock_ahead: u64,
    pub trace: Vec<String>,
    /// What providers got: "CHANNEL PHASE SUMMARY", and "; PHASE SUMMARY" for each further alert.
    pub told: Vec<String>,
    pub got: Vec<Got>,
    /// Rejected proposals.
    pub refused: Vec<String>,
}

/// One message as a provider got it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub at: u64,
    pub id: u64,
    pub message: Message,
}

#[derive(Clone, Debug)]
enum Happens {
    Commit(Body, WallTime),
    Promise(NodeId, LeaseEpoch),
    Report(NodeId, String, u32, Generation, Report),
    Answer { message: u64, attempt: u32, outcome: SendOutcome },
}

impl Play {
    /// Nodes n1, n2, … in the given zones; the first up to five vote, n1 leads.
    pub fn new(zones: &[&str]) -> Self {
        let now = 1_000;
        let mut play = Self {
            now,
            tick: TICK,
            ledger: Ledger::default(),
            live: LiveView::default(),
            recovery: Recovery::new(),
            alerting: Alerting::new(NodeId(1), 1, Instant::from_millis(now)),
            term: 1,
            voters: (1..=5.min(zones.len() as u64)).map(NodeId).collect(),
            queue: Vec::new(),
            last_ack: BTreeMap::new(),
            off: BTreeSet::new(),
            ending: BTreeSet::new(),
            mute_voters: BTreeSet::new(),
            broken: BTreeSet::new(),
            answers_after: BTreeMap::new(),
            refuses: BTreeSet::new(),
            for_good: false,
            asks_for_silence: None,
            commits: true,
            clock_ahead: 0,
            trace: Vec::new(),
            told: Vec::new(),
            got: Vec::new(),
            refused: Vec::new(),
        };
        let settings =
            Settings { profile: "lan".to_owned(), lease_ms: LEASE, voters: 5, ..Settings::default() };
        play.commit(Body::Founded { cluster: ClusterId(7), name: "shop".to_owned(), settings });
        play.commit(Body::LeaderElected { node: NodeId(1) });
        for (i, zone) in zones.iter().enumerate() {
            play.node_up(i as u64 + 1, zone, None);
        }
        play.give_voters();
        play
    }

    fn node_up(&mut self, n: u64, zone: &str, replaces: Option<LeaseEpoch>) {
        let profile = NodeProfile {
            name: format!("n{n}"),
            address: format!("10.0.0.{n}:7400"),
            zone: zone.to_owned(),
            role: Role::Member,
            ..NodeProfile::default()
        };
        let (node, boot) = (NodeId(n), BootId(self.now));
        let (session, incarnation) = (SessionId(self.now), Incarnation(1));
        self.commit(Body::NodeUp { node, profile, boot, session, incarnation, replaces, returning: None });
        self.off.remove(&node);
        self.live.heard.insert(node, Heard::Alive);
    }

    fn give_voters(&mut self) {
        let voters = vec![self.voters.clone()];
        self.step(Input::Voters(voters.clone()), alerting::Input::Voters(voters));
    }

    pub fn id(&self, name: &str) -> NodeId {
        self.ledger.node_by_name(name).expect("a listed node").0
    }

    pub fn name(&self, id: NodeId) -> String {
        self.ledger.node_name(id)
    }

    pub fn commit(&mut self, body: Body) -> Reply {
        self.commit_at(body, WallTime(0))
    }

    /// As of then, or of the hosts' clocks if they are later.
    fn commit_at(&mut self, body: Body, as_of: WallTime) -> Reply {
        let at = LogId { term: self.term, index: self.ledger.applied.index + 1 };
        let command = Command {
            level: FEATURE_LEVEL,
            actor: "node:n1".to_owned(),
            request: RequestId(0),
            proposed_at: as_of.max(WallTime(WALL + self.now + self.clock_ahead)),
            body: body.clone(),
        };
        let reply = self.ledger.apply(at, &command).expect("a level that this build knows");
        match &reply {
            Reply::Rejected(why) => {
                self.refused.push(format!("{}: {}", why.reason, why.message));
                self.say(format!("refused {}", why.reason));
            }
            _ => self.committed(&body, &reply),
        }
        reply
    }

    fn say(&mut self, what: String) {
        self.trace.push(format!("{} {what}", self.now));
    }

    /// Notes what was committed; nodes act on it.
    fn committed(&mut self, body: &Body, reply: &Reply) {
        match body {
            Body::EpochSafe { .. } => self.say("safe".to_owned()),
            Body::FailureOpened { subject, caused_by } => {
                let cause = if caused_by.is_some() { " (caused)" } else { "" };
                let line = format!("failure {}{cause}", self.subject(subject));
                self.say(line);
            }
            Body::FailureUnrecoverable { reason, .. } => self.say(format!("abandoned: {reason}")),
            Body::Placed { workload, index, node, .. } => {
                let line = format!("placed {workload}/{index} on {}", self.name(*node));
                self.say(line);
                let Reply::Generation(generation) = reply else { panic!("placed without a generation") };
                let broken = self.broken.contains(workload);
                let mut soon = |after, report| {
                    let report = Happens::Report(*node, workload.clone(), *index, *generation, report);
                    self.queue.push((self.now + after, report));
                };
                soon(10, Report::Starting);
                if broken {
                    soon(40, Report::GaveUp { exit: Exit::Code(1), detail: "it is broken".to_owned() });
                } else {
                    let started_at = WallTime(WALL + self.now + 40);
                    soon(40, Report::Running { pid: 4_711, started_at, unconfined: false });
                }
            }
            Body::Evicted { workload, index, reason, .. } => {
                self.say(format!("evicted {workload}/{index}: {reason}"));
            }
            Body::AlertRaised { summary, name, .. } | Body::AlertPosted { summary, name, .. } => {
                self.say(format!("alert {name}: {summary}"))
            }
            Body::AlertEnded { summary, .. } => self.say(format!("ended: {summary}")),
            _ => {}
        }
    }

    fn subject(&self, subject: &Subject) -> String {
        match subject {
            Subject::Node(id) => self.name(*id),
            Subject::Workload(name, index) => format!("{name}/{index}"),
        }
    }

    pub fn apply(&mut self, specs: Vec<WorkloadSpec>) {
        self.commit(Body::WorkloadsApplied { specs, if_version: None });
    }

    pub fn alerting(&mut self, config: AlertingConfig) {
        let reply = self.commit(Body::AlertingApplied { config: Box::new(config), link_key: None });
        assert_eq!(reply, Reply::Done);
    }

    pub fn channels(&mut self, names: &[&str]) {
        let channels =
            names.iter().map(|name| ((*name).to_owned(), Channel::new("console", 5_000))).collect();
        let routes = vec![Route::to(names.iter().map(|name| (*name).to_owned()).collect())];
        self.commit(Body::AlertingApplied {
            config: Box::new(AlertingConfig { channels, routes, ..AlertingConfig::default() }),
            link_key: None,
        });
    }

    pub fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now += self.tick;
            let (due, later): (Vec<_>, Vec<_>) =
                core::mem::take(&mut self.queue).into_iter().partition(|(at, _)| *at <= self.now);
            self.queue = later;
            for (_, happens) in due {
                self.happen(happens);
            }
            self.nodes_stop();
            self.step(Input::Tick, alerting::Input::Tick);
        }
    }

    /// Nodes end what is evicted or not wanted, within 30 ms.
    fn nodes_stop(&mut self) {
        let ending = self.ledger.placements().filter(|(name, index, placement)| {
            placement.evicted.is_some() || *index >= self.ledger.desired(name)
        });
        let mut reports = Vec::new();
        for (name, index, placement) in ending {
            if self.ending.insert(placement.generation) {
                let ended = Report::Ended { exit: None };
                let report =
                    Happens::Report(placement.node, name.to_owned(), index, placement.generation, ended);
                reports.push((self.now + 30, report));
            }
        }
        self.queue.extend(reports);
    }

    fn happen(&mut self, happens: Happens) {
        match happens {
            Happens::Commit(body, at) if self.commits => {
                self.commit_at(body, at);
            }
            Happens::Commit(..) => {}
            Happens::Promise(voter, epoch) => {
                let holder = self.ledger.revocations.get(&epoch).map(|revocation| revocation.node);
                let ends = holder.and_then(|node| self.last_ack.get(&node)).copied().unwrap_or(0) + LEASE;
                let remaining = Duration::from_millis(ends.saturating_sub(self.now));
                self.step(Input::Promise { voter, epoch, remaining }, alerting::Input::Tick);
            }
            Happens::Report(node, workload, index, generation, report) => {
                if !self.off.contains(&node) {
                    let instance = InstanceId(generation.0);
                    self.commit(Body::InstanceReported {
                        node,
                        workload,
                        index,
                        generation,
                        instance,
                        report,
                    });
                }
            }
            Happens::Answer { message, attempt, outcome } => {
                let answer = alerting::Input::SendFinished { message, attempt, outcome, dice: 0 };
                self.step(Input::Tick, answer);
            }
        }
    }

    fn step(&mut self, recovery: Input, alerting: alerting::Input) {
        let now = Instant::from_millis(self.now);
        let view = View { ledger: &self.ledger, live: &self.live };
        let (mut decided, mut told) = (Vec::new(), Vec::new());
        self.recovery.step(now, &view, recovery, &mut decided);
        self.alerting.step(now, &view, alerting, &mut told);
        for effect in decided {
            match effect {
                Effect::Propose(body) => {
                    self.queue.push((self.now + COMMIT, Happens::Commit(body, WallTime(0))));
                }
                Effect::AskPromises { epoch, voters, .. } => {
                    for voter in voters {
                        if !self.mute_voters.contains(&voter) && !self.off.contains(&voter) {
                            self.queue.push((self.now + TICK, Happens::Promise(voter, epoch)));
                        }
                    }
                }
            }
        }
        for effect in told {
            match effect {
                alerting::Effect::Propose(body, at) => {
                    self.queue.push((self.now + COMMIT, Happens::Commit(body, at)));
                }
                alerting::Effect::Send { message, attempt, .. } => self.send(message, attempt),
                alerting::Effect::Keep { channel, alerts } => {
                    self.say(format!("keep {channel}: {} alerts", alerts.len()));
                }
                alerting::Effect::SignOfLife(_) => self.say("sign of life".to_owned()),
                alerting::Effect::Warn(what) => self.say(format!("warn: {what}")),
            }
        }
    }

    /// A provider gets it at once, answers later, and may get it though the answer is lost.
    fn send(&mut self, id: u64, attempt: u32) {
        let message = self.ledger.messages[&id].clone();
        let channel = message.channel.clone();
        let told: Vec<String> =
            message.told.iter().map(|(alert, phase)| self.words(*alert, *phase)).collect();
        let phase =
            if message.told.iter().any(|(_, phase)| *phase == Phase::Firing) { "firing" } else { "resolved" };
        self.say(format!("send {channel} {phase} #{attempt}"));
        let after = self.answers_after.get(&channel).copied().unwrap_or(20);
        let outcome = if self.refuses.contains(&channel) {
            let after_ms = self.asks_for_silence;
            let (reason, retry) = ("refused".to_owned(), !self.for_good);
            SendOutcome::Failed { reason, retry, after_ms, heard: false }
        } else {
            self.told.push(format!("{channel} {}", told.join("; ")));
            self.got.push(Got { at: self.now, id, message });
            SendOutcome::Sent
        };
        self.queue.push((self.now + after, Happens::Answer { message: id, attempt, outcome }));
    }

    fn words(&self, alert: u64, phase: Phase) -> String {
        let phase = if phase == Phase::Firing { "firing" } else { "resolved" };
        format!("{phase} {}", self.ledger.alerts[&alert].summary)
    }
}
