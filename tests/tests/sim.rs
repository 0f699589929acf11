//! The simulator's short form: seeds without a broken promise, and faults put back that the checkers must find.
//!
//! The long form is `cargo sim --seeds 1..1001`.

use core::time::Duration;
use holdfast_tests::sim::{Breaks, Options, Outcome, run};
use std::sync::atomic::{AtomicU64, Ordering};

/// Shorter than a run of `cargo sim`, so that this passes without optimisation, too.
fn short() -> Options {
    Options { trouble: Duration::from_secs(14), calm: Duration::from_secs(20), ..Options::default() }
}

/// Plays seeds on two threads until one breaks a promise, or all are played.
fn first_broken(seeds: core::ops::Range<u64>, options: &Options) -> Option<Outcome> {
    let next = AtomicU64::new(seeds.start);
    let play = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return None;
            }
            let outcome = run(seed, options);
            if outcome.violation.is_some() {
                next.store(seeds.end, Ordering::Relaxed);
                return Some(outcome);
            }
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(play);
        let mine = play();
        mine.or(other.join().expect("the other thread panicked; its message stands above"))
    })
}

fn is_found(name: &str, seeds: core::ops::Range<u64>) {
    let options =
        Options { breaks: name.parse().expect("a known fault"), trouble: Duration::from_secs(40), ..short() };
    let broken = first_broken(seeds, &options).expect("the fault was not found");
    let violation = broken.violation.expect("it is broken");
    assert_eq!(violation.promise, "at most once", "{violation}");
    // The same seed is clean without the fault.
    let clean = run(broken.seed, &Options { breaks: Breaks::default(), ..options });
    assert_eq!(clean.violation, None);
}

#[test]
fn a_hundred_seeds_keep_every_promise() {
    if let Some(Outcome { seed, violation, .. }) = first_broken(1..101, &short()) {
        panic!("cargo sim --seed {seed} (trouble of 14 s): {violation:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let (once, again) = (run(42, &short()), run(42, &short()));
    assert_eq!((once.hash, once.stats), (again.hash, again.stats));
    assert_ne!(once.hash, run(43, &short()).hash);
    assert!(once.stats.starts > 0 && once.stats.revocations > 0, "{:?}", once.stats);
}

#[test]
fn a_guard_that_takes_deadlines_of_any_epoch_is_found() {
    is_found("guard-accepts-any-epoch", 1..300);
}

#[test]
fn a_voter_that_acknowledges_before_it_read_its_log_is_found() {
    is_found("voter-acks-before-replay", 1..300);
}

#[test]
fn a_node_that_forgets_what_ended_is_found() {
    is_found("forgets-ended-generations", 1..300);
}
