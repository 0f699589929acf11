//! One node reaches only half of the others: it may stay or be removed, but the cluster comes to rest, and nobody else
//! pays for it.

use super::{SETTLES, in_lab, of};
use crate::lab::{
    Lab, LabError,
    cost::{Cost, Meter},
    ears::Ears,
    report::{Report, Run},
};
use std::time::{Duration, Instant, SystemTime};

const USUAL: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(8);
const CALM: Duration = Duration::from_secs(4);
/// How much more than in calm the others may send meanwhile, redialling isn't free; and what each may in any trouble.
const STORM: f64 = 3.0;
const BYTES_IN_TROUBLE: f64 = 16_000.0;
const MOST_VIEWS: u64 = 2;

type Figure = fn(&Cost) -> f64;

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    let watched = report.ask.watch(SHORT, USUAL);
    for hosts in report.ask.sizes(&[7], &[10]) {
        in_lab(of(hosts), |lab| {
            let mut ears = Ears::on(lab, 0..hosts)?;
            for round in 0..count {
                ears.open_again(lab)?;
                let done = cut(lab, &ears, round, watched)?;
                report.add(done);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn cut(lab: &mut Lab, ears: &Ears, round: usize, watched: Duration) -> Result<Run, LabError> {
    let before = lab.until_healthy(SETTLES)?;
    let hosts = lab.hosts.len();
    let leader = lab.leader(0)?;
    let half = (leader + 1 + round % (hosts - 1)) % hosts;
    let name = lab.hosts[half].name.clone();
    let others: Vec<usize> = (0..hosts).filter(|h| *h != half).collect();
    // With the leader among those it reaches, and among those it doesn't, in turn.
    let mut deaf: Vec<usize> = others.iter().copied().filter(|h| *h != leader).collect();
    if !round.is_multiple_of(2) {
        deaf.insert(0, leader);
    }
    deaf.truncate(others.len() / 2);
    let calm = sent(lab, CALM)?;
    let began = SystemTime::now();
    lab.net().drop_between(&[half], &deaf)?;
    lab.net().drop_between(&deaf, &[half])?;
    let busy = sent(lab, watched)?;
    let during = lab.status(leader).map_err(LabError::Broken)?;
    lab.net().heal()?;
    let healed = Instant::now();
    let after = lab.until_healthy(SETTLES)?;
    let of_others = |costs: &[Cost], figure: Figure| others.iter().map(|h| figure(&costs[*h])).sum::<f64>();
    let frames: Figure = |c| c.sent_frames;
    let bytes: Figure = |c| c.sent_bytes;
    let views = during.view_epoch - before.view_epoch;
    let suspicions: usize = ears.suspicions(began).values().sum();
    let mut run = Run::new(format!(
        "{name} of {hosts} hears {} of {} for {} s, the leader {}: {views} views, {suspicions} suspicions, {} elections; \
         the others sent {:.0} → {:.0} frames/s, {:.1} → {:.1} KB/s; {name} {:.0} → {:.0} frames/s",
        others.len() - deaf.len(),
        others.len(),
        watched.as_secs(),
        if deaf.contains(&leader) { "not" } else { "too" },
        after.term - before.term,
        of_others(&calm, frames),
        of_others(&busy, frames),
        of_others(&calm, bytes) / 1e3,
        of_others(&busy, bytes) / 1e3,
        calm[half].sent_frames,
        busy[half].sent_frames,
    ));
    run.took("healthy", Some(healed.elapsed()));
    run.check(views <= MOST_VIEWS, || format!("the view changed {views} times"));
    for (figure, allowed) in [(frames, 0.0), (bytes, BYTES_IN_TROUBLE * others.len() as f64)] {
        let (was, is) = (of_others(&calm, figure), of_others(&busy, figure));
        let most = allowed.max(was * STORM);
        run.check(is <= most, || format!("a storm: {was:.0} a second before, {is:.0} meanwhile"));
    }
    let mut deaths = ears.deaths(began);
    deaths.remove(&name);
    run.check(deaths.is_empty(), || format!("others were declared dead: {deaths:?}"));
    Ok(run)
}

/// What each host sends a second meanwhile.
fn sent(lab: &Lab, time: Duration) -> Result<Vec<Cost>, LabError> {
    let before = lab.meters()?;
    std::thread::sleep(time);
    let after: Vec<Meter> = lab.meters()?;
    Ok(before.iter().zip(&after).map(|(was, is)| was.until(is)).collect())
}
