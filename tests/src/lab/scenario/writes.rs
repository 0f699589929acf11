//! Three agents are killed all at once while clients write; what was acknowledged must be there afterwards.

use super::{SETTLES, THREE_HERE, in_lab};
use crate::lab::{
    Lab, LabError,
    report::{Report, Run},
};
use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// Writes that are acknowledged before the agents die, in the middle of the next ones.
const WRITES: usize = 8;

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(THREE_HERE, |lab| {
        let mut acknowledged = BTreeSet::new();
        for round in 0..count {
            let done = kill_during_writes(lab, round, &mut acknowledged)?;
            report.add(done);
        }
        Ok(())
    })
}

fn kill_during_writes(
    lab: &mut Lab,
    round: usize,
    acknowledged: &mut BTreeSet<String>,
) -> Result<Run, LabError> {
    lab.until_healthy(SETTLES)?;
    let said = Mutex::new(BTreeSet::new());
    let stop = AtomicBool::new(false);
    let seen: &Lab = lab;
    let before = acknowledged.len();
    std::thread::scope(|scope| {
        for writer in 0..seen.hosts.len() {
            let (said, stop) = (&said, &stop);
            scope.spawn(move || write(seen, round, writer, said, stop));
        }
        let enough = super::super::wait::wait_until("enough acknowledged writes", SETTLES, || {
            let count = said.lock().expect("no holder panics").len();
            if count >= WRITES { Ok(()) } else { Err(format!("{count}")) }
        });
        for host in &seen.hosts {
            host.signal(libc::SIGKILL);
        }
        stop.store(true, Ordering::Relaxed);
        enough
    })?;
    acknowledged.append(&mut said.into_inner().expect("no holder panics"));
    let mut run = Run::new(format!("SIGKILL to all, {} new writes", acknowledged.len() - before));
    for host in &mut lab.hosts {
        host.ends()?;
    }
    let began = Instant::now();
    for host in 0..lab.hosts.len() {
        lab.start(host)?;
    }
    let status = lab.until_healthy(SETTLES)?;
    run.took("healthy", Some(began.elapsed()));
    let there: BTreeSet<&str> = status.workloads.iter().map(|w| w.name.as_str()).collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|w| !there.contains(w.as_str())).collect();
    run.check(lost.is_empty(), || format!("acknowledged and lost: {lost:?}"));
    Ok(run)
}

/// Applies one workload after the other until told to stop, noting what was acknowledged.
fn write(lab: &Lab, round: usize, writer: usize, said: &Mutex<BTreeSet<String>>, stop: &AtomicBool) {
    for number in 0.. {
        let name = format!("w{round}-{writer}-{number}");
        let text = format!("[workload.{name}]\nexec.command = [\"/bin/sleep\", \"1000000\"]\n");
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if lab.apply(writer, &format!("{name}.toml"), &text).is_ok() {
            said.lock().expect("no holder panics").insert(name);
        }
    }
}
