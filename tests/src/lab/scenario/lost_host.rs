//! A host goes silent: by losing its power, or by a cut that leaves everything on it running.

use super::{FIVE, SETTLES, check_at_most_once, in_lab, stampers};
use crate::lab::{
    Lab, LabError,
    receiver::Received,
    report::{Report, Run},
    stamp::{Stamps, boot_time_ns},
    state::{Failure, Status, since},
    wait::{stays_true, wait_until},
};
use std::time::{Duration, SystemTime};

/// Every fourth run is the leader's host.
const LEADER_EVERY: usize = 4;
/// After the resolved alert nothing more may come.
const QUIET: Duration = Duration::from_millis(500);

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(FIVE, |lab| {
        lab.route_alerts(0)?;
        let workloads = stampers(lab, FIVE.hosts)?;
        for round in 0..count {
            let done = lose(lab, round, &workloads)?;
            report.add(done);
        }
        Ok(())
    })
}

fn lose(lab: &mut Lab, round: usize, workloads: &[String]) -> Result<Run, LabError> {
    let status = lab.until_healthy(SETTLES)?;
    let leader = lab.number(status.leader.as_deref().unwrap_or_default())?;
    let victim =
        victim(lab, &status, workloads, (round % LEADER_EVERY == LEADER_EVERY / 2).then_some(leader), round)?;
    let name = lab.hosts[victim].name.clone();
    let moved: Vec<(String, u64)> = workloads
        .iter()
        .filter_map(|w| status.running(w).map(|i| (w, i)))
        .filter(|(_, i)| i.node.as_deref() == Some(&name))
        .map(|(w, i)| (w.clone(), i.generation))
        .collect();
    let asked = (victim + 1) % lab.hosts.len();
    lab.receiver.forget();
    let power = round.is_multiple_of(2);
    let how = if power { "power off" } else { "cut" };
    let mut run = Run::new(format!(
        "{how} {name}{}, {} moved",
        if victim == leader { " (leader)" } else { "" },
        moved.len()
    ));

    let (lost_at, lost_ns) = (SystemTime::now(), boot_time_ns());
    if power {
        lab.power_off(victim)?;
    } else {
        lab.net().silence(victim)?;
    }
    lab.until(asked, &format!("the work of {name} elsewhere"), SETTLES, |s| {
        s.node(&name).is_some_and(|n| n.state == "dead") && all_moved(s, &moved, &name)
    })?;
    let failures = wait_until("the workloads' failures to be closed", SETTLES, || {
        let new = since_loss(lab.failures(asked)?, lost_at);
        let closed = new.iter().filter(|f| f.subject.kind == "workload" && f.recovered_at.is_some()).count();
        if closed == moved.len() { Ok(new) } else { Err(format!("{new:?}")) }
    })?;
    times(lab, &mut run, &failures, lost_at, lost_ns, &moved)?;
    let fired = wait_until("a NodeDead alert", SETTLES, || node_dead(lab, "firing"))?;
    run.took("alert", fired.at.duration_since(lost_at).ok());
    run.check(fired.signed, || "the alert's signature is wrong".into());

    let back_at = SystemTime::now();
    if power {
        lab.power_on(victim)?;
    } else {
        lab.net().heal()?;
    }
    let resolved = wait_until("the resolved alert", SETTLES, || node_dead(lab, "resolved"))?;
    run.took("resolved", resolved.at.duration_since(back_at).ok());
    run.check(resolved.text("dedup_key") == fired.text("dedup_key"), || "resolved under another key".into());
    lab.trust_again(asked, &name, SETTLES)?;
    lab.until_healthy(SETTLES)?;
    stays_true("the number of alerts", QUIET, || match lab.receiver.all().len() {
        2 => Ok(()),
        n => Err(format!("{n} alerts, {:?}", lab.receiver.all().iter().map(|a| &a.body).collect::<Vec<_>>())),
    })
    .unwrap_or_else(|e| run.problems.push(e.to_string()));
    check_at_most_once(lab, &mut run, workloads)?;
    Ok(run)
}

fn node_dead(lab: &Lab, status: &str) -> Result<Received, String> {
    let found =
        lab.receiver.all().into_iter().find(|a| a.text("alert") == "NodeDead" && a.text("status") == status);
    found.ok_or_else(|| "none came".to_owned())
}

/// The leader's host if it is wanted and has work; otherwise each host with work in turn.
fn victim(
    lab: &Lab,
    status: &Status,
    workloads: &[String],
    leader: Option<usize>,
    round: usize,
) -> Result<usize, LabError> {
    let mut busy: Vec<usize> =
        workloads.iter().filter_map(|w| lab.number(status.running(w)?.node.as_deref()?).ok()).collect();
    busy.sort_unstable();
    busy.dedup();
    match leader.filter(|l| busy.contains(l)).or_else(|| busy.get(round % busy.len().max(1)).copied()) {
        Some(host) => Ok(host),
        None => Err(LabError::Broken(format!("no host has work: {}", status.brief()))),
    }
}

fn all_moved(status: &Status, moved: &[(String, u64)], from: &str) -> bool {
    moved.iter().all(|(workload, generation)| {
        status
            .running(workload)
            .is_some_and(|i| i.generation > *generation && i.node.as_deref().is_some_and(|n| n != from))
    })
}

fn since_loss(failures: Vec<Failure>, lost_at: SystemTime) -> Vec<Failure> {
    failures.into_iter().filter(|f| since(lost_at, f.declared_at.as_ref()).is_some()).collect()
}

fn times(
    lab: &Lab,
    run: &mut Run,
    failures: &[Failure],
    lost_at: SystemTime,
    lost_ns: u64,
    moved: &[(String, u64)],
) -> Result<(), LabError> {
    let worst = |time: fn(&Failure) -> Option<&String>, kind: &str| {
        let of_kind = failures.iter().filter(|f| f.subject.kind == kind);
        of_kind.filter_map(|f| since(lost_at, time(f))).max()
    };
    run.took("suspected", worst(|f| f.detected_at.as_ref(), "node"));
    run.took("declared", worst(|f| f.declared_at.as_ref(), "node"));
    run.took("safe", worst(|f| f.safe_at.as_ref(), "workload"));
    run.took("started", worst(|f| f.started_at.as_ref(), "workload"));
    let (mut silence, mut gap) = (None, None);
    for (workload, _) in moved {
        let stamps = Stamps::read(&lab.stamps(workload))?;
        let first =
            stamps.newest().map(|(_, span)| Duration::from_nanos(span.first_ns.saturating_sub(lost_ns)));
        silence = silence.max(first);
        gap = gap.max(stamps.last_gap());
    }
    run.took("serving", silence);
    run.took("gap", gap);
    let nodes = failures.iter().filter(|f| f.subject.kind == "node").count();
    run.check(nodes == 1, || format!("{nodes} failures of nodes, not one"));
    Ok(())
}
