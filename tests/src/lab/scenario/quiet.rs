//! Nothing happens here: what an idle agent costs.

use super::{SETTLES, in_lab, of, stampers};
use crate::lab::{
    Lab, LabError,
    cost::Cost,
    report::{Report, Run},
};
use std::time::Duration;

const CALMS_DOWN: Duration = Duration::from_secs(5);
/// How long each run watches.
const WATCHED: Duration = Duration::from_secs(30);
const WATCHED_SHORT: Duration = Duration::from_secs(5);
/// Generous: the target is 25 MB, of a release build.
const MOST_RESIDENT_MB: f64 = 150.0;

/// What each agent, with its keeper, costs while nothing runs, and while one singleton runs on it.
pub fn idle(report: &mut Report, count: usize) -> Result<(), LabError> {
    let watched = report.ask.watch(WATCHED_SHORT, WATCHED);
    for hosts in report.ask.sizes(&[5], &[5, 10]) {
        in_lab(of(hosts), |lab| {
            for _ in 0..count {
                cost(lab, watched, "without work", report)?;
            }
            stampers(lab, hosts)?;
            for _ in 0..count {
                cost(lab, watched, "a singleton each", report)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn cost(lab: &mut Lab, watched: Duration, work: &str, report: &mut Report) -> Result<(), LabError> {
    let hosts = lab.hosts.len();
    let status = lab.until_healthy(SETTLES)?;
    let leader = lab.leader(0)?;
    // What the cluster's begin cost isn't the cost of idling.
    std::thread::sleep(CALMS_DOWN);
    let before = lab.meters()?;
    std::thread::sleep(watched);
    let after = lab.meters()?;
    let costs: Vec<Cost> = before.iter().zip(&after).map(|(was, is)| was.until(is)).collect();
    let votes = |h: usize| status.node(&lab.hosts[h].name).is_some_and(|n| n.voter);
    let roles: [(&str, &dyn Fn(usize) -> bool); 3] = [
        ("leader", &|h| h == leader),
        ("voters that follow", &|h| h != leader && votes(h)),
        ("others", &|h| h != leader && !votes(h)),
    ];
    for (role, plays) in roles {
        let of: Vec<Cost> = (0..hosts).filter(|h| plays(*h)).map(|h| costs[h]).collect();
        if of.is_empty() {
            continue;
        }
        let cost = Cost::median(&of);
        let what = format!("{hosts} agents, {work}, {role} ({}, median): {}", of.len(), cost.brief());
        let mut run = Run::new(what);
        run.check(cost.resident_mb < MOST_RESIDENT_MB, || "too much memory for an idle agent".into());
        report.add(run);
    }
    Ok(())
}
