//! Promise 2: no decision without a quorum. Whatever a leader holds for committed is on a majority of voters' disks,
//! looked at from outside.

use super::Violation;
use cluster_core::ids::{LogId, NodeId};
use std::collections::BTreeSet;

/// `holds`: whether this voter's disk holds exactly this entry.
///
/// # Errors
/// Fewer than a majority hold it.
pub fn committed_by_quorum(
    leader: NodeId,
    at: LogId,
    voters: &BTreeSet<NodeId>,
    holds: impl Fn(NodeId) -> bool,
) -> Result<(), Violation> {
    let count = voters.iter().filter(|v| holds(**v)).count();
    if count > voters.len() / 2 {
        return Ok(());
    }
    let what = format!("n{} commits {at:?}, which {count} of {} voters hold", leader.0, voters.len());
    Err(Violation { promise: "no decision without a quorum", what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_not_a_majority() {
        let voters: BTreeSet<NodeId> = (1..=4).map(NodeId).collect();
        let at = LogId { term: 1, index: 1 };
        assert!(committed_by_quorum(NodeId(1), at, &voters, |v| v.0 <= 2).is_err());
        assert!(committed_by_quorum(NodeId(1), at, &voters, |v| v.0 <= 3).is_ok());
    }
}
