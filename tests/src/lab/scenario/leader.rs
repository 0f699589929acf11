//! The leader is lost: its process alone, or its whole host. How long until a write is accepted again.

use super::{FIVE, SETTLES, in_lab};
use crate::lab::{
    Lab, LabError,
    report::{Report, Run},
    wait::wait_until,
};
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// Generous upper bounds for a busy machine of two cores; the targets are a tenth of them.
const KILLED_LIMIT: Duration = Duration::from_secs(4);
const SILENT_LIMIT: Duration = Duration::from_secs(6);

/// A new client this often, and so many at most.
const ASK_EVERY: Duration = Duration::from_millis(100);
const MOST_CLIENTS: usize = 100;

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(FIVE, |lab| {
        for round in 0..count {
            let done = lose(lab, round)?;
            report.add(done);
        }
        Ok(())
    })
}

fn lose(lab: &mut Lab, round: usize) -> Result<Run, LabError> {
    lab.until_healthy(SETTLES)?;
    let leader = lab.leader(0)?;
    let asked = (leader + 1) % lab.hosts.len();
    let killed = round.is_multiple_of(2);
    let name = lab.hosts[leader].name.clone();
    let mut run = Run::new(format!("{} {name}", if killed { "kill the agent of" } else { "silence" }));
    let lost = Instant::now();
    if killed {
        lab.hosts[leader].kill();
    } else {
        lab.net().silence(leader)?;
    }
    let accepted = write_until_accepted(lab, asked, round, lost)?;
    run.took("accepted", Some(accepted.newest));
    run.took("first asked", accepted.first);
    let accepted = accepted.newest;
    let limit = if killed { KILLED_LIMIT } else { SILENT_LIMIT };
    run.check(accepted < limit, || format!("{accepted:?} without a leader"));
    if killed {
        lab.start(leader)?;
    } else {
        lab.net().heal()?;
    }
    lab.until_healthy(SETTLES)?;
    Ok(run)
}

/// Until when nothing was accepted.
struct Accepted {
    /// By any of the clients that asked anew every tenth of a second.
    newest: Duration,
    /// By the client that asked in the moment of the loss, if it was answered at all.
    first: Option<Duration>,
}

/// Clients ask one after the other, and none waits for the one before: a request that hangs is that client's loss.
fn write_until_accepted(lab: &Lab, asked: usize, round: usize, lost: Instant) -> Result<Accepted, LabError> {
    let answers = Mutex::new(Vec::new());
    let ask = |attempt: usize| {
        let name = format!("write-{round}-{attempt}");
        let text = format!("[workload.{name}]\nexec.command = [\"/bin/sleep\", \"1000000\"]\n");
        let done = lab.apply(asked, &format!("{name}.toml"), &text).map(|()| lost.elapsed());
        answers.lock().expect("no holder panics").push((attempt, done));
    };
    let accepted = || {
        let answers = answers.lock().expect("no holder panics");
        answers
            .iter()
            .filter_map(|(attempt, done)| Some((*attempt, *done.as_ref().ok()?)))
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        for attempt in 0..MOST_CLIENTS {
            scope.spawn({
                let ask = &ask;
                move || ask(attempt)
            });
            let done = wait_until("a client's answer", ASK_EVERY, || match accepted().is_empty() {
                false => Ok(()),
                true => Err(String::new()),
            });
            if done.is_ok() {
                break;
            }
        }
    });
    let all = accepted();
    let Some(newest) = all.iter().map(|(_, time)| *time).min() else {
        return Err(LabError::Broken(format!(
            "no write was accepted: {:?}",
            answers.lock().map(|a| a.len())
        )));
    };
    for (attempt, _) in &all {
        lab.ask(asked, &["workload", "delete", &format!("write-{round}-{attempt}")])?;
    }
    Ok(Accepted { newest, first: all.iter().find(|(attempt, _)| *attempt == 0).map(|(_, time)| *time) })
}
