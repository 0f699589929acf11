//! Two hundred real agents on this one machine: they see one view soon, settle, find a lost one, and stay calm.
//!
//! Five found the cluster, the rest join by them, in waves: two cores can't start two hundred processes at once. All
//! are asked through `/metrics`, which costs no process a question.

use super::of_founders;
use crate::lab::{
    Lab, LabError,
    cost::{Cost, Meter},
    ears::Ears,
    metrics::Metrics,
    report::{Report, Run},
    wait::wait_until,
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};

const USUAL_AGENTS: usize = 200;
const SHORT_AGENTS: usize = 12;
const FOUNDERS: usize = 5;
/// Started at once; the next ones when these answer, or after `WAVE_WAITS`.
const WAVE: usize = 20;
const WAVE_WAITS: Duration = Duration::from_secs(3);
const USUAL: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(5);
/// The target from the first start on; and when the lab gives up.
const ONE_VIEW_WITHIN: Duration = Duration::from_secs(15);
const GIVES_UP: Duration = Duration::from_secs(180);
/// The start leaves the cores busy, and by the pressure of the last ten seconds agents doubt themselves, not others.
const SETTLES: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const ASKED_AT_ONCE: usize = 20;
/// A suspicion that two looks in a row see at the same agent lasts.
const CALM_LOOK: Duration = Duration::from_secs(5);

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    let watched = report.ask.watch(SHORT, USUAL);
    for agents in report.ask.sizes(&[SHORT_AGENTS], &[USUAL_AGENTS]) {
        for _ in 0..count {
            super::in_empty_lab(of_founders(agents, FOUNDERS.min(agents)), |lab| {
                let done = bootstrap(lab, report.ask.short)?;
                report.add(done);
                if !report.ask.short {
                    std::thread::sleep(SETTLES);
                }
                let done = lose_one(lab)?;
                report.add(done);
                let done = stay_calm(lab, watched, report)?;
                report.add(done);
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn bootstrap(lab: &mut Lab, short: bool) -> Result<Run, LabError> {
    let agents = lab.hosts.len();
    let mut run = Run::new(format!("{agents} agents, {FOUNDERS} founders"));
    let began = Instant::now();
    let mut next = 0;
    while next < agents {
        // The founders are a wave of their own.
        let wave: Vec<usize> = (next..agents).take(if next == 0 { FOUNDERS } else { WAVE }).collect();
        for host in &wave {
            lab.start(*host)?;
        }
        next += wave.len();
        let wait_until = Instant::now() + WAVE_WAITS;
        while Instant::now() < wait_until && lab.metrics(&wave)?.iter().any(Option::is_none) {
            std::thread::sleep(LOOK_EVERY);
        }
    }
    let started = Instant::now();
    run.took("all started", Some(started - began));
    until_one_view(lab, &(0..agents).collect::<Vec<_>>(), agents, 0)?;
    run.took("one view", Some(began.elapsed()));
    run.took("after the last start", Some(started.elapsed()));
    let took = began.elapsed();
    run.check(short || took <= ONE_VIEW_WITHIN, || format!("one view only after {took:?}"));
    Ok(run)
}

/// Waits until all of these see the same view, with so many alive and dead. Who once fits isn't asked again until all
/// do: the questions must not be what keeps the agents busy.
fn until_one_view(lab: &Lab, hosts: &[usize], alive: usize, dead: usize) -> Result<(), LabError> {
    let what = format!("{} agents to see one view of {alive} alive and {dead} dead", hosts.len());
    let mut waiting = hosts.to_vec();
    wait_until(&what, GIVES_UP, || {
        let last_look = waiting.is_empty();
        let asked: Vec<usize> =
            if last_look { hosts.to_vec() } else { waiting.iter().copied().take(ASKED_AT_ONCE).collect() };
        let seen = lab.metrics(&asked).map_err(|e| e.to_string())?;
        let fits = |m: &Metrics| m.has_leader() && m.nodes("alive") == alive && m.nodes("dead") == dead;
        let unfit = |(host, m): (&usize, &Option<Metrics>)| (!m.as_ref().is_some_and(fits)).then_some(*host);
        let late: Vec<usize> = asked.iter().zip(&seen).filter_map(unfit).collect();
        let views: BTreeSet<u64> = seen.iter().flatten().map(Metrics::view).collect();
        if last_look && late.is_empty() && views.len() == 1 {
            return Ok(());
        }
        waiting.retain(|host| late.contains(host) || !asked.contains(host));
        if !late.is_empty() {
            std::thread::sleep(LOOK_EVERY);
        }
        let deaf = seen.iter().filter(|m| m.is_none()).count();
        let (asked, late) = (asked.len(), late.len());
        Err(format!(
            "{late} of {asked} asked don't, {deaf} don't answer, views {views:?}; {} left",
            waiting.len()
        ))
    })
}

fn lose_one(lab: &mut Lab) -> Result<Run, LabError> {
    let agents = lab.hosts.len();
    let victim = agents - 1;
    let name = lab.hosts[victim].name.clone();
    let rest: Vec<usize> = (0..victim).collect();
    let ears = Ears::on(lab, 0..FOUNDERS.min(victim))?;
    wait_until("the watchers to hear the ledger", GIVES_UP, || {
        if ears.since(SystemTime::UNIX_EPOCH).is_empty() { Err("nothing yet".into()) } else { Ok(()) }
    })?;
    let mut run = Run::new(format!("silence {name}"));
    let (lost, at) = (Instant::now(), SystemTime::now());
    lab.net().plug(victim, false)?;
    let dead = wait_until("somebody to say that it is dead", GIVES_UP, || {
        let found = ears.of_kind(at, "node_dead").into_iter().find(|h| h.event.subject == name);
        found.ok_or_else(|| "nobody does".into())
    })?;
    run.took("first dead", dead.at.duration_since(at).ok());
    until_one_view(lab, &rest, agents - 1, 1)?;
    run.took("all looked at", Some(lost.elapsed()));
    let deaths = ears.deaths(at);
    run.check(deaths.len() == 1, || format!("declared dead: {deaths:?}"));
    lab.net().plug(victim, true)?;
    let back = Instant::now();
    until_one_view(lab, &(0..agents).collect::<Vec<_>>(), agents, 0)?;
    run.took("back", Some(back.elapsed()));
    Ok(run)
}

fn stay_calm(lab: &mut Lab, watched: Duration, report: &mut Report) -> Result<Run, LabError> {
    let agents = lab.hosts.len();
    let all: Vec<usize> = (0..agents).collect();
    let seen = lab.metrics(&all)?;
    let leader = seen.iter().position(|m| m.as_ref().is_some_and(Metrics::leads));
    let first = seen.iter().flatten().map(|m| (m.view(), m.term())).max().unwrap_or_default();
    let (before, began) = (lab.meters()?, Instant::now());
    let (mut suspecting, mut looks, mut moments) = (vec![false; agents], 0, 0);
    let mut problems = Vec::new();
    let mut last = first;
    while began.elapsed() < watched {
        std::thread::sleep(CALM_LOOK.min(watched.saturating_sub(began.elapsed())));
        looks += 1;
        for (host, metrics) in lab.metrics(&all)?.into_iter().enumerate() {
            let name = &lab.hosts[host].name;
            let Some(metrics) = metrics else {
                problems.push(format!("{name} didn't answer after {:?}", began.elapsed()));
                continue;
            };
            let suspects = metrics.nodes("suspect") > 0;
            moments += usize::from(suspects);
            if suspects && suspecting[host] {
                problems.push(format!("{name} suspects somebody for longer than a look"));
            }
            suspecting[host] = suspects;
            if metrics.nodes("dead") > 0 {
                problems.push(format!("{name} sees {} dead", metrics.nodes("dead")));
            }
            last = last.max((metrics.view(), metrics.term()));
        }
    }
    let after = lab.meters()?;
    let costs: Vec<Cost> =
        before.iter().zip(&after).map(|(was, is): (&Meter, &Meter)| was.until(is)).collect();
    let role = |which: &dyn Fn(usize) -> bool| {
        Cost::median(&(0..agents).filter(|h| which(*h)).map(|h| costs[h]).collect::<Vec<_>>()).brief()
    };
    report.note(format!("{agents} agents, median of those that don't vote: {}", role(&|h| h >= FOUNDERS)));
    report.note(format!("voters that follow: {}", role(&|h| h < FOUNDERS && Some(h) != leader)));
    report.note(format!("leader: {}", role(&|h| Some(h) == leader)));
    let whole: f64 = costs.iter().map(|c| c.cpu).sum();
    report.note(format!("all together: {whole:.0} % of a core"));
    let mut run = Run::new(format!(
        "calm for {} s: {looks} looks at {agents} agents, {moments} saw a suspicion, {} views, {} elections",
        watched.as_secs(),
        last.0 - first.0,
        last.1 - first.1
    ));
    run.check(last.0 == first.0, || format!("the view changed {} times", last.0 - first.0));
    // The first few say what is wrong.
    let more = problems.len().saturating_sub(10);
    run.problems.extend(problems.into_iter().take(10));
    run.check(more == 0, || format!("and {more} more problems"));
    Ok(run)
}
