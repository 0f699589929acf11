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
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant, SystemTime},
};

/// A host that had no work speaks only after half a minute without a leader.
const SPEAKS_WITHIN: Duration = Duration::from_secs(45);
/// The cluster is older than this before it is cut: who was never heard for longer than a moment falls silent unnoticed, and
/// a node that can't tell when it went deaf is held as half connected.
const STANDS_FOR: Duration = Duration::from_secs(2);

pub fn minority(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(FIVE, |lab| {
        lab.route_alerts(0)?;
        let workloads = stampers(lab, FIVE.hosts)?;
        for round in 0..count {
            std::thread::sleep(STANDS_FOR);
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
    forget_last_words(lab)?;
    let (at, cut) = (SystemTime::now(), Instant::now());
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
    let spoke = speak_on_the_spot(lab, few, before, workloads)?;
    run.took("spoke", since(at, spoke.as_ref()));
    lab.net().heal()?;
    let healed = Instant::now();
    let end = lab.until_healthy(SETTLES)?;
    run.took("healed", Some(healed.elapsed()));
    told_of(lab, few, "resolved")?;
    say_that_it_is_over(lab, few)?;
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

/// Each of the few says once that it is cut off, and what it stopped; nobody else speaks. Returns when the last one did.
fn speak_on_the_spot(
    lab: &Lab,
    few: [usize; 2],
    before: &Status,
    workloads: &[String],
) -> Result<Option<String>, LabError> {
    let mut last = None;
    for host in few {
        let name = &lab.hosts[host].name;
        let stopped: Vec<&String> = workloads.iter().filter(|w| runs_on(before, w, name)).collect();
        let said = until_said(lab, host, 1)?;
        let expected = serde_json::json!({
            "alert": "CutOff", "status": "firing", "node": name, "cluster": "lab", "stopped": stopped,
        });
        let differs =
            expected.as_object().is_some_and(|all| all.iter().any(|(key, value)| said[0][key] != *value));
        if differs {
            return Err(LabError::Broken(format!("{name} should say {expected}, not {}", said[0])));
        }
        last = last.max(said[0]["at"].as_str().map(str::to_owned));
    }
    the_others_are_silent(lab, few).map(|()| last)
}

fn say_that_it_is_over(lab: &Lab, few: [usize; 2]) -> Result<(), LabError> {
    for host in few {
        let said = until_said(lab, host, 2)?;
        if said[1]["status"] != "resolved" || said[1]["since"] != said[0]["since"] {
            return Err(LabError::Broken(format!(
                "{} should say that it is over: {said:?}",
                lab.hosts[host].name
            )));
        }
    }
    the_others_are_silent(lab, few)
}

fn the_others_are_silent(lab: &Lab, few: [usize; 2]) -> Result<(), LabError> {
    for host in (0..lab.hosts.len()).filter(|host| !few.contains(host)) {
        let said = last_words(lab, host)?;
        if said.iter().any(|said| !said.is_empty()) {
            return Err(LabError::Broken(format!("{} isn't cut off: {said:?}", lab.hosts[host].name)));
        }
    }
    Ok(())
}

/// So much and no more, in its file and by its command.
fn until_said(lab: &Lab, host: usize, count: usize) -> Result<Vec<Value>, LabError> {
    let what = format!("{count} last words of {}", lab.hosts[host].name);
    wait_until(&what, SPEAKS_WITHIN, || {
        let [said, rung] = last_words(lab, host).map_err(|e| e.to_string())?;
        if said.len() == count && said == rung {
            Ok(said)
        } else {
            Err(format!("{said:?}, and rung {rung:?}"))
        }
    })
}

fn last_words(lab: &Lab, host: usize) -> Result<[Vec<Value>; 2], LabError> {
    let [said, rung] = lab.hosts[host].last_words().map(|path| {
        // Nobody said anything yet.
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        lines.map_err(|e| LabError::Broken(format!("{path:?}: {e} in {text}")))
    });
    Ok([said?, rung?])
}

fn forget_last_words(lab: &Lab) -> Result<(), LabError> {
    for path in lab.hosts.iter().flat_map(|host| host.last_words()) {
        if path.exists() {
            fs::remove_file(&path).map_err(LabError::io(format!("remove {path:?}")))?;
        }
    }
    Ok(())
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
