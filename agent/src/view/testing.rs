//! A small cluster to look at: n1 leads, n2 runs `counter`, n3 is a third voter. Changes go through the real ledger.

use super::View;
use crate::shared::{Identity, Live, LiveNode, LiveState};
use cluster_core::{
    ids::{BootId, ClusterId, Incarnation, InstanceId, LeaseEpoch, LogId, NodeId, RequestId, SessionId},
    ledger::{
        AgentState, Body, Command, Death, ExecSpec, FEATURE_LEVEL, Kind, Ledger, NodeProfile, RecoverySpec,
        Reply, Report, Role, Settings, WorkloadSpec,
    },
    time::WallTime,
};
use std::{collections::BTreeMap, sync::Arc};

pub const START: u64 = 1_700_000_000_000;

pub struct Stage {
    pub ledger: Ledger,
    pub live: Live,
    pub me: Identity,
    pub now: WallTime,
}

impl Stage {
    /// Three nodes that live; nothing runs yet.
    pub fn founded() -> Self {
        let mut stage =
            Self { ledger: Ledger::default(), live: Live::default(), me: identity(1), now: WallTime(START) };
        let settings = Settings { profile: "lan".into(), lease_ms: 2_000, voters: 3, ..Settings::default() };
        stage.play(Body::Founded { cluster: ClusterId(7), name: "shop".into(), settings });
        stage.play(Body::LeaderElected { node: NodeId(1) });
        for id in 1..=3 {
            stage.play(node_up(id, 1));
            Arc::make_mut(&mut stage.live.members).insert(NodeId(id), Arc::new(heard(id)));
            stage.live.voters.insert(NodeId(id), format!("127.0.0.1:{id}"));
        }
        stage.live.leader = Some(NodeId(1));
        (stage.live.term, stage.live.is_leader, stage.live.is_voter) = (1, true, true);
        stage
    }

    /// And `counter`, a singleton, runs on n2.
    pub fn healthy() -> Self {
        let mut stage = Self::founded();
        stage.play(Body::WorkloadsApplied { specs: vec![singleton("counter")], if_version: None });
        stage.place("counter", 2);
        stage
    }

    pub fn play(&mut self, body: Body) -> Reply {
        self.now = WallTime(self.now.0 + 10);
        play(&mut self.ledger, self.now, "local", RequestId(0), body).1
    }

    pub fn place(&mut self, workload: &str, node: u64) {
        let node = NodeId(node);
        let version = self.ledger.workloads[workload].version;
        let epoch = self.ledger.nodes[&node].epoch;
        let placed = Body::Placed { workload: workload.into(), index: 0, version, node, epoch };
        let Reply::Generation(generation) = self.play(placed) else { panic!("it wasn't placed") };
        let report = Report::Running { pid: 4711, started_at: self.now, unconfined: false };
        let (workload, instance) = (workload.into(), InstanceId(9));
        self.play(Body::InstanceReported { node, workload, index: 0, generation, instance, report });
    }

    pub fn die(&mut self, node: u64) {
        let id = NodeId(node);
        let (epoch, incarnation) = (self.ledger.nodes[&id].epoch, self.ledger.nodes[&id].incarnation);
        let death = Death {
            node: id,
            epoch,
            incarnation,
            last_seen_at: WallTime(self.now.0 - 1_000),
            suspected_at: WallTime(self.now.0 - 200),
            observers: vec![NodeId(1)],
            evidence: vec!["silent for 1000 ms".into()],
        };
        self.play(Body::NodesDead { deaths: vec![death] });
    }

    pub fn view(&self) -> View<'_> {
        View { ledger: &self.ledger, live: &self.live, me: &self.me, now: self.now }
    }
}

pub fn play(
    ledger: &mut Ledger,
    now: WallTime,
    actor: &str,
    request: RequestId,
    body: Body,
) -> (LogId, Reply) {
    let at = LogId { term: 1, index: ledger.applied.index + 1 };
    let command = Command { level: FEATURE_LEVEL, actor: actor.into(), request, proposed_at: now, body };
    (at, ledger.apply(at, &command).expect("this build's level"))
}

pub fn identity(id: u64) -> Identity {
    Identity {
        node: NodeId(id),
        name: format!("n{id}"),
        cluster_name: "shop".into(),
        address: format!("127.0.0.1:{id}"),
        zone: "a".into(),
        role: Role::Member,
        labels: BTreeMap::new(),
        session: SessionId(id),
        data_dir: "/nonexistent".into(),
    }
}

pub fn heard(id: u64) -> LiveNode {
    LiveNode {
        node: NodeId(id),
        name: format!("n{id}"),
        address: format!("127.0.0.1:{id}"),
        zone: "a".into(),
        role: Role::Member,
        incarnation: Incarnation(1),
        state: LiveState::Alive,
        agent: AgentState::Up,
        version: "0.1.0".into(),
        connected: true,
        session: cluster_core::ids::SessionId(0),
    }
}

pub fn node_up(id: u64, incarnation: u64) -> Body {
    let profile = NodeProfile {
        name: format!("n{id}"),
        address: format!("127.0.0.1:{id}"),
        zone: "a".into(),
        feature_level: FEATURE_LEVEL,
        ..NodeProfile::default()
    };
    Body::NodeUp {
        node: NodeId(id),
        profile,
        boot: BootId(incarnation),
        session: SessionId(incarnation),
        incarnation: Incarnation(incarnation),
        replaces: None::<LeaseEpoch>,
        returning: None,
    }
}

pub fn singleton(name: &str) -> WorkloadSpec {
    WorkloadSpec {
        name: name.into(),
        kind: Kind::Singleton,
        replicas: 1,
        priority: 50,
        ports: BTreeMap::new(),
        exec: ExecSpec {
            command: vec!["/bin/sleep".into(), "1000".into()],
            env: BTreeMap::from([("TOKEN".into(), "hunter2".into())]),
            ..ExecSpec::default()
        },
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
