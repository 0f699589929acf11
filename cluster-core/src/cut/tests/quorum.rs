//! Who confirms a decision: never those whom it calls dead.

use super::*;

#[test]
fn the_last_two_voters_of_three_never_call_each_other_dead() {
    // Whatever n1 finds: its word could only be committed with n3's own help.
    check(
        3,
        "0 lead
         1000 dead n2
         2000 n1: n3 host-gone
         2050 => suspected n3 by n1
         9000 until",
    );
}

#[test]
fn a_single_voter_needs_nobody_else() {
    check(
        3,
        "0 voters n1
         0 lead
         1000 dead n2
         2000 n1: n3 host-gone
         2050 => suspected n3 by n1
         2100 => dead n3
         2200 dead n3
         9000 until",
    );
}

#[test]
fn two_bad_voters_of_three_condemn_no_healthy_one() {
    // n1 loses most packets and n2 hears nobody; each accuses the others. Without n2 and n3 no majority is left.
    check(
        3,
        "0 lead
         1000 n1: n2 n3 host-gone
         1000 n2: n1 n3 host-gone
         1000 n3: n1 n2 host-gone
         1050 => suspected n1 by n2 n3
         1050 => suspected n2 by n1 n3
         1050 => suspected n3 by n1 n2
         9000 until",
    );
}

#[test]
fn who_hears_no_other_voter_of_its_own_condemns_nobody() {
    // n1 was cut off with n4 until just now, and leads: both still say what they found then. n2 and n3 live.
    check(
        4,
        "0 lead
         1000 n1 n4: n2 host-gone
         1000 n1: n3 host-gone
         1050 => suspected n2 by n1 n4
         9000 until",
    );
    check(
        4,
        "0 lead
         1000 n1 n4: n2 host-gone
         1050 => suspected n2 by n1 n4
         1100 => dead n2
         1200 dead n2
         9000 until",
    );
}

#[test]
fn one_who_votes_waits_and_one_who_does_not_goes() {
    check(
        5,
        "0 lead
         1000 dead n2
         2000 n1 n3 n5: n4 host-gone
         2000 n4 n5: n3 host-gone
         2050 => suspected n3 by n4 n5
         2050 => suspected n4 by n1 n3 n5
         2100 => dead n4
         2150 dead n4
         9000 until",
    );
}

#[test]
fn who_was_declared_confirms_nobody_before_the_view_shows_it() {
    check(
        5,
        "0 lead
         1000 n1 n3 n4 n5: n2 host-gone
         1050 => suspected n2 by n1 n3 n4 n5
         1100 => dead n2
         1500 n1 n4 n5: n3 host-gone
         1550 => suspected n3 by n1 n4 n5
         1800 dead n2
         3000 until",
    );
}

#[test]
fn where_no_majority_of_voters_lives_nobody_dies() {
    // n2 and n3 vote although the view has them as dead: they are just coming back.
    check(
        4,
        "0 lead
         1000 dead n2 n3
         2000 n1: n4 host-gone
         2050 => suspected n4 by n1
         4000 back n2
         4500 n2: n4 host-gone
         4550 => suspected n4 by n1 n2
         4600 => dead n4
         4650 dead n4
         9000 until",
    );
}

#[test]
fn while_voters_change_both_majorities_must_stand() {
    let script = |voters: &str, then: &str| {
        format!(
            "0 voters {voters}\n0 lead\n1000 n1-n4: n5 host-gone\n1050 => suspected n5 by n1 n2 n3 n4\n{then}"
        )
    };
    check(5, &script("n1 n2 n3 | n4 n5", "9000 until"));
    check(5, &script("n1 n2 n3 | n3 n4 n5", "1100 => dead n5\n1200 dead n5\n9000 until"));
}
