//! What the lab does to a cluster, one file a kind of harm. Each scenario says what must hold, and measures.

mod agent;
mod detect;
mod frozen;
mod half;
mod keeper;
mod leader;
mod leaderless;
mod leave;
mod loss;
mod lost_host;
mod many;
mod partition;
mod providers;
mod quiet;
mod removed;
mod restart;
mod starved;
mod teller;
mod tls;
mod writes;

use super::{
    Lab, LabError, Plan,
    ask::Ask,
    network::{Missing, installed, missing},
    report::{Report, Run},
    stamp::Stamps,
};
use std::time::Duration;

/// An agent that is gone or stalled for longer than this costs its node the work.
const AGENT_TIMEOUT: Duration = Duration::from_secs(60);
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
    /// Another product that must be installed.
    pub peer: Option<&'static str>,
    run: fn(&mut Report, usize) -> Result<(), LabError>,
}

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "lost-host",
        about: "power off and cut in turn, the leader's host among them: singletons move, never two at once, one alert",
        short: 2,
        usual: 20,
        namespaces: true,
        peer: None,
        run: lost_host::run,
    },
    Scenario {
        name: "lost-leader",
        about: "the leader's process is killed, or its host goes silent: the next write is accepted soon",
        short: 2,
        usual: 10,
        namespaces: true,
        peer: None,
        run: leader::run,
    },
    Scenario {
        name: "minority",
        about: "two of five are cut off: they change nothing and say so on the spot, and their singletons move",
        short: 1,
        usual: 5,
        namespaces: true,
        peer: None,
        run: partition::minority,
    },
    Scenario {
        name: "voters-cut",
        about: "a node that only gossip still hears, cut from the voters: lease lost, work moved, the node lives",
        short: 1,
        usual: 5,
        namespaces: true,
        peer: None,
        run: partition::voters_cut,
    },
    Scenario {
        name: "agent-restart",
        about: "an agent is killed and started within the lease: its workload keeps pid and generation, nobody failed",
        short: 2,
        usual: 10,
        namespaces: true,
        peer: None,
        run: agent::restart,
    },
    Scenario {
        name: "agent-gone",
        about: "an agent is killed for good: its workload moves, never two at once",
        short: 1,
        usual: 5,
        namespaces: true,
        peer: None,
        run: agent::gone,
    },
    Scenario {
        name: "keeper-killed",
        about: "a keeper is killed: another one is started well within the lease, nothing else happens",
        short: 2,
        usual: 10,
        namespaces: true,
        peer: None,
        run: keeper::killed,
    },
    Scenario {
        name: "keeper-gone",
        about: "agent and keeper of a host are killed: its guards kill by the deadline, its work moves, never two at once",
        short: 1,
        usual: 5,
        namespaces: true,
        peer: None,
        run: keeper::both,
    },
    Scenario {
        name: "full-restart",
        about: "all agents end at once, by SIGTERM and SIGKILL in turn, and start again: workloads keep their pids",
        short: 2,
        usual: 10,
        namespaces: true,
        peer: None,
        run: restart::run,
    },
    Scenario {
        name: "leave",
        about: "a node that is no voter leaves for good: its work moves first, nobody failed, nobody is alerted",
        short: 1,
        usual: 3,
        namespaces: true,
        peer: None,
        run: leave::run,
    },
    Scenario {
        name: "detect",
        about: "a host falls silent, with 3 and 10 agents: suspected, declared dead, known to all",
        short: 2,
        usual: 20,
        namespaces: true,
        peer: None,
        run: detect::run,
    },
    Scenario {
        name: "versus-serf",
        about: "the same with real serf in the same namespaces: how many times faster",
        short: 1,
        usual: 10,
        namespaces: true,
        peer: Some("serf"),
        run: detect::versus_serf,
    },
    Scenario {
        name: "loss",
        about: "ten agents, 20 % and 30 % of all packets lost: nobody dies, and at 20 % nothing is stopped",
        short: 1,
        usual: 1,
        namespaces: true,
        peer: None,
        run: loss::run,
    },
    Scenario {
        name: "starved",
        about: "an agent at a tenth of a core: it isn't declared dead, and nobody else is suspected",
        short: 1,
        usual: 3,
        namespaces: true,
        peer: None,
        run: starved::run,
    },
    Scenario {
        name: "frozen",
        about: "an agent stopped or killed for a while: nothing moves, people are told; for good, or its host silent: moved",
        short: 1,
        usual: 1,
        namespaces: true,
        peer: None,
        run: frozen::run,
    },
    Scenario {
        name: "removed",
        about: "a node that an operator removed doesn't come back by gossip",
        short: 1,
        usual: 3,
        namespaces: true,
        peer: None,
        run: removed::run,
    },
    Scenario {
        name: "half",
        about: "a node that reaches half of the others: no storm, at most two views",
        short: 1,
        usual: 4,
        namespaces: true,
        peer: None,
        run: half::run,
    },
    Scenario {
        name: "many",
        about: "two hundred agents on this machine: one view soon, a lost one found, calm for ten minutes",
        short: 1,
        usual: 1,
        namespaces: true,
        peer: None,
        run: many::run,
    },
    Scenario {
        name: "idle",
        about: "what an idle agent costs: memory, processor, bytes on the wire",
        short: 1,
        usual: 1,
        namespaces: true,
        peer: None,
        run: quiet::idle,
    },
    Scenario {
        name: "writes",
        about: "three agents killed all at once during writes: every acknowledged one is there afterwards",
        short: 2,
        usual: 20,
        namespaces: false,
        peer: None,
        run: writes::run,
    },
    Scenario {
        name: "leaderless",
        about: "two of three agents are killed or frozen: the third says what is missing; healthy once they are back",
        short: 2,
        usual: 10,
        namespaces: false,
        peer: None,
        run: leaderless::run,
    },
    Scenario {
        name: "teller-killed",
        about: "the leader's agent is killed in the middle of a notification: nobody misses anything, ids count once",
        short: 2,
        usual: 100,
        namespaces: false,
        peer: None,
        run: teller::run,
    },
    Scenario {
        name: "providers",
        about: "an alert for providers that hang, are busy, fail, break off, or can't be trusted: all are told, others in time",
        short: 1,
        usual: 10,
        namespaces: false,
        peer: None,
        run: providers::run,
    },
    Scenario {
        name: "tls",
        about: "a certificate of another authority, or none, is refused; by agents and for clients",
        short: 1,
        usual: 1,
        namespaces: false,
        peer: None,
        run: tls::run,
    },
];

