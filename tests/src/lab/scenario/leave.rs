//! A node that is no voter leaves for good: planned, so nobody failed and nobody is woken.

use super::{SETTLES, THREE_OF_FIVE, check_at_most_once, in_lab, keeper::keeper_of, stampers};
use crate::lab::{
    Lab, LabError,
    process::is_alive,
    report::{Report, Run},
    wait::wait_until,
};
use std::time::Instant;

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    for _ in 0..count {
        in_lab(THREE_OF_FIVE, |lab| {
            lab.route_alerts(0)?;
            let workloads = stampers(lab, 5)?;
            let done = leave(lab, &workloads)?;
            report.add(done);
            Ok(())
        })?;
    }
    Ok(())
}

fn leave(lab: &mut Lab, workloads: &[String]) -> Result<Run, LabError> {
    let status = lab.until_healthy(SETTLES)?;
    let Some(node) = status.nodes.iter().find(|n| !n.voter) else {
        return Err(LabError::Broken(format!("all are voters: {}", status.brief())));
    };
    let host = lab.number(&node.name)?;
    let asked = lab.leader(0)?;
    let keeper = keeper_of(lab, host)?;
    let mut run = Run::new(format!("{} leaves", node.name));
    let began = Instant::now();
    lab.ask(host, &["leave"])?;
    run.took("left", Some(began.elapsed()));
    let after = lab.until(asked, "it to be left, and its work elsewhere", SETTLES, |s| {
        s.node(&node.name).is_some_and(|n| n.state == "left")
            && workloads.iter().all(|w| s.running(w).is_some())
    })?;
    run.took("moved", Some(began.elapsed()));
    lab.hosts[host].ends().unwrap_or_else(|e| run.problems.push(e.to_string()));
    let gone = wait_until("its keeper to end", SETTLES, || {
        if is_alive(keeper) { Err(format!("{keeper} lives")) } else { Ok(()) }
    });
    gone.unwrap_or_else(|e| run.problems.push(e.to_string()));
    run.check(after.open_failures == 0 && after.in_state("dead") == 0, || {
        format!("someone failed: {}", after.brief())
    });
    let end = lab.until(asked, "the four to be healthy", SETTLES, |s| s.health == "healthy")?;
    run.check(end.in_state("alive") == 4, || format!("not four alive: {}", end.brief()));
    run.check(lab.receiver.all().is_empty(), || format!("alerts: {:?}", lab.receiver.all()));
    let failures = lab.failures(asked).map_err(LabError::Broken)?;
    run.check(failures.is_empty(), || format!("failures: {failures:?}"));
    check_at_most_once(lab, &mut run, workloads)?;
    Ok(run)
}
