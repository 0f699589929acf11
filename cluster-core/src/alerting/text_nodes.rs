//! What alerts say of a node itself, as long as it lives: sick, suspected, quarantined, without its agent. Of a dead one,
//! and of what ran on it, see `text`.

use super::{
    rules::Draft,
    text::{MAX_NAMED, instance_name, seconds, some},
};
use crate::{
    ids::NodeId,
    ledger::{AgentState, Ledger, Node, Severity},
};
use std::collections::BTreeMap;

pub(super) fn agent(ledger: &Ledger, id: NodeId) -> Draft {
    let name = ledger.node_name(id);
    let node = &ledger.nodes[&id];
    let is = if node.agent.state == AgentState::Gone { "is gone" } else { "says nothing" };
    let placed: Vec<String> =
        ledger.placements_on(id).map(|(workload, index, _)| instance_name(ledger, workload, index)).collect();
    let works = if placed.is_empty() {
        "nothing is placed on it".to_owned()
    } else {
        format!("what is on it runs on ({})", some(&placed, MAX_NAMED))
    };
    let timeout_ms = ledger.cluster.as_ref().map_or(0, |cluster| cluster.settings.agent_timeout_ms);
    let mut lines = vec![format!(
        "Start the agent on {name} again (`systemctl restart holdfast`); if it stays away for {} in all, {name} counts \
         as dead and its work is moved.",
        seconds(timeout_ms)
    )];
    lines.extend(node.agent.evidence.iter().cloned());
    draft(ledger, "AgentDown", id, format!("{name}'s agent {is}, its host answers: {works}"), lines)
}

/// `why`: what it says of itself.
pub(super) fn sick(ledger: &Ledger, id: NodeId, why: Option<&String>) -> Draft {
    let name = ledger.node_name(id);
    let why = why.map_or("it doesn't say why", String::as_str);
    let mut lines = vec![format!("{name} is given no more work while it says so.")];
    lines.extend(placed(ledger, id));
    draft(ledger, "NodeSick", id, format!("{name} says that it isn't fit for work: {why}"), lines)
}

pub(super) fn suspect(ledger: &Ledger, id: NodeId) -> Draft {
    let name = ledger.node_name(id);
    let mut lines = vec![
        "The leader doesn't hear it, and too few others say so to declare it dead: most likely some hosts reach it \
         and others don't."
            .to_owned(),
    ];
    lines.extend(placed(ledger, id));
    let summary = format!("{name} is suspected, and neither heard nor declared dead");
    draft(ledger, "NodeSuspect", id, summary, lines)
}

pub(super) fn quarantined(ledger: &Ledger, id: NodeId) -> Draft {
    let name = ledger.node_name(id);
    let evidence = ledger.nodes[&id].held_back.as_ref().map(|held| held.evidence.clone()).unwrap_or_default();
    let why = evidence.first().map_or_else(|| "it isn't steady".to_owned(), Clone::clone);
    let mut lines = vec![format!(
        "It is given work again once it was steady for a while, or by `holdfast node undrain {name}`."
    )];
    lines.extend(evidence);
    draft(ledger, "Quarantined", id, format!("{name} is given no work: {why}"), lines)
}

/// `used`: of the fullest disk, in per mille.
pub(super) fn disk(ledger: &Ledger, id: NodeId, used: u16) -> Draft {
    let name = ledger.node_name(id);
    let mut lines =
        vec![format!("`df -h` on {name} says which; its agent's log does, too. Make room, or enlarge it.")];
    lines.extend(placed(ledger, id));
    draft(ledger, "DiskFilling", id, format!("a disk of {name} is {} % full", used / 10), lines)
}

/// `ends`: in seconds since the epoch.
pub(super) fn certificate(ledger: &Ledger, id: NodeId, ends: u64) -> Draft {
    let name = ledger.node_name(id);
    let at = i64::try_from(ends).ok().and_then(|ends| jiff::Timestamp::from_second(ends).ok());
    let at = at.unwrap_or(jiff::Timestamp::MAX).strftime("%Y-%m-%d %H:%M UTC");
    let lines = vec![format!(
        "Once it has ended, no new connection of {name}'s agent is believed, and {name} counts as lost. Put a new \
         certificate where `[tls]` of its agent.toml says, and restart the agent: what runs on {name} runs on."
    )];
    draft(ledger, "CertificateExpiring", id, format!("the certificate of {name} ends on {at}"), lines)
}

/// What stands on a node, if anything does.
fn placed(ledger: &Ledger, id: NodeId) -> Option<String> {
    let placed: Vec<String> =
        ledger.placements_on(id).map(|(workload, index, _)| instance_name(ledger, workload, index)).collect();
    (!placed.is_empty()).then(|| format!("Placed on it: {}.", some(&placed, MAX_NAMED)))
}

fn draft(ledger: &Ledger, name: &'static str, id: NodeId, summary: String, lines: Vec<String>) -> Draft {
    Draft {
        name,
        severity: Severity::Warning,
        failure: None,
        labels: labels(&ledger.nodes[&id]),
        summary,
        description: lines.join("\n"),
    }
}

fn labels(node: &Node) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([("node".to_owned(), node.profile.name.clone())]);
    if !node.profile.zone.is_empty() {
        labels.insert("zone".to_owned(), node.profile.zone.clone());
    }
    labels
}
