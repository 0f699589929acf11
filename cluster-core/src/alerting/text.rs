//! What alerts say: for a tired person at night, so names, places and durations first, then the evidence.
//!
//! Not here: when they fire (`rules`), how a channel lays them out (the agent).

use super::rules::Draft;
use crate::{
    ids::{FailureId, NodeId},
    ledger::{
        Action, Alert, CHANNEL_FAILING, Failure, FailureState, Ledger, NodeState, Severity, Slot, Subject,
    },
    recovery::{Unplaceable, brake::Brake},
    time::WallTime,
};
use std::collections::BTreeMap;

/// Instances that a summary names; the rest are counted. The description has more.
pub(super) const MAX_NAMED: usize = 4;
const MAX_DESCRIBED: usize = 40;

pub(super) fn node(
    ledger: &Ledger,
    rule: &'static str,
    node: NodeId,
    id: FailureId,
    failure: &Failure,
) -> Draft {
    let lost: Vec<&Failure> = consequences(ledger, id).map(|(_, failure)| failure).collect();
    let whats: Vec<String> = lost.iter().map(|failure| outcome(ledger, failure)).collect();
    let went = if whats.is_empty() { "nothing ran on it".to_owned() } else { some(&whats, MAX_NAMED) };
    let is = if rule == "LeaseLost" { "is alive but lost its lease" } else { "is dead" };
    let mut lines = vec![format!(
        "{} was last seen {} before it was declared.",
        failure.name,
        seconds(failure.declared_at.since_ms(failure.last_seen_at)),
    )];
    lines.extend(lost.iter().take(MAX_DESCRIBED).map(|lost| story(ledger, lost)));
    lines.extend(failure.evidence.iter().cloned());
    let mut labels = BTreeMap::from([("node".to_owned(), failure.name.clone())]);
    if let Some(node) = ledger.nodes.get(&node).filter(|node| !node.profile.zone.is_empty()) {
        labels.insert("zone".to_owned(), node.profile.zone.clone());
    }
    Draft {
        name: rule,
        severity: if rule == "LeaseLost" { Severity::Warning } else { Severity::Critical },
        failure: Some(id),
        labels,
        summary: format!("{} {is}: {went}", failure.name),
        description: lines.join("\n"),
    }
}

pub(super) fn quorum(ledger: &Ledger, voters: usize, away: &[NodeId]) -> Draft {
    let names: Vec<String> = away.iter().map(|id| ledger.node_name(*id)).collect();
    Draft {
        name: "QuorumAtRisk",
        severity: Severity::Warning,
        failure: None,
        labels: BTreeMap::new(),
        summary: format!(
            "{} of {voters} voters are online: if one more is lost, nothing is decided any more",
            voters - away.len()
        ),
        description: format!(
            "Away: {}. Bring them back, or remove those that are gone for good (`holdfast node remove`).",
            names.join(", ")
        ),
    }
}

pub(super) fn instance(
    ledger: &Ledger,
    rule: &'static str,
    workload: &str,
    index: u32,
    slot: &Slot,
    id: FailureId,
    failure: &Failure,
) -> Draft {
    let who = instance_name(ledger, workload, index);
    let last = slot.placement.as_ref().map(|placement| placement.node).or(slot.avoid);
    let node = last.map(|id| ledger.node_name(id));
    let at = node.as_ref().map_or(String::new(), |node| format!(" on {node}"));
    let summary = match (rule, failure.state) {
        ("CrashLoop", FailureState::Unrecoverable) => {
            format!("{who} keeps failing and is given up{at}: a person is needed")
        }
        ("CrashLoop", _) => format!("{who} keeps failing{at}: its restarts there are used up"),
        _ => format!("{who} doesn't serve since it failed{at}"),
    };
    let mut lines = vec![story(ledger, failure)];
    if !failure.cause.is_empty() {
        lines.push(failure.cause.clone());
    }
    lines.extend(failure.evidence.iter().cloned());
    let mut labels = BTreeMap::from([
        ("workload".to_owned(), workload.to_owned()),
        ("index".to_owned(), index.to_string()),
    ]);
    labels.extend(node.map(|node| ("node".to_owned(), node)));
    Draft {
        name: rule,
        severity: Severity::Critical,
        failure: Some(id),
        labels,
        summary,
        description: lines.join("\n"),
    }
}

