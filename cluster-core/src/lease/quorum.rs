//! Majorities of voters, also of two groups at once while a change of voters is under way.
//!
//! Not here: who the voters are, or when that changes.

use crate::ids::NodeId;
use std::collections::BTreeSet;

/// The groups of voters of one configuration: one, or two while it is joint. A decision needs a majority of each.
pub type Groups = Vec<BTreeSet<NodeId>>;

/// The greatest value that a majority of every group reaches; `None` while some group has no majority with a value.
#[must_use]
pub fn reached_by_majority<T: Ord + Copy>(groups: &Groups, value: impl Fn(NodeId) -> Option<T>) -> Option<T> {
    let reached = |group: &BTreeSet<NodeId>| {
        let mut values: Vec<T> = group.iter().filter_map(|v| value(*v)).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.get(group.len() / 2).copied()
    };
    let each: Option<Vec<T>> = groups.iter().map(reached).collect();
    each?.into_iter().min()
}

/// Whether these voters are a majority of every group. Of no groups nobody is.
#[must_use]
pub fn is_majority(groups: &Groups, who: impl Fn(NodeId) -> bool) -> bool {
    reached_by_majority(groups, |v| who(v).then_some(())).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().map(|i| NodeId(*i)).collect()
    }

    #[test]
    fn a_majority_is_more_than_half_of_each_group() {
        let three = vec![group(&[1, 2, 3])];
        assert!(is_majority(&three, |v| v.0 <= 2));
        assert!(!is_majority(&three, |v| v.0 == 1));
        let four = vec![group(&[1, 2, 3, 4])];
        assert!(!is_majority(&four, |v| v.0 <= 2));
        let joint = vec![group(&[1, 2, 3]), group(&[3, 4, 5])];
        assert!(!is_majority(&joint, |v| v.0 <= 3));
        assert!(is_majority(&joint, |v| v.0 >= 2 && v.0 <= 4));
        assert!(!is_majority(&Vec::new(), |_| true));
    }

    #[test]
    fn the_value_of_a_majority_is_its_slowest_members() {
        let joint = vec![group(&[1, 2, 3]), group(&[3, 4, 5])];
        let by_id = |v: NodeId| Some(v.0 * 10);
        assert_eq!(reached_by_majority(&joint, by_id), Some(20));
        assert_eq!(reached_by_majority(&joint, |v| (v.0 != 2 && v.0 != 3).then_some(1)), None);
    }
}
