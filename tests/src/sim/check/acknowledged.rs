//! Promise 3: nothing acknowledged is lost. All nodes apply the same entries in the same order, and in the end every
//! one has those that somebody was told had succeeded.

use super::Violation;
use cluster_core::{
    ids::{LeaseEpoch, LogId, NodeId},
    ledger::{Command, Ledger},
};
use std::{collections::BTreeSet, rc::Rc};

const PROMISE: &str = "nothing acknowledged is lost";

#[derive(Debug, Default)]
pub struct Acknowledged {
    /// By index, from 1: as the first node applied it.
    applied: Vec<(LogId, Rc<Command>)>,
    acknowledged: BTreeSet<LogId>,
}

impl Acknowledged {
    /// Entries 1 to `upto` were there at the beginning, the same on each node.
    #[must_use]
    pub fn new(beginning: Vec<(LogId, Rc<Command>)>) -> Self {
        Self { applied: beginning, acknowledged: BTreeSet::new() }
    }

    /// # Errors
    /// Another node applied another entry at this index, or an epoch ended by an entry that doesn't say so.
    pub fn applied(
        &mut self,
        node: NodeId,
        at: LogId,
        command: &Rc<Command>,
        ledger: &Ledger,
    ) -> Result<(), Violation> {
        let index = usize::try_from(at.index - 1).expect("in memory");
        if index == self.applied.len() {
            self.applied.push((at, Rc::clone(command)));
            return ended_as_said(at, command, ledger);
        }
        let same = self.applied.get(index).is_some_and(|(known, c)| *known == at && c == command);
        if same {
            return Ok(());
        }
        let what = format!("n{} applies another entry at {at:?} than was applied before", node.0);
        Err(Violation { promise: PROMISE, what })
    }

    pub fn acknowledge(&mut self, at: LogId) {
        self.acknowledged.insert(at);
    }

    /// # Errors
    /// A node that has everything misses something that was acknowledged.
    pub fn at_the_end(&self, node: NodeId, has: impl Fn(LogId) -> bool) -> Result<(), Violation> {
        match self.acknowledged.iter().find(|at| !has(**at)) {
            None => Ok(()),
            Some(at) => {
                let what = format!("n{} doesn't have the acknowledged entry {at:?}", node.0);
                Err(Violation { promise: PROMISE, what })
            }
        }
    }
}

/// Voters refuse what an entry of their log revokes by its own words; so nothing else may end an epoch.
fn ended_as_said(at: LogId, command: &Command, ledger: &Ledger) -> Result<(), Violation> {
    let said = command.body.revokes();
    let ended = ledger.revocations.iter().filter(|(_, r)| r.at == at).map(|(epoch, _)| *epoch);
    let unsaid: Vec<LeaseEpoch> = ended.filter(|epoch| !said.contains(epoch)).collect();
    if unsaid.is_empty() {
        return Ok(());
    }
    let what = format!("entry {at:?} ended the epochs {unsaid:?}, but says that it ends {said:?}");
    Err(Violation { promise: "at most once", what })
}
