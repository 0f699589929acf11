//! All agents end at once and start again, within the lease: nothing that runs notices.

use super::{FIVE, SETTLES, agent::same, check_at_most_once, in_lab, stampers};
use crate::lab::{
    Lab, LabError,
    report::{Report, Run},
};
use std::time::Instant;

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(FIVE, |lab| {
        let workloads = stampers(lab, FIVE.hosts)?;
        for round in 0..count {
            let done = all_at_once(lab, round, &workloads)?;
            report.add(done);
        }
        Ok(())
    })
}

fn all_at_once(lab: &mut Lab, round: usize, workloads: &[String]) -> Result<Run, LabError> {
    let before = lab.until_healthy(SETTLES)?;
    let failures = lab.failures(0).map_err(LabError::Broken)?.len();
    let (signal, name) =
        if round.is_multiple_of(2) { (libc::SIGTERM, "SIGTERM") } else { (libc::SIGKILL, "SIGKILL") };
    let mut run = Run::new(format!("{name} to all agents"));
    let began = Instant::now();
    for host in &lab.hosts {
        host.signal(signal);
    }
    for host in &mut lab.hosts {
        host.ends()?;
    }
    run.took("ended", Some(began.elapsed()));
    for host in 0..lab.hosts.len() {
        lab.start(host)?;
    }
    let after = lab.until_healthy(SETTLES)?;
    run.took("healthy", Some(began.elapsed()));
    same(&before, &after, workloads).unwrap_or_else(|e| run.problems.push(e));
    let now = lab.failures(0).map_err(LabError::Broken)?;
    run.check(now.len() == failures, || format!("a failure was opened: {:?}", now.first()));
    check_at_most_once(lab, &mut run, workloads)?;
    Ok(run)
}
