//! Steady: which nodes are held back from work although they live, and when they are given some again.
//!
//! A node that dies again and again costs its workloads a move each time; so after a few deaths it is quarantined, until
//! it was steady for as long as those took, or a person undrains it. A node that says of itself that it is sick is given
//! no more work while it says so (`placement` sees to that); where the policy wants it, it is drained as well, and given
//! back in the same way.
//!
//! Durations are counted by this leader; the ledger's times, which only move when something is written, may shorten
//! them. Not here: who is dead or sick, and moving anything.

use super::{Heard, View};
use crate::{
    ids::NodeId,
    ledger::{AgentState, Node, NodeState, Scheduling},
    time::Instant,
};
use core::time::Duration;
use std::collections::BTreeMap;

/// So many deaths within the window are too many.
pub const DEATHS: usize = 3;
/// They count together when no more time than this lies between the first and the last of them.
pub const WINDOW: Duration = Duration::from_secs(10 * 60);
/// A node that is held back is given work again once it was well for so long without a break.
pub const STEADY_AFTER: Duration = Duration::from_secs(10 * 60);
/// A sickness that is over sooner drains nobody.
pub const SICK_AFTER: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    HoldBack { node: NodeId, drain: bool, evidence: Vec<String> },
    Release { node: NodeId, evidence: Vec<String> },
}

/// How a node is, as far as giving it work goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    Sick,
    /// Dead, unheard, or without its agent.
    Away,
}

/// Since when this leader sees each node as it is. Only of those that are held back, or may be.
#[derive(Debug, Default)]
pub(super) struct Steady {
    since: BTreeMap<NodeId, (Health, Instant)>,
}

impl Steady {
    pub fn step(&mut self, now: Instant, view: &View<'_>) -> Vec<Word> {
        let ledger = view.ledger;
        self.since.retain(|node, _| ledger.nodes.contains_key(node));
        let drains = ledger.cluster.as_ref().is_some_and(|cluster| cluster.settings.drain_when_sick);
        let mut words = Vec::new();
        for (&id, node) in &ledger.nodes {
            let health = health(node, view.live.heard.get(&id).copied());
            if node.held_back.is_none() && health != Health::Sick {
                self.since.remove(&id);
            } else {
                let seen = self.since.entry(id).or_insert((health, now));
                if seen.0 != health {
                    *seen = (health, now);
                }
            }
            let lasted = self.since.get(&id).map_or(Duration::ZERO, |(_, since)| now.since(*since));
            words.extend(match (node.scheduling, &node.held_back) {
                (Scheduling::Eligible, _) => {
                    hold_back(view, id, node, health, drains && lasted >= SICK_AFTER)
                }
                (_, Some(_)) if health == Health::Well && lasted >= STEADY_AFTER => {
                    let evidence = vec![format!("it was well for {} min", lasted.as_secs() / 60)];
                    Some(Word::Release { node: id, evidence })
                }
                _ => None,
            });
        }
        words
    }
}

fn hold_back(view: &View<'_>, id: NodeId, node: &Node, health: Health, drains: bool) -> Option<Word> {
    let minutes = WINDOW.as_secs() / 60;
    if health == Health::Sick && drains {
        let evidence = vec!["it says of itself that it is sick, and drain_when_sick is set".to_owned()];
        return Some(Word::HoldBack { node: id, drain: true, evidence });
    }
    if node.state == NodeState::Left || node.deaths.len() < DEATHS {
        return None;
    }
    let recent = &node.deaths[node.deaths.len() - DEATHS..];
    let window_ms = u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
    let (first, last) = (recent[0], recent[DEATHS - 1]);
    if last.since_ms(first) > window_ms || view.ledger.clock.since_ms(last) > window_ms {
        return None;
    }
    let mut evidence = vec![format!("it died {DEATHS} times within {minutes} min")];
    let ago = recent.iter().map(|at| format!("{} s", view.ledger.clock.since_ms(*at) / 1_000));
    evidence.push(format!("declared dead {} ago", ago.collect::<Vec<_>>().join(", ")));
    Some(Word::HoldBack { node: id, drain: false, evidence })
}

fn health(node: &Node, heard: Option<Heard>) -> Health {
    if node.state != NodeState::Alive || node.agent.state != AgentState::Up {
        return Health::Away;
    }
    match heard {
        Some(Heard::Alive) => Health::Well,
        Some(Heard::Sick) => Health::Sick,
        Some(Heard::Suspect) | None => Health::Away,
    }
}
