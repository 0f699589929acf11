//! `cargo lab [NAME…|all] [--count N]`: real agents on many hosts of this machine, and what happens to them.
//!
//! Not here: the scenarios.

use holdfast_tests::lab::{
    scenario::{ALL, Scenario},
    stamp,
};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    stamp::run_if_asked();
    match asked(std::env::args().skip(1)) {
        Ok((scenarios, _)) if scenarios.is_empty() => {
            println!("cargo lab NAME… [--count N], or all:");
            ALL.iter().for_each(|s| println!("  {:<14} {}", s.name, s.about));
            ExitCode::SUCCESS
        }
        Ok((scenarios, count)) => run(&scenarios, count),
        Err(why) => {
            eprintln!("lab: {why}");
            ExitCode::from(64)
        }
    }
}

fn asked(mut words: impl Iterator<Item = String>) -> Result<(Vec<&'static Scenario>, Option<usize>), String> {
    let (mut scenarios, mut count) = (Vec::new(), None);
    while let Some(word) = words.next() {
        if word == "--count" {
            let number = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
            count = Some(number.ok_or("--count needs a number of runs, like --count 20")?);
        } else if word == "all" {
            scenarios.extend(ALL);
        } else {
            let found = ALL.iter().find(|s| s.name == word);
            scenarios.push(
                found.ok_or_else(|| format!("no scenario is called \"{word}\"; `cargo lab` lists them"))?,
            );
        }
    }
    Ok((scenarios, count))
}

fn run(scenarios: &[&Scenario], count: Option<usize>) -> ExitCode {
    if let Err(why) = build() {
        eprintln!("lab: {why}");
        return ExitCode::FAILURE;
    }
    let mut summaries = Vec::new();
    let mut problems = 0;
    for scenario in scenarios {
        if let Some(missing) = scenario.missing() {
            summaries.push(format!("{}: can't run here: {missing}", scenario.name));
            problems += 1;
            continue;
        }
        let report = scenario.run(count.unwrap_or(scenario.usual));
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
