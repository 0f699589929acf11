//! Outages: who is gone is declared, all at once, with what is known of it.

use super::*;

#[test]
fn three_of_four_observers_are_enough() {
    let bench = check(
        5,
        "0 lead
         1000 n1 n2: n5 host-gone
         1050 => suspected n5 by n1 n2
         1100 n3: n5 host-gone
         1200 => dead n5
         1400 dead n5
         5000 until",
    );
    let verdict = &bench.deaths[0][0];
    assert_eq!(verdict.observers, [1, 2, 3].map(NodeId));
    assert_eq!((verdict.last_seen, verdict.suspected), (ms(1_100), ms(550)));
    assert_eq!(
        verdict.evidence,
        [
            "n1 n2 n3: no heartbeat, no answer to 10 probes and to a new connection, for 1.10 s",
            "others were asked to try 9 times; 6 answered, and none had reached it",
        ]
    );
}

#[test]
fn one_of_two_observers_is_none_and_the_only_one_is_enough() {
    check(
        3,
        "0 lead
         1000 n1: n3 host-gone
         9000 until",
    );
    check(
        2,
        "0 lead
         1000 n1: n2 host-gone
         1050 => suspected n2 by n1
         1100 => dead n2
         1200 dead n2
         4000 until",
    );
}

#[test]
fn one_outage_is_one_decision() {
    // n9 is still between the marks when n10 is due.
    check(
        10,
        "0 lead
         1000 n1-n5: n10 host-gone
         1010 n1-n3: n9 host-gone
         1050 => suspected n9 by n1 n2 n3
         1050 => suspected n10 by n1 n2 n3 n4 n5
         1220 n4 n5: n9 host-gone
         1250 => dead n9 n10
         1300 dead n9 n10
         4000 until",
    );
}

#[test]
fn who_is_asked_about_is_waited_for() {
    // Nobody found n9 gone yet when n10 is due, but three ask about it.
    check(
        10,
        "0 lead
         1000 n1-n5: n10 host-gone
         1010 n1-n3: n9 asking
         1050 => suspected n10 by n1 n2 n3 n4 n5
         1200 n1-n3: n9 host-gone
         1250 => suspected n9 by n1 n2 n3
         1280 n4 n5: n9 host-gone
         1300 => dead n9 n10
         1350 dead n9 n10
         4000 until",
    );
}

#[test]
fn asking_holds_up_for_no_longer_than_an_opinion_and_accuses_nobody() {
    check(
        10,
        "0 lead
         1000 n1-n5: n10 host-gone
         1010 n1-n8: n9 asking
         1050 => suspected n10 by n1 n2 n3 n4 n5
         1450 => dead n10
         1500 dead n10
         9000 until",
    );
    // So few may ask for any reason; and who doesn't watch it doesn't count.
    check(
        10,
        "0 lead
         1000 n1-n5: n10 host-gone
         1010 n1 n2: n9 asking
         1050 => suspected n10 by n1 n2 n3 n4 n5
         1100 => dead n10
         1150 dead n10
         4000 until",
    );
}

#[test]
fn ten_of_a_thousand_at_once_are_one_decision() {
    let mut bench = Bench::of(1_000);
    bench.step(Event::Leading(true));
    let lost: Vec<u64> = (1..=10).map(|n| n * 97).collect();
    // Each observer finds out at its own moment, within one heartbeat.
    let mut found: Vec<(u64, NodeId, u64)> = Vec::new();
    for &subject in &lost {
        let watchers = bench.watchers(subject).into_iter().filter(|w| !lost.contains(&w.0));
        found.extend(watchers.map(|w| (1_000 + (w.0 * 7_919 + subject * 31) % 400, w, subject)));
    }
    found.sort_unstable();
    for (at, observer, subject) in found {
        bench.until(at);
        bench.find(observer, NodeId(subject), Some(Trouble::HostGone));
    }
    bench.until(3_000);
    assert_eq!(bench.deaths.len(), 1, "{:?}", bench.said);
    assert_eq!(dead(&bench), lost.into_iter().collect());
}

