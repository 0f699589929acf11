//! An agent stops or is gone, and its host lives: nothing that runs there notices, people are told, and only after
//! `agent_timeout` is the work moved. Should the host fall silent meanwhile, the work moves as fast as ever.

use super::{AGENT_TIMEOUT, FIVE, SETTLES, agent::same, check_at_most_once, in_lab, stampers};
use crate::lab::{
    Lab, LabError,
    ears::Ears,
    report::{Report, Run},
    stamp::Stamps,
    state::Status,
    wait::{stays_true, wait_until},
};
use std::time::{Duration, Instant, SystemTime};

const STOPPED: Duration = Duration::from_secs(30);
const KILLED: Duration = Duration::from_secs(20);
/// Both in the short form: `AgentDown` comes after 10 s.
const SHORT: Duration = Duration::from_secs(14);
/// Between two looks that take a process each.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the agent is stopped before its host falls silent.
const STOPPED_BEFORE: Duration = Duration::from_secs(5);
/// The agent was last heard so long before it was stopped, at most.
const COUNTED_FROM: Duration = Duration::from_secs(2);
/// A host's work elsewhere, on a busy machine.
const MOVED_WITHIN: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Stopped,
    Killed,
}

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(FIVE, |lab| {
        lab.route_alerts(0)?;
        let workloads = stampers(lab, FIVE.hosts)?;
        let mut ears = Ears::on(lab, 0..FIVE.hosts)?;
        let short = report.ask.short;
        for round in 0..count {
            let host = with_work(lab, round, &workloads)?;
            let done =
                away(lab, &ears, host, Harm::Stopped, if short { SHORT } else { STOPPED }, &workloads)?;
            report.add(done);
            let host = with_work(lab, round + 1, &workloads)?;
            let done = away(lab, &ears, host, Harm::Killed, if short { SHORT } else { KILLED }, &workloads)?;
            report.add(done);
            ears.open_again(lab)?;
            let host = with_work(lab, round + 2, &workloads)?;
            let done = silent_while_stopped(lab, host, &workloads)?;
            report.add(done);
            if !short {
                let host = with_work(lab, round + 3, &workloads)?;
                let done = stopped_for_good(lab, host, &workloads)?;
                report.add(done);
            }
        }
        Ok(())
    })
}

/// The next host in turn that runs something.
fn with_work(lab: &Lab, round: usize, workloads: &[String]) -> Result<usize, LabError> {
    let status = lab.until_healthy(SETTLES)?;
    let hosts = lab.hosts.len();
    (0..hosts)
        .map(|h| (h + round) % hosts)
        .find(|h| !on(&status, &lab.hosts[*h].name, workloads).is_empty())
        .ok_or_else(|| LabError::Broken(format!("no host has work: {}", status.brief())))
}

fn on<'a>(status: &Status, node: &str, workloads: &'a [String]) -> Vec<&'a String> {
    let runs = |w: &&String| status.running(w).is_some_and(|i| i.node.as_deref() == Some(node));
    workloads.iter().filter(runs).collect()
}

/// The agent is away for a while that is shorter than `agent_timeout`.
fn away(
    lab: &mut Lab,
    ears: &Ears,
    host: usize,
    harm: Harm,
    time: Duration,
    workloads: &[String],
) -> Result<Run, LabError> {
    let before = lab.until_healthy(SETTLES)?;
    let asked = (host + 1) % lab.hosts.len();
    let name = lab.hosts[host].name.clone();
    let leads = before.leader.as_deref() == Some(&name);
    let (how, seen_as) = if harm == Harm::Stopped { ("SIGSTOP", "stalled") } else { ("SIGKILL", "gone") };
    let mut run = Run::new(format!(
        "{how} to the agent of {name}{}, for {} s",
        if leads { " (leader)" } else { "" },
        time.as_secs()
    ));
    lab.receiver.forget();
    let (began, at) = (Instant::now(), SystemTime::now());
    match harm {
        Harm::Stopped => lab.hosts[host].signal(libc::SIGSTOP),
        Harm::Killed => lab.hosts[host].kill(),
    }
    let (mut noticed, mut moves) = (None, None);
    while began.elapsed() < time {
        let now = lab.status(asked).map_err(LabError::Broken)?;
        if noticed.is_none() && now.node(&name).is_some_and(|n| n.agent == seen_as) {
            noticed = Some(began.elapsed());
        }
        let moved = same(&before, &now, workloads).err();
        moves = moves.or_else(|| moved.map(|what| format!("after {:?}: {what}", began.elapsed())));
        std::thread::sleep(LOOK_EVERY);
    }
    run.problems.extend(moves);
    run.took("noticed", noticed);
    run.check(noticed.is_some(), || format!("status never said that its agent is {seen_as}"));
    let fired = lab.receiver.about("AgentDown", &name, "firing");
    run.took("AgentDown", fired.as_ref().ok().and_then(|at_| at_.duration_since(at).ok()));
    fired.err().into_iter().for_each(|e| run.problems.push(e));
    let back = SystemTime::now();
    match harm {
        Harm::Stopped => lab.hosts[host].signal(libc::SIGCONT),
        Harm::Killed => lab.start(host)?,
    }
    let resolved = wait_until("AgentDown to be resolved", SETTLES, || {
        lab.receiver.about("AgentDown", &name, "resolved")
    });
    run.took("resolved", resolved.as_ref().ok().and_then(|at| at.duration_since(back).ok()));
    resolved.err().into_iter().for_each(|e| run.problems.push(e.to_string()));
    let after = lab.until_healthy(SETTLES)?;
    same(&before, &after, workloads).unwrap_or_else(|e| run.problems.push(e));
    let deaths = ears.deaths(at);
    run.check(deaths.is_empty(), || format!("declared dead: {deaths:?}"));
    let others: Vec<_> = lab.receiver.all().into_iter().filter(|a| a.text("alert") != "AgentDown").collect();
    run.check(others.is_empty(), || {
        format!("other alerts: {:?}", others.iter().map(|a| a.text("summary")).collect::<Vec<_>>())
    });
    check_at_most_once(lab, &mut run, workloads)?;
    Ok(run)
}

