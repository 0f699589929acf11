//! Users' rules: an alert for each node or workload of which a rule's condition has held for long enough.
//!
//! Each subject is asked about once a second, a few at each step, so that a large cluster keeps no step waiting. How
//! long a condition has held counts from when this leader first saw it. What fires by the ledger goes on firing under a
//! new leader, or a new configuration, until everything was asked about once.
//!
//! Not here: what can be asked (`facts`), the built-in rules (`rules`), who is told.

use super::{condition::Condition, facts, rules::BUILT_IN};
use crate::{
    ids::NodeId,
    ledger::{Alert, Body, Ledger, Over, Rule},
    limits::{LABELS_MAX, SENTENCE_BYTES, clip},
    recovery::View,
    time::Instant,
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Between two looks at the same subject.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Conditions asked in one step; the other subjects follow with the next.
const ASKED_AT_ONCE: usize = 1_000;
/// Alerts of users' rules that fire at once. More aren't raised, so that there is room for the built-in ones.
pub const FIRING_MAX: usize = 1_024;
/// What an alert of a user's rule has for its key before the rule's name.
const KEY: &str = "rule/";
/// Labels of one rule: two more say what the alert is about.
pub const RULE_LABELS_MAX: usize = LABELS_MAX - 2;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Node(NodeId),
    Workload(String),
}

#[derive(Debug, Default)]
pub struct UserRules {
    rules: Vec<Rule>,
    /// As `rules`; `None` where it can't be used, and then never holds.
    conditions: Vec<Option<Condition>>,
    /// Still to be asked about in this round.
    queue: VecDeque<About>,
    /// When the next round begins.
    due: Option<Instant>,
    /// A whole round is over since the rules changed.
    complete: bool,
    /// Since when the condition of a rule, by its name, is seen to hold.
    holds: BTreeMap<(String, About), Instant>,
    /// Rules whose failing evaluation was complained about.
    complained: BTreeSet<String>,
    crowded: bool,
}

/// Whether a rule can be used.
///
/// # Errors
/// A sentence that follows the rule's name or place.
pub fn check_rule(rule: &Rule) -> Result<(), String> {
    check_rule_name(&rule.name)?;
    if rule.labels.len() > RULE_LABELS_MAX {
        let count = rule.labels.len();
        return Err(format!("it has {count} labels; at most {RULE_LABELS_MAX} leave room for the subject's"));
    }
    Condition::of_rule(&rule.condition, rule.over)
        .map(|_| ())
        .map_err(|why| format!("the condition is wrong: {why}"))
}

/// Whether a rule can be called so.
///
/// # Errors
/// A sentence that follows the rule's name or place.
pub fn check_rule_name(name: &str) -> Result<(), String> {
    match BUILT_IN.contains(&name) {
        true => Err(format!("\"{name}\" is the name of a built-in alert; choose another name")),
        false => Ok(()),
    }
}

/// Its alerts end when the rule or the subject is gone.
fn is_of_a_rule(alert: &Alert) -> bool {
    alert.dedup_key.starts_with(KEY)
}

impl UserRules {
    /// Whether a round of questions isn't over.
    pub fn are_asked(&self) -> bool {
        !self.queue.is_empty()
    }

    /// What must change: the key of each alert, and the entry that raises or ends it. What can't be used is said once,
    /// in `complaints`.
    pub fn step(
        &mut self,
        now: Instant,
        view: &View<'_>,
        firing: &BTreeMap<&str, &Alert>,
        complaints: &mut Vec<String>,
    ) -> Vec<(String, Body)> {
        if self.rules != view.ledger.alerting.rules {
            self.adopt(now, &view.ledger.alerting.rules, complaints);
        }
        self.look(now, view, complaints);
        self.changes(now, view.ledger, firing, complaints)
    }

    /// Waits of rules that ask the same as before go on.
    fn adopt(&mut self, now: Instant, rules: &[Rule], complaints: &mut Vec<String>) {
        let same = |old: &Rule| {
            rules.iter().any(|r| r.name == old.name && r.over == old.over && r.condition == old.condition)
        };
        let kept: BTreeSet<String> =
            self.rules.iter().filter(|rule| same(rule)).map(|rule| rule.name.clone()).collect();
        self.holds.retain(|(name, _), _| kept.contains(name));
        self.conditions = rules
            .iter()
            .map(|rule| {
                match check_rule(rule).and_then(|()| Condition::of_rule(&rule.condition, rule.over)) {
                    Ok(condition) => Some(condition),
                    Err(why) => {
                        complaints.push(format!("rule {}: {why}", rule.name));
                        None
                    }
                }
            })
            .collect();
        self.rules = rules.to_vec();
        self.complained.clear();
        self.queue.clear();
        self.due = Some(now);
        self.complete = false;
    }

    /// Asks about some subjects. A round that takes longer than a second delays the next one.
    fn look(&mut self, now: Instant, view: &View<'_>, complaints: &mut Vec<String>) {
        if self.queue.is_empty() {
            if self.due.is_some_and(|due| now < due) {
                return;
            }
            self.due = Some(now + LOOK_EVERY);
            self.begin(view.ledger);
        }
        let at_once = (ASKED_AT_ONCE / self.rules.len().max(1)).max(1).min(self.queue.len());
        let some: Vec<About> = self.queue.drain(..at_once).collect();
        let placed = if some.is_empty() { BTreeMap::new() } else { facts::placed(view.ledger) };
        for about in some {
            self.ask(now, view, &placed, about, complaints);
        }
        self.complete |= self.queue.is_empty();
    }