pub(super) fn unplaceable(ledger: &Ledger, workload: &str, found: &[Unplaceable]) -> Draft {
    let wanted = ledger.workloads.get(workload).map_or(0, |workload| workload.spec.replicas);
    let whats: Vec<String> = found
        .iter()
        .map(|slot| format!("{}: {}", instance_name(ledger, workload, slot.index), slot.why))
        .collect();
    Draft {
        name: "Unplaceable",
        severity: Severity::Critical,
        failure: None,
        labels: BTreeMap::from([("workload".to_owned(), workload.to_owned())]),
        summary: format!("{workload} finds no node for {} of {wanted}", found.len()),
        description: whats.into_iter().take(MAX_DESCRIBED).collect::<Vec<_>>().join("\n"),
    }
}

pub(super) fn brake(brake: &Brake) -> Draft {
    Draft {
        name: "BrakeEngaged",
        severity: Severity::Critical,
        failure: None,
        labels: BTreeMap::new(),
        summary: format!(
            "nothing is moved: {} losses within a minute, more than the {} that are moved unasked",
            brake.losses, brake.limit
        ),
        description: format!(
            "Dead: {}. Bring nodes back, or remove those that are gone for good (`holdfast node remove`); moving goes \
             on by itself once {} or fewer are dead.",
            brake.dead.join(", "),
            brake.limit
        ),
    }
}

/// `why`: what the last attempt said.
pub(super) fn channel(ledger: &Ledger, channel: &str, why: &str) -> Draft {
    let waiting = ledger.messages.values().filter(|message| message.channel == channel).count();
    let kind = ledger.alerting.channels.get(channel).map_or("", |channel| channel.kind.as_str());
    Draft {
        name: CHANNEL_FAILING,
        severity: Severity::Warning,
        failure: None,
        labels: BTreeMap::from([("channel".to_owned(), channel.to_owned())]),
        summary: format!("the channel {channel} ({kind}) doesn't deliver: {why}"),
        description: format!(
            "{waiting} messages wait for it. Try it with `holdfast alert test {channel}`. This alert ends when a message \
             is delivered there again."
        ),
    }
}

/// Said when the alert ends.
pub(super) fn ended(ledger: &Ledger, alert: &Alert) -> String {
    let label = |key: &str| alert.labels.get(key).map_or("it", String::as_str);
    let failure = alert.failure.and_then(|id| ledger.failures.get(&id));
    let after = failure
        .and_then(|failure| failure.recovered_at.map(|end| end.since_ms(failure.last_seen_at)))
        .map_or(String::new(), |ms| format!(", {} after it was last well", seconds(ms)));
    let node = ledger.nodes.values().find(|node| node.profile.name == label("node"));
    let known = node.is_some();
    match alert.name.as_str() {
        "NodeDead" if !known => format!("{} was removed", label("node")),
        "NodeDead" => format!("{} is back{after}", label("node")),
        "LeaseLost" => format!("{} has a lease again{after}", label("node")),
        "AgentDown" if !known => format!("{} was removed", label("node")),
        "AgentDown" if node.is_some_and(|node| node.state == NodeState::Alive) => {
            format!("{}'s agent is up again", label("node"))
        }
        "AgentDown" => format!("{} is dead: another alert tells of it", label("node")),
        "QuorumAtRisk" => "enough voters are online again".to_owned(),
        "Unplaceable" => format!("{} finds its nodes again", label("workload")),
        "NodeSick" | "NodeSuspect" | "Quarantined" | "DiskFilling" | "CertificateExpiring" if !known => {
            format!("{} was removed", label("node"))
        }
        "NodeSick" => format!("{} no longer says that it isn't fit for work", label("node")),
        "NodeSuspect" | "DiskFilling" | "CertificateExpiring"
            if node.is_some_and(|node| node.state != NodeState::Alive) =>
        {
            format!("{} is declared dead or has left", label("node"))
        }
        "NodeSuspect" => format!("{} is heard again", label("node")),
        "DiskFilling" => format!("the disks of {} have room again", label("node")),
        "CertificateExpiring" => format!("{} shows a new certificate", label("node")),
        "Quarantined" => format!("{} is quarantined no more", label("node")),
        CHANNEL_FAILING if ledger.alerting.channels.contains_key(label("channel")) => {
            format!("the channel {} delivers again", label("channel"))
        }
        CHANNEL_FAILING => format!("the channel {} was removed", label("channel")),
        "BrakeEngaged" => "moving goes on".to_owned(),
        _ if failure.is_some_and(|failure| failure.recovered_at.is_some()) => {
            format!("{} serves again{after}", label("workload"))
        }
        _ => format!("{} isn't asked to run any more", label("workload")),
    }
}

