//! `cargo sim`: plays seeds in the simulator and says which of them break a promise.
//!
//! Not here: the simulation itself.

use holdfast_tests::sim::{
    Breaks, Options, Outcome, Stats, run,
    scale::command::{self, command},
};
use std::{
    ops::Range,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

const USAGE: &str = "usage: cargo sim --seed N [--trace] | --seeds FIRST..END   [--break NAME]";

struct Arguments {
    seeds: Range<u64>,
    options: Options,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let (mut seeds, mut options) = (0..0, Options::default());
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value\n{USAGE}"));
        match word.as_str() {
            "--seed" => {
                let seed = number(&value()?)?;
                seeds = seed..seed + 1;
            }
            "--seeds" => {
                let text = value()?;
                let (first, end) = text.split_once("..").ok_or(format!("\"{text}\" isn't FIRST..END"))?;
                seeds = number(first)?..number(end)?;
            }
            "--break" => options.breaks = value()?.parse::<Breaks>()?,
            "--trace" => options.trace = true,
            _ => return Err(format!("\"{word}\" isn't known\n{USAGE}")),
        }
    }
    if seeds.is_empty() {
        return Err(format!("no seed was given\n{USAGE}"));
    }
    Ok(Arguments { seeds, options })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("\"{text}\" isn't a number\n{USAGE}"))
}

/// All seeds, on as many threads as there are cores; a trace would be unreadable on more than one.
fn play(arguments: &Arguments) -> Vec<Outcome> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if arguments.options.trace { 1 } else { cores };
    let (next, outcomes) = (AtomicU64::new(arguments.seeds.start), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= arguments.seeds.end {
                        break;
                    }
                    let outcome = run(seed, &arguments.options);
                    if let Some(violation) = &outcome.violation {
                        println!("cargo sim --seed {seed}   # {violation}");
                    }
                    outcomes.lock().expect("no thread panics with it").push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().expect("all threads have ended")
}

fn sum(outcomes: &[Outcome], of: impl Fn(&Stats) -> u64) -> u64 {
    outcomes.iter().map(|o| of(&o.stats)).sum()
}

/// The simulator of size.
fn of_size(words: &[String]) -> ExitCode {
    match command(words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| command::knows(word)) {
        return of_size(&words);
    }
    let arguments = match parse(words.into_iter()) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let outcomes = play(&arguments);
    let seconds = begun.elapsed().as_secs_f64();
    let broken = outcomes.iter().filter(|o| o.violation.is_some()).count();
    println!(
        "{} seeds, {broken} broken, in {seconds:.1} s ({:.1} a second)",
        outcomes.len(),
        outcomes.len() as f64 / seconds
    );
    let all = |of: fn(&Stats) -> u64| sum(&outcomes, of);
    println!(
        "{} events, {} starts of singletons, {} placements, {} revocations, {} elections, {} agents and {} hosts \
         crashed, {} voters restarted during a revocation, {} starts beside pages of other epochs",
        all(|s| s.events),
        all(|s| s.starts),
        all(|s| s.moves),
        all(|s| s.revocations),
        all(|s| s.elections),
        all(|s| s.agent_crashes),
        all(|s| s.host_crashes),
        all(|s| s.voters_restarted_in_revocation),
        all(|s| s.starts_beside_old_pages),
    );
    if let [only] = outcomes.as_slice() {
        println!("trace {:016x}", only.hash);
    }
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
