//! A link out of a message, opened with curl at an agent that doesn't lead.

use super::check;
use holdfast_tests::{
    lab::{
        Lab, LabError, Plan, command,
        wait::{stays_true, wait_until},
    },
    peers::{
        installed::{self, unless_ci},
        trouble,
    },
};
use libtest_mimic::{Completion, Failed};
use serde_json::Value;
use std::{path::Path, process::Command, time::Duration};

const WITHIN: Duration = Duration::from_secs(20);
/// Longer than it takes to open a link.
const ESCALATES_AFTER: Duration = Duration::from_secs(8);
const QUIET_FOR: Duration = Duration::from_secs(10);

pub fn acknowledges() -> Result<Completion, Failed> {
    if let Some(why) = installed::missing(&[("curl", "curl")]) {
        return unless_ci(why);
    }
    let mut lab = Lab::new(Plan { hosts: 3, expect: 3, namespaces: false })?;
    lab.found()?;
    let follower = &lab.hosts[(lab.leader(0)? + 1) % 3];
    let (first, second) = (lab.directory().join("first.jsonl"), lab.directory().join("second.jsonl"));
    lab.apply_alerts(
        0,
        &format!(
            "ack_url = \"http://{}\"\n[channel.first]\ntype = \"file\"\npath = {first:?}\n[channel.second]\ntype = \
             \"file\"\npath = {second:?}\n[[route]]\nchannels = [\"first\"]\n[[route.escalate]]\nafter = \"{}s\"\nchannels \
             = [\"second\"]\n",
            follower.http,
            ESCALATES_AFTER.as_secs()
        ),
    )?;
    trouble::begin(&lab)?;
    let told = wait_until("the message", WITHIN, || told(&first))?;
    let link = told["ack_url"].as_str().unwrap_or_default();
    let begins = format!("http://{}/ack/", follower.http);
    check(link.starts_with(&begins), || format!("no link that begins with {begins}: {told}"))?;
    let id = told["failure_id"].to_string();

    let opened = curl(&[link])?;
    for words in ["HTTP/1.1 200", "<button>", "Nobody has acknowledged it"] {
        check(opened.contains(words), || format!("{words} isn't in {opened}"))?;
    }
    check(by(&lab, &id)?.is_null(), || "opening it acknowledged the failure".to_owned())?;
    // Of another version.
    let forged = link.replace("/ack/A", "/ack/B");
    let refused = curl(&["-X", "POST", &forged])?;
    check(refused.contains("HTTP/1.1 403"), || format!("a changed link was taken: {refused}"))?;

    for _ in 0..2 {
        let pressed = curl(&["-X", "POST", link])?;
        for words in ["HTTP/1.1 200", "Acknowledged by link to first at"] {
            check(pressed.contains(words), || format!("{words} isn't in {pressed}"))?;
        }
    }
    let by = by(&lab, &id)?;
    check(by == "link to first", || format!("acknowledged by {by}"))?;
    stays_true("nobody else is called", QUIET_FOR, || match second.exists() {
        true => Err(std::fs::read_to_string(&second).unwrap_or_default()),
        false => Ok(()),
    })?;
    Ok(Completion::Completed)
}

/// The first line that the channel wrote.
fn told(file: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    serde_json::from_str(text.lines().next().unwrap_or_default()).map_err(|e| format!("{e} in {text}"))
}

fn by(lab: &Lab, failure: &str) -> Result<Value, LabError> {
    let text = lab.ask(0, &["failure", "show", failure, "--json"])?;
    let shown: Value = serde_json::from_str(&text).map_err(|e| LabError::Broken(format!("{e} in {text}")))?;
    Ok(shown["acknowledged_by"].clone())
}

/// The answer, with its headers.
fn curl(arguments: &[&str]) -> Result<String, LabError> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--include", "--noproxy", "*"]).args(arguments);
    let done = command::output(curl, None, WITHIN)?;
    check(done.code == Some(0), || format!("curl failed: {done:?}"))?;
    Ok(done.stdout)
}
