//! A short form of every scenario of the lab, one at a time; what this machine can't do is ignored, with the reason.
//! With `CI=true` a missing tool is a failure; missing root never is.

use holdfast_tests::lab::{ask::Ask, network::Missing, scenario, stamp};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    stamp::run_if_asked();
    let mut arguments = Arguments::from_args();
    // Two cores: several clusters at once would only measure each other.
    arguments.test_threads = Some(1);
    let trials = scenario::ALL.iter().map(|s| Trial::ignorable_test(s.name, move || trial(s))).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(scenario: &scenario::Scenario) -> Result<Completion, Failed> {
    match scenario.missing() {
        Some(Missing::Tool(_)) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
            return Err(format!("{}", scenario.missing().expect("just seen")).into());
        }
        Some(missing) => return Ok(Completion::ignored_with(missing)),
        None => {}
    }
    let problems = scenario.run(scenario.short, Ask { short: true, ..Ask::default() }).problems();
    if problems.is_empty() { Ok(Completion::Completed) } else { Err(problems.join("\n").into()) }
}
