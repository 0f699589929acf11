//! A real Prometheus tells three agents of the same alerts, again and again: people are told once.

use super::check;
use holdfast_tests::{
    lab::{
        Lab, LabError, Plan,
        receiver::Received,
        wait::{stays_true, wait_until},
    },
    peers::{
        installed::unless_ci,
        prometheus::{self, Prometheus},
    },
};
use libtest_mimic::{Completion, Failed};
use serde_json::Value;
use std::time::Duration;

/// It looks for those whom it tells every five seconds.
const WITHIN: Duration = Duration::from_secs(60);
/// Each agent must be told so often of what fires, and as often of what ended.
const TOLD_AGAIN: f64 = 2.0;
/// A second message would have come by then.
const QUIET: Duration = Duration::from_secs(2);

pub fn tells_three_agents() -> Result<Completion, Failed> {
    if let Some(why) = prometheus::missing() {
        return unless_ci(why);
    }
    let mut lab = Lab::new(Plan { hosts: 3, expect: 3, namespaces: false })?;
    lab.found()?;
    lab.route_alerts(0)?;
    let agents: Vec<&str> = lab.hosts.iter().map(|host| host.http.as_str()).collect();
    let theirs = Prometheus::start(&agents)?;

    until_each_is_told_again(&theirs, &agents)?;
    only_told(&lab, &["Always firing", "UntilMended firing"])?;
    theirs.mend()?;
    until_each_is_told_again(&theirs, &agents)?;
    let all = only_told(&lab, &["Always firing", "UntilMended firing", "UntilMended resolved"])?;

    let of_mended: Vec<&Received> = all.iter().filter(|told| told.text("alert") == "UntilMended").collect();
    check(["id", "dedup_key"].iter().all(|key| of_mended[0].text(key) == of_mended[1].text(key)), || {
        format!("two alerts: {of_mended:?}")
    })?;
    let said = ["severity", "summary"].map(|key| of_mended[0].text(key));
    check(said == ["critical", "the till shop is shut"] && of_mended[0].label("team") == "shop", || {
        format!("{:?}", of_mended[0])
    })?;
    let list: Value = serde_json::from_str(&lab.ask(0, &["alert", "list", "--json"])?)?;
    check(list["alerts"].as_array().is_some_and(|alerts| alerts.len() == 2), || format!("{list}"))?;
    Ok(Completion::Completed)
}

/// Since now, each agent, and each took it.
fn until_each_is_told_again(theirs: &Prometheus, agents: &[&str]) -> Result<(), LabError> {
    let all = || agents.iter().map(|agent| theirs.posts(agent)).collect::<Result<Vec<_>, _>>();
    // It doesn't count for agents that it hasn't found yet.
    let before: Vec<f64> = all()?.iter().map(|posts| posts.made.max(0.0)).collect();
    wait_until("each agent to be told again", WITHIN, || {
        let posts = all().map_err(|e| e.to_string())?;
        let told = posts.iter().zip(&before).all(|(posts, before)| posts.made - before >= TOLD_AGAIN);
        if told { Ok(()) } else { Err(format!("{posts:?}, {before:?} before")) }
    })?;
    let posts = all()?;
    check(posts.iter().all(|posts| posts.refused == 0.0), || format!("an agent refused some: {posts:?}"))
}

/// In any order, each once, and nothing else.
fn only_told(lab: &Lab, expected: &[&str]) -> Result<Vec<Received>, LabError> {
    let are_told = || {
        let told = told(lab);
        if told == expected { Ok(()) } else { Err(format!("{told:?}")) }
    };
    wait_until(&format!("{expected:?} to be told"), WITHIN, are_told)?;
    stays_true(&format!("only {expected:?} to be told"), QUIET, are_told)?;
    let all = lab.receiver.all();
    check(all.iter().all(|told| told.signed), || format!("not all are signed: {all:?}"))?;
    Ok(all)
}

fn told(lab: &Lab) -> Vec<String> {
    let line = |told: &Received| format!("{} {}", told.text("alert"), told.text("status"));
    let mut told: Vec<String> = lab.receiver.all().iter().map(line).collect();
    told.sort();
    told
}
