//! A majority of the voters' agents is killed or frozen: the one that is left must not call them there.

use super::{SETTLES, THREE_HERE, in_lab};
use crate::lab::{
    Lab, LabError,
    report::{Report, Run},
    state::Status,
};
use std::time::Instant;

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(THREE_HERE, |lab| {
        for round in 0..count {
            let done = without_a_majority(lab, round)?;
            report.add(done);
        }
        Ok(())
    })
}

fn without_a_majority(lab: &mut Lab, round: usize) -> Result<Run, LabError> {
    lab.until_healthy(SETTLES)?;
    let left = round % 3;
    let lost = [(left + 1) % 3, (left + 2) % 3];
    let (signal, agent, how) = match round % 2 {
        0 => (libc::SIGKILL, "gone", "killed"),
        _ => (libc::SIGSTOP, "stalled", "frozen"),
    };
    let name = lab.hosts[left].name.clone();
    let mut run = Run::new(format!("{name} alone, the others {how}"));
    lost.iter().for_each(|host| lab.hosts[*host].signal(signal));
    let began = Instant::now();
    let told = lab.until(left, "the others' agents to be told in trouble", SETTLES, |s| {
        s.leader.is_none()
            && lost.iter().all(|h| s.node(&lab.hosts[*h].name).is_some_and(|n| n.agent == agent))
    })?;
    run.took("told", Some(began.elapsed()));
    check_words(lab, left, &told, &mut run)?;
    for host in lost {
        if signal == libc::SIGSTOP {
            lab.hosts[host].signal(libc::SIGCONT);
        } else {
            lab.hosts[host].ends()?;
            lab.start(host)?;
        }
    }
    let back = Instant::now();
    let healed = lab.until_healthy(SETTLES)?;
    run.took("healthy", Some(back.elapsed()));
    run.check(healed.voters_online == 3, || format!("not all voters are back: {}", healed.brief()));
    Ok(run)
}

/// What a person reads, and what a script gets.
fn check_words(lab: &Lab, left: usize, told: &Status, run: &mut Run) -> Result<(), LabError> {
    let said = told.reasons.join("\n");
    run.check(told.voters_online == 1 && said.contains("hears 1 of 3 voters and 2 are needed"), || {
        format!("{} of 3 voters online: {said}", told.voters_online)
    });
    run.check(!said.contains("within seconds"), || format!("it promises an election: {said}"));
    let done = lab.cli(left, &["status"])?;
    run.check(done.code == Some(2) && done.stdout.starts_with("CRITICAL"), || {
        format!("exit code {:?}: {}", done.code, done.stdout)
    });
    Ok(())
}
