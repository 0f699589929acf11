//! The cluster at the beginning: founded, five nodes up, workloads applied, all of it on every disk.

use super::{
    agent::{Disk, profile},
    raft::{Entry, RaftDisk},
};
use cluster_core::{
    ids::{BootId, ClusterId, Incarnation, LogId, NodeId, RequestId, SessionId},
    ledger::{
        Body, Command, ExecSpec, FEATURE_LEVEL, Kind, Ledger, RecoverySpec, Reply, Settings, WorkloadSpec,
    },
    time::WallTime,
    timing::LAN,
};
use std::{collections::BTreeMap, rc::Rc};

pub const NODES: u64 = 5;
/// What the first nodes say of themselves; every process that starts has others.
const FIRST_SESSION: SessionId = SessionId(1);

#[must_use]
pub fn nodes() -> Vec<NodeId> {
    (1..=NODES).map(NodeId).collect()
}

#[must_use]
pub fn first_boot(node: NodeId) -> BootId {
    BootId(0xb000 + node.0)
}

/// The same disk for every node.
#[must_use]
pub fn disk(voters: usize) -> Disk {
    let mut bodies = vec![founded(voters)];
    bodies.extend(nodes().into_iter().map(|node| Body::NodeUp {
        node,
        profile: profile(node),
        boot: first_boot(node),
        session: FIRST_SESSION,
        incarnation: Incarnation(0),
        replaces: None,
        returning: None,
    }));
    let specs = vec![
        workload("one", Kind::Singleton, 1),
        workload("two", Kind::Singleton, 1),
        workload("many", Kind::Replicas, 2),
    ];
    bodies.push(Body::WorkloadsApplied { specs, if_version: None });
    let mut ledger = Ledger::default();
    let mut log = Vec::new();
    for (index, body) in (1..).zip(bodies) {
        let command = Command {
            level: FEATURE_LEVEL,
            actor: "local".to_owned(),
            request: RequestId(0),
            proposed_at: WallTime(1_700_000_000_000),
            body,
        };
        let reply = ledger.apply(LogId { term: 1, index }, &command).expect("the level of this build");
        assert!(!matches!(reply, Reply::Rejected(_)), "the beginning is refused: {reply:?}");
        log.push(Entry { term: 1, command: Rc::new(command) });
    }
    Disk { raft: RaftDisk { term: 1, voted_for: None, log }, snapshot: ledger, ..Disk::default() }
}

/// The first entry.
#[must_use]
pub fn founded(voters: usize) -> Body {
    let settings = Settings {
        profile: LAN.name.to_owned(),
        lease_ms: u64::try_from(LAN.lease.as_millis()).expect("short"),
        voters: u32::try_from(voters).expect("few"),
        ..Settings::default()
    };
    Body::Founded { cluster: ClusterId(7), name: "sim".to_owned(), settings }
}

#[must_use]
pub fn workload(name: &str, kind: Kind, replicas: u32) -> WorkloadSpec {
    WorkloadSpec {
        name: name.to_owned(),
        kind,
        replicas,
        priority: 50,
        ports: BTreeMap::new(),
        exec: ExecSpec { command: vec!["/bin/serve".to_owned()], ..ExecSpec::default() },
        recovery: RecoverySpec {
            restart_attempts: 5,
            restart_window_ms: 60_000,
            backoff_min_ms: 200,
            backoff_max_ms: 2_000,
            migrate: true,
            stop_timeout_ms: 5_000,
            isolation_grace_ms: 0,
            keep_on_isolation: kind == Kind::Replicas,
        },
    }
}
