//! What anyone might propose: wishes in small numbers, and the proposals that they come to.

use super::*;
use proptest::{collection::vec, prelude::*, sample::select};

/// A proposal in small numbers; what depends on the ledger (current epochs, generations) is mostly filled in from it,
/// so that the scripts go somewhere, and sometimes made up.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Up {
        node: u64,
        boot: u64,
        honest: bool,
    },
    Dead {
        nodes: Vec<u64>,
    },
    LeaseLost {
        node: u64,
    },
    Safe {
        nth: usize,
    },
    Drain {
        node: u64,
        on: bool,
    },
    Agent {
        node: u64,
        incarnation: u64,
        state: AgentState,
    },
    HoldBack {
        node: u64,
        drain: bool,
    },
    Release {
        node: u64,
    },
    Leave {
        node: u64,
    },
    Remove {
        node: u64,
    },
    /// After a day in which nothing else happened.
    Forget,
    Open {
        subject: Subject,
        caused_by: Option<u64>,
    },
    Close {
        nth: usize,
        page: bool,
    },
    Apply {
        names: Vec<&'static str>,
        kind: Kind,
        replicas: u32,
        keep: bool,
        priority: u8,
    },
    Stop {
        name: &'static str,
    },
    Start {
        name: &'static str,
    },
    Delete {
        name: &'static str,
    },
    Place {
        name: &'static str,
        index: u32,
        node: u64,
        honest: bool,
    },
    Evict {
        nth: usize,
    },
    Report {
        nth: usize,
        report: Report,
    },
    Stale {
        name: &'static str,
        node: u64,
        generation: u64,
        report: Report,
    },
    Raise {
        key: u8,
    },
    End {
        key: u8,
    },
    Post {
        key: u8,
        lasts_ms: u64,
    },
    Extend {
        key: u8,
        lasts_ms: u64,
    },
    Channels {
        names: Vec<&'static str>,
    },
    Queue {
        nth: usize,
        resolved: bool,
        repeat: bool,
    },
    Intend {
        nth: usize,
        attempt: Option<u32>,
    },
    Sent {
        nth: usize,
        attempt: Option<u32>,
        outcome: SendOutcome,
    },
}

fn name() -> impl Strategy<Value = &'static str> {
    select(vec!["db", "web"])
}

fn report() -> impl Strategy<Value = Report> {
    let running = (0u32..3, 0u64..9_000).prop_map(|(pid, at)| Report::Running {
        pid,
        started_at: WallTime(at),
        unconfined: false,
    });
    let restarting = (0u32..4).prop_map(|restarts| Report::Restarting {
        exit: Exit::Code(1),
        restart_in_ms: 5,
        restarts,
        detail: String::new(),
        lease_ended: restarts == 3,
    });
    let gave_up = Just(Report::GaveUp { exit: Exit::Signal(9), detail: "é".repeat(3) });
    let ended = proptest::option::of(Just(Exit::Code(0))).prop_map(|exit| Report::Ended { exit });
    prop_oneof![Just(Report::Starting), running, restarting, gave_up, ended]
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        (1u64..5).prop_map(|n| Subject::Node(NodeId(n))),
        (name(), 0u32..3).prop_map(|(name, index)| instance(name, index)),
    ]
}

fn outcome() -> impl Strategy<Value = SendOutcome> {
    let failed = any::<bool>().prop_map(|retry| SendOutcome::Failed {
        reason: "no".to_owned(),
        retry,
        after_ms: None,
        heard: !retry,
    });
    prop_oneof![Just(SendOutcome::Sent), failed]
}

