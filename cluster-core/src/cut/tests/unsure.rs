//! Doubt: noise, lossy nodes, one-way cuts, stale words, and this node's own stalls condemn nobody.

use super::*;

#[test]
fn the_others_decide_what_stays_between_the_marks() {
    // An 80 % lossy node: six of ten don't hear it, the others do. It stays.
    check(
        11,
        "0 lead
         1000 n1-n6: n11 host-gone
         1050 => suspected n11 by n1 n2 n3 n4 n5 n6
         1350 => ask n7 n8 n9 n10 about n11
         1360 n7 n8 n9: n11 heard
         1370 n10: n11 unheard
         2000 n1-n6: n11 well
         9000 until",
    );
    // The same, and four fifths of those who answer don't hear it. It goes, and nobody is in a hurry about it.
    let bench = check(
        11,
        "0 lead
         1000 n1-n6: n11 host-gone
         1050 => suspected n11 by n1 n2 n3 n4 n5 n6
         1350 => ask n7 n8 n9 n10 about n11
         1360 n7 n8: n11 unheard
         1370 n9: n11 heard
         2350 => ask n7 n8 n9 n10 about n11
         2360 n7 n8: n11 unheard
         2370 n9: n11 heard
         3350 => ask n7 n8 n9 n10 about n11
         4350 => ask n7 n8 n9 n10 about n11
         5350 => ask n7 n8 n9 n10 about n11
         6350 => ask n7 n8 n9 n10 about n11
         7350 => ask n7 n8 n9 n10 about n11
         7700 => dead n11
         7800 dead n11
         9000 until",
    );
    let polled = |line: &String| line.starts_with("of 4 others, asked by the leader, ");
    assert!(bench.deaths[0][0].evidence.iter().any(polled));
}

#[test]
fn who_abstains_is_not_counted_but_a_majority_of_the_observers_must_say_so() {
    check(
        11,
        "0 lead
         1000 n1-n5: n11 host-gone
         1050 => suspected n11 by n1 n2 n3 n4 n5
         1350 => ask n6 n7 n8 n9 n10 about n11
         2000 n1-n5: n11 well
         9000 until",
    );
    check(
        11,
        "0 lead
         1000 n1-n6: n11 host-gone
         1050 => suspected n11 by n1 n2 n3 n4 n5 n6
         1350 => ask n7 n8 n9 n10 about n11
         1700 => dead n11
         1800 dead n11",
    );
}

#[test]
fn a_contested_node_is_asked_about_again_and_holds_nobody_up() {
    check(
        11,
        "0 answering
         0 lead
         1000 n1-n5: n11 host-gone
         1050 => suspected n11 by n1 n2 n3 n4 n5
         1350 => ask n6 n7 n8 n9 n10 about n11
         2000 n1-n9: n10 host-gone
         2050 => suspected n10 by n1 n2 n3 n4 n5 n6 n7 n8 n9
         2100 => dead n10
         2350 => ask n6 n7 n8 n9 about n11
         3000 until",
    );
}

#[test]
fn whoever_knows_that_the_host_lives_speaks_against_its_death() {
    // Five can't reach it at all, five reach it by other ways: a cut network, and nobody is dead.
    check(
        11,
        "0 lead
         1000 n1-n5: n11 host-gone
         1000 n6-n10: n11 link-bad
         1050 => suspected n11 by n1 n2 n3 n4 n5
         9000 until",
    );
}

#[test]
fn a_node_that_hears_nobody_kills_nobody() {
    // A one-way cut: n11 hears none of the others; they all hear it.
    check(
        11,
        "0 lead
         1000 n11: n1-n10 host-gone
         9000 until",
    );
    // Nor do two, three or five of eleven: the others answer when they are asked.
    for deaf in ["n10 n11", "n9-n11", "n7-n11"] {
        let mut bench = Bench::of(11);
        play(&mut bench, &format!("0 answering\n0 lead\n1000 {deaf}: n1-n6 host-gone"));
        bench.until(60_000);
        assert_eq!(dead(&bench), BTreeSet::new(), "{deaf}");
    }
}

#[test]
fn one_way_cuts_that_flip_kill_the_unheard_or_nobody() {
    // n11 isn't heard by nine for a while, then hears nobody, and so on.
    let mut bench = Bench::of(11);
    bench.step(Event::Leading(true));
    for round in 0..20u64 {
        let others: Vec<NodeId> = (2..=10).map(NodeId).collect();
        for &other in &others {
            bench.find(other, NodeId(11), (round % 2 == 0).then_some(Trouble::HostGone));
        }
        for &other in &others {
            bench.find(NodeId(11), other, (round % 2 == 1).then_some(Trouble::HostGone));
        }
        bench.until((round + 1) * 20_000);
    }
    assert_eq!(dead(&bench), [11].into());
}

