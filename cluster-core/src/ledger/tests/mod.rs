//! Rules of the ledger, each as a script that a person can read. `Script` speaks for the proposers.
//!
//! Nodes are called n1, n2, …, and have the ids 1, 2, …; entries of a script have the indexes 1, 2, ….

mod alerts;
mod arbitrary;
mod failures;
mod health;
mod instances;
mod leases;
mod links;
mod messages;
mod nodes;
mod posted;
mod silences;
mod wishes;
mod workloads;

use super::*;
use crate::{
    ids::{
        BootId, FailureId, Generation, Incarnation, InstanceId, LeaseEpoch, LogId, NodeId, RequestId,
        SessionId,
    },
    time::WallTime,
};

pub(super) struct Script {
    pub ledger: Ledger,
    pub now_ms: u64,
    pub request: u64,
    index: u64,
}

pub(super) fn id(node: &str) -> NodeId {
    NodeId(node[1..].parse().unwrap())
}

pub(crate) fn singleton(name: &str) -> WorkloadSpec {
    WorkloadSpec {
        name: name.to_owned(),
        kind: Kind::Singleton,
        replicas: 1,
        priority: 50,
        ports: [].into(),
        exec: ExecSpec { command: vec!["/bin/true".to_owned()], ..ExecSpec::default() },
        recovery: RecoverySpec {
            restart_attempts: 3,
            restart_window_ms: 300_000,
            backoff_min_ms: 500,
            backoff_max_ms: 30_000,
            migrate: true,
            stop_timeout_ms: 10_000,
            isolation_grace_ms: 0,
            keep_on_isolation: false,
        },
    }
}

pub(crate) fn replicas(name: &str, replicas: u32) -> WorkloadSpec {
    let mut spec = WorkloadSpec { kind: Kind::Replicas, replicas, ..singleton(name) };
    spec.recovery.keep_on_isolation = true;
    spec
}

pub(super) fn node_up(node: &str, boot: u64, replaces: Option<LeaseEpoch>) -> Body {
    Body::NodeUp {
        node: id(node),
        profile: NodeProfile { name: node.to_owned(), ..NodeProfile::default() },
        boot: BootId(boot),
        session: SessionId(1),
        incarnation: Incarnation(1),
        replaces,
        returning: None,
    }
}

impl Script {
    pub fn new() -> Self {
        let ledger = Ledger { format: LEDGER_FORMAT, ..Ledger::default() };
        Self { ledger, now_ms: 1_000, request: 0, index: 0 }
    }

    /// A ledger with these nodes alive, under boot 1.
    pub fn with(nodes: &[&str]) -> Self {
        let mut script = Self::new();
        for node in nodes {
            script.ok(node_up(node, 1, None));
        }
        script
    }

    pub fn propose(&mut self, body: Body) -> Reply {
        self.index += 1;
        let command = Command {
            level: FEATURE_LEVEL,
            actor: "local".to_owned(),
            request: RequestId(self.request),
            proposed_at: WallTime(self.now_ms),
            body,
        };
        self.ledger.apply(LogId { term: 1, index: self.index }, &command).unwrap()
    }

    pub fn ok(&mut self, body: Body) -> Reply {
        let reply = self.propose(body.clone());
        assert!(!matches!(reply, Reply::Rejected(_)), "{body:?} was refused: {reply:?}");
        reply
    }

    /// The reason of the refusal; nothing else may have changed.
    pub fn refused(&mut self, body: Body) -> String {
        let before = self.ledger.clone();
        let reply = self.propose(body.clone());
        let Reply::Rejected(rejection) = reply else { panic!("{body:?} was accepted: {reply:?}") };
        let (applied, clock) = (self.ledger.applied, self.ledger.clock);
        assert_eq!(Ledger { applied, clock, ..before }, self.ledger, "a refusal changed something");
        rejection.reason
    }

    pub fn node(&self, node: &str) -> &Node {
        &self.ledger.nodes[&id(node)]
    }

    pub fn epoch(&self, node: &str) -> LeaseEpoch {
        self.node(node).epoch
    }

    pub fn slot(&self, name: &str, index: u32) -> &Slot {
        &self.ledger.workloads[name].slots[&index]
    }

    pub fn placement(&self, name: &str, index: u32) -> &Placement {
        self.slot(name, index).placement.as_ref().unwrap()
    }

    pub fn failure(&self, id: FailureId) -> &Failure {
        &self.ledger.failures[&id]
    }

    pub fn last_failure(&self) -> &Failure {
        self.ledger.failures.values().next_back().unwrap()
    }

    pub fn last_event(&self) -> EventType {
        self.ledger.events.back().unwrap().kind
    }

    pub fn apply(&mut self, spec: WorkloadSpec) -> u64 {
        let reply = self.ok(Body::WorkloadsApplied { specs: vec![spec], if_version: None });
        let Reply::Versions(versions) = reply else { panic!("{reply:?}") };
        versions[0].1
    }

    pub fn placed(&self, name: &str, index: u32, node: &str) -> Body {
        let version = self.ledger.workloads.get(name).map_or(0, |w| w.version);
        let epoch = self.ledger.nodes.get(&id(node)).map_or(LeaseEpoch(0), |n| n.epoch);
        Body::Placed { workload: name.to_owned(), index, version, node: id(node), epoch }
    }

    pub fn place(&mut self, name: &str, index: u32, node: &str) -> Generation {
        let reply = self.ok(self.placed(name, index, node));
        let Reply::Generation(generation) = reply else { panic!("{reply:?}") };
        generation
    }