pub(super) fn wish() -> impl Strategy<Value = Wish> {
    let node = 1u64..5;
    let kind = prop_oneof![3 => Just(Kind::Singleton), 1 => Just(Kind::Replicas)];
    let channels = select(vec!["hook", "screen"]);
    let state = select(vec![AgentState::Up, AgentState::Stalled, AgentState::Gone]);
    let health = prop_oneof![
        (node.clone(), 0u64..3, state).prop_map(|(node, incarnation, state)| Wish::Agent {
            node,
            incarnation,
            state
        }),
        (node.clone(), any::<bool>()).prop_map(|(node, drain)| Wish::HoldBack { node, drain }),
        node.clone().prop_map(|node| Wish::Release { node }),
    ];
    let cluster = prop_oneof![
        3 => (node.clone(), 1u64..3, prop::bool::weighted(0.9))
            .prop_map(|(node, boot, honest)| Wish::Up { node, boot, honest }),
        2 => vec(node.clone(), 1..3).prop_map(|nodes| Wish::Dead { nodes }),
        1 => node.clone().prop_map(|node| Wish::LeaseLost { node }),
        2 => (0usize..4).prop_map(|nth| Wish::Safe { nth }),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, on)| Wish::Drain { node, on }),
        1 => node.clone().prop_map(|node| Wish::Leave { node }),
        1 => node.clone().prop_map(|node| Wish::Remove { node }),
        1 => Just(Wish::Forget),
        2 => (subject(), proptest::option::weighted(0.1, 0u64..50))
            .prop_map(|(subject, caused_by)| Wish::Open { subject, caused_by }),
        1 => (0usize..4, any::<bool>()).prop_map(|(nth, page)| Wish::Close { nth, page }),
        3 => health,
    ];
    let work = prop_oneof![
        3 => (vec(name(), 1..3), kind, 0u32..4, any::<bool>(), 0u8..3).prop_map(
            |(names, kind, replicas, keep, priority)| Wish::Apply { names, kind, replicas, keep, priority }
        ),
        1 => name().prop_map(|name| Wish::Stop { name }),
        1 => name().prop_map(|name| Wish::Start { name }),
        1 => name().prop_map(|name| Wish::Delete { name }),
        6 => (name(), 0u32..3, node.clone(), prop::bool::weighted(0.9))
            .prop_map(|(name, index, node, honest)| Wish::Place { name, index: index / 2, node, honest }),
        1 => (0usize..4).prop_map(|nth| Wish::Evict { nth }),
        4 => (0usize..4, report()).prop_map(|(nth, report)| Wish::Report { nth, report }),
        1 => (name(), node, 0u64..9, report())
            .prop_map(|(name, node, generation, report)| Wish::Stale { name, node, generation, report }),
    ];
    let alerts = prop_oneof![
        (0u8..2).prop_map(|key| Wish::Raise { key }),
        (0u8..2).prop_map(|key| Wish::End { key }),
        (0u8..2, 0u64..90_000_000).prop_map(|(key, lasts_ms)| Wish::Post { key, lasts_ms }),
        (0u8..2, 0u64..90_000_000).prop_map(|(key, lasts_ms)| Wish::Extend { key, lasts_ms }),
        vec(channels, 0..3).prop_map(|names| Wish::Channels { names }),
        (0usize..3, any::<bool>(), any::<bool>()).prop_map(|(nth, resolved, repeat)| Wish::Queue {
            nth,
            resolved,
            repeat
        }),
        (0usize..3, proptest::option::weighted(0.2, 0u32..30))
            .prop_map(|(nth, attempt)| Wish::Intend { nth, attempt }),
        (0usize..3, proptest::option::weighted(0.2, 0u32..30), outcome())
            .prop_map(|(nth, attempt, outcome)| Wish::Sent { nth, attempt, outcome }),
    ];
    prop_oneof![5 => cluster, 6 => work, 2 => alerts]
}