#[test]
fn a_flapping_link_is_no_death() {
    let mut bench = Bench::of(5);
    bench.step(Event::Leading(true));
    for round in 0..100 {
        for observer in [2, 3] {
            let trouble = (round % 2 == 0).then_some(Trouble::HostGone);
            bench.find(NodeId(observer), NodeId(5), trouble);
        }
        bench.until((round + 1) * 250);
    }
    assert!(bench.deaths.is_empty(), "{:?}", bench.said);
}

#[test]
fn a_report_that_is_not_repeated_expires() {
    // n2 says so once and falls silent; n3 comes 1.2 s later: they never said so together.
    check(
        3,
        "0 lead
         1000 n2: n3 host-gone
         1000 mute n2
         2250 n1: n3 host-gone
         9000 until",
    );
    check(
        3,
        "0 lead
         1000 n2: n3 host-gone
         1000 mute n2
         2100 n1: n3 host-gone
         2150 => suspected n3 by n1 n2
         2200 => dead n3
         2250 dead n3",
    );
}

#[test]
fn what_this_node_slept_through_makes_no_report_older_and_condemns_nobody() {
    // The leader is stopped for 3 s just after the reports came: they count still, but only after it has read on.
    check(
        3,
        "0 lead
         1000 n1 n2: n3 host-gone
         1000 sleep 3000
         4050 n1 n2: n3 well
         9000 until",
    );
    check(
        3,
        "0 lead
         1000 n2: n3 host-gone
         1000 mute n2
         1000 sleep 3000
         4100 n1: n3 host-gone
         4700 => suspected n3 by n1 n2
         4750 => dead n3
         5000 dead n3",
    );
}

#[test]
fn words_about_another_life_or_from_an_older_view_count_for_nothing() {
    let stale = |incarnation: u64, view: u64| {
        let mut bench = Bench::of(3);
        play(&mut bench, "0 lead\n100 dead n3\n200 back n3");
        for observer in [1, 2] {
            let finding = Found {
                node: NodeId(3),
                incarnation: Incarnation(incarnation),
                trouble: Trouble::HostGone,
                silence: ms(1_000),
                suspected: ms(350),
                ended: None,
                helpers_asked: 0,
                helpers_answered: 0,
                dial: None,
            };
            let (observer, view, findings) = (NodeId(observer), ViewEpoch(view), vec![finding]);
            bench.step(Event::Report(Report { observer, view, health: 0, findings, asking: vec![] }));
        }
        bench.until(400);
        dead(&bench)
    };
    assert_eq!(stale(1, 3), [].into(), "its last life");
    assert_eq!(stale(2, 2), [].into(), "a view that doesn't know that it is back");
    assert_eq!(stale(2, 3), [3].into());
    assert_eq!(stale(5, 3), [3].into(), "it refuted something meanwhile: the same life");
}

#[test]
fn only_its_own_observers_count() {
    let mut bench = Bench::of(300);
    bench.step(Event::Leading(true));
    let watchers = bench.watchers(77);
    let strangers: Vec<NodeId> =
        (1..=300).map(NodeId).filter(|n| n.0 != 77 && !watchers.contains(n)).collect();
    for observer in strangers {
        bench.find(observer, NodeId(77), Some(Trouble::HostGone));
    }
    bench.until(5_000);
    assert!(bench.said.is_empty());
}

#[test]
fn a_late_copy_of_an_older_report_does_not_replace_the_newer_one() {
    let mut bench = Bench::of(3);
    play(
        &mut bench,
        "0 lead
         100 dead n3
         200 back n3
         1000 n1 n2: n3 host-gone",
    );
    let (findings, asking) = (Vec::new(), Vec::new());
    let old = Report { observer: NodeId(2), view: ViewEpoch(1), health: 0, findings, asking };
    bench.step(Event::Report(old));
    bench.until(1_200);
    assert_eq!(dead(&bench), [3].into());
}

/// 1 % of 1,000 nodes loses 80 % of its packets: whoever watches one, or is one, changes its mind at random. Exactly
/// those go, or fewer.
#[test]
fn lossy_nodes_go_or_stay_but_take_nobody_with_them() {
    let mut bench = Bench::of(1_000);
    play(&mut bench, "0 answering\n0 lead");
    let lossy: BTreeSet<u64> = (1..=10).map(|n| n * 93).collect();
    let mut dice = 42u64;
    let mut is_bad = || {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % 10 < 6
    };
    for round in 1..=100 {
        for &subject in &lossy {
            for watcher in bench.watchers(subject) {
                let (there, back) = (is_bad(), is_bad());
                bench.find(watcher, NodeId(subject), there.then_some(Trouble::HostGone));
                bench.find(NodeId(subject), watcher, back.then_some(Trouble::HostGone));
            }
        }
        bench.until(round * 400);
        assert!(dead(&bench).is_subset(&lossy), "{:?} died of {lossy:?}", dead(&bench));
        let gone: Vec<NodeId> = dead(&bench).into_iter().map(NodeId).collect();
        bench.change(&gone, false);
    }
}
