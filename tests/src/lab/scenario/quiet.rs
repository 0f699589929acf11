//! Nothing is lost here: what an idle agent costs, and whether bad packets alone do any harm.

use super::{FIVE, SETTLES, agent::same, check_at_most_once, in_lab, stampers};
use crate::lab::{
    Lab, LabError,
    report::{Report, Run},
};
use std::{
    fs,
    time::{Duration, Instant},
};

/// How long each run watches.
const WATCHED: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOSS_PERCENT: u8 = 20;
/// Generous: the target is 25 MB, of a release build.
const MOST_RESIDENT_MB: u64 = 150;

/// One packet of five is lost everywhere: nobody dies of it, and nothing that runs is stopped.
pub fn loss(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(FIVE, |lab| {
        let workloads = stampers(lab, FIVE.hosts)?;
        for _ in 0..count {
            let before = lab.until_healthy(SETTLES)?;
            let failures = lab.failures(0).map_err(LabError::Broken)?.len();
            let mut run = Run::new(format!("{LOSS_PERCENT} % lost"));
            lab.net().lose(LOSS_PERCENT)?;
            pass(WATCHED);
            lab.net().heal()?;
            let healed = Instant::now();
            let after = lab.until_healthy(SETTLES)?;
            run.took("healthy", Some(healed.elapsed()));
            same(&before, &after, &workloads).unwrap_or_else(|e| run.problems.push(e));
            let opened = lab.failures(0).map_err(LabError::Broken)?;
            run.check(opened.len() == failures, || format!("a failure was opened: {:?}", opened.first()));
            check_at_most_once(lab, &mut run, &workloads)?;
            report.add(run);
        }
        Ok(())
    })
}

/// What each agent of five costs while one singleton runs on it.
pub fn idle(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(FIVE, |lab| {
        stampers(lab, FIVE.hosts)?;
        for _ in 0..count {
            lab.until_healthy(SETTLES)?;
            let leader = lab.leader(0)?;
            let before = costs(lab)?;
            let began = Instant::now();
            pass(WATCHED);
            let (after, over) = (costs(lab)?, began.elapsed().as_secs_f64());
            for (host, (was, is)) in before.iter().zip(&after).enumerate() {
                let cpu = (is.cpu_ticks - was.cpu_ticks) as f64 / ticks_per_second() / over * 100.0;
                let wire = (is.wire_bytes - was.wire_bytes) as f64 / over / 1000.0;
                let role = if host == leader { " (leader)" } else { "" };
                let mut run = Run::new(format!(
                    "{}{role}: {} MB, {cpu:.1} % of a core, {wire:.1} KB/s sent",
                    lab.hosts[host].name,
                    is.resident_kb / 1024
                ));
                run.check(is.resident_kb / 1024 < MOST_RESIDENT_MB, || {
                    "too much memory for an idle agent".into()
                });
                report.add(run);
            }
        }
        Ok(())
    })
}

struct Cost {
    resident_kb: u64,
    cpu_ticks: u64,
    /// Sent by the host, as its end of the bridge counts them: frames with all headers.
    wire_bytes: u64,
}

fn costs(lab: &Lab) -> Result<Vec<Cost>, LabError> {
    let network = lab.network.as_ref().expect("this scenario asked for namespaces");
    lab.hosts
        .iter()
        .enumerate()
        .map(|(at, host)| {
            let pid = host.pid().ok_or_else(|| LabError::Broken(format!("{} runs no agent", host.name)))?;
            let read = |file: &str| {
                let path = format!("/proc/{pid}/{file}");
                fs::read_to_string(&path).map_err(LabError::io(format!("read {path}")))
            };
            let (status, stat) = (read("status")?, read("stat")?);
            let resident = status
                .lines()
                .find_map(|l| l.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
            // The name in parentheses may hold blanks; user and system time are the 12th and 13th fields after it.
            let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
            Ok(Cost {
                resident_kb: resident.unwrap_or(0),
                cpu_ticks: ticks.filter_map(|t| t.parse::<u64>().ok()).sum(),
                wire_bytes: network.sent_bytes(at)?,
            })
        })
        .collect()
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf only reads.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

/// Lets a stretch of time pass: what must not happen in it is looked for afterwards, in records that miss nothing.
fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::sleep(LOOK_EVERY);
    }
}
