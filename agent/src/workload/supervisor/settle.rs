//! The proof that an instance's tree is empty once its guard is gone.
//!
//! A guard that ended by itself left the proof in its state file. One that was killed, by its deadline's timer or by
//! somebody, took the tree along: proven when the namespace's init is gone and the cgroup is empty. Blocks on the disk.

use super::Shared;
use crate::workload::{
    cgroup::Cgroup,
    guard::KILL_MARGIN,
    page::PageReader,
    spec::Namespace,
    state::{self, Phase, State, StateError},
    sys::{self, ProcessId},
};
use cluster_core::{
    ids::InstanceId,
    instance::{Cause, Exit, Outcome},
};
use std::{fs, io};

/// Of a dead guard's last words, so many bytes go into the reason.
const MAX_LAST_WORDS_BYTES: usize = 512;

pub(super) enum Settled {
    /// On disk, too.
    Proven(Outcome),
    NotYet(Outcome),
    /// There was no confinement, and its guard can't be asked any more.
    Unprovable(Outcome),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SettleError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("cannot look at what is left of it: {0}")]
    Io(#[from] io::Error),
}

/// Only once its guard is gone.
pub(super) fn settle(shared: &Shared, instance: InstanceId) -> Result<Settled, SettleError> {
    let mut state = State::read(&shared.dir, instance)?;
    if let Phase::Ended { outcome, .. } = state.phase {
        return Ok(Settled::Proven(outcome));
    }
    let outcome = outcome(shared, &state);
    match empty(shared, &state)? {
        Some(true) => {}
        Some(false) => return Ok(Settled::NotYet(outcome)),
        None => return Ok(Settled::Unprovable(outcome)),
    }
    state.phase = Phase::Ended { outcome: outcome.clone(), ended_at: crate::clock::wall() };
    state.write(&shared.dir)?;
    Ok(Settled::Proven(outcome))
}

/// Whether nothing of the tree is left; `None` when that can't be known.
fn empty(shared: &Shared, state: &State) -> Result<Option<bool>, SettleError> {
    if state.spec.boot != shared.boot {
        return Ok(Some(true)); // nothing survives the host's restart
    }
    let Some(confinement) = &state.confinement else {
        // The workload is started only after this was written. An init that was forked before dies by itself.
        if let Some(unused) = Cgroup::of(state.spec.instance) {
            unused.remove()?;
        }
        return Ok(Some(true));
    };
    let cgroup = confinement.cgroup.as_deref().map(Cgroup::at);
    if let Some(cgroup) = &cgroup {
        cgroup.kill()?;
    }
    // Where this agent is what orphans fall to (it is process 1), it must collect them: the init waits for that.
    let running = match state.phase {
        Phase::Running { workload, .. } => Some(workload),
        _ => None,
    };
    for process in state.init.iter().chain(&running) {
        collect_orphan(*process);
    }
    let by_namespace = state.init.map(|init| init.is_alive().map(|alive| !alive)).transpose()?;
    let by_cgroup = cgroup.as_ref().map(Cgroup::is_empty).transpose()?;
    let proof = match (confinement.namespace, by_namespace, by_cgroup) {
        (Namespace::None, _, by_cgroup) => by_cgroup,
        (_, None, _) => None,
        (_, Some(gone), by_cgroup) => Some(gone && by_cgroup.unwrap_or(true)),
    };
    if let (Some(true), Some(cgroup)) = (proof, &cgroup) {
        cgroup.remove()?;
    }
    Ok(proof)
}

fn collect_orphan(process: ProcessId) {
    if ProcessId::of(process.pid).is_ok_and(|now| now == process) {
        sys::reap(process.pid);
    }
}

/// What the end is to be called: the guard can't say it any more.
fn outcome(shared: &Shared, state: &State) -> Outcome {
    if state.confinement.is_none() {
        let words = fs::read(state::stderr_path(&shared.dir, state.spec.instance)).unwrap_or_default();
        let words =
            String::from_utf8_lossy(&words[..words.len().min(MAX_LAST_WORDS_BYTES)]).trim().to_owned();
        return Outcome::StartFailed(format!("its guard ended before it started the workload ({words})"));
    }
    let cause = if lease_over(shared, state) { Cause::Deadline } else { Cause::GuardLost };
    Outcome::Ran { exit: Exit::Signal(libc::SIGKILL), cause }
}

/// Whether the lease explains the guard's death.
fn lease_over(shared: &Shared, state: &State) -> bool {
    let content = PageReader::open(&shared.dir, state.spec.epoch).ok().and_then(|page| page.read().ok());
    let now = crate::clock::now();
    content.is_some_and(|page| {
        page.revoked
            || now.boot + KILL_MARGIN >= page.deadline.boot
            || now.raw + KILL_MARGIN >= page.deadline.raw
    })
}
