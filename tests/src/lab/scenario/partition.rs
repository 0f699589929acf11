//! Cuts that leave hosts running: a minority on its own, and a node that hears everyone but the voters.

use super::{FIVE, SETTLES, THREE_OF_FIVE, check_at_most_once, in_lab, stampers};
use crate::lab::{
    Lab, LabError,
    receiver::Received,
    report::{Report, Run},
    stamp::Stamps,
    state::{Status, since},
    wait::wait_until,
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};

pub fn minority(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(FIVE, |lab| {
        lab.route_alerts(0)?;
        let workloads = stampers(lab, FIVE.hosts)?;
        for round in 0..count {
            let status = lab.until_healthy(SETTLES)?;
            // The leader's side in turn: sometimes it is among those who lose it.
            let first = if round.is_multiple_of(2) { lab.leader(0)? } else { (lab.leader(0)? + 1) % 5 };
            let few = [first, (first + 1) % 5];
            let done = cut_off(lab, few, &status, &workloads)?;
            report.add(done);
        }
        Ok(())
    })
}

fn cut_off(lab: &mut Lab, few: [usize; 2], before: &Status, workloads: &[String]) -> Result<Run, LabError> {
    let many: Vec<usize> = (0..5).filter(|h| !few.contains(h)).collect();
    let mut run = Run::new(format!("cut off {} and {}", lab.hosts[few[0]].name, lab.hosts[few[1]].name));
    let moved: Vec<&String> =
        workloads.iter().filter(|w| few.iter().any(|h| runs_on(before, w, &lab.hosts[*h].name))).collect();
    lab.receiver.forget();
    let cut = Instant::now();
    lab.net().drop_between(&few, &many)?;
    lab.net().drop_between(&many, &few)?;
    let after = lab.until(many[0], "the many to take over", SETTLES, |s| {
        s.consistent
            && s.in_state("dead") == 2
            && moved.iter().all(|w| many.iter().any(|h| runs_on(s, w, &lab.hosts[*h].name)))
    })?;
    run.took("moved", Some(cut.elapsed()));
    for host in few {
        let seen = lab.status(host).map_err(LabError::Broken)?;
        run.check(!seen.consistent, || {
            format!("{} answers as if it were the cluster: {}", lab.hosts[host].name, seen.brief())
        });
    }
    let attempt =
        lab.apply(few[0], "minority.toml", "[workload.minority]\nexec.command = [\"/bin/sleep\", \"1\"]\n");
    run.check(attempt.is_err(), || "a minority accepted a write".into());
    run.check(after.in_state("alive") == 3, || format!("not three alive: {}", after.brief()));
    told_of(lab, few, "firing")?;
    // The receiver can be reached from everywhere: what keeps the few silent is that none of them may lead.
    let by = |a: &Received| a.text("leader").to_owned();
    let strangers: Vec<String> =
        lab.receiver.all().iter().map(by).filter(|n| few.iter().any(|h| lab.hosts[*h].name == *n)).collect();
    run.check(strangers.is_empty(), || format!("alerts by those cut off: {strangers:?}"));
    lab.net().heal()?;
    let healed = Instant::now();
    let end = lab.until_healthy(SETTLES)?;
    run.took("healed", Some(healed.elapsed()));
    told_of(lab, few, "resolved")?;
    let all = lab.receiver.all();
    let with = |status: &str| -> BTreeSet<String> {
        all.iter().filter(|a| a.text("status") == status).map(|a| a.text("dedup_key").to_owned()).collect()
    };
    let ids: BTreeSet<&str> = all.iter().map(|a| a.webhook_id.as_str()).collect();
    run.check(with("firing") == with("resolved") && ids.len() == 2 * with("firing").len(), || {
        format!("fired {:?}, over {:?}, {} ids", with("firing"), with("resolved"), ids.len())
    });
    run.check(!end.workloads.iter().any(|w| w.name == "minority"), || "a refused write is there".into());
    check_at_most_once(lab, &mut run, workloads)?;
    Ok(run)
}

