//! Promises 5 and 2: what is healthy stays up, and nobody is dead for anybody without a committed decision, which in
//! turn names observers who said so.

use crate::sim::{check::Violation, scale::node::index};
use cluster_core::{
    cut::Verdict,
    ids::NodeId,
    membership::{Report, Trouble},
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Calm {
    /// Whom each observer finds gone at the moment; and whom it ever did.
    now: BTreeMap<u32, BTreeSet<NodeId>>,
    ever: BTreeSet<(u32, NodeId)>,
    dead: BTreeSet<NodeId>,
}

impl Calm {
    /// Whether this observer didn't find the node gone in its last report.
    pub fn found_gone(&mut self, observer: u32, node: NodeId) -> bool {
        !self.now.get(&observer).is_some_and(|gone| gone.contains(&node))
    }

    pub fn keep(&mut self, observer: u32, report: &Report) {
        let gone = report.findings.iter().filter(|f| f.trouble != Trouble::LinkBad).map(|f| f.node);
        let gone: BTreeSet<NodeId> = gone.collect();
        self.ever.extend(gone.iter().map(|node| (observer, *node)));
        if gone.is_empty() {
            self.now.remove(&observer);
        } else {
            self.now.insert(observer, gone);
        }
    }

    /// # Errors
    /// It was declared dead and nothing is wrong with it, or by the word of nobody.
    pub fn declared(&mut self, node: NodeId, faulty: bool, verdicts: &[Verdict]) -> Result<(), Violation> {
        self.dead.insert(node);
        if !faulty {
            let why = verdicts.iter().find(|v| v.node == node).map(|v| v.evidence.join("; "));
            let what = format!("n{} is healthy and declared dead: {}", node.0, why.unwrap_or_default());
            return Err(Violation { promise: "what is healthy stays up", what });
        }
        let verdict = verdicts.iter().find(|v| v.node == node).expect("it is among the declared");
        let invented = verdict.observers.iter().find(|o| !self.ever.contains(&(index(**o), node)));
        match invented {
            Some(observer) if !verdict.observers.is_empty() => {
                let what = format!("n{} is dead by the word of n{}, which said nothing", node.0, observer.0);
                Err(Violation { promise: "no decision without a quorum", what })
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// A node's list has another as dead that was never declared.
    pub fn called_dead(&self, by: u32, node: NodeId) -> Result<(), Violation> {
        if self.dead.contains(&node) {
            return Ok(());
        }
        let what = format!("node {by} calls n{} dead, and nothing was committed", node.0);
        Err(Violation { promise: "no decision without a quorum", what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(node: u64, observers: &[u64]) -> Verdict {
        Verdict {
            node: NodeId(node),
            incarnation: cluster_core::ids::Incarnation(1),
            last_seen: core::time::Duration::ZERO,
            suspected: core::time::Duration::ZERO,
            observers: observers.iter().copied().map(NodeId).collect(),
            evidence: vec![],
        }
    }

    #[test]
    fn a_healthy_one_and_an_invented_word_are_found() {
        let mut calm = Calm::default();
        assert!(calm.declared(NodeId(3), false, &[verdict(3, &[1])]).is_err());
        assert!(calm.declared(NodeId(3), true, &[verdict(3, &[1])]).is_err());
        calm.ever.insert((0, NodeId(3)));
        assert!(calm.declared(NodeId(3), true, &[verdict(3, &[1])]).is_ok());
        assert!(calm.called_dead(0, NodeId(3)).is_ok());
        assert!(calm.called_dead(0, NodeId(4)).is_err());
    }
}
