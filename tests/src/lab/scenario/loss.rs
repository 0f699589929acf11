//! Packets get lost everywhere: nobody dies of it, and up to one in five nothing that runs is stopped.

use super::{SETTLES, agent::same, check_at_most_once, in_lab, of, stampers};
use crate::lab::{
    Lab, LabError,
    cost::Cost,
    ears::Ears,
    report::{Report, Run},
};
use std::time::{Duration, Instant, SystemTime};

const USUAL: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(8);
/// Percent. Each for the whole time, one after the other.
const LOSSES: [u8; 2] = [20, 30];
/// Of the founders so many vote.
const VOTERS: usize = 5;
/// More than this may cost a lease.
const NOTHING_STOPS_UP_TO: u8 = 20;

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    let watched = report.ask.watch(SHORT, USUAL);
    for hosts in report.ask.sizes(&[5], &[10]) {
        in_lab(of(hosts), |lab| {
            let workloads = stampers(lab, hosts)?;
            let mut ears = Ears::on(lab, 0..hosts)?;
            for round in 0..count * LOSSES.len() {
                ears.open_again(lab)?;
                let percent = LOSSES[round % LOSSES.len()];
                let (done, [voters, others]) = lose(lab, &ears, percent, watched, &workloads)?;
                report.add(done);
                report.note(format!("{percent} % lost, median of voters: {}", voters.brief()));
                if hosts > VOTERS {
                    report.note(format!("{percent} % lost, median of the others: {}", others.brief()));
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn lose(
    lab: &mut Lab,
    ears: &Ears,
    percent: u8,
    watched: Duration,
    workloads: &[String],
) -> Result<(Run, [Cost; 2]), LabError> {
    let before = lab.until_healthy(SETTLES)?;
    let failures = lab.failures(0).map_err(LabError::Broken)?.len();
    let began = SystemTime::now();
    lab.net().lose(percent)?;
    let meters = lab.meters()?;
    std::thread::sleep(watched);
    let costs: Vec<Cost> = meters.iter().zip(&lab.meters()?).map(|(was, is)| was.until(is)).collect();
    lab.net().heal()?;
    let healed = Instant::now();
    let after = lab.until_healthy(SETTLES)?;
    let settled = healed.elapsed();
    let suspicions: usize = ears.suspicions(began).values().sum();
    let stopped =
        workloads.iter().filter(|w| same(&before, &after, std::slice::from_ref(w)).is_err()).count();
    let mut run = Run::new(format!(
        "{} agents, {percent} % lost for {} s: {} elections, {suspicions} suspicions, {stopped} singletons stopped",
        lab.hosts.len(),
        watched.as_secs(),
        after.term - before.term
    ));
    run.took("healthy", Some(settled));
    let deaths = ears.deaths(began);
    run.check(deaths.is_empty(), || format!("declared dead: {deaths:?}"));
    if percent <= NOTHING_STOPS_UP_TO {
        same(&before, &after, workloads).unwrap_or_else(|e| run.problems.push(e));
        let opened = lab.failures(0).map_err(LabError::Broken)?;
        run.check(opened.len() == failures, || format!("a failure was opened: {:?}", opened.first()));
    }
    check_at_most_once(lab, &mut run, workloads)?;
    let votes = |host: usize| after.nodes.iter().any(|n| n.voter && n.name == lab.hosts[host].name);
    let of = |vote| {
        let these = (0..costs.len()).filter(|host| votes(*host) == vote);
        Cost::median(&these.map(|host| costs[host]).collect::<Vec<_>>())
    };
    Ok((run, [of(true), of(false)]))
}
