//! What a cluster whose leader tells people begins with: it is founded, all its nodes are up, work is to run on them, and
//! one route without a word about waits leads to people on three channels.
//!
//! Not here: what the leader makes of it (`desk`), and what becomes of messages (`provider`).

use super::{
    node::{Node, id},
    options::Break,
};
use crate::sim::genesis::{founded, workload};
use cluster_core::{
    ids::{BootId, Incarnation},
    ledger::{AlertingConfig, Body, Channel, FEATURE_LEVEL, Kind, NodeProfile, Route},
};

/// Where people read, by name and kind: one that knows a repetition by its key, and two that don't.
pub const CHANNELS: [(&str, &str); 3] = [("chat", "slack"), ("mail", "smtp"), ("pager", "pagerduty")];
/// Instances of this one serve long after they were started: longer than what makes a workload's loss an alert of its own.
pub const SLOW: &str = "slow";

/// The first entries, in order.
#[must_use]
pub fn entries(nodes: &[Node], voters: usize, put_back: Break) -> Vec<Body> {
    let mut bodies = vec![founded(voters)];
    bodies.push(Body::LeaderElected { node: id(0) });
    bodies.extend(nodes.iter().map(up));
    bodies.push(Body::AlertingApplied { config: Box::new(alerting(put_back)), link_key: None });
    let count = u32::try_from(nodes.len()).expect("few");
    let mut specs = vec![
        workload("web", Kind::Replicas, (count / 5).max(1)),
        workload(SLOW, Kind::Replicas, (count / 20).max(1)),
    ];
    specs.extend((0..count.div_ceil(20)).map(|i| workload(&format!("only-{i}"), Kind::Singleton, 1)));
    bodies.push(Body::WorkloadsApplied { specs, if_version: None });
    bodies
}

/// What a node says of itself when it comes up.
#[must_use]
pub fn up(node: &Node) -> Body {
    let record = node.record();
    let profile = NodeProfile {
        name: record.name,
        address: record.address,
        zone: record.zone,
        role: record.role,
        version: record.version,
        feature_level: FEATURE_LEVEL,
        ..NodeProfile::default()
    };
    Body::NodeUp {
        node: record.node,
        profile,
        boot: BootId(u64::from(node.index) << 32 | u64::from(node.boots)),
        session: record.session,
        incarnation: Incarnation(node.incarnation),
        replaces: None,
        returning: None,
    }
}

fn alerting(put_back: Break) -> AlertingConfig {
    let named = |(name, kind): (&str, &str)| (name.to_owned(), Channel::new(kind, 5_000));
    let mut route = Route::to(CHANNELS.iter().map(|(name, _)| (*name).to_owned()).collect());
    if put_back == Break::NoGroupWaits {
        (route.group_wait_ms, route.group_interval_ms) = (Some(0), Some(0));
    }
    AlertingConfig {
        channels: CHANNELS.into_iter().map(named).collect(),
        routes: vec![route],
        ..AlertingConfig::default()
    }
}
