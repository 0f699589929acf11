//! A host falls silent: how long until somebody says so, and until all do. Ours alone, and `serf` in the same namespaces.
//!
//! The cable is pulled, so that nothing refuses and nothing says goodbye; what counts is when the lab hears it.

use super::{SETTLES, in_lab, of};
use crate::lab::{
    Lab, LabError,
    cost::{Cost, Meter, median},
    ears::Ears,
    report::{Report, Run},
    serf::{self, Serf},
    wait::wait_until,
};
use std::time::{Duration, SystemTime};

/// What the others take at most, generously.
const SERF_SETTLES: Duration = Duration::from_secs(90);
/// How long agents idle while what they cost is measured.
const IDLE: Duration = Duration::from_secs(20);
const IDLE_SHORT: Duration = Duration::from_secs(3);
/// How much faster ours is to be, by the medians, on a quiet machine.
const FASTER: f64 = 5.0;

type Figure = fn(&Noticed) -> Option<Duration>;

/// From the silence on.
#[derive(Clone, Copy, Debug)]
struct Noticed {
    suspected: Option<Duration>,
    first: Option<Duration>,
    all: Option<Duration>,
    leader: bool,
}

/// One product in a cluster of one size.
struct Measured {
    name: &'static str,
    hosts: usize,
    cost: Cost,
    rounds: Vec<Noticed>,
}

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    for hosts in report.ask.sizes(&[3], &[3, 10]) {
        in_lab(of(hosts), |lab| {
            let ours = ours(lab, report, count)?;
            report.note(ours.brief());
            Ok(())
        })?;
    }
    Ok(())
}

pub fn versus_serf(report: &mut Report, count: usize) -> Result<(), LabError> {
    let mut all = Vec::new();
    for hosts in report.ask.sizes(&[3], &[3, 10]) {
        in_lab(of(hosts), |lab| {
            let ours = ours(lab, report, count)?;
            for host in &mut lab.hosts {
                host.terminate()?;
            }
            lab.end_helpers();
            let theirs = theirs(lab, report, count)?;
            compare(report, &ours, &theirs);
            all.extend([ours, theirs]);
            Ok(())
        })?;
    }
    if report.ask.markdown {
        println!("\n{}", table(&all, count));
    }
    Ok(())
}

fn compare(report: &mut Report, ours: &Measured, theirs: &Measured) {
    report.note(ours.brief());
    report.note(theirs.brief());
    let ratio = |figure: Figure| theirs.median(figure) / ours.median(figure);
    let (first, all) = (ratio(|n| n.first), ratio(|n| n.all));
    report.note(format!(
        "{} nodes: ours is {first:.1} × faster until the first says dead, {all:.1} × until all do",
        ours.hosts
    ));
    let least = if report.ask.short { 1.0 } else { FASTER };
    let mut run = Run::new(format!("{} nodes, at least {least} ×", ours.hosts));
    run.check(first >= least && all >= least, || format!("only {first:.1} × and {all:.1} ×"));
    report.add(run);
}

fn ours(lab: &mut Lab, report: &mut Report, count: usize) -> Result<Measured, LabError> {
    let hosts = lab.hosts.len();
    lab.until_healthy(SETTLES)?;
    let before = lab.meters()?;
    std::thread::sleep(report.ask.watch(IDLE_SHORT, IDLE));
    let cost = cost(&before, &lab.meters()?);
    let ears = Ears::on(lab, 0..hosts)?;
    wait_until("every watcher to hear the ledger", SETTLES, || {
        let heard = ears.since(SystemTime::UNIX_EPOCH);
        let deaf = (0..hosts).find(|h| !heard.iter().any(|e| e.by == *h));
        deaf.map_or(Ok(()), |host| Err(format!("nothing from {}", lab.hosts[host].name)))
    })?;
    let mut rounds = Vec::new();
    for round in 0..count {
        let victim = round % hosts;
        let leader = lab.leader((victim + 1) % hosts)?;
        let noticed = silence_ours(lab, &ears, victim, leader)?;
        report.add(noticed.row("holdfast", hosts, victim));
        rounds.push(noticed);
    }
    Ok(Measured { name: "holdfast", hosts, cost, rounds })
}

fn silence_ours(lab: &mut Lab, ears: &Ears, victim: usize, leader: usize) -> Result<Noticed, LabError> {
    let name = lab.hosts[victim].name.clone();
    let others = lab.hosts.len() - 1;
    let lost = SystemTime::now();
    lab.net().plug(victim, false)?;
    let heard = |kind: &str| {
        let all = ears.of_kind(lost, kind);
        all.into_iter().filter(|h| h.event.subject == name && h.by != victim).collect::<Vec<_>>()
    };
    let dead = wait_until(&format!("all others to say that {name} is dead"), SETTLES, || {
        let dead = heard("node_dead");
        if dead.len() >= others { Ok(dead) } else { Err(format!("{} of {others} say so", dead.len())) }
    })?;
    let suspected = heard("node_suspected");
    let after = |at: Option<SystemTime>| at?.duration_since(lost).ok();
    let noticed = Noticed {
        suspected: after(suspected.first().map(|h| h.at)),
        first: after(dead.first().map(|h| h.at)),
        all: after(dead.last().map(|h| h.at)),
        leader: victim == leader,
    };
    lab.net().plug(victim, true)?;
    lab.trust_again((victim + 1) % lab.hosts.len(), &name, SETTLES)?;
    lab.until_healthy(SETTLES)?;
    Ok(noticed)
}

