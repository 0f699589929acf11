//! The agent's process dies and its host lives: for a moment, and for good.

use super::{AGENT_TIMEOUT, FIVE, SETTLES, THREE_OF_FIVE, check_at_most_once, in_lab, stampers};
use crate::lab::{
    Lab, LabError,
    process::is_alive,
    report::{Report, Run},
    stamp::Stamps,
    state::Status,
    wait::stays_true,
};
use std::time::{Duration, Instant};

/// Longer than lease and detection: what was to happen because of the restart has happened.
const WATCHED: Duration = Duration::from_secs(4);

pub fn restart(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(THREE_OF_FIVE, |lab| {
        let workloads = stampers(lab, THREE_OF_FIVE.hosts)?;
        for round in 0..count {
            let done = kill_and_start(lab, round, &workloads)?;
            report.add(done);
        }
        Ok(())
    })
}

fn kill_and_start(lab: &mut Lab, round: usize, workloads: &[String]) -> Result<Run, LabError> {
    let before = lab.until_healthy(SETTLES)?;
    let failures = lab.failures(0).map_err(LabError::Broken)?.len();
    // Those without a vote first: who joined what others founded has no log.
    let mut order: Vec<usize> = (0..lab.hosts.len()).collect();
    order.sort_by_key(|host| before.nodes.iter().any(|n| n.voter && n.name == lab.hosts[*host].name));
    let host = order[round % order.len()];
    let name = lab.hosts[host].name.clone();
    let mut run = Run::new(format!("kill and start the agent of {name}"));
    lab.hosts[host].kill();
    lab.start(host)?;
    let started = Instant::now();
    lab.until(host, "the agent to know the cluster again", SETTLES, |s| s.consistent)?;
    run.took("back", Some(started.elapsed()));
    stays_true("every pid and generation", WATCHED, || {
        same(&before, &lab.status((host + 1) % 5)?, workloads)
    })
    .unwrap_or_else(|e| run.problems.push(e.to_string()));
    let after = lab.until_healthy(SETTLES)?;
    same(&before, &after, workloads).unwrap_or_else(|e| run.problems.push(e));
    let now = lab.failures(0).map_err(LabError::Broken)?;
    run.check(now.len() == failures, || format!("a failure was opened: {:?}", now.first()));
    check_at_most_once(lab, &mut run, workloads)?;
    Ok(run)
}

/// Whether each of them runs as before: the same place, generation and, still alive, the same process.
pub fn same(before: &Status, after: &Status, workloads: &[String]) -> Result<(), String> {
    for workload in workloads {
        let was = before.running(workload).ok_or_else(|| format!("{workload} didn't run before"))?;
        let Some(is) = after.running(workload) else {
            return Err(format!("{workload} doesn't run: {}", after.brief()));
        };
        let key = |i: &crate::lab::state::Instance| (i.node.clone(), i.generation, i.pid);
        if key(was) != key(is) {
            return Err(format!("{workload} was {:?} and is {:?}", key(was), key(is)));
        }
        if !was.pid.is_some_and(|pid| i32::try_from(pid).is_ok_and(is_alive)) {
            return Err(format!("{workload}: pid {:?} is gone", was.pid));
        }
    }
    Ok(())
}

pub fn gone(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(FIVE, |lab| {
        let workloads = stampers(lab, FIVE.hosts)?;
        for round in 0..count {
            let before = lab.until_healthy(SETTLES)?;
            let host = round % lab.hosts.len();
            let done = kill_for_good(lab, host, &before, &workloads)?;
            report.add(done);
        }
        Ok(())
    })
}

fn kill_for_good(lab: &mut Lab, host: usize, before: &Status, workloads: &[String]) -> Result<Run, LabError> {
    let name = lab.hosts[host].name.clone();
    let on = |s: &Status, w: &String| s.running(w).and_then(|i| i.node.clone());
    let moved: Vec<&String> = workloads.iter().filter(|w| on(before, w).as_ref() == Some(&name)).collect();
    let mut run = Run::new(format!("kill the agent of {name}, {} moved", moved.len()));
    let killed = Instant::now();
    lab.hosts[host].kill();
    lab.until((host + 1) % 5, "its work elsewhere", AGENT_TIMEOUT + SETTLES, |s| {
        s.node(&name).is_some_and(|n| n.state == "dead")
            && moved.iter().all(|w| on(s, w).is_some_and(|node| node != name))
    })?;
    run.took("moved", Some(killed.elapsed()));
    let mut gap = None;
    for workload in &moved {
        gap = gap.max(Stamps::read(&lab.stamps(workload))?.last_gap());
    }
    run.took("gap", gap);
    lab.start(host)?;
    lab.until_healthy(SETTLES)?;
    check_at_most_once(lab, &mut run, workloads)?;
    Ok(run)
}
