//! The built-in rules: which alerts should be firing now. Whatever fires by the ledger and holds no longer, ends.
//!
//! One failure has one alert at a time: a node's failure explains its workloads' for as long as it is open, and of
//! the rules about one instance the first to fire stays.
//!
//! Not here: the words (`text`, `text_nodes`), users' own rules (`user_rules`), routes, sending (`outbox`).

use super::{channels::Channels, text, text_nodes, upkeep};
use crate::{
    ids::{FailureId, NodeId},
    ledger::{
        Action, AgentState, Alert, Body, Failure, FailureState, InstanceState, Ledger, Method, NodeState,
        Scheduling, Severity, Slot, Subject,
    },
    recovery::{
        self, Heard, View,
        brake::{self, Brake},
    },
    time::{Instant, WallTime},
    timing::{LAN, Timing},
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// A node's alert waits so long for its workloads to serve elsewhere, so that its text can say where they went; and for
/// those of others that died meanwhile, so that an outage is told as one.
pub const NODE_TEXT_WAIT: Duration = Duration::from_secs(3);
/// An instance that doesn't serve again within this is an alert of its own.
pub const WORKLOAD_DOWN_AFTER: Duration = Duration::from_secs(30);
/// A slot may look for a node this long in silence.
pub const UNPLACEABLE_AFTER: Duration = Duration::from_secs(10);
/// Voters that are away for less are nobody's worry: an agent that is upgraded, a host that is slow for a moment.
pub const QUORUM_AT_RISK_AFTER: Duration = Duration::from_secs(5);
/// A sickness that is over sooner is nobody's worry, and drains nobody.
pub const NODE_SICK_AFTER: Duration = Duration::from_secs(5);
/// A node that is gone is declared dead long before; who is silent for so long and isn't, is heard by some.
pub const NODE_SUSPECT_AFTER: Duration = Duration::from_secs(30);

/// Alerts that these rules own; others in the ledger aren't touched.
/// `QuorumLost` isn't among them: without a quorum nobody could commit that it is to be told.
pub const BUILT_IN: [&str; 14] = [
    "NodeDead",
    "LeaseLost",
    "AgentDown",
    "QuorumAtRisk",
    "WorkloadDown",
    "CrashLoop",
    "Unplaceable",
    "BrakeEngaged",
    "NodeSick",
    "NodeSuspect",
    "Quarantined",
    "ChannelFailing",
    "DiskFilling",
    "CertificateExpiring",
];

/// Since when this leader sees each condition hold.
#[derive(Debug, Default)]
pub struct Rules {
    since: BTreeMap<String, Instant>,
    voters: Vec<BTreeSet<NodeId>>,
    channels: Channels,
    /// Something holds that becomes an alert if it lasts.
    waits: bool,
}

/// What should be known of a condition that holds.
pub(super) struct Draft {
    pub name: &'static str,
    pub severity: Severity,
    pub failure: Option<FailureId>,
    pub labels: BTreeMap<String, String>,
    pub summary: String,
    pub description: String,
}

/// One look at everything.
struct Look<'a> {
    now: Instant,
    view: &'a View<'a>,
    since: &'a mut BTreeMap<String, Instant>,
    voters: &'a [BTreeSet<NodeId>],
    /// Alerts that fire by the ledger.
    firing: &'a BTreeMap<&'a str, &'a Alert>,
    brake: Brake,
    /// Keys of the conditions that hold, whether or not they fire yet.
    holding: BTreeSet<String>,
    drafts: Vec<(String, Draft)>,
    waits: bool,
}

impl Rules {
    pub fn voters_are(&mut self, configurations: Vec<BTreeSet<NodeId>>) {
        self.voters = configurations;
    }

    pub fn waits(&self) -> bool {
        self.waits
    }

