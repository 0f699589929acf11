//! What the product's own command line says, as far as the lab looks at it.

use serde::Deserialize;
use std::time::{Duration, SystemTime};

#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    pub health: String,
    pub reasons: Vec<String>,
    pub leader: Option<String>,
    pub term: u64,
    pub view_epoch: u64,
    pub voters: u32,
    pub voters_online: u32,
    pub consistent: bool,
    pub nodes: Vec<Node>,
    pub workloads: Vec<Workload>,
    pub open_failures: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    pub name: String,
    pub state: String,
    pub voter: bool,
    /// `up`, `stalled` or `gone`.
    pub agent: String,
    pub scheduling: String,
    pub incarnation: u64,
    pub lease_epoch: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Workload {
    pub name: String,
    pub desired: u32,
    pub running: u32,
    pub instances: Vec<Instance>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Instance {
    pub node: Option<String>,
    pub state: String,
    pub generation: u64,
    pub pid: Option<i64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Failures {
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Failure {
    pub id: u64,
    pub subject: Subject,
    pub state: String,
    pub caused_by: Option<u64>,
    pub detected_at: Option<String>,
    pub declared_at: Option<String>,
    pub safe_at: Option<String>,
    pub started_at: Option<String>,
    pub recovered_at: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Subject {
    pub kind: String,
    pub name: String,
}

impl Status {
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }

    #[must_use]
    pub fn in_state(&self, state: &str) -> usize {
        self.nodes.iter().filter(|n| n.state == state).count()
    }

    /// The one instance of a singleton that runs.
    #[must_use]
    pub fn running(&self, workload: &str) -> Option<&Instance> {
        let workload = self.workloads.iter().find(|w| w.name == workload)?;
        workload.instances.iter().find(|i| i.state == "running")
    }

    /// In a few words, for an error.
    #[must_use]
    pub fn brief(&self) -> String {
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|n| format!("{}={}{}", n.name, n.state, if n.voter { " (voter)" } else { "" }))
            .collect();
        let work: Vec<String> = self
            .workloads
            .iter()
            .flat_map(|w| w.instances.iter().map(move |i| (w, i)))
            .map(|(w, i)| {
                format!(
                    "{} {} on {} generation {}",
                    w.name,
                    i.state,
                    i.node.as_deref().unwrap_or("-"),
                    i.generation
                )
            })
            .collect();
        format!(
            "{}, leader {}, consistent {}, nodes: {}; instances: {}; open failures {}",
            self.health,
            self.leader.as_deref().unwrap_or("none"),
            self.consistent,
            nodes.join(", "),
            work.join(", "),
            self.open_failures
        )
    }
}

/// From `origin` to a time of a record; `None` when it isn't there, or lies before.
#[must_use]
pub fn since(origin: SystemTime, time: Option<&String>) -> Option<Duration> {
    let at: jiff::Timestamp = time?.parse().ok()?;
    SystemTime::from(at).duration_since(origin).ok()
}
