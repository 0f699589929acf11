//! Agents that are gone or stalled on hosts that live: told once, taken back, and dead only after `agent_timeout`.

use super::*;

#[test]
fn an_agent_in_trouble_is_told_once_and_taken_back() {
    let bench = check(
        5,
        "0 lead
         3000 n1 n2: n5 agent-gone
         3100 n3: n5 agent-gone
         3150 => agent of n5 gone by n1 n2 n3
         3200 ledger 60000 n5=gone
         9000 n4: n5 agent-gone
         9010 n1-n3: n5 well
         9500 n4: n5 well
         9550 => agent of n5 up
         9600 ledger 60000
         20000 until",
    );
    assert!(bench.deaths.is_empty());
}

#[test]
fn gone_or_stalled_is_what_most_say() {
    check(
        5,
        "0 lead
         3000 n1 n2: n5 agent-stalled
         3000 n3: n5 agent-gone
         5050 => agent of n5 stalled by n1 n2 n3
         5100 ledger 60000 n5=stalled
         7000 n1 n2: n5 agent-gone
         7050 => agent of n5 gone by n1 n2 n3
         7100 ledger 60000 n5=gone
         9000 until",
    );
}

#[test]
fn a_starved_agent_that_comes_and_goes_is_told_once() {
    // Stalled for less than two seconds it isn't told; then well for less than two seconds it isn't taken back.
    check(
        5,
        "0 lead
         3000 n1-n3: n5 agent-stalled
         4500 n1-n3: n5 well
         4600 n1-n3: n5 agent-stalled
         6650 => agent of n5 stalled by n1 n2 n3
         6700 ledger 60000 n5=stalled
         8000 n1-n3: n5 well
         9500 n1-n3: n5 agent-stalled
         12000 n1-n3: n5 well
         14050 => agent of n5 up
         14100 ledger 60000
         20000 until",
    );
}

#[test]
fn after_its_time_out_it_is_dead_and_the_evidence_says_why() {
    let bench = check(
        5,
        "0 lead
         2900 ledger 5000
         3000 n1-n3: n5 agent-stalled
         5050 => agent of n5 stalled by n1 n2 n3
         5100 ledger 5000 n5=stalled
         7050 => dead n5
         7100 dead n5
         9000 until",
    );
    assert_eq!(
        bench.deaths[0][0].evidence,
        [
            "n1 n2 n3: its host answers, but its agent says nothing; last heard 5.05 s ago",
            "that is longer than agent_timeout, 5.00 s",
        ]
    );
}

#[test]
fn its_host_s_death_is_found_as_fast_as_any() {
    check(
        5,
        "0 lead
         3000 n1-n3: n5 agent-stalled
         5050 => agent of n5 stalled by n1 n2 n3
         5100 ledger 60000 n5=stalled
         9000 n1-n3: n5 host-gone
         9050 => suspected n5 by n1 n2 n3
         9100 => dead n5
         9150 dead n5
         12000 until",
    );
}

#[test]
fn a_new_leader_takes_back_what_the_ledger_still_has_once_it_may_know_better() {
    // n5's agent came back while nobody led; this process never heard of its trouble.
    check(
        5,
        "0 ledger 60000 n5=gone
         1000 lead
         2600 => agent of n5 up
         2650 ledger 60000
         9000 until",
    );
    // It is still down: observers repeat it, and nothing is taken back.
    check(
        5,
        "0 ledger 60000 n5=gone
         1000 lead
         1300 n1: n5 agent-gone
         9000 until",
    );
}

#[test]
fn a_new_life_has_a_new_agent() {
    check(
        5,
        "0 lead
         3000 n1-n3: n5 agent-gone
         3050 => agent of n5 gone by n1 n2 n3
         3100 ledger 60000 n5=gone
         4000 mute n1 n2 n3
         4000 back n5
         4000 ledger 60000
         9000 until",
    );
}