    /// What must change: the key of each alert, and the entry that raises or ends it.
    ///
    /// `firing`: the alerts that fire by the ledger, by key.
    pub fn step(
        &mut self,
        now: Instant,
        view: &View<'_>,
        firing: &BTreeMap<&str, &Alert>,
    ) -> Vec<(String, Body)> {
        let ledger = view.ledger;
        let mut look = Look {
            now,
            view,
            since: &mut self.since,
            voters: &self.voters,
            firing,
            brake: brake::state(ledger),
            holding: BTreeSet::new(),
            drafts: Vec::new(),
            waits: false,
        };
        look.nodes();
        look.agents();
        look.quorum();
        let unplaceable = look.unplaceable();
        look.instances(&unplaceable);
        look.brake();
        look.unfit();
        look.upkeep();
        look.channels(self.channels.failing(ledger));
        let Look { holding, drafts, waits, .. } = look;
        let mut changes = Vec::new();
        for (key, alert) in firing {
            let ours = alert.valid_until.is_none() && BUILT_IN.contains(&alert.name.as_str());
            if ours && !holding.contains(*key) {
                let summary = text::ended(ledger, alert);
                let key = (*key).to_owned();
                changes.push((key.clone(), Body::AlertEnded { dedup_key: key, summary }));
            }
        }
        for (key, draft) in drafts {
            if !firing.contains_key(key.as_str()) {
                changes.push((key.clone(), raised(key, draft)));
            }
        }
        self.since.retain(|key, _| holding.contains(key));
        self.waits = waits;
        changes
    }
}

fn raised(dedup_key: String, draft: Draft) -> Body {
    Body::AlertRaised {
        name: draft.name.to_owned(),
        severity: draft.severity,
        dedup_key,
        failure: draft.failure,
        labels: draft.labels,
        summary: draft.summary,
        description: draft.description,
    }
}

