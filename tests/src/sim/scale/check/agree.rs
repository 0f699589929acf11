//! Convergence: when all has been well for a while, every agent that runs has the newest view and the same list.

use crate::sim::{
    check::Violation,
    scale::{
        node::id,
        world::{self, World},
    },
};
use cluster_core::{
    ledger::NodeState,
    membership::{MemberState, ViewMember},
    recovery::returns::HOLD_HALF,
};
use core::time::Duration;

/// For a node to ask once more, and a view to reach all.
const ROUND: Duration = Duration::from_secs(5);
/// Agents whose whole lists are looked at; of more, every so manieth.
const LOOKED_AT: usize = 500;

impl World {
    /// # Errors
    /// What must be found isn't, or agents disagree.
    pub(crate) fn verdict(&self) -> Result<(), Violation> {
        self.found.at_the_end(self.now, self.options.loss_percent > 0)?;
        self.verdict_of_the_desk()?;
        let every = self.nodes.len().div_ceil(LOOKED_AT);
        // Who is still in trouble can't know.
        let well = |n: &&super::super::node::Node| {
            n.runs() && self.net.ports[n.index as usize].is_well() && !n.starved
        };
        for node in self.nodes.iter().filter(well).step_by(every) {
            self.agrees(node)?;
        }
        Ok(())
    }

    fn agrees(&self, node: &super::super::node::Node) -> Result<(), Violation> {
        let me = id(node.index);
        let fail = |what: String| Err(Violation { promise: "all agree", what: format!("n{}: {what}", me.0) });
        let view = &self.office.view;
        if node.view.epoch != view.epoch {
            return fail(format!("its view is {}, the newest is {}", node.view.epoch.0, view.epoch.0));
        }
        let machine = node.machine.as_ref().expect("it runs");
        // Starved leaders follow each other; before a new one the half connected wait anew.
        let led = self.now - self.office.led_since >= world::ns(HOLD_HALF + ROUND);
        let in_trouble = |m: &ViewMember| {
            let n = &self.nodes[super::super::node::index(m.node) as usize];
            !n.runs() || n.starved || !self.net.ports[n.index as usize].is_well()
        };
        for m in view.members.iter().filter(|m| !in_trouble(m)) {
            let listed = machine.member(m.node).map(|member| member.record.state);
            if m.state == NodeState::Alive && listed != Some(MemberState::Alive) {
                return fail(format!("lists n{} as {listed:?}, and it is alive", m.node.0));
            }
            if m.state == NodeState::Dead && led {
                return fail(format!("n{} runs, and the view has it as dead", m.node.0));
            }
        }
        Ok(())
    }
}
