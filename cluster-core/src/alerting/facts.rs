//! Facts: what a user's rule may ask of a node or a workload, as the ledger and the leader's own ears have it now.
//!
//! Not here: what may be asked of an alert (`condition`), and what follows from the answers (`user_rules`).

use super::condition::Facts;
use crate::{
    ids::NodeId,
    ledger::{
        AgentState, InstanceState, Kind, Ledger, Node, NodeState, Over, Placement, Role, Scheduling, Workload,
    },
    membership::Vitals,
    recovery::{Heard, View},
};
use cel::{Context, Value};
use std::collections::BTreeMap;

/// Of a node. Those in per cent are its vitals: not known of a node that isn't heard or hasn't told them.
pub const NODE_VARIABLES: [&str; 16] = [
    "name",
    "zone",
    "role",
    "labels",
    "state",
    "scheduling",
    "agent",
    "sick",
    "instances",
    "load_percent",
    "memory_percent",
    "disk_percent",
    "cpu_pressure_percent",
    "memory_pressure_percent",
    "io_pressure_percent",
    "health_score",
];
/// Of a workload.
pub const WORKLOAD_VARIABLES: [&str; 7] =
    ["name", "kind", "desired", "running", "healthy", "restarts", "stopped"];

/// Instances placed on each node: counted once for all of them.
#[must_use]
pub fn placed(ledger: &Ledger) -> BTreeMap<NodeId, i64> {
    let mut placed = BTreeMap::new();
    for (_, _, placement) in ledger.placements() {
        *placed.entry(placement.node).or_default() += 1;
    }
    placed
}

#[must_use]
pub fn of_node(view: &View<'_>, id: NodeId, node: &Node, instances: i64) -> Facts {
    let heard = view.live.heard.get(&id).copied();
    let vitals = heard.and_then(|_| view.live.vitals.get(&id));
    node_facts(node, heard, vitals, instances)
}

fn node_facts(node: &Node, heard: Option<Heard>, vitals: Option<&Vitals>, instances: i64) -> Facts {
    let profile = &node.profile;
    let mut context = Context::default();
    let role = match profile.role {
        Role::Member => "member",
        Role::Witness => "witness",
    };
    let scheduling = match node.scheduling {
        Scheduling::Eligible => "eligible",
        Scheduling::Draining => "draining",
        Scheduling::Drained => "drained",
        Scheduling::Quarantined => "quarantined",
    };
    let (state, agent) = match (node.state, heard) {
        (NodeState::Dead, _) => ("dead", "gone"),
        (NodeState::Left, _) => ("left", "gone"),
        (NodeState::Alive, Some(Heard::Suspect) | None) => ("suspect", agent(node.agent.state)),
        (NodeState::Alive, _) => ("alive", agent(node.agent.state)),
    };
    let texts = [
        ("name", profile.name.as_str()),
        ("zone", &profile.zone),
        ("role", role),
        ("state", state),
        ("scheduling", scheduling),
        ("agent", agent),
    ];
    for (name, text) in texts {
        context.add_variable_from_value(name, text.to_owned());
    }
    context.add_variable("labels", &profile.labels).expect("a map of strings always becomes a value");
    context.add_variable_from_value("sick", Value::Bool(heard == Some(Heard::Sick)));
    context.add_variable_from_value("instances", Value::Int(instances));
    if let Some(vitals) = vitals {
        let shares = [
            ("load_percent", vitals.load),
            ("memory_percent", vitals.memory),
            ("disk_percent", vitals.disk),
            ("cpu_pressure_percent", vitals.cpu_pressure),
            ("memory_pressure_percent", vitals.memory_pressure),
            ("io_pressure_percent", vitals.io_pressure),
        ];
        for (name, per_mille) in shares {
            context.add_variable_from_value(name, Value::Int(i64::from(per_mille / 10)));
        }
        context.add_variable_from_value("health_score", Value::Int(vitals.health.into()));
    }
    Facts { context, variables: &NODE_VARIABLES }
}

fn agent(state: AgentState) -> &'static str {
    match state {
        AgentState::Up => "up",
        AgentState::Stalled => "stalled",
        AgentState::Gone => "gone",
    }
}

#[must_use]
pub fn of_workload(ledger: &Ledger, name: &str, workload: &Workload) -> Facts {
    let dead = |id: NodeId| ledger.nodes.get(&id).is_some_and(|node| node.state == NodeState::Dead);
    let runs = |p: &&Placement| p.state == InstanceState::Running && p.evicted.is_none() && !dead(p.node);
    let placements = || workload.slots.values().filter_map(|slot| slot.placement.as_ref());
    let running = i64::try_from(placements().filter(runs).count()).unwrap_or(i64::MAX);
    let restarts: i64 = placements().map(|placement| i64::from(placement.restarts)).sum();
    workload_facts(name, workload.spec.kind, workload.desired(), running, restarts, workload.stopped)
}

fn workload_facts(name: &str, kind: Kind, desired: u32, running: i64, restarts: i64, stopped: bool) -> Facts {
    let mut context = Context::default();
    let kind = match kind {
        Kind::Singleton => "singleton",
        Kind::Replicas => "replicas",
    };
    context.add_variable_from_value("name", name.to_owned());
    context.add_variable_from_value("kind", kind.to_owned());
    // Without checks an instance that runs is healthy.
    let numbers =
        [("desired", i64::from(desired)), ("running", running), ("healthy", running), ("restarts", restarts)];
    for (name, number) in numbers {
        context.add_variable_from_value(name, Value::Int(number));
    }
    context.add_variable_from_value("stopped", Value::Bool(stopped));
    Facts { context, variables: &WORKLOAD_VARIABLES }
}

/// What a new rule's condition is tried on: everything is known of it.
#[must_use]
pub fn sample(over: Over) -> Facts {
    match over {
        Over::Nodes => {
            let node = Node {
                profile: crate::ledger::NodeProfile {
                    name: "n1".to_owned(),
                    zone: "a".to_owned(),
                    ..Default::default()
                },
                state: NodeState::Alive,
                scheduling: Scheduling::Eligible,
                incarnation: Default::default(),
                boot: Default::default(),
                session: Default::default(),
                epoch: Default::default(),
                joined_at: Default::default(),
                changed_at: Default::default(),
                failure: None,
                death: None,
                agent: Default::default(),
                deaths: Vec::new(),
                held_back: None,
            };
            node_facts(&node, Some(Heard::Alive), Some(&Vitals::default()), 0)
        }
        Over::Workloads => workload_facts("counter", Kind::Singleton, 1, 1, 0, false),
    }
}
