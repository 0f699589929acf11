//! What may stand in the ledger: names, sizes, and what must fit together. The last gate; the command line, which
//! knows file and line, has asked before. Not here: the alerting configuration (validate_alerting.rs), and whether a
//! change is allowed in the present state.

use super::{
    apply::reject,
    command::Rejection,
    state::{Kind, NodeProfile, Settings, WorkloadSpec},
};
use crate::{
    limits::{
        COMMAND_BYTES, ENVIRONMENT_BYTES, LABELS_MAX, NAME_BYTES, NODE_NAME_BYTES, PORTS_MAX, REPLICAS_MAX,
        VALUE_BYTES,
    },
    timing::Timing,
};
use std::collections::BTreeMap;

pub(super) type Checked = Result<(), Rejection>;

pub(super) fn ensure(holds: bool, message: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(reject("INVALID", message())) }
}

/// Lower-case letters, digits and dashes: safe in file names, variables and cgroups.
fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=NAME_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

/// A host's name: letters, digits, dots, dashes and underscores.
fn is_node_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (1..=NODE_NAME_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

pub(super) fn founding(name: &str, settings: &Settings) -> Checked {
    ensure(is_node_name(name), || format!("\"{name}\" can't be a cluster's name: letters, digits, - . _"))?;
    ensure(Timing::named(&settings.profile).is_some(), || {
        format!("profile \"{}\" isn't one of local, lan, wan", settings.profile)
    })?;
    ensure((100..=600_000).contains(&settings.lease_ms), || {
        format!("a lease of {} ms is out of range: 100 ms to 600,000 ms", settings.lease_ms)
    })?;
    ensure((1_000..=86_400_000).contains(&settings.agent_timeout_ms), || {
        format!("an agent_timeout of {} ms is out of range: 1 s to 24 h", settings.agent_timeout_ms)
    })?;
    ensure(settings.voters % 2 == 1 && settings.voters <= 7, || {
        format!("{} voters can't be: 1, 3, 5 or 7", settings.voters)
    })
}

pub(super) fn labels(labels: &BTreeMap<String, String>) -> Checked {
    let fits = labels.len() <= LABELS_MAX
        && labels.iter().all(|(k, v)| !k.is_empty() && k.len() <= NAME_BYTES && v.len() <= VALUE_BYTES);
    ensure(fits, || {
        format!("labels: at most {LABELS_MAX}, keys of at most {NAME_BYTES} bytes, values of {VALUE_BYTES}")
    })
}

pub(super) fn profile(profile: &NodeProfile) -> Checked {
    let name = &profile.name;
    ensure(is_node_name(name), || {
        format!("\"{name}\" can't be a node's name: 1 to {NODE_NAME_BYTES} letters, digits, - . _")
    })?;
    ensure(profile.zone.len() <= NAME_BYTES, || {
        format!("node {name}: its zone's name is longer than {NAME_BYTES} bytes")
    })?;
    ensure(profile.address.len() <= VALUE_BYTES && profile.version.len() <= NAME_BYTES, || {
        format!("node {name}: its address or its version is too long")
    })?;
    labels(&profile.labels)
}

pub(super) fn spec(spec: &WorkloadSpec) -> Checked {
    let name = &spec.name;
    ensure(is_name(name), || {
        format!("\"{name}\" can't be a workload's name: 1 to {NAME_BYTES} of a-z, 0-9 and -")
    })?;
    ensure(spec.kind == Kind::Replicas || spec.replicas == 1, || {
        format!("workload {name}: a singleton has 1 replica, not {}", spec.replicas)
    })?;
    ensure((1..=REPLICAS_MAX).contains(&spec.replicas), || {
        format!("workload {name}: {} replicas; 1 to {REPLICAS_MAX} may be asked for", spec.replicas)
    })?;
    ensure(spec.priority <= 100, || {
        format!("workload {name}: priority {} is out of range: 0 to 100", spec.priority)
    })?;
    let ports = &spec.ports;
    ensure(ports.len() <= PORTS_MAX && ports.iter().all(|(k, port)| is_name(k) && *port != 0), || {
        format!("workload {name}: ports are at most {PORTS_MAX}, named with a-z, 0-9 and -, and not 0")
    })?;
    exec(spec)?;
    let recovery = &spec.recovery;
    ensure(recovery.backoff_min_ms <= recovery.backoff_max_ms, || {
        format!("workload {name}: the back-off's minimum is above its maximum")
    })
}

fn exec(spec: &WorkloadSpec) -> Checked {
    let (name, exec) = (&spec.name, &spec.exec);
    ensure(exec.command.first().is_some_and(|program| !program.is_empty()), || {
        format!("workload {name}: its command is empty; name a program")
    })?;
    let strings = exec.command.iter().chain(&exec.user).chain(&exec.working_dir);
    let strings = strings.chain(exec.env.keys()).chain(exec.env.values());
    ensure(strings.into_iter().all(|text| !text.contains('\0')), || {
        format!("workload {name}: a string of its exec section contains a zero byte")
    })?;
    ensure(exec.command.iter().map(|word| word.len() + 1).sum::<usize>() <= COMMAND_BYTES, || {
        format!("workload {name}: its command is longer than {COMMAND_BYTES} bytes")
    })?;
    ensure(exec.env.keys().all(|key| !key.is_empty() && !key.contains('=')), || {
        format!("workload {name}: a variable's name is empty or contains =")
    })?;
    let environment: usize = exec.env.iter().map(|(k, v)| k.len() + v.len() + 2).sum();
    ensure(environment <= ENVIRONMENT_BYTES, || {
        format!("workload {name}: its environment is larger than {ENVIRONMENT_BYTES} bytes")
    })?;
    let short = |text: &Option<String>| text.as_ref().is_none_or(|t| t.len() <= VALUE_BYTES);
    ensure(short(&exec.user) && short(&exec.working_dir), || {
        format!("workload {name}: its user or working_dir is longer than {VALUE_BYTES} bytes")
    })
}
