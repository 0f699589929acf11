//! What the lab does to a cluster, one file a kind of harm. Each scenario says what must hold, and measures.

mod agent;
mod keeper;
mod leader;
mod leave;
mod lost_host;
mod partition;
mod quiet;
mod restart;
mod tls;
mod writes;

use super::{
    Lab, LabError, Plan,
    network::{Missing, missing},
    report::{Report, Run},
    stamp::Stamps,
};
use std::time::Duration;

/// Anything that the cluster does by itself is done within this, on a busy machine, too.
const SETTLES: Duration = Duration::from_secs(30);

pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// How often `cargo test` does it.
    pub short: usize,
    /// How often it is done when nobody says otherwise.
    pub usual: usize,
    pub namespaces: bool,
    run: fn(&mut Report, usize) -> Result<(), LabError>,
}

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "lost-host",
        about: "power off and cut in turn, the leader's host among them: singletons move, never two at once, one alert",
        short: 2,
        usual: 20,
        namespaces: true,
        run: lost_host::run,
    },
    Scenario {
        name: "lost-leader",
        about: "the leader's process is killed, or its host goes silent: the next write is accepted soon",
        short: 2,
        usual: 10,
        namespaces: true,
        run: leader::run,
    },
    Scenario {
        name: "minority",
        about: "two of five are cut off: they change nothing, and their singletons move",
        short: 1,
        usual: 5,
        namespaces: true,
        run: partition::minority,
    },
    Scenario {
        name: "voters-cut",
        about: "a node that only gossip still hears, cut from the voters: lease lost, work moved, the node lives",
        short: 1,
        usual: 5,
        namespaces: true,
        run: partition::voters_cut,
    },
    Scenario {
        name: "agent-restart",
        about: "an agent is killed and started within the lease: its workload keeps pid and generation, nobody failed",
        short: 2,
        usual: 10,
        namespaces: true,
        run: agent::restart,
    },
    Scenario {
        name: "agent-gone",
        about: "an agent is killed for good: its workload moves, never two at once",
        short: 1,
        usual: 5,
        namespaces: true,
        run: agent::gone,
    },
    Scenario {
        name: "agent-frozen",
        about: "an agent is stopped for half a minute: its workload keeps pid and generation, nothing moves",
        short: 1,
        usual: 5,
        namespaces: true,
        run: keeper::frozen,
    },
    Scenario {
        name: "agent-late",
        about: "an agent is killed and started after twenty seconds: as above, and its keeper is adopted",
        short: 1,
        usual: 5,
        namespaces: true,
        run: keeper::late,
    },
    Scenario {
        name: "keeper-killed",
        about: "a keeper is killed: another one is started well within the lease, nothing else happens",
        short: 2,
        usual: 10,
        namespaces: true,
        run: keeper::killed,
    },
    Scenario {
        name: "keeper-gone",
        about: "agent and keeper of a host are killed: its guards kill by the deadline, its work moves, never two at once",
        short: 1,
        usual: 5,
        namespaces: true,
        run: keeper::both,
    },
    Scenario {
        name: "full-restart",
        about: "all agents end at once, by SIGTERM and SIGKILL in turn, and start again: workloads keep their pids",
        short: 2,
        usual: 10,
        namespaces: true,
        run: restart::run,
    },
    Scenario {
        name: "leave",
        about: "a node that is no voter leaves for good: its work moves first, nobody failed, nobody is alerted",
        short: 1,
        usual: 3,
        namespaces: true,
        run: leave::run,
    },
    Scenario {
        name: "loss",
        about: "one packet of five is lost everywhere: nobody dies of it, nothing is stopped",
        short: 1,
        usual: 6,
        namespaces: true,
        run: quiet::loss,
    },
    Scenario {
        name: "idle",
        about: "what an idle agent costs: memory, processor, bytes on the wire",
        short: 1,
        usual: 1,
        namespaces: true,
        run: quiet::idle,
    },
    Scenario {
        name: "writes",
        about: "three agents killed all at once during writes: every acknowledged one is there afterwards",
        short: 2,
        usual: 20,
        namespaces: false,
        run: writes::run,
    },
    Scenario {
        name: "tls",
        about: "a certificate of another authority, or none, is refused; by agents and for clients",
        short: 1,
        usual: 1,
        namespaces: false,
        run: tls::run,
    },
];

impl Scenario {
    /// Why it can't run here, if it can't.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        if self.namespaces { missing() } else { None }
    }

    /// Does it so many times. What was measured until an error is in the report, too.
    #[must_use]
    pub fn run(&self, count: usize) -> Report {
        let mut report = Report::new(self.name);
        if let Err(error) = (self.run)(&mut report, count) {
            let mut run = Run::new("the scenario itself");
            run.problems.push(error.to_string());
            report.add(run);
        }
        report
    }
}

/// Five hosts, all founders: the usual cluster.
const FIVE: Plan = Plan { hosts: 5, expect: 5, namespaces: true };
/// Five hosts, three of them voters.
const THREE_OF_FIVE: Plan = Plan { hosts: 5, expect: 3, namespaces: true };

/// Runs `body`, and leaves the lab's files for a person when it fails.
fn in_lab(plan: Plan, body: impl FnOnce(&mut Lab) -> Result<(), LabError>) -> Result<(), LabError> {
    let mut lab = Lab::new(plan)?;
    let founded = lab.found();
    let done = founded.and_then(|()| body(&mut lab));
    if done.is_err() {
        lab.keep_files();
    }
    done
}

fn names(stem: &str, count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("{stem}-{n}")).collect()
}

/// Applies so many stamping singletons, and waits until all run.
fn stampers(lab: &Lab, count: usize) -> Result<Vec<String>, LabError> {
    let workloads = names("counter", count);
    lab.apply_stampers(0, &workloads)?;
    lab.until(0, "all singletons to run", SETTLES, |s| workloads.iter().all(|w| s.running(w).is_some()))?;
    for workload in &workloads {
        super::wait::wait_until("the first stamp", SETTLES, || {
            Stamps::read(&lab.stamps(workload)).map_err(|e| e.to_string())
        })?;
    }
    Ok(workloads)
}

/// Promise 1, by what the workloads themselves wrote.
fn check_at_most_once(lab: &Lab, run: &mut Run, workloads: &[String]) -> Result<(), LabError> {
    for workload in workloads {
        if let Some((one, other, both)) = Stamps::read(&lab.stamps(workload))?.overlap() {
            run.problems.push(format!("{workload}: generations {one} and {other} both ran for {both:?}"));
        }
    }
    Ok(())
}
