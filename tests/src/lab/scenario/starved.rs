//! One agent gets a tenth of a core: it isn't declared dead, and, slow as it is, it accuses nobody.

use super::{SETTLES, agent::same, check_at_most_once, in_lab, of, stampers};
use crate::lab::{
    Lab, LabError,
    ears::Ears,
    report::{Report, Run},
    throttle::Throttle,
};
use std::time::{Duration, Instant, SystemTime};

const PERCENT: u32 = 10;
const USUAL: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(8);

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    let watched = report.ask.watch(SHORT, USUAL);
    for hosts in report.ask.sizes(&[5], &[10]) {
        in_lab(of(hosts), |lab| {
            let workloads = stampers(lab, hosts)?;
            let mut ears = Ears::on(lab, 0..hosts)?;
            for round in 0..count {
                ears.open_again(lab)?;
                let leader = lab.leader(0)?;
                // The leader is every other one.
                let host = if round % 2 == 1 { leader } else { (leader + 1 + round) % hosts };
                let done = starve(lab, &ears, host, watched, &workloads)?;
                report.add(done);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn starve(
    lab: &mut Lab,
    ears: &Ears,
    host: usize,
    watched: Duration,
    workloads: &[String],
) -> Result<Run, LabError> {
    let before = lab.until_healthy(SETTLES)?;
    let (name, pid) = (lab.hosts[host].name.clone(), lab.agent_pid(host)?);
    let leads = before.leader.as_deref() == Some(&name);
    let began = SystemTime::now();
    let throttle = Throttle::new(pid, PERCENT)?;
    let how = throttle.how();
    std::thread::sleep(watched);
    drop(throttle);
    let fed = Instant::now();
    let after = lab.until_healthy(SETTLES)?;
    let mut suspicions = ears.suspicions(began);
    let its_own = suspicions.remove(&name).unwrap_or(0);
    let mut run = Run::new(format!(
        "{name}{} at {PERCENT} % of a core for {} s ({how}): suspected {its_own} times, {} elections",
        if leads { " (leader)" } else { "" },
        watched.as_secs(),
        after.term - before.term
    ));
    run.took("healthy", Some(fed.elapsed()));
    let deaths = ears.deaths(began);
    run.check(deaths.is_empty(), || format!("declared dead: {deaths:?}"));
    run.check(suspicions.is_empty(), || {
        let by = ears.of_kind(began, "node_suspected");
        let by: Vec<String> = by
            .iter()
            .filter(|h| h.event.subject != name)
            .map(|h| format!("{} by {}", h.event.subject, lab.hosts[h.by].name))
            .collect();
        format!("others were suspected: {}", by.join(", "))
    });
    same(&before, &after, workloads).unwrap_or_else(|e| run.problems.push(e));
    check_at_most_once(lab, &mut run, workloads)?;
    Ok(run)
}
