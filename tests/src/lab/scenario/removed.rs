//! An operator removes a node, a dead one and one whose agent runs: nobody's old knowledge brings it back, not even that
//! of who was away meanwhile, nor its own agent, until that is started again.

use super::{FIVE, SETTLES, in_lab};
use crate::lab::{
    Lab, LabError,
    report::{Report, Run},
    wait::{stays_true, wait_until},
};
use std::time::{Duration, Instant};

/// Long enough for several exchanges of everything that agents know.
const WATCHED: Duration = Duration::from_secs(20);
const WATCHED_SHORT: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    let watched = report.ask.watch(WATCHED_SHORT, WATCHED);
    for _ in 0..count {
        in_lab(FIVE, |lab| {
            let done = remove(lab, watched)?;
            report.add(done);
            let done = remove_living(lab, watched)?;
            report.add(done);
            Ok(())
        })?;
    }
    Ok(())
}

fn remove(lab: &mut Lab, watched: Duration) -> Result<Run, LabError> {
    lab.until_healthy(SETTLES)?;
    let leader = lab.leader(0)?;
    // Neither of them leads: an election is another scenario.
    let [victim, away] = [(leader + 1) % 5, (leader + 2) % 5];
    let knowing: Vec<usize> = (0..5).filter(|h| *h != victim).collect();
    let name = lab.hosts[victim].name.clone();
    let mut run =
        Run::new(format!("{name} removed while {} was away, {} s", lab.hosts[away].name, watched.as_secs()));
    lab.power_off(victim)?;
    lab.until(leader, "it to be dead", SETTLES, |s| s.node(&name).is_some_and(|n| n.state == "dead"))?;
    // Who knows it as dead, and not that it was removed.
    lab.net().silence(away)?;
    lab.until(leader, "the other to be dead", SETTLES, |s| s.in_state("dead") == 2)?;
    lab.ask(leader, &["node", "remove", &name])?;
    lab.net().heal()?;
    let healed = Instant::now();
    // What each knows itself: through the leader all would say the same.
    wait_until("everybody to list four", SETTLES, || lists(lab, &knowing, 4))?;
    run.took("heard", Some(healed.elapsed()));
    stay_four(lab, &knowing, watched, &mut run);
    // Only its own agent, started again, may bring it back: as a new member.
    let started = Instant::now();
    lab.power_on(victim)?;
    joins_anew(lab, leader, started, &mut run);
    Ok(run)
}

fn remove_living(lab: &mut Lab, watched: Duration) -> Result<Run, LabError> {
    lab.until_healthy(SETTLES)?;
    let leader = lab.leader(0)?;
    let victim = (leader + 1) % 5;
    let others: Vec<usize> = (0..5).filter(|h| *h != victim).collect();
    let name = lab.hosts[victim].name.clone();
    let mut run = Run::new(format!("{name} removed while its agent runs, {} s", watched.as_secs()));
    let removed = Instant::now();
    lab.ask(leader, &["node", "remove", &name])?;
    wait_until("everybody to list four", SETTLES, || lists(lab, &others, 4))?;
    run.took("unlisted", Some(removed.elapsed()));
    stay_four(lab, &others, watched, &mut run);
    let says = format!("{name} was removed from the cluster while its agent ran");
    let told = lab.cli(victim, &["status"])?.stdout;
    run.check(told.contains(&says), || format!("its own status doesn't say that it was removed: {told}"));
    lab.hosts[victim].terminate()?;
    let started = Instant::now();
    lab.start(victim)?;
    joins_anew(lab, leader, started, &mut run);
    Ok(run)
}

fn stay_four(lab: &Lab, hosts: &[usize], watched: Duration, run: &mut Run) {
    stays_true("four listed by everybody", watched, || {
        std::thread::sleep(LOOK_EVERY);
        lists(lab, hosts, 4)
    })
    .unwrap_or_else(|e| run.problems.push(e.to_string()));
}

fn joins_anew(lab: &Lab, leader: usize, started: Instant, run: &mut Run) {
    let joined = lab.until(leader, "it to join anew", SETTLES, |s| s.in_state("alive") == 5);
    joined.err().into_iter().for_each(|e| run.problems.push(e.to_string()));
    run.took("joined anew", Some(started.elapsed()));
}

/// Whether each of these hosts lists so many nodes, in whatever state.
fn lists(lab: &Lab, hosts: &[usize], count: usize) -> Result<(), String> {
    let metrics = lab.metrics(hosts).map_err(|e| e.to_string())?;
    for (host, metrics) in hosts.iter().zip(metrics) {
        let name = &lab.hosts[*host].name;
        let metrics = metrics.ok_or_else(|| format!("{name} doesn't answer"))?;
        let listed: usize = ["alive", "suspect", "dead", "left"].iter().map(|s| metrics.nodes(s)).sum();
        if listed != count {
            return Err(format!("{name} lists {listed}"));
        }
    }
    Ok(())
}