/// Waits for a `NodeDead` about each of them.
fn told_of(lab: &Lab, hosts: [usize; 2], status: &str) -> Result<(), LabError> {
    wait_until(&format!("a {status} alert about each that is cut off"), SETTLES, || {
        let all = lab.receiver.all();
        let is_told = |host: &usize| {
            let name = &lab.hosts[*host].name;
            let about = |a: &Received| a.text("alert") == "NodeDead" && a.label("node") == name;
            all.iter().any(|a| about(a) && a.text("status") == status)
        };
        if hosts.iter().all(is_told) { Ok(()) } else { Err(format!("{} alerts", all.len())) }
    })
}

pub fn voters_cut(report: &mut Report, count: usize) -> Result<(), LabError> {
    for _ in 0..count {
        // A new cluster each time: the node that returns has no work that could be lost again.
        in_lab(THREE_OF_FIVE, |lab| {
            stampers(lab, 5)?;
            // Whoever was overlooked in the founding's turmoil gets the next ones.
            lab.until_healthy(SETTLES)?;
            let workloads = stampers(lab, 8)?;
            let done = cut_from_voters(lab, &workloads)?;
            report.add(done);
            Ok(())
        })?;
    }
    Ok(())
}

fn cut_from_voters(lab: &mut Lab, workloads: &[String]) -> Result<Run, LabError> {
    let status = lab.until_healthy(SETTLES)?;
    let numbers = |voter: bool| -> Vec<usize> {
        status.nodes.iter().filter(|n| n.voter == voter).filter_map(|n| lab.number(&n.name).ok()).collect()
    };
    let (voters, others) = (numbers(true), numbers(false));
    if voters.len() != 3 {
        return Err(LabError::Broken(format!("not three voters: {}", status.brief())));
    }
    let runs_one = |h: &&usize| workloads.iter().any(|w| runs_on(&status, w, &lab.hosts[**h].name));
    let Some(node) = others.iter().find(runs_one).copied() else {
        return Err(LabError::Broken(format!("no work outside the voters: {}", status.brief())));
    };
    let name = lab.hosts[node].name.clone();
    let moved: Vec<&String> = workloads.iter().filter(|w| runs_on(&status, w, &name)).collect();
    let mut run = Run::new(format!("{name} hears no voter, {} moved", moved.len()));
    let (at, cut) = (SystemTime::now(), Instant::now());
    lab.net().drop_between(&[node], &voters)?;
    lab.net().drop_between(&voters, &[node])?;
    let after = lab.until(voters[0], "its work elsewhere", SETTLES, |s| {
        moved.iter().all(|w| s.running(w).is_some_and(|i| i.node.as_deref().is_some_and(|n| n != name)))
    })?;
    run.took("moved", Some(cut.elapsed()));
    run.check(after.node(&name).is_some_and(|n| n.state == "alive" || n.state == "suspect"), || {
        format!("{name} was declared dead: {}", after.brief())
    });
    let failures = wait_until("failures of its workloads", SETTLES, || {
        let failures = lab.failures(voters[0])?;
        let closed =
            failures.iter().filter(|f| f.subject.kind == "workload" && f.recovered_at.is_some()).count();
        if closed >= moved.len() { Ok(failures) } else { Err(format!("{failures:?}")) }
    })?;
    run.took("declared", failures.iter().filter_map(|f| since(at, f.declared_at.as_ref())).max());
    run.took("safe", failures.iter().filter_map(|f| since(at, f.safe_at.as_ref())).max());
    let mut gap: Option<Duration> = None;
    for workload in &moved {
        gap = gap.max(Stamps::read(&lab.stamps(workload))?.last_gap());
    }
    run.took("gap", gap);
    lab.net().heal()?;
    let healed = Instant::now();
    lab.until_healthy(SETTLES)?;
    run.took("healed", Some(healed.elapsed()));
    check_at_most_once(lab, &mut run, workloads)?;
    Ok(run)
}

fn runs_on(status: &Status, workload: &str, node: &str) -> bool {
    status.running(workload).is_some_and(|i| i.node.as_deref() == Some(node))
}
