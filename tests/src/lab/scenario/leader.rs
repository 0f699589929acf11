//! The leader is lost: its process alone, or its whole host. How long until a write is accepted again.

use super::{FIVE, SETTLES, in_lab};
use crate::lab::{
    Lab, LabError,
    report::{Report, Run},
    wait::wait_until,
};
use std::time::{Duration, Instant};

/// Generous upper bounds for a busy machine of two cores; the targets are a tenth of them.
const KILLED_LIMIT: Duration = Duration::from_secs(4);
const SILENT_LIMIT: Duration = Duration::from_secs(6);

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
    // A workload that is stopped from the start: a write that starts nothing.
    let file = format!("write-{round}.toml");
    wait_until("a write to be accepted", SETTLES, || {
        let text = format!("[workload.write-{round}]\nexec.command = [\"/bin/sleep\", \"1000000\"]\n");
        lab.apply(asked, &file, &text).map_err(|e| e.to_string())
    })?;
    let accepted = lost.elapsed();
    run.took("accepted", Some(accepted));
    let limit = if killed { KILLED_LIMIT } else { SILENT_LIMIT };
    run.check(accepted < limit, || format!("{accepted:?} without a leader"));
    lab.ask(asked, &["workload", "delete", &format!("write-{round}")])?;
    if killed {
        lab.start(leader)?;
    } else {
        lab.net().heal()?;
    }
    lab.until_healthy(SETTLES)?;
    Ok(run)
}
