//! What a guard is told, and what it answers: the words that agent and guard share.
//!
//! A guard outlives the agent that started it, so these are formats: fields are added, never given another meaning;
//! `state::VERSION` counts.

use cluster_core::{
    ids::{BootId, Generation, InstanceId, LeaseEpoch},
    instance::Outcome,
    time::WallTime,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, time::Duration};

/// The longest name of a workload, so that it fits into a file's name.
const MAX_NAME_BYTES: usize = 128;

/// One run of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardSpec {
    pub instance: InstanceId,
    pub workload: String,
    pub index: u32,
    pub generation: Generation,
    /// The guard obeys deadlines of this epoch, of this boot, and of no other.
    pub epoch: LeaseEpoch,
    pub boot: BootId,
    /// The version of the workload's definition.
    pub version: u64,
    /// The node's name, and the local agent's address: only handed on to the workload.
    pub node: String,
    pub agent_addr: String,
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    /// Between SIGTERM and SIGKILL of a planned stop.
    pub stop_timeout_ms: u64,
    /// How long before the lease's end SIGTERM comes; 0: never.
    pub isolation_grace_ms: u64,
    /// The lease's length: no deadline is believed that lies further ahead.
    pub lease_ms: u64,
    pub logs: LogLimits,
}

/// Output kept of a slot: the newest `segments` files of at most `segment_bytes` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    pub segment_bytes: u64,
    pub segments: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { segment_bytes: 4 << 20, segments: 2 }
    }
}

/// Why a spec can't be run. The text names the key of the workload's file, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error(
        "workload \"{0}\": a name is 1 to {MAX_NAME_BYTES} letters, digits, '-', '_' or '.', and starts with a letter or digit"
    )]
    Name(String),
    #[error("workload.{0}.exec.command is empty: name the program to run")]
    NoCommand(String),
    #[error("workload.{workload}.exec.{key} holds a zero byte, which no process can be given: remove it")]
    ZeroByte { workload: String, key: &'static str },
    #[error(
        "workload.{workload}.exec.env: \"{name}\" can't name a variable: use a text without '=' that isn't empty"
    )]
    VariableName { workload: String, name: String },
    #[error("a lease of {lease_ms} ms leaves no time to run: guards kill {} ms before its end", .margin.as_millis())]
    Lease { lease_ms: u64, margin: Duration },
}

impl GuardSpec {
    /// Finds what would fail later, without looking at the machine.
    pub fn check(&self) -> Result<(), SpecError> {
        let name = &self.workload;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if !starts_well || name.len() > MAX_NAME_BYTES || !name.bytes().all(allowed) {
            return Err(SpecError::Name(name.clone()));
        }
        let workload = || name.clone();
        if self.command.first().is_none_or(String::is_empty) {
            return Err(SpecError::NoCommand(workload()));
        }
        let zero = |text: &String| text.contains('\0');
        let keys = [
            ("command", self.command.iter().any(zero)),
            ("env", self.env.iter().any(|(name, value)| zero(name) || zero(value))),
            ("user", self.user.iter().any(zero)),
            ("working_dir", self.working_dir.iter().any(zero)),
        ];
        if let Some((key, _)) = keys.into_iter().find(|&(_, bad)| bad) {
            return Err(SpecError::ZeroByte { workload: workload(), key });
        }
        if let Some(bad) = self.env.keys().find(|name| name.is_empty() || name.contains('=')) {
            return Err(SpecError::VariableName { workload: workload(), name: bad.clone() });
        }
        let margin = super::guard::KILL_MARGIN;
        if Duration::from_millis(self.lease_ms) <= margin {
            return Err(SpecError::Lease { lease_ms: self.lease_ms, margin });
        }
        Ok(())
    }
}

/// What keeps the workload's tree together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// A PID namespace whose init dies with the guard: nothing escapes.
    Pid,
    /// The same, inside a user namespace: what an ordinary user may make. Setuid programs don't work in it.
    UserAndPid,
    /// None: a process that detaches itself can outlive its guard's kill.
    None,
}

/// How far the promise "the tree dies with its guard" holds for an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    pub namespace: Namespace,
    /// The tree's own cgroup (a directory), where the machine offers one.
    pub cgroup: Option<String>,
    /// What couldn't be had, and why: one sentence each.
    pub missing: Vec<String>,
}

impl Confinement {
    #[must_use]
    pub fn is_confined(&self) -> bool {
        self.namespace != Namespace::None
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.namespace {
            Namespace::Pid => "PID namespace",
            Namespace::UserAndPid => "PID namespace inside a user namespace",
            Namespace::None => "unconfined",
        })?;
        if self.cgroup.is_some() {
            f.write_str(", cgroup")?;
        }
        Ok(())
    }
}

/// What the supervisor tells the agent. Of each instance at most one `Started`, then one or two `Ended`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardEvent {
    Started {
        instance: InstanceId,
        /// As the host sees it.
        pid: u32,
        started_at: WallTime,
        confinement: Confinement,
    },
    /// `confirmed`: its tree is proven empty, and that is on disk. Comes first without, when the proof takes long, and
    /// then again with it.
    Ended { instance: InstanceId, outcome: Outcome, confirmed: bool },
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> GuardSpec {
        GuardSpec {
            instance: InstanceId(1),
            workload: "web".into(),
            index: 0,
            generation: Generation(7),
            epoch: LeaseEpoch(3),
            boot: BootId(9),
            version: 1,
            node: "n1".into(),
            agent_addr: "127.0.0.1:7400".into(),
            command: vec!["/bin/true".into()],
            env: BTreeMap::new(),
            user: None,
            working_dir: None,
            stop_timeout_ms: 10_000,
            isolation_grace_ms: 0,
            lease_ms: 2_000,
            logs: LogLimits::default(),
        }
    }

    #[test]
    fn names_the_key_that_is_wrong() {
        let with = |change: fn(&mut GuardSpec)| {
            let mut spec = example();
            change(&mut spec);
            spec.check().expect_err("it is wrong").to_string()
        };
        assert!(example().check().is_ok());
        assert!(with(|s| s.workload = "../x".into()).contains("../x"));
        assert!(with(|s| s.workload = "a/b".into()).contains("a/b"));
        assert!(with(|s| s.command.clear()).contains("workload.web.exec.command"));
        assert!(with(|s| s.working_dir = Some("/\0".into())).contains("workload.web.exec.working_dir"));
        assert!(with(|s| drop(s.env.insert("A=B".into(), String::new()))).contains("A=B"));
        assert!(with(|s| s.lease_ms = 100).contains("100 ms"));
    }
}