    fn begin(&mut self, ledger: &Ledger) {
        let over = |over: Over| self.rules.iter().any(|rule| rule.over == over);
        let (nodes, workloads) = (over(Over::Nodes), over(Over::Workloads));
        if nodes {
            self.queue.extend(ledger.nodes.keys().map(|id| About::Node(*id)));
        }
        if workloads {
            self.queue.extend(ledger.workloads.keys().map(|name| About::Workload(name.clone())));
        }
        self.holds.retain(|(_, about), _| label(ledger, about).is_some());
    }

    fn ask(
        &mut self,
        now: Instant,
        view: &View<'_>,
        placed: &BTreeMap<NodeId, i64>,
        about: About,
        complaints: &mut Vec<String>,
    ) {
        let (over, facts) = match &about {
            About::Node(id) => {
                let Some(node) = view.ledger.nodes.get(id) else { return };
                let instances = placed.get(id).copied().unwrap_or_default();
                (Over::Nodes, facts::of_node(view, *id, node, instances))
            }
            About::Workload(name) => {
                let Some(workload) = view.ledger.workloads.get(name) else { return };
                (Over::Workloads, facts::of_workload(view.ledger, name, workload))
            }
        };
        for (rule, condition) in self.rules.iter().zip(&self.conditions).filter(|(rule, _)| rule.over == over)
        {
            let Some(condition) = condition else { continue };
            let holds = condition.holds(&facts).unwrap_or_else(|why| {
                if self.complained.insert(rule.name.clone()) {
                    complaints.push(format!("rule {}: {why}", rule.name));
                }
                false
            });
            let key = (rule.name.clone(), about.clone());
            if holds {
                self.holds.entry(key).or_insert(now);
            } else {
                self.holds.remove(&key);
            }
        }
    }

    fn changes(
        &mut self,
        now: Instant,
        ledger: &Ledger,
        firing: &BTreeMap<&str, &Alert>,
        complaints: &mut Vec<String>,
    ) -> Vec<(String, Body)> {
        let mut fire = firing.values().filter(|alert| is_of_a_rule(alert)).count();
        let (mut changes, mut holding, mut left_out) = (Vec::new(), BTreeSet::new(), 0_usize);
        for ((name, about), since) in &self.holds {
            let Some(rule) = self.rules.iter().find(|rule| rule.name == *name) else { continue };
            let Some(subject) = label(ledger, about) else { continue };
            let key = format!("{KEY}{name}/{subject}");
            let waited = now.since(*since) >= Duration::from_millis(rule.for_ms);
            if waited && !firing.contains_key(key.as_str()) && !holding.contains(&key) {
                if fire < FIRING_MAX {
                    fire += 1;
                    changes.push((key.clone(), raised(ledger, rule, about, subject, key.clone())));
                } else {
                    left_out += 1;
                }
            }
            holding.insert(key);
        }
        if left_out > 0 && !self.crowded {
            complaints.push(format!(
                "{FIRING_MAX} alerts of users' rules fire; {left_out} more aren't raised until some end"
            ));
        }
        self.crowded = left_out > 0;
        if self.complete {
            for (key, alert) in firing {
                if is_of_a_rule(alert) && !holding.contains(*key) {
                    changes.push(((*key).to_owned(), self.ended(ledger, key, alert)));
                }
            }
        }
        changes
    }

    fn ended(&self, ledger: &Ledger, key: &str, alert: &Alert) -> Body {
        let subject = alert.labels.get("workload").or_else(|| alert.labels.get("node"));
        let subject = subject.map_or("it", String::as_str);
        let listed = ledger.node_by_name(subject).is_some() || ledger.workloads.contains_key(subject);
        let summary = if !self.rules.iter().any(|rule| rule.name == alert.name) {
            format!("the rule {} is gone", alert.name)
        } else if !listed {
            format!("{subject} is gone")
        } else {
            format!("{} no longer holds: {subject}", alert.name)
        };
        Body::AlertEnded { dedup_key: key.to_owned(), summary }
    }
}

/// What the subject is called; `None` once it is gone.
fn label<'a>(ledger: &'a Ledger, about: &About) -> Option<&'a str> {
    match about {
        About::Node(id) => ledger.nodes.get(id).map(|node| node.profile.name.as_str()),
        About::Workload(name) => {
            let known = ledger.workloads.get_key_value(name).filter(|(_, workload)| !workload.deleted);
            known.map(|(name, _)| name.as_str())
        }
    }
}

fn raised(ledger: &Ledger, rule: &Rule, about: &About, subject: &str, dedup_key: String) -> Body {
    let mut labels = rule.labels.clone();
    match about {
        About::Node(id) => {
            labels.insert("node".to_owned(), subject.to_owned());
            let zone = &ledger.nodes[id].profile.zone;
            if !zone.is_empty() {
                labels.insert("zone".to_owned(), zone.clone());
            }
        }
        About::Workload(_) => drop(labels.insert("workload".to_owned(), subject.to_owned())),
    }
    // The rule's text may be as long as a sentence can be; the subject must not be what is cut off.
    let text = clip(&rule.summary, SENTENCE_BYTES.saturating_sub(subject.len() + 2));
    Body::AlertRaised {
        name: rule.name.clone(),
        severity: rule.severity,
        dedup_key,
        failure: None,
        labels,
        summary: format!("{text}: {subject}"),
        description: rule.description.clone(),
    }
}
