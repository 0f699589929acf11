//! Ours and foca side by side, in one simulated network: how soon a lost node is known, who is declared dead wrongly,
//! what it costs, how long N nodes take from one seed to one view. A table for people, by `cargo sim versus-foca`.

mod foca;

pub use foca::{Measured, Setting};

use super::{Fault, Options, node::index, run};
use core::time::Duration;
use std::collections::BTreeSet;

const HEAD: &str = "| nodes | loss | slow | | first knows, median | all know, median | living declared dead | messages/s | \
                    bytes/s | on the wire/s |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

fn ours(setting: &Setting) -> Measured {
    let starve = setting.starved.iter().map(|n| (Duration::from_secs(5), Fault::Starve(*n)));
    let crash = setting.crashes.iter().map(|(at, n)| (*at, Fault::Crash(*n)));
    let options = Options {
        seed: setting.seed,
        nodes: setting.nodes,
        lasts: setting.lasts,
        loss_percent: setting.loss_percent,
        formed: setting.formed,
        plan: starve.chain(crash).collect(),
        ends_calm: false,
        ..Options::default()
    };
    let outcome = run(&options);
    let victims: BTreeSet<u32> = setting.crashes.iter().map(|(_, n)| *n).collect();
    let dead = outcome.declared.iter().flat_map(|d| &d.nodes).map(|n| index(*n));
    let wrong = dead.filter(|n| !victims.contains(n)).count() + usize::from(outcome.violation.is_some());
    let mut measured = Measured {
        wrong,
        messages: outcome.counts.messages + outcome.counts.probes,
        bytes: outcome.counts.message_bytes,
        agreed: outcome.agreed_at,
        wire: outcome.counts.wire_bytes,
        ..Measured::default()
    };
    for crash in &outcome.crashes {
        let decision = outcome.declared.iter().find(|d| d.nodes.iter().any(|n| index(*n) == crash.node));
        measured.first.push(decision.map(|d| d.at.saturating_sub(crash.at)));
        measured.all.push(decision.map(|d| d.known.saturating_sub(crash.at)));
    }
    measured
}

fn median(times: &[Option<Duration>]) -> String {
    let mut known: Vec<Duration> = times.iter().flatten().copied().collect();
    known.sort_unstable();
    let missing = times.len() - known.len();
    match (known.get(known.len() / 2), missing) {
        (None, _) => "never".to_owned(),
        (Some(time), 0) => format!("{:.2} s", time.as_secs_f64()),
        (Some(time), _) => format!("{:.2} s; {missing} of {} never", time.as_secs_f64(), times.len()),
    }
}

fn row(setting: &Setting, who: &str, m: &Measured) -> String {
    let per = setting.lasts.as_secs_f64() * f64::from(setting.nodes);
    let rate = |count: u64| count as f64 / per;
    format!(
        "| {} | {} % | {} | {who} | {} | {} | {} | {:.1} | {:.0} | {:.0} |",
        setting.nodes,
        setting.loss_percent,
        setting.starved.len(),
        median(&m.first),
        median(&m.all),
        m.wrong,
        rate(m.messages),
        rate(m.bytes),
        rate(m.wire),
    )
}

/// Three crashes, a node each, well apart.
#[must_use]
pub fn setting(nodes: u32, loss_percent: u64, slow_percent: u32, seed: u64) -> Setting {
    let starved = (0..(nodes * slow_percent).div_ceil(100)).map(|i| (4 + i * 20) % nodes).collect();
    let crashes =
        (0..3.min(nodes / 3)).map(|i| (Duration::from_secs(10 + 20 * u64::from(i)), nodes - 1 - i * 2));
    let lasts = Duration::from_secs(80);
    Setting { seed, nodes, loss_percent, starved, crashes: crashes.collect(), formed: true, lasts }
}

/// Prints the table, up to so many nodes.
pub fn table(largest: u32, seed: u64) {
    println!("{HEAD}");
    for nodes in [10, 100, 1_000].into_iter().filter(|n| *n <= largest) {
        for (loss, slow) in [(0, 0), (10, 0), (20, 0), (30, 0), (0, 5)] {
            let setting = setting(nodes, loss, slow, seed);
            println!("{}", row(&setting, "ours", &ours(&setting)));
            println!("{}", row(&setting, "foca", &foca::run(&setting)));
        }
    }
    if largest >= 10_000 {
        let setting = setting(10_000, 0, 0, seed);
        println!("{}", row(&setting, "ours", &ours(&setting)));
    }
    println!("\n| nodes | ours: from one seed to one view | foca: until all list all |\n| --- | --- | --- |");
    for nodes in [10, 100, 1_000].into_iter().filter(|n| *n <= largest) {
        let setting = Setting {
            formed: false,
            crashes: vec![],
            lasts: Duration::from_secs(60),
            ..setting(nodes, 0, 0, seed)
        };
        let said =
            |m: &Measured| m.agreed.map_or("not in 60 s".to_owned(), |d| format!("{:.2} s", d.as_secs_f64()));
        println!("| {nodes} | {} | {} |", said(&ours(&setting)), said(&foca::run(&setting)));
    }
}
