//! Properties of the table's merge: order and repetition don't matter, and it agrees with a twin that keeps everything.

use super::{lab::record, *};
use crate::ledger::NodeState;
use proptest::prelude::*;
use table::Table;

fn any_record() -> impl Strategy<Value = MemberRecord> {
    let states = [MemberState::Alive, MemberState::Suspect, MemberState::Dead, MemberState::Left];
    (0usize..4, 0u64..4, prop::sample::select(states.to_vec()), 0u64..3, 0u8..2).prop_map(
        |(host, incarnation, state, session, moved)| {
            let plain = record(host, incarnation, session);
            let address = format!("{}{moved}", plain.address);
            MemberRecord { state, address, ..plain }
        },
    )
}

fn any_view() -> impl Strategy<Value = View> {
    let states = [NodeState::Alive, NodeState::Dead, NodeState::Left];
    let one = (0u64..4, prop::sample::select(states.to_vec()));
    (1u64..4, prop::collection::vec(one, 4)).prop_map(|(epoch, all)| {
        let member = |(host, (incarnation, state)): (usize, (u64, NodeState))| {
            ViewMember::of(&record(host, incarnation, 0), state)
        };
        View {
            epoch: crate::ids::ViewEpoch(epoch),
            members: all.into_iter().enumerate().map(member).collect(),
        }
    })
}

fn merged(records: &[MemberRecord]) -> Table {
    let mut table = Table::default();
    for record in records {
        let changed = table.merge(record).is_some();
        assert!(table.merge(record).is_none(), "said again (changed before: {changed}), it is no news");
    }
    table
}

fn records(table: &Table) -> Vec<MemberRecord> {
    table.iter().map(|m| m.record.clone()).collect()
}

/// Keeps all that was ever said and sorts it by the rule: higher incarnation, then left, dead, suspect, alive.
fn twin(said: &[MemberRecord], node: NodeId) -> Option<(Incarnation, MemberState)> {
    let mut of_node: Vec<_> =
        said.iter().filter(|r| r.node == node).map(|r| (r.incarnation, r.state)).collect();
    of_node.sort();
    of_node.last().copied()
}

proptest! {
    #[test]
    fn order_and_repetition_do_not_matter(
        (said, shuffled) in prop::collection::vec(any_record(), 0..40)
            .prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle()))
    ) {
        prop_assert_eq!(merged(&said), merged(&shuffled));
        let twice: Vec<_> = shuffled.iter().chain(&said).cloned().collect();
        prop_assert_eq!(merged(&said), merged(&twice));
    }

    #[test]
    fn agrees_with_its_dumb_twin(said in prop::collection::vec(any_record(), 0..40)) {
        let table = merged(&said);
        for host in 0..4 {
            let node = lab::id(host);
            let held = table.get(node).map(|m| (m.record.incarnation, m.record.state));
            prop_assert_eq!(held, twin(&said, node));
        }
    }

    /// Two agents that saw views and gossip in any interleaving agree once they told each other everything.
    #[test]
    fn an_exchange_makes_two_tables_equal(
        a in prop::collection::vec(any_record(), 0..20), view_a in any_view(),
        b in prop::collection::vec(any_record(), 0..20), view_b in any_view(),
    ) {
        let (mut one, mut two) = (merged(&a), merged(&b));
        one.commit(&Arc::new(Roll::of(&view_a)));
        two.commit(&Arc::new(Roll::of(&view_b)));
        records(&one).iter().for_each(|r| _ = two.merge(r));
        records(&two).iter().for_each(|r| _ = one.merge(r));
        let ranks = |table: &Table| records(table).iter().map(|r| (r.node, r.rank())).collect::<Vec<_>>();
        prop_assert_eq!(ranks(&one), ranks(&two));
    }

    /// Once declared, a member is alive again only by an incarnation that is higher than all that were known.
    #[test]
    fn the_declared_stay_so_until_they_refute(
        said in prop::collection::vec(any_record(), 1..20), view in any_view(),
    ) {
        let mut table = merged(&said);
        table.commit(&Arc::new(Roll::of(&view)));
        let before = records(&table);
        said.iter().for_each(|r| _ = table.merge(r));
        prop_assert_eq!(before, records(&table));
    }
}