impl Look<'_> {
    /// `key` holds. True once it did so for `wait`: for `age_ms` by the ledger's times when this leader saw it first, and
    /// by its own clock since, as the ledger's stands while nothing is written.
    fn holds_for(&mut self, key: &str, wait: Duration, age_ms: Option<u64>) -> bool {
        self.holding.insert(key.to_owned());
        let age = Duration::from_millis(age_ms.unwrap_or_default());
        let since = *self.since.entry(key.to_owned()).or_insert(self.now - age);
        let held = self.now.since(since) >= wait || age >= wait;
        self.waits |= !held;
        held
    }

    /// By the ledger's clock, which only moves when something is written: a lower bound.
    fn age_ms(&self, since: WallTime) -> u64 {
        self.view.ledger.clock.since_ms(since)
    }

    fn nodes(&mut self) {
        let ledger = self.view.ledger;
        let mut settled = !ledger.nodes.values().any(|node| node.death.is_some() && node.failure.is_none());
        let (mut due, mut fresh) = (Vec::new(), Vec::new());
        for (id, failure) in &ledger.failures {
            let Subject::Node(node) = failure.subject else { continue };
            let name = if failure.method == Method::Lease { "LeaseLost" } else { "NodeDead" };
            let key = format!("{name}/{node}/{id}");
            if failure.is_open() {
                let age = self.age_ms(failure.declared_at);
                let late = self.holds_for(&key, NODE_TEXT_WAIT, Some(age));
                if self.firing.contains_key(key.as_str()) {
                    continue;
                }
                settled = settled && (late || consequences_settled(ledger, node, *id));
                if late { &mut due } else { &mut fresh }.push((key, name, node, id, failure));
            } else {
                // It was over before anyone was told: still one alert, which ends at once.
                let untold = failure.alerts.is_empty() && failure.state == FailureState::Recovered;
                if untold && !ledger.alerts.values().any(|alert| alert.dedup_key == key) {
                    due.push((key, name, node, id, failure));
                }
            }
        }
        // What the brake holds back settles nothing, and is told at once itself.
        if settled || self.brake.engaged {
            due.append(&mut fresh);
        }
        for (key, name, node, id, failure) in due {
            self.drafts.push((key, text::node(ledger, name, node, *id, failure)));
        }
    }

    /// Agents that are gone or stalled on hosts that live. Of a dead node its own alert tells.
    fn agents(&mut self) {
        let ledger = self.view.ledger;
        let timing = ledger.cluster.as_ref().and_then(|cluster| Timing::named(&cluster.settings.profile));
        let after = timing.unwrap_or(LAN).agent_down_after;
        for node in ledger.agents_down().into_keys() {
            let key = format!("AgentDown/{node}");
            let age = ledger.nodes[&node].agent.since.map(|since| self.age_ms(since));
            if self.holds_for(&key, after, age) {
                self.drafts.push((key, text_nodes::agent(ledger, node)));
            }
        }
    }

    /// Some voters are away, and one more loss would end the majority. A cluster of one voter is always one loss away:
    /// that is its design, and no news.
    fn quorum(&mut self) {
        let ledger = self.view.ledger;
        let lives = |id: &NodeId| ledger.nodes.get(id).is_some_and(|node| node.state == NodeState::Alive);
        let heard = |id: &NodeId| {
            matches!(self.view.live.heard.get(id), Some(Heard::Alive | Heard::Sick)) && lives(id)
        };
        let at_risk = |voters: &BTreeSet<NodeId>| {
            let online = voters.iter().filter(|id| heard(id)).count();
            voters.len() > 1 && online < voters.len() && online <= voters.len() / 2 + 1
        };
        if !self.voters.iter().any(at_risk) {
            return;
        }
        let voters: BTreeSet<NodeId> = self.voters.iter().flatten().copied().collect();
        let away: Vec<NodeId> = voters.iter().filter(|id| !heard(id)).copied().collect();
        let key = "QuorumAtRisk".to_owned();
        if self.holds_for(&key, QUORUM_AT_RISK_AFTER, None) {
            self.drafts.push((key, text::quorum(ledger, voters.len(), &away)));
        }
    }

    /// The slots that find no node, as (workload, index).
    fn unplaceable(&mut self) -> BTreeSet<(String, u32)> {
        let mut by_workload: BTreeMap<String, Vec<recovery::Unplaceable>> = BTreeMap::new();
        for slot in recovery::unplaceable(self.view) {
            by_workload.entry(slot.workload.clone()).or_default().push(slot);
        }
        let mut slots = BTreeSet::new();
        for (workload, found) in by_workload {
            let key = format!("Unplaceable/{workload}");
            slots.extend(found.iter().map(|slot| (workload.clone(), slot.index)));
            if self.holds_for(&key, UNPLACEABLE_AFTER, None) {
                self.drafts.push((key, text::unplaceable(self.view.ledger, &workload, &found)));
            }
        }
        slots
    }

    fn instances(&mut self, unplaceable: &BTreeSet<(String, u32)>) {
        let ledger = self.view.ledger;
        for (name, workload) in &ledger.workloads {
            for (index, slot) in &workload.slots {
                let Some(id) = slot.failure else { continue };
                let Some(failure) = ledger.failures.get(&id) else { continue };
                if failure.state == FailureState::Recovered {
                    continue;
                }
                let excused = unplaceable.contains(&(name.clone(), *index));
                self.instance(name, *index, slot, id, failure, excused);
            }
        }
    }

    fn instance(
        &mut self,
        workload: &str,
        index: u32,
        slot: &Slot,
        id: FailureId,
        failure: &Failure,
        excused: bool,
    ) {
        let down = format!("WorkloadDown/{workload}/{index}/{id}");
        let loop_ = format!("CrashLoop/{workload}/{index}/{id}");
        let told = |key: &String| self.firing.contains_key(key.as_str());
        if told(&down) || told(&loop_) {
            // Whichever was first speaks for the failure until it closes.
            self.holding.extend([down, loop_]);
            return;
        }
        let ledger = self.view.ledger;
        let age = self.age_ms(failure.declared_at);
        let late = self.holds_for(&down, WORKLOAD_DOWN_AFTER, Some(age));
        if gave_up(slot, failure) {
            self.holding.insert(loop_.clone());
            self.drafts
                .push((loop_, text::instance(ledger, "CrashLoop", workload, index, slot, id, failure)));
        } else if late && !excused && !is_explained(ledger, failure) {
            self.drafts
                .push((down, text::instance(ledger, "WorkloadDown", workload, index, slot, id, failure)));
        }
    }

    /// Living nodes whose agents are up, and that are given no work, or aren't heard.
    fn unfit(&mut self) {
        let ledger = self.view.ledger;
        for (id, node) in &ledger.nodes {
            if node.state == NodeState::Alive && node.agent.state == AgentState::Up {
                let heard = self.view.live.heard.get(id);
                match heard {
                    Some(Heard::Sick) => {
                        let key = format!("NodeSick/{id}");
                        if self.holds_for(&key, NODE_SICK_AFTER, None) {
                            let why = self.view.live.sick.get(id);
                            self.drafts.push((key, text_nodes::sick(ledger, *id, why)));
                        }
                    }
                    Some(Heard::Suspect) | None => {
                        let key = format!("NodeSuspect/{id}");
                        if self.holds_for(&key, NODE_SUSPECT_AFTER, None) {
                            self.drafts.push((key, text_nodes::suspect(ledger, *id)));
                        }
                    }
                    // As nearly all are, at each step.
                    Some(Heard::Alive) => {}
                }
            }
            // Through its deaths and returns, too: it is one story.
            if node.scheduling == Scheduling::Quarantined && node.state != NodeState::Left {
                let key = format!("Quarantined/{id}");
                self.holding.insert(key.clone());
                self.drafts.push((key, text_nodes::quarantined(ledger, *id)));
            }
        }
    }

    fn upkeep(&mut self) {
        let standing = self.since.keys().map(String::as_str).chain(self.firing.keys().copied());
        let found = upkeep::findings(self.view, standing, |key| self.firing.contains_key(key));
        for (key, finding) in found {
            let late = self.holds_for(&key, finding.wait(), None);
            if late && !self.firing.contains_key(key.as_str()) {
                self.drafts.extend(finding.draft(self.view.ledger).map(|draft| (key, draft)));
            }
        }
    }

    fn channels(&mut self, failing: &BTreeMap<String, String>) {
        for (channel, why) in failing {
            let key = format!("ChannelFailing/{channel}");
            self.holding.insert(key.clone());
            self.drafts.push((key, text::channel(self.view.ledger, channel, why)));
        }
    }

    fn brake(&mut self) {
        if self.brake.engaged {
            let key = "BrakeEngaged".to_owned();
            self.holding.insert(key.clone());
            self.drafts.push((key, text::brake(&self.brake)));
        }
    }
}

