//! Nodes that most observers lost and some still reach: decided once for all of them, later than the dead.

use super::*;

#[test]
fn lossy_nodes_that_are_lost_one_by_one_go_in_one_decision() {
    check(
        11,
        "0 lead
         1000 n1-n3: n10 host-gone
         1000 n4-n9 n11: n10 link-bad
         1000 n1-n3: n11 host-gone
         1000 n4-n10: n11 link-bad
         4000 n4-n9: n10 host-gone
         4050 => suspected n10 by n1 n2 n3 n4 n5 n6 n7 n8 n9
         7000 n4-n9: n11 host-gone
         7050 => suspected n11 by n1 n2 n3 n4 n5 n6 n7 n8 n9
         17100 => dead n10 n11
         17200 dead n10 n11
         23000 until",
    );
}

#[test]
fn who_notices_late_or_had_another_trouble_before_makes_no_host_half_dead() {
    check(
        11,
        "0 lead
         200 n10: n11 link-bad
         1000 n1-n8: n11 host-gone
         1050 => suspected n11 by n1 n2 n3 n4 n5 n6 n7 n8
         1200 n9: n11 host-gone
         1300 => dead n11
         1400 dead n11
         7000 until",
    );
}

#[test]
fn who_is_lost_by_most_at_times_is_counted_as_half_dead_all_along() {
    let bench = check(
        11,
        "0 lead
         1000 n1-n3: n11 host-gone
         1000 n4-n10: n11 link-bad
         4000 n4-n9: n11 host-gone
         4050 => suspected n11 by n1 n2 n3 n4 n5 n6 n7 n8 n9
         5000 n7 n8: n11 link-bad
         14100 => dead n11
         14200 dead n11
         20000 until",
    );
    let reached = "n7 n8 n10 reached it at times: most of its packets are lost";
    assert!(bench.deaths[0][0].evidence.iter().any(|line| line == reached), "{:?}", bench.deaths);
}

#[test]
fn who_is_well_again_before_the_decision_stays() {
    check(
        11,
        "0 lead
         1000 n1-n3: n11 host-gone
         1000 n4-n10: n11 link-bad
         4000 n4-n9: n11 host-gone
         4050 => suspected n11 by n1 n2 n3 n4 n5 n6 n7 n8 n9
         5000 n1-n10: n11 well
         20000 until",
    );
    // Nor is it dead while most reach it again.
    check(
        11,
        "0 answering
         0 lead
         1000 n1-n3: n11 host-gone
         1000 n4-n10: n11 link-bad
         4000 n4-n9: n11 host-gone
         4050 => suspected n11 by n1 n2 n3 n4 n5 n6 n7 n8 n9
         5000 n5-n9: n11 well
         5350 => ask n5 n6 n7 n8 n9 about n11
         6350 => ask n5 n6 n7 n8 n9 about n11
         7000 n1-n10: n11 well
         20000 until",
    );
}

#[test]
fn the_dead_do_not_wait_for_the_half_dead_and_take_them_along() {
    check(
        11,
        "0 lead
         1000 n1-n3: n11 host-gone
         1000 n4-n10: n11 link-bad
         4000 n4-n9: n11 host-gone
         4050 => suspected n11 by n1 n2 n3 n4 n5 n6 n7 n8 n9
         6000 n1-n9: n10 host-gone
         6050 => suspected n10 by n1 n2 n3 n4 n5 n6 n7 n8 n9
         6100 => dead n10 n11
         6200 dead n10 n11
         12000 until",
    );
}

#[test]
fn an_agent_in_trouble_makes_no_host_half_dead() {
    // Its agent was stalled, and some still say so when the host goes: as fast as ever.
    check(
        11,
        "0 lead
         1000 n1-n10: n11 agent-stalled
         3050 => agent of n11 stalled by n1 n2 n3 n4 n5 n6 n7 n8 n9 n10
         5000 n1-n9: n11 host-gone
         5050 => suspected n11 by n1 n2 n3 n4 n5 n6 n7 n8 n9
         5050 => agent of n11 stalled by n10
         5100 => dead n11
         5200 dead n11
         7000 until",
    );
}
