//! `cargo lab [NAME…|all] [--count N] [--agents A,B] [--minutes M] [--markdown]`: real agents on many hosts of this machine, and what happens to them.
//!
//! Not here: the scenarios.

use holdfast_tests::lab::{
    ask::Ask,
    network::MOST_HOSTS,
    scenario::{ALL, Scenario},
    stamp,
};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    stamp::run_if_asked();
    match asked(std::env::args().skip(1)) {
        Ok(asked) if asked.scenarios.is_empty() => {
            println!("cargo lab NAME…, or all:");
            ALL.iter().for_each(|s| println!("  {:<14} {}", s.name, s.about));
            println!(
                "  --count N        how often\n  --agents 3,10    sizes of clusters, where a scenario has a choice\n  \
                 --minutes M      how long to watch, where one watches\n  --markdown       tables for docs/BENCHMARKS.md"
            );
            ExitCode::SUCCESS
        }
        Ok(asked) => run(&asked),
        Err(why) => {
            eprintln!("lab: {why}");
            ExitCode::from(64)
        }
    }
}

#[derive(Default)]
struct Asked {
    scenarios: Vec<&'static Scenario>,
    count: Option<usize>,
    ask: Ask,
}

fn asked(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--count" => {
                let number = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                asked.count = Some(number.ok_or("--count needs a number of runs, like --count 20")?);
            }
            "--agents" => {
                let sizes = words.next().unwrap_or_default();
                let sizes: Option<Vec<usize>> = sizes
                    .split(',')
                    .map(|n| n.parse().ok().filter(|n| (3..=MOST_HOSTS).contains(n)))
                    .collect();
                asked.ask.agents = sizes.ok_or_else(|| {
                    format!("--agents needs sizes from 3 to {MOST_HOSTS}, like --agents 3,10")
                })?;
            }
            "--minutes" => {
                let minutes = words.next().and_then(|n| n.parse().ok()).filter(|m| *m > 0.0 && *m < 10_000.0);
                asked.ask.minutes = Some(minutes.ok_or("--minutes needs a number, like --minutes 10")?);
            }
            "--help" | "-h" => return Ok(Asked::default()),
            "--markdown" => asked.ask.markdown = true,
            "all" => asked.scenarios.extend(ALL),
            name => {
                let found = ALL.iter().find(|s| s.name == name);
                asked
                    .scenarios
                    .push(found.ok_or_else(|| {
                        format!("no scenario is called \"{name}\"; `cargo lab` lists them")
                    })?);
            }
        }
    }
    Ok(asked)
}

fn run(asked: &Asked) -> ExitCode {
    if let Err(why) = build() {
        eprintln!("lab: {why}");
        return ExitCode::FAILURE;
    }
    let mut summaries = Vec::new();
    let mut problems = 0;
    for scenario in &asked.scenarios {
        if let Some(missing) = scenario.missing() {
            summaries.push(format!("{}: can't run here: {missing}", scenario.name));
            problems += 1;
            continue;
        }
        let report = scenario.run(asked.count.unwrap_or(scenario.usual), asked.ask.clone());
        problems += report.problems().len();
        summaries.push(report.summary());
    }
    println!();
    summaries.iter().for_each(|s| println!("{s}"));
    if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The agent is built beside this program, in its profile, unless another binary was named.
fn build() -> Result<(), String> {
    if std::env::var_os("HOLDFAST_BIN").is_some() {
        return Ok(());
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "-q", "-p", "holdfast"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    match cargo.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("building holdfast failed: {status}")),
        Err(error) => Err(format!("can't run cargo: {error}; set HOLDFAST_BIN to a built holdfast")),
    }
}
