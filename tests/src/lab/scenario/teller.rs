//! The leader's agent is killed at a random moment of a notification: that it fires, and that it is over.
//!
//! What must hold is promise 4: a receiver that knows messages by their id counts each once, one that doesn't is told at
//! most once more for each crash, with a mark, and nobody misses anything.

use super::{SETTLES, THREE_HERE, in_lab};
use crate::lab::{
    Lab, LabError,
    receiver::{Received, SECRET},
    report::{Report, Run},
    wait::wait_until,
};
use std::{collections::BTreeSet, time::Duration};

/// A notification is over well within this, from the rule to the receiver's answer.
const MOMENTS_MS: u64 = 3_000;
/// How long a killed agent stays away.
const AWAY: Duration = Duration::from_millis(300);
/// Both attempts of two leaders, on a busy machine: a successor waits out what the first may still send.
const TOLD_WITHIN: Duration = Duration::from_secs(40);
/// Nothing more may come for so long.
const QUIET: Duration = Duration::from_millis(1_500);
/// What a chat is told when it may have been told before.
const MARK: &str = "may have been told this before";

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    in_lab(THREE_HERE, |lab| {
        let receiver = lab.receiver.address;
        lab.apply_alerts(
            0,
            &format!(
                "[channel.hook]\ntype = \"webhook\"\nurl = \"http://{receiver}/hook\"\nsecret = \"{SECRET}\"\n\
                 [channel.chat]\ntype = \"slack\"\nurl = \"http://{receiver}/chat\"\n\
                 [[route]]\nchannels = [\"hook\", \"chat\"]\n"
            ),
        )?;
        for round in 0..count {
            let done = kill_in_the_middle(lab, round)?;
            report.add(done);
        }
        Ok(())
    })
}

/// One alert from its beginning to its end; its teller is killed on the way, in one of both halves or in each.
fn kill_in_the_middle(lab: &mut Lab, round: usize) -> Result<Run, LabError> {
    lab.until_healthy(SETTLES)?;
    lab.receiver.forget();
    let workload = format!("crash-{round}");
    let (first, second) = (!round.is_multiple_of(3), round % 3 != 1);
    let mut run = Run::new(format!(
        "{workload}: killed while {}",
        match (first, second) {
            (true, true) => "it begins and ends",
            (true, false) => "it begins",
            _ => "it ends",
        }
    ));
    let restart = "restart = { attempts = 1, within = \"1m\", backoff = \"100ms..200ms\" }";
    let text = format!(
        "[workload.{workload}]\nexec.command = [\"/bin/false\"]\n[workload.{workload}.recovery]\n{restart}\nthen = []\n"
    );
    lab.apply(0, "crash.toml", &text)?;
    if first {
        kill_the_teller(lab)?;
    }
    told(lab, &workload, "firing", usize::from(first), &mut run)?;
    let asked = (0..lab.hosts.len()).find(|host| lab.ask(*host, &["workload", "delete", &workload]).is_ok());
    run.check(asked.is_some(), || "nobody takes the workload away".to_owned());
    if second {
        kill_the_teller(lab)?;
    }
    told(lab, &workload, "resolved", usize::from(first) + usize::from(second), &mut run)?;
    Ok(run)
}

/// At a random moment of the next seconds; it is started again soon.
fn kill_the_teller(lab: &mut Lab) -> Result<(), LabError> {
    let leader = (0..lab.hosts.len())
        .find_map(|host| lab.leader(host).ok())
        .ok_or_else(|| LabError::Broken("nobody leads".to_owned()))?;
    std::thread::sleep(Duration::from_millis(rand::random_range(0..MOMENTS_MS)));
    lab.hosts[leader].kill();
    std::thread::sleep(AWAY);
    lab.start(leader)
}

fn told(lab: &Lab, workload: &str, status: &str, crashes: usize, run: &mut Run) -> Result<(), LabError> {
    let word = status.to_uppercase();
    let hook =
        |r: &Received| r.path == "/hook" && r.label("workload") == workload && r.text("status") == status;
    let chat = |r: &Received| {
        let said = r.body.to_string();
        r.path == "/chat" && said.contains(&format!("{workload} ")) && said.contains(&word)
    };
    let heard = || {
        let all = lab.receiver.all();
        (all.iter().filter(|r| hook(r)).cloned().collect(), all.into_iter().filter(|r| chat(r)).collect())
    };
    wait_until(&format!("{workload} to be told as {status}"), TOLD_WITHIN, || {
        let (hooks, chats): (Vec<Received>, Vec<Received>) = heard();
        let (hooks, chats) = (hooks.len(), chats.len());
        if hooks > 0 && chats > 0 { Ok(()) } else { Err(format!("{hooks} hooks, {chats} in the chat")) }
    })?;
    // What a dead leader left behind is made good by now, or never.
    std::thread::sleep(QUIET);
    let (hooks, chats): (Vec<Received>, Vec<Received>) = heard();
    let ids: BTreeSet<&str> = hooks.iter().map(|r| r.webhook_id.as_str()).collect();
    run.check(ids.len() == 1, || format!("{status}: the hook counts {}: {ids:?}", ids.len()));
    run.check(hooks.iter().all(|r| r.signed), || format!("{status}: a hook isn't signed"));
    let repeated = chats.len() - 1;
    run.check(repeated <= crashes, || format!("{status}: {repeated} repetitions after {crashes} crashes"));
    let unmarked = chats.iter().skip(1).filter(|r| !r.body.to_string().contains(MARK)).count();
    run.check(unmarked == 0, || format!("{status}: {unmarked} repetitions without a mark: {chats:?}"));
    Ok(())
}