fn theirs(lab: &mut Lab, report: &mut Report, count: usize) -> Result<Measured, LabError> {
    let hosts = lab.hosts.len();
    let serf = Serf::start(lab.net(), hosts)?;
    serf.until_whole(lab.net(), SERF_SETTLES)?;
    let meters = |lab: &mut Lab| -> Result<Vec<Meter>, LabError> {
        let traffic = lab.net().traffic()?;
        (0..hosts).map(|h| Meter::read(&[serf.pid(h)], traffic[h])).collect()
    };
    let before = meters(lab)?;
    std::thread::sleep(report.ask.watch(IDLE_SHORT, IDLE));
    let cost = cost(&before, &meters(lab)?);
    let mut rounds = Vec::new();
    for round in 0..count {
        let victim = round % hosts;
        let lost = SystemTime::now();
        lab.net().plug(victim, false)?;
        let failed = wait_until("all others to say that it failed", SERF_SETTLES, || {
            let said = serf.said("EventMemberFailed:", victim, lost);
            let all: Option<Vec<SystemTime>> = said.iter().copied().collect();
            all.ok_or_else(|| format!("{said:?}"))
        })?;
        let after = |at: Option<SystemTime>| at?.duration_since(lost).ok();
        let noticed = Noticed {
            suspected: after(serf.said("Suspect", victim, lost).into_iter().flatten().min()),
            first: after(failed.iter().copied().min()),
            all: after(failed.iter().copied().max()),
            leader: false,
        };
        report.add(noticed.row("serf", hosts, victim));
        rounds.push(noticed);
        lab.net().plug(victim, true)?;
        serf.until_whole(lab.net(), SERF_SETTLES)?;
    }
    Ok(Measured { name: "serf", hosts, cost, rounds })
}

fn cost(before: &[Meter], after: &[Meter]) -> Cost {
    Cost::median(&before.iter().zip(after).map(|(was, is)| was.until(is)).collect::<Vec<_>>())
}

impl Noticed {
    fn row(&self, product: &'static str, hosts: usize, victim: usize) -> Run {
        let leader = if self.leader { " (leader)" } else { "" };
        let mut run = Run::new(format!("{product}, {hosts} nodes, n{}{leader}", victim + 1));
        let ours = product == "holdfast";
        let of = |ours_is, theirs_is| if ours { ours_is } else { theirs_is };
        run.took(of("suspected", "serf suspected"), self.suspected);
        run.took(of("first dead", "serf first failed"), self.first);
        run.took(of("all dead", "serf all failed"), self.all);
        run
    }
}

impl Measured {
    /// In milliseconds.
    fn median(&self, figure: Figure) -> f64 {
        median(self.times(figure))
    }

    fn times(&self, figure: Figure) -> Vec<f64> {
        self.rounds.iter().filter_map(figure).map(|t| t.as_secs_f64() * 1e3).collect()
    }

    fn shown(&self, figure: Figure) -> String {
        let worst = self.times(figure).into_iter().fold(f64::NAN, f64::max);
        format!("{:.2} ({:.2})", self.median(figure) / 1e3, worst / 1e3)
    }

    fn brief(&self) -> String {
        format!(
            "{}, {} nodes, s, median (max) of {}: suspected {}, first dead {}, all dead {}; each: {}",
            self.name,
            self.hosts,
            self.rounds.len(),
            self.shown(|n| n.suspected),
            self.shown(|n| n.first),
            self.shown(|n| n.all),
            self.cost.brief()
        )
    }
}

/// For docs/BENCHMARKS.md.
fn table(all: &[Measured], count: usize) -> String {
    let mut text = format!(
        "A silent host (link down), profile `lan`, one network namespace a node, serf {}; seconds, median (max) of {count}. \
         Made by `cargo lab {}`.\n\n\
         | | nodes | first suspects | first says dead | all say dead | memory | CPU, of a core | sent, bytes/s | received |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        serf::version(),
        std::env::args().skip(1).collect::<Vec<_>>().join(" ")
    );
    for m in all {
        text += &format!(
            "| {} | {} | {} | {} | {} | {:.0} MB | {:.2} % | {:.0} | {:.0} |\n",
            m.name,
            m.hosts,
            m.shown(|n| n.suspected),
            m.shown(|n| n.first),
            m.shown(|n| n.all),
            m.cost.resident_mb,
            m.cost.cpu,
            m.cost.sent_bytes,
            m.cost.received_bytes
        );
    }
    for pair in all.chunks_exact(2) {
        let ratio = |figure: Figure| pair[1].median(figure) / pair[0].median(figure);
        let (suspects, first, all) = (ratio(|n| n.suspected), ratio(|n| n.first), ratio(|n| n.all));
        text += &format!(
            "| serf ÷ holdfast | {} | {suspects:.1} | {first:.1} | {all:.1} | {:.1} | {:.1} | {:.1} | {:.1} |\n",
            pair[0].hosts,
            pair[1].cost.resident_mb / pair[0].cost.resident_mb,
            pair[1].cost.cpu / pair[0].cost.cpu,
            pair[1].cost.sent_bytes / pair[0].cost.sent_bytes,
            pair[1].cost.received_bytes / pair[0].cost.received_bytes
        );
    }
    text
}
