//! Python's gRPC, which knows none of our files.

use holdfast_tests::{
    lab::{Lab, Plan, command},
    peers::{installed::unless_ci, python},
};
use libtest_mimic::{Completion, Failed};
use std::{process::Command, time::Duration};

const NO_PYTHON: &str =
    "no Python with grpcio and grpcio-reflection; `.ci/run` makes one, or set HOLDFAST_PYTHON";
const CLIENT_LIMIT: Duration = Duration::from_secs(30);

pub fn reads_the_status() -> Result<Completion, Failed> {
    let Some(python) = python::with_grpc() else { return unless_ci(NO_PYTHON.to_owned()) };
    let mut lab = Lab::new(Plan { hosts: 3, expect: 3, namespaces: false })?;
    lab.found()?;
    let files = lab.authority.issue(&["python"])?;
    let mut client = Command::new(python);
    client.arg(python::script()).arg(&lab.hosts[1].address).args([&files.ca, &files.cert, &files.key]);
    let answer = command::output(client, None, CLIENT_LIMIT)?;
    if answer.code != Some(0) {
        return Err(format!("the client failed: {}", answer.stderr).into());
    }
    let status: serde_json::Value =
        serde_json::from_str(&answer.stdout).map_err(|e| format!("{e} in {}", answer.stdout))?;
    // The message may be wrapped: what counts is what it says.
    let status = status.get("status").filter(|s| s.is_object()).unwrap_or(&status);
    let names: Vec<&str> =
        status["nodes"].as_array().into_iter().flatten().filter_map(|n| n["name"].as_str()).collect();
    if names.len() == 3 && ["n1", "n2", "n3"].iter().all(|n| names.contains(n)) {
        return Ok(Completion::Completed);
    }
    Err(format!("three nodes were expected in {}", answer.stdout).into())
}