fn moved(status: &Status, name: &str, work: &[&String]) -> bool {
    status.node(name).is_some_and(|n| n.state == "dead")
        && work
            .iter()
            .all(|w| status.running(w).is_some_and(|i| i.node.as_deref().is_some_and(|n| n != name)))
}

fn gap(lab: &Lab, work: &[&String]) -> Result<Option<Duration>, LabError> {
    let mut longest = None;
    for workload in work {
        longest = longest.max(Stamps::read(&lab.stamps(workload))?.last_gap());
    }
    Ok(longest)
}

/// The agent stops, and a while later the host's cable is pulled.
fn silent_while_stopped(lab: &mut Lab, host: usize, workloads: &[String]) -> Result<Run, LabError> {
    let before = lab.until_healthy(SETTLES)?;
    let asked = (host + 1) % lab.hosts.len();
    let name = lab.hosts[host].name.clone();
    let work = on(&before, &name, workloads);
    let mut run = Run::new(format!("silence {name} while its agent is stopped, {} moved", work.len()));
    lab.hosts[host].signal(libc::SIGSTOP);
    stays_true("every pid and generation", STOPPED_BEFORE, || {
        std::thread::sleep(LOOK_EVERY);
        same(&before, &lab.status(asked)?, workloads)
    })
    .unwrap_or_else(|e| run.problems.push(e.to_string()));
    let silent = Instant::now();
    lab.net().plug(host, false)?;
    lab.until(asked, &format!("the work of {name} elsewhere"), SETTLES, |s| moved(s, &name, &work))?;
    let took = silent.elapsed();
    run.took("moved", Some(took));
    run.took("gap", gap(lab, &work)?);
    run.check(took < MOVED_WITHIN, || format!("moved only after {took:?}"));
    lab.hosts[host].signal(libc::SIGCONT);
    lab.net().plug(host, true)?;
    lab.until_healthy(SETTLES)?;
    check_at_most_once(lab, &mut run, workloads)?;
    Ok(run)
}

/// The agent stops for longer than `agent_timeout`.
fn stopped_for_good(lab: &mut Lab, host: usize, workloads: &[String]) -> Result<Run, LabError> {
    let before = lab.until_healthy(SETTLES)?;
    let asked = (host + 1) % lab.hosts.len();
    let name = lab.hosts[host].name.clone();
    let work = on(&before, &name, workloads);
    let mut run = Run::new(format!("SIGSTOP to the agent of {name} for good, {} moved", work.len()));
    let began = Instant::now();
    lab.hosts[host].signal(libc::SIGSTOP);
    let limit = AGENT_TIMEOUT + SETTLES;
    lab.until(asked, &format!("the work of {name} elsewhere"), limit, |s| {
        std::thread::sleep(LOOK_EVERY);
        moved(s, &name, &work)
    })?;
    let took = began.elapsed();
    run.took("moved", Some(took));
    run.took("gap", gap(lab, &work)?);
    run.check(took + COUNTED_FROM >= AGENT_TIMEOUT, || format!("moved already after {took:?}"));
    lab.hosts[host].signal(libc::SIGCONT);
    lab.until_healthy(SETTLES)?;
    check_at_most_once(lab, &mut run, workloads)?;
    Ok(run)
}
