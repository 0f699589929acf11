//! Promise 6: it ends. Some time after the last fault every failure is over and every workload runs.

use super::Violation;
use cluster_core::{
    ids::{Generation, NodeId},
    ledger::{Ledger, NodeState},
};

/// `runs`: whether this generation runs on this node, seen from outside.
///
/// # Errors
/// Something is still open, or doesn't run.
pub fn it_ends(
    ledger: &Ledger,
    runs: impl Fn(NodeId, &str, u32, Generation) -> bool,
) -> Result<(), Violation> {
    let fail = |what: String| Err(Violation { promise: "it ends", what });
    for (id, node) in &ledger.nodes {
        if node.state != NodeState::Alive {
            return fail(format!("n{} is {:?}", id.0, node.state));
        }
    }
    if let Some((id, failure)) = ledger.open_failures().next() {
        return fail(format!("failure {id} of {} is {:?}", failure.name, failure.state));
    }
    for (name, workload) in &ledger.workloads {
        for index in 0..workload.desired() {
            let placement = ledger.slot(name, index).and_then(|slot| slot.placement.as_ref());
            let Some(p) = placement else {
                return fail(format!("{name} {index} isn't placed: {:?}", ledger.slot(name, index)));
            };
            if !runs(p.node, name, index, p.generation) {
                return fail(format!("{name} {index} is placed on n{}, but doesn't run", p.node.0));
            }
        }
    }
    Ok(())
}
