//! Scripts of where things are placed.

use super::{
    harness::{Play, replicas, singleton},
    *,
};

/// Three instances on the last node, none on the others.
fn with_a_busy_last_node(zones: &[&str]) -> Play {
    let mut play = Play::new(zones);
    let others: Vec<NodeId> = (1..zones.len() as u64).map(NodeId).collect();
    for node in &others {
        play.commit(Body::NodeDraining { node: *node });
    }
    play.apply((0..3).map(|i| singleton(&format!("pad-{i}"))).collect());
    play.run(300);
    for node in others {
        play.commit(Body::NodeUndrained { node });
    }
    play
}

#[test]
fn many_placed_at_once_spread_and_keep_to_the_limits() {
    let mut play = Play::new(&["a", "a", "b", "b", "c"]);
    play.apply((0..50).map(|i| singleton(&format!("job-{i}"))).collect());
    play.run(50);
    let starting = |play: &Play, n: u64| play.ledger.placements_on(NodeId(n)).count();
    for n in 1..=5 {
        assert_eq!(starting(&play, n), placement::MAX_STARTS_PER_NODE as usize);
    }
    assert!(
        unplaceable(&View { ledger: &play.ledger, live: &play.live }).is_empty(),
        "only waiting their turn"
    );
    play.run(1_500);
    for n in 1..=5 {
        assert_eq!(starting(&play, n), 10);
    }
    let mut play = Play::new(&[""; 20]);
    play.apply((0..50).map(|i| singleton(&format!("job-{i}"))).collect());
    play.run(50);
    assert_eq!(play.ledger.placements().count(), placement::MAX_STARTS as usize);
}

#[test]
fn replicas_spread_over_nodes_then_zones_then_load() {
    let mut play = Play::new(&["a", "a", "b", "b"]);
    play.apply(vec![replicas("web", 2)]);
    play.run(300);
    let zone = |play: &Play, index| {
        let node = play.node_of("web", index).expect("placed");
        play.ledger.nodes[&node].profile.zone.clone()
    };
    assert_ne!(zone(&play, 0), zone(&play, 1));
    play.apply(vec![singleton("one"), singleton("two")]);
    play.run(300);
    for n in 1..=4 {
        assert_eq!(play.ledger.placements_on(NodeId(n)).count(), 1, "the least loaded first");
    }
}

#[test]
fn the_higher_priority_is_placed_first() {
    let mut play = Play::new(&[""]);
    let mut late = singleton("a-late");
    late.priority = 10;
    let mut first = singleton("z-first");
    first.priority = 90;
    play.apply(vec![late, first]);
    play.run(100);
    assert!(
        play.trace.iter().position(|l| l.contains("placed z-first"))
            < play.trace.iter().position(|l| l.contains("placed a-late"))
    );
}

#[test]
fn suspects_witnesses_and_draining_nodes_get_nothing() {
    let mut play = Play::new(&[""; 3]);
    play.live.heard.insert(NodeId(1), Heard::Suspect);
    play.live.heard.remove(&NodeId(2));
    play.commit(Body::NodeDraining { node: NodeId(3) });
    play.apply(vec![singleton("counter")]);
    play.run(500);
    assert_eq!(play.count("placed"), 0);
    let found = unplaceable(&View { ledger: &play.ledger, live: &play.live });
    assert_eq!(found[0].why.to_string(), "no node can run it: 1 draining, 2 suspect or not heard");
    play.live.heard.insert(NodeId(1), Heard::Alive);
    play.run(100);
    assert_eq!(play.where_is("counter", 0), "n1");
}

#[test]
fn the_node_that_gave_it_up_is_avoided_for_a_busier_one() {
    let mut play = with_a_busy_last_node(&["", ""]);
    play.broken.insert("counter".to_owned());
    play.apply(vec![singleton("counter")]);
    play.run(50);
    assert_eq!(play.where_is("counter", 0), "n1", "the least loaded");
    play.run(80);
    assert_eq!(play.where_is("counter", 0), "n2", "{:?}", play.trace);
}

#[test]
fn another_zone_counts_for_more_than_load_and_no_name_is_no_zone() {
    for (zones, last_is_taken) in [(["a", "a", "b"], true), (["", "", "b"], false)] {
        let mut play = with_a_busy_last_node(&zones);
        play.apply(vec![replicas("web", 2)]);
        play.run(300);
        let taken = (0..2).any(|index| play.where_is("web", index) == "n3");
        assert_eq!(taken, last_is_taken, "{zones:?}");
    }
}