    /// What the node on which it is placed says of it.
    pub fn says(&self, name: &str, index: u32, report: Report) -> Body {
        let placement = self.placement(name, index);
        Body::InstanceReported {
            node: placement.node,
            workload: name.to_owned(),
            index,
            generation: placement.generation,
            instance: InstanceId(placement.generation.0 * 100 + u64::from(placement.restarts)),
            report,
        }
    }

    pub fn runs(&mut self, name: &str, index: u32) {
        let running = Report::Running { pid: 4_711, started_at: WallTime(self.now_ms), unconfined: false };
        self.ok(self.says(name, index, running));
    }

    pub fn ends(&mut self, name: &str, index: u32) {
        self.ok(self.says(name, index, Report::Ended { exit: None }));
    }

    /// A singleton that runs on the node.
    pub fn serve(&mut self, name: &str, node: &str) -> Generation {
        self.apply(singleton(name));
        let generation = self.place(name, 0, node);
        self.runs(name, 0);
        generation
    }

    pub fn death(&self, node: &str) -> Death {
        Death {
            node: id(node),
            epoch: self.epoch(node),
            incarnation: Incarnation(1),
            last_seen_at: WallTime(self.now_ms - 900),
            suspected_at: WallTime(self.now_ms - 300),
            observers: vec![],
            evidence: vec!["silent for 900 ms".to_owned()],
        }
    }

    /// The node is declared dead; its epoch, which ended.
    pub fn dies(&mut self, node: &str) -> LeaseEpoch {
        let epoch = self.epoch(node);
        let deaths = vec![self.death(node)];
        self.ok(Body::NodesDead { deaths });
        epoch
    }

    pub fn safe(&mut self, epoch: LeaseEpoch) {
        self.ok(Body::EpochSafe { epoch, promises: vec![] });
    }

    pub fn opens(&mut self, subject: Subject) -> FailureId {
        self.ok(Body::FailureOpened { subject, caused_by: None });
        FailureId(self.index)
    }
}

pub(super) fn instance(name: &str, index: u32) -> Subject {
    Subject::Workload(name.to_owned(), index)
}

#[test]
fn a_repeated_request_is_answered_and_not_done_again() {
    let mut script = Script::with(&["n1"]);
    script.request = 7;
    let version = script.apply(singleton("web"));
    let stop = Body::WorkloadStopped { name: "web".to_owned() };
    let again = script.propose(stop.clone());
    assert_eq!(again, Reply::Versions(vec![("web".to_owned(), version)]));
    assert!(!script.ledger.workloads["web"].stopped);

    script.now_ms += 600_000;
    assert_eq!(script.propose(stop), Reply::Done, "after ten minutes it is a new one");
    assert!(script.ledger.workloads["web"].stopped);
}

#[test]
fn a_request_that_was_refused_stays_refused() {
    let mut script = Script::with(&["n1"]);
    script.request = 7;
    let start = Body::WorkloadStarted { name: "web".to_owned() };
    let refused = script.propose(start.clone());
    script.request = 0;
    script.apply(singleton("web"));
    script.request = 7;
    assert_eq!(script.propose(start), refused);
}

#[test]
fn requests_are_forgotten_at_their_limit() {
    let mut script = Script::with(&["n1"]);
    for request in 1..=crate::limits::REQUESTS_MAX as u64 + 5 {
        script.request = request;
        script.now_ms += 1;
        script.propose(Body::NodeUndrained { node: id("n1") });
    }
    assert_eq!(script.ledger.requests.len(), crate::limits::REQUESTS_MAX);
    assert!(
        !script.ledger.requests.contains_key(&RequestId(5))
            && script.ledger.requests.contains_key(&RequestId(6))
    );
}

#[test]
fn the_clock_never_goes_back() {
    let mut script = Script::with(&["n1"]);
    script.now_ms = 500;
    script.apply(singleton("web"));
    assert_eq!(script.ledger.workloads["web"].created_at, WallTime(1_000));
    assert_eq!(script.ledger.events.back().unwrap().time, WallTime(1_000));
}

#[test]
fn an_entry_of_a_higher_level_stops_the_node() {
    let mut ledger = Ledger::default();
    let body = Body::LeaderElected { node: NodeId(1) };
    let (actor, request, proposed_at) = ("node:n1".to_owned(), RequestId(0), WallTime(5));
    let command = Command { level: FEATURE_LEVEL + 1, actor, request, proposed_at, body };
    let refused = ledger.apply(LogId { term: 1, index: 3 }, &command);
    assert_eq!(refused, Err(UnsupportedLevel { index: 3, level: FEATURE_LEVEL + 1 }));
    assert_eq!(ledger, Ledger::default());
}

#[test]
fn a_cluster_is_founded_once() {
    let mut script = Script::new();
    let settings =
        |voters| Settings { profile: "lan".to_owned(), lease_ms: 2_000, voters, ..Settings::default() };
    let founded = |voters| Body::Founded {
        cluster: crate::ids::ClusterId(1),
        name: "shop".to_owned(),
        settings: settings(voters),
    };
    assert_eq!(script.refused(founded(2)), "INVALID");
    script.ok(founded(3));
    assert_eq!(script.refused(founded(3)), "ALREADY_FOUNDED");
    assert_eq!(script.ledger.cluster.as_ref().unwrap().founded_at, WallTime(1_000));
}

#[test]
fn only_the_newest_events_are_kept() {
    let mut script = Script::with(&["n1"]);
    for _ in 0..crate::limits::EVENTS_MAX {
        script.ok(Body::LeaderElected { node: id("n1") });
    }
    assert_eq!(script.ledger.events.len(), crate::limits::EVENTS_MAX);
    assert_eq!(script.ledger.events[0].index, 2, "the join, entry 1, is forgotten");
}