/// Every slot that the node's loss took has its record, and every such record is closed.
fn consequences_settled(ledger: &Ledger, node: NodeId, id: FailureId) -> bool {
    let unrecorded = ledger
        .workloads
        .values()
        .flat_map(|workload| workload.slots.values())
        .any(|slot| slot.failure.is_none() && slot.lost.as_ref().is_some_and(|lost| lost.node == node));
    !unrecorded && !text::consequences(ledger, id).any(|(_, failure)| failure.is_open())
}

/// The open failure of its node is alert enough.
fn is_explained(ledger: &Ledger, failure: &Failure) -> bool {
    let cause = failure.caused_by.and_then(|id| ledger.failures.get(&id));
    cause.is_some_and(|cause| matches!(cause.subject, Subject::Node(_)) && cause.is_open())
}

/// A node used up its restarts, or the leader its moves. Stays true while the failure is open: what was given up once
/// and was moved is a crash loop still, until it serves.
fn gave_up(slot: &Slot, failure: &Failure) -> bool {
    let given_up_by_node = slot.placement.is_none() && slot.last == InstanceState::Failed;
    let moved_on_exit =
        failure.method == Method::Exit && failure.steps.iter().any(|step| step.action == Action::Migrate);
    failure.state == FailureState::Unrecoverable || given_up_by_node || moved_on_exit
}