/// The proposal that the wish makes of the ledger as it is.
pub(super) fn proposal(ledger: &Ledger, wish: &Wish) -> Body {
    let epoch_of = |node: u64| ledger.nodes.get(&NodeId(node)).map_or(LeaseEpoch(0), |n| n.epoch);
    match wish {
        Wish::Up { node, boot, honest } => {
            let known = ledger.nodes.get(&NodeId(*node));
            let ends = known.filter(|n| n.epoch.0 != 0 && n.boot.0 != *boot).map(|n| n.epoch);
            node_up(&format!("n{node}"), *boot, if *honest { ends } else { Some(LeaseEpoch(*boot)) })
        }
        Wish::Dead { nodes } => Body::NodesDead {
            deaths: nodes
                .iter()
                .map(|node| Death {
                    node: NodeId(*node),
                    epoch: epoch_of(*node),
                    incarnation: Incarnation(1),
                    last_seen_at: WallTime(u64::MAX),
                    suspected_at: WallTime(0),
                    observers: vec![NodeId(77)],
                    evidence: vec!["silence".repeat(100); 10],
                })
                .collect(),
        },
        Wish::LeaseLost { node } => Body::LeaseLost {
            node: NodeId(*node),
            epoch: epoch_of(*node),
            last_seen_at: WallTime(3),
            evidence: vec![],
        },
        Wish::Safe { nth } => {
            let epoch = ledger.revocations.keys().nth(*nth).copied().unwrap_or_default();
            Body::EpochSafe { epoch, promises: vec![] }
        }
        Wish::Drain { node, on: true } => Body::NodeDraining { node: NodeId(*node) },
        Wish::Drain { node, on: false } => Body::NodeUndrained { node: NodeId(*node) },
        Wish::Agent { node, incarnation, state } => Body::AgentState {
            node: NodeId(*node),
            incarnation: Incarnation(*incarnation),
            state: *state,
            since: WallTime(u64::MAX),
            observers: vec![NodeId(77)],
            evidence: vec!["silence".repeat(100); 10],
        },
        Wish::HoldBack { node, drain } => {
            Body::NodeHeldBack { node: NodeId(*node), drain: *drain, evidence: vec![] }
        }
        Wish::Release { node } => Body::NodeReleased { node: NodeId(*node), evidence: vec![] },
        Wish::Leave { node } => Body::NodeLeft { node: NodeId(*node), epoch: epoch_of(*node) },
        Wish::Remove { node } => Body::NodeRemoved { node: NodeId(*node), epoch: epoch_of(*node) },
        Wish::Forget => Body::NodesForgotten { nodes: (1..5).map(NodeId).collect() },
        Wish::Open { subject, caused_by } => {
            Body::FailureOpened { subject: subject.clone(), caused_by: caused_by.map(FailureId) }
        }
        Wish::Close { nth, page } => {
            let failure = ledger.failures.keys().nth(*nth).copied().unwrap_or_default();
            let reason = "é".repeat(2_000);
            if *page {
                Body::FailureUnrecoverable { failure, reason }
            } else {
                Body::FailureAcknowledged { failure }
            }
        }
        Wish::Apply { names, kind, replicas: count, keep, priority } => {
            let spec = |name: &&str| {
                let mut spec = match kind {
                    Kind::Singleton => singleton(name),
                    Kind::Replicas => replicas(name, *count),
                };
                spec.recovery.keep_on_isolation = *keep;
                spec.priority = *priority;
                spec
            };
            Body::WorkloadsApplied { specs: names.iter().map(spec).collect(), if_version: None }
        }
        Wish::Stop { name } => Body::WorkloadStopped { name: (*name).to_owned() },
        Wish::Start { name } => Body::WorkloadStarted { name: (*name).to_owned() },
        Wish::Delete { name } => Body::WorkloadDeleted { name: (*name).to_owned() },
        Wish::Place { name, index, node, honest } => Body::Placed {
            workload: (*name).to_owned(),
            index: *index,
            version: ledger.workloads.get(*name).map_or(0, |w| w.version),
            node: NodeId(*node),
            epoch: if *honest { epoch_of(*node) } else { LeaseEpoch(*node) },
        },
        Wish::Evict { nth } => match ledger.placements().nth(*nth) {
            Some((name, index, p)) => Body::Evicted {
                workload: name.to_owned(),
                index,
                generation: p.generation,
                reason: "move".to_owned(),
            },
            None => Body::LeaderElected { node: NodeId(1) },
        },
        Wish::Report { nth, report } => reported(ledger, *nth, report),
        Wish::Stale { name, node, generation, report } => Body::InstanceReported {
            node: NodeId(*node),
            workload: (*name).to_owned(),
            index: 0,
            generation: Generation(*generation),
            instance: InstanceId(1),
            report: report.clone(),
        },
        Wish::Raise { key } => Body::AlertRaised {
            name: "Test".to_owned(),
            severity: Severity::Info,
            dedup_key: format!("key {key}"),
            failure: ledger.failures.keys().next().copied(),
            labels: [].into(),
            summary: String::new(),
            description: String::new(),
        },
        Wish::End { key } => Body::AlertEnded { dedup_key: format!("key {key}"), summary: String::new() },
        Wish::Post { key, lasts_ms } => Body::AlertPosted {
            name: "Test".to_owned(),
            severity: Severity::Info,
            dedup_key: format!("{POSTED_PREFIX}{key}"),
            labels: [].into(),
            summary: String::new(),
            description: String::new(),
            valid_until: WallTime(ledger.clock.0 + lasts_ms),
        },
        Wish::Extend { key, lasts_ms } => Body::AlertsExtended {
            until: vec![(format!("{POSTED_PREFIX}{key}"), WallTime(ledger.clock.0 + lasts_ms))],
        },
        Wish::Channels { names } => Body::AlertingApplied {
            config: Box::new(AlertingConfig {
                channels: names
                    .iter()
                    .map(|name| ((*name).to_owned(), Channel::new("console", 5_000)))
                    .collect(),
                routes: vec![Route::to(names.iter().map(|name| (*name).to_owned()).collect())],
                ..AlertingConfig::default()
            }),
            link_key: None,
        },
        Wish::Queue { nth, resolved, repeat } => {
            let alert = ledger.alerts.keys().nth(*nth).copied().unwrap_or_default();
            let why = if *repeat { Why::Repeat { of: ledger.applied.index } } else { Why::First };
            let phase = if *resolved { Phase::Resolved } else { Phase::Firing };
            let channel = ledger.alerting.channels.keys().next().cloned().unwrap_or_default();
            Body::MessageQueued { channel, told: vec![(alert, phase)], incident: alert, why }
        }
        Wish::Intend { nth, attempt } => {
            let (message, attempts) = message(ledger, *nth);
            let attempt = attempt.unwrap_or(attempts + 1);
            Body::MessageIntended { message, attempt, term: 1, send_within_ms: 9 }
        }
        Wish::Sent { nth, attempt, outcome } => {
            let (message, attempts) = message(ledger, *nth);
            let (attempt, outcome) = (attempt.unwrap_or(attempts), outcome.clone());
            Body::MessageDone { message, attempt, by: NodeId(1), outcome }
        }
    }
}

/// The n-th placement, or what may still run under an ended epoch, gets the report.
fn reported(ledger: &Ledger, nth: usize, report: &Report) -> Body {
    let placed = ledger.placements().map(|(name, index, p)| (p.node, name.to_owned(), index, p.generation));
    let held = ledger
        .revocations
        .values()
        .flat_map(|r| r.held.iter().map(|h| (r.node, h.workload.clone(), h.index, h.generation)));
    let all: Vec<_> = placed.chain(held).collect();
    let (node, workload, index, generation) = all.get(nth).cloned().unwrap_or_default();
    let (instance, report) = (InstanceId(generation.0), report.clone());
    Body::InstanceReported { node, workload, index, generation, instance, report }
}

fn message(ledger: &Ledger, nth: usize) -> (u64, u32) {
    ledger.messages.iter().nth(nth).map_or((0, 0), |(id, message)| (*id, message.attempts))
}