#[test]
fn those_who_fell_with_their_observers_are_found_through_these() {
    // n8 to n10 are gone; n7 has three accusers of nine observers, but those three should have been among them.
    let bench = check(
        10,
        "0 lead
         1000 n1-n6: n8-n10 host-gone
         1000 n1-n3: n7 host-gone
         1050 => suspected n7 by n1 n2 n3
         1050 => suspected n8 by n1 n2 n3 n4 n5 n6
         1050 => suspected n9 by n1 n2 n3 n4 n5 n6
         1050 => suspected n10 by n1 n2 n3 n4 n5 n6
         1100 => dead n7 n8 n9 n10
         1200 dead n7-n10
         5000 until",
    );
    let evidence = &bench.deaths[0][0].evidence;
    assert!(evidence.contains(&"n8 n9 n10 should watch it, and are found gone themselves".to_owned()));
}

#[test]
fn where_most_are_lost_the_lost_are_asked_first() {
    // Four of ten remain: five of nine observers of a lost one are lost as well, so nobody has five accusers.
    let mut bench = Bench::of(10);
    play(
        &mut bench,
        "0 answering
         0 lead
         1000 mute n5-n10
         1000 n1-n4: n5-n10 host-gone
         1600 until",
    );
    assert_eq!(dead(&bench), [].into());
    bench.until(1_750);
    assert_eq!(dead(&bench), (5..=10).collect());
    assert_eq!(bench.deaths.len(), 1);
    // Were it the four that are deaf, the six would answer.
    let mut bench = Bench::of(10);
    play(
        &mut bench,
        "0 answering
         0 lead
         1000 n7-n10: n1-n6 host-gone
         60000 until",
    );
    assert_eq!(dead(&bench), [].into());
}

#[test]
fn the_last_two_of_seven_find_the_others_if_nobody_objects() {
    let lost = "0 lead
         1000 n1 n2: n3-n7 host-gone";
    let mut bench = Bench::of(7);
    play(&mut bench, lost);
    bench.until(3_000);
    assert_eq!(dead(&bench), (3..=7).collect());
    assert_eq!(bench.deaths.len(), 1);

    let mut bench = Bench::of(7);
    play(&mut bench, lost);
    play(
        &mut bench,
        "1360 n4: n3 heard
         2300 until",
    );
    assert_eq!(dead(&bench), (4..=7).collect(), "one that others hear isn't gone");
}

#[test]
fn a_chain_of_failures_is_not_waited_for_for_ever() {
    check(
        11,
        "0 answering
         0 lead
         1000 n1-n9: n11 host-gone
         1040 n1-n4: n10 host-gone
         1050 => suspected n10 by n1 n2 n3 n4
         1050 => suspected n11 by n1 n2 n3 n4 n5 n6 n7 n8 n9
         1340 n1-n4: n9 host-gone
         1350 => ask n5 n6 n7 n8 n9 about n10
         1350 => suspected n9 by n1 n2 n3 n4
         1640 n1-n4: n8 host-gone
         1650 => ask n5 n6 n7 n8 n10 about n9
         1650 => suspected n8 by n1 n2 n3 n4
         1940 n1-n4: n7 host-gone
         1950 => ask n5 n6 n7 n9 n10 about n8
         1950 => suspected n7 by n1 n2 n3 n4
         1950 => dead n11
         2050 dead n11",
    );
}

#[test]
fn what_the_view_does_not_show_is_declared_again() {
    check(
        3,
        "0 lead
         1000 n1 n2: n3 host-gone
         1050 => suspected n3 by n1 n2
         1100 => dead n3
         3150 => dead n3
         3200 dead n3
         9000 until",
    );
}

#[test]
fn a_new_leader_knows_what_the_old_one_knew_and_a_deposed_one_is_silent() {
    check(
        5,
        "1000 n1-n3: n5 host-gone
         1500 lead
         1550 => suspected n5 by n1 n2 n3
         1600 => dead n5
         1700 follow
         9000 until",
    );
}

#[test]
fn the_leader_never_declares_itself() {
    check(
        3,
        "0 lead
         1000 n2 n3: n1 host-gone
         1050 => suspected n1 by n2 n3
         9000 until",
    );
}
