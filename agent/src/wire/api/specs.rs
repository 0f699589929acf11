//! Workload specifications from the wire. Checks what only the wire's wider types allow; what may stand in the ledger is
//! the ledger's to say.

use super::errors::invalid;
use crate::limits::SPECS_PER_APPLY;
use cluster_core::ledger::{ExecSpec, Kind, RecoverySpec, WorkloadSpec};
use holdfast_proto::v1;
use std::collections::{BTreeMap, BTreeSet};
use tonic::Status;

pub fn workloads(specs: Vec<v1::WorkloadSpec>) -> Result<Vec<WorkloadSpec>, Status> {
    if specs.is_empty() {
        return Err(invalid("NO_SPECS", "nothing to apply: give at least one workload"));
    }
    if specs.len() > SPECS_PER_APPLY {
        let text = format!("{} workloads at once; apply at most {SPECS_PER_APPLY}", specs.len());
        return Err(invalid("TOO_MANY_SPECS", text));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = specs.iter().find(|spec| !names.insert(&spec.name)) {
        return Err(invalid("DUPLICATE_WORKLOAD", format!("workload {} is given twice", twice.name)));
    }
    specs.into_iter().map(workload).collect()
}

fn workload(spec: v1::WorkloadSpec) -> Result<WorkloadSpec, Status> {
    let wrong = |text: String| invalid("INVALID_SPEC", format!("workload {}: {text}", spec.name));
    let kind = match spec.kind() {
        v1::WorkloadKind::Singleton => Kind::Singleton,
        v1::WorkloadKind::Replicas => Kind::Replicas,
        v1::WorkloadKind::Unspecified => {
            return Err(wrong("kind is missing or unknown; this version runs singleton and replicas".into()));
        }
    };
    let priority = u8::try_from(spec.priority)
        .map_err(|_| wrong(format!("priority {} is out of range: 0 to 100", spec.priority)))?;
    let mut ports = BTreeMap::new();
    for (name, port) in &spec.ports {
        let port = u16::try_from(*port).map_err(|_| wrong(format!("port {name} = {port} is above 65535")))?;
        ports.insert(name.clone(), port);
    }
    let Some(exec) = spec.exec.clone() else {
        return Err(wrong("the exec section is missing; give its command".into()));
    };
    let recovery = match (&spec.recovery, kind) {
        (Some(recovery), _) => recovery_spec(recovery),
        (None, kind) => default_recovery(kind),
    };
    Ok(WorkloadSpec {
        replicas: match (kind, spec.replicas) {
            (Kind::Singleton, 0) => 1,
            (_, replicas) => replicas,
        },
        name: spec.name,
        kind,
        priority,
        ports,
        exec: ExecSpec {
            command: exec.command,
            user: exec.user,
            working_dir: exec.working_dir,
            env: exec.env.into_iter().collect(),
        },
        recovery,
    })
}

fn recovery_spec(recovery: &v1::RecoverySpec) -> RecoverySpec {
    RecoverySpec {
        restart_attempts: recovery.restart_attempts,
        restart_window_ms: recovery.restart_within_ms,
        backoff_min_ms: recovery.backoff_min_ms,
        backoff_max_ms: recovery.backoff_max_ms,
        migrate: recovery.migrate,
        stop_timeout_ms: recovery.stop_timeout_ms,
        isolation_grace_ms: recovery.isolation_grace_ms,
        keep_on_isolation: recovery.keep_on_isolation,
    }
}

/// As the workload file's: what may run twice isn't stopped on isolation, everything moves.
fn default_recovery(kind: Kind) -> RecoverySpec {
    RecoverySpec {
        restart_attempts: 3,
        restart_window_ms: 300_000,
        backoff_min_ms: 500,
        backoff_max_ms: 30_000,
        migrate: true,
        stop_timeout_ms: 10_000,
        isolation_grace_ms: 0,
        keep_on_isolation: kind == Kind::Replicas,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> v1::WorkloadSpec {
        v1::WorkloadSpec {
            name: name.to_owned(),
            kind: v1::WorkloadKind::Singleton.into(),
            exec: Some(v1::ExecSpec { command: vec!["/bin/true".into()], ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn a_short_specification_gets_the_documented_defaults() {
        let read = workloads(vec![spec("counter")]).unwrap().remove(0);
        assert_eq!((read.kind, read.replicas), (Kind::Singleton, 1));
        assert!(!read.recovery.keep_on_isolation && read.recovery.migrate);
        assert_eq!(read.recovery.stop_timeout_ms, 10_000);
    }

    #[test]
    fn what_the_wire_can_say_and_the_ledger_cannot_is_refused_by_name() {
        let refused = |change: fn(&mut v1::WorkloadSpec)| {
            let mut spec = spec("counter");
            change(&mut spec);
            workloads(vec![spec]).unwrap_err().message().to_owned()
        };
        assert!(refused(|s| s.kind = 0).contains("kind"));
        assert!(refused(|s| s.kind = 77).contains("kind"));
        assert!(refused(|s| s.exec = None).contains("exec"));
        assert!(refused(|s| s.priority = 300).contains("priority"));
        assert!(refused(|s| s.ports = [("http".to_owned(), 65_536)].into()).contains("port http"));
        assert!(workloads(vec![spec("a"), spec("a")]).is_err());
        assert!(workloads(Vec::new()).is_err());
    }
}