/// The failures that a node's failure caused.
pub(super) fn consequences(ledger: &Ledger, id: FailureId) -> impl Iterator<Item = (&FailureId, &Failure)> {
    // A cause is always the older entry.
    ledger.failures.range(id..).filter(move |(_, failure)| failure.caused_by == Some(id))
}

/// "counter moved to n1".
fn outcome(ledger: &Ledger, failure: &Failure) -> String {
    let who = subject_name(ledger, failure);
    let step = failure.steps.iter().rev().find(|step| step.to.is_some());
    let went = step.and_then(|step| step.to.map(|to| (step.action, ledger.node_name(to))));
    match (failure.state, went) {
        (FailureState::Recovered, Some((Action::Migrate, node))) => format!("{who} moved to {node}"),
        (FailureState::Recovered, Some((_, node))) => format!("{who} runs again on {node}"),
        (FailureState::Recovered, None) => format!("{who} recovered"),
        (FailureState::Unrecoverable, _) => format!("{who} could not be recovered"),
        (FailureState::Recovering, Some((_, node))) => format!("{who} is starting on {node}"),
        _ => format!("{who} waits to be moved"),
    }
}

/// One line with the times that there are, counted from when it was last well.
fn story(ledger: &Ledger, failure: &Failure) -> String {
    let after = |at: Option<WallTime>| at.map(|at| seconds(at.since_ms(failure.last_seen_at)));
    let times = [
        ("declared", after(Some(failure.declared_at))),
        ("safe to start elsewhere", after(failure.safe_at)),
        ("started", after(failure.started_at)),
        ("serving", after(failure.recovered_at)),
    ];
    let times: Vec<String> = times
        .into_iter()
        .filter_map(|(what, after)| after.map(|after| format!("{what} after {after}")))
        .collect();
    format!("{}: {}.", outcome(ledger, failure), times.join(", "))
}

fn subject_name(ledger: &Ledger, failure: &Failure) -> String {
    match &failure.subject {
        Subject::Node(_) => failure.name.clone(),
        Subject::Workload(name, index) => instance_name(ledger, name, *index),
    }
}

/// The index only where there may be several.
pub(super) fn instance_name(ledger: &Ledger, workload: &str, index: u32) -> String {
    match ledger.workloads.get(workload) {
        Some(found) if found.spec.replicas == 1 => workload.to_owned(),
        _ => format!("{workload}/{index}"),
    }
}

pub(super) fn some(whats: &[String], most: usize) -> String {
    let named = whats.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    if whats.len() > most { format!("{named}, and {} more", whats.len() - most) } else { named }
}

pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10)
}