impl Scenario {
    /// Why it can't run here, if it can't.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        let peer = || self.peer.filter(|p| !installed(p)).map(Missing::Peer);
        self.namespaces.then(missing).flatten().or_else(peer)
    }

    /// Does it so many times. What was measured until an error is in the report, too.
    #[must_use]
    pub fn run(&self, count: usize, ask: Ask) -> Report {
        let mut report = Report::new(self.name, ask);
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

/// Three founders on this host's own loopback: needs no namespaces.
const THREE_HERE: Plan = Plan { hosts: 3, expect: 3, namespaces: false };

/// So many hosts, all founders.
const fn of(hosts: usize) -> Plan {
    Plan { hosts, expect: hosts, namespaces: true }
}

/// So many hosts, of which some found the cluster.
const fn of_founders(hosts: usize, expect: usize) -> Plan {
    Plan { hosts, expect, namespaces: true }
}

/// Runs `body` in a cluster that stands, and leaves the lab's files for a person when it fails.
fn in_lab(plan: Plan, body: impl FnOnce(&mut Lab) -> Result<(), LabError>) -> Result<(), LabError> {
    in_empty_lab(plan, |lab| lab.found().and_then(|()| body(lab)))
}

/// The same before any agent was started.
fn in_empty_lab(plan: Plan, body: impl FnOnce(&mut Lab) -> Result<(), LabError>) -> Result<(), LabError> {
    let mut lab = Lab::new(plan)?;
    let done = body(&mut lab);
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
