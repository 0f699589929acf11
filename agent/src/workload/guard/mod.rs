//! The guard: a small process per instance, parent of the workload, that ends its tree when the lease ends.
//!
//! `holdfast guard STATE-FILE`, started by the supervisor. It depends on nothing that may stall: one thread, no
//! runtime, no network. Its last resort isn't its own code: a kernel timer kills it, running or stopped, and its death
//! kills the tree. It outlives the agent; stopped by SIGTERM, it ends the workload in peace first.
//!
//! Not here: whether something should run, restarts, renewing the lease.

mod child;
pub(crate) mod harden;
mod lease;
mod output;
mod plan;
mod tree;
mod watch;

pub use lease::KILL_MARGIN;

use super::{
    logs, page,
    spec::GuardSpec,
    state::{Lock, Phase, State, StateError},
    sys::ProcessId,
};
use cluster_core::{
    ids::InstanceId,
    instance::{Cause, Outcome},
    time::Instant,
};
use output::Output;
use plan::Plan;
use std::{path::Path, process::ExitCode, thread, time::Duration};
use tree::Tree;
use watch::{Signals, Watch};

/// How often the page is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often, while waiting for a killed tree to be gone.
const END_LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long a start waits for a deadline that lies ahead.
const START_WAIT: Duration = Duration::from_secs(1);
const START_LOOK_EVERY: Duration = Duration::from_millis(5);

/// Runs the guard of the instance whose state file this is. Must be called before any thread exists.
#[must_use]
pub fn main(state_file: &Path) -> ExitCode {
    match run(state_file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("holdfast guard {}: {e}", state_file.display());
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum GuardError {
    #[error(
        "the argument must be the path of a state file, DIRECTORY/INSTANCE.json: guards are started by the agent"
    )]
    Argument,
    #[error("another guard holds this instance")]
    Held,
    #[error("this instance was started before: each run gets an id of its own")]
    NotNew,
    #[error(transparent)]
    State(#[from] StateError),
    #[error("cannot read this process's identity under /proc: {0}; is /proc mounted?")]
    Identity(std::io::Error),
}

fn run(state_file: &Path) -> Result<(), GuardError> {
    let dir = state_file.parent().filter(|dir| dir.is_dir()).ok_or(GuardError::Argument)?;
    let stem = state_file.file_stem().and_then(|stem| stem.to_str()).ok_or(GuardError::Argument)?;
    let instance: InstanceId = stem.parse().map_err(|_| GuardError::Argument)?;
    let _lock = Lock::take(dir, instance)?.ok_or(GuardError::Held)?;
    let mut state = State::read(dir, instance)?;
    if state.phase != Phase::Starting || state.guard.is_some() {
        return Err(GuardError::NotNew);
    }
    state.guard = Some(ProcessId::of(std::process::id()).map_err(GuardError::Identity)?);
    state.write(dir)?;
    let outcome = hold(dir, &mut state).unwrap_or_else(|e| Outcome::StartFailed(e.0));
    state.phase = Phase::Ended { outcome, ended_at: crate::clock::wall() };
    // The confirmation: from here on anybody may rely on the tree being gone.
    state.write(dir)?;
    Ok(())
}

/// Why the workload never ran; a sentence. Nothing is left of what was begun.
struct StartFailed(String);

impl<E: std::error::Error> From<E> for StartFailed {
    fn from(e: E) -> Self {
        Self(e.to_string())
    }
}

/// Starts the workload and holds it to its end. Whatever it returns, the tree is empty then.
fn hold(dir: &Path, state: &mut State) -> Result<Outcome, StartFailed> {
    let spec = state.spec.clone();
    spec.check()?;
    let boot = crate::clock::boot_id().map_err(std::io::Error::other)?;
    if boot != spec.boot {
        return Err(StartFailed(format!(
            "the host was started anew since: it is boot {boot}, not {}",
            spec.boot
        )));
    }
    let signals = Signals::block_all()?;
    let (mut missing, nice) = harden::harden("guard");
    let plan = Plan::new(&spec, nice)?;
    let mut watch = Watch::new(&spec)?;
    await_lease(dir, &spec, &mut watch)?;
    let mut output = Output::open(&logs::slot_dir(dir, &spec.workload, spec.index), spec.logs)?;
    let mut tree = Tree::prepare(spec.instance, &mut missing)?;
    state.init = tree.init().map(ProcessId::of).transpose()?;
    state.confinement = Some(tree.confinement(missing));
    let written = state.write(dir);
    let started = written.map_err(StartFailed::from).and_then(|()| tree.start(&plan, &output, &mut watch));
    output.close_write_end();
    let workload = match started {
        Ok(pid) => pid,
        Err(e) => {
            drop(tree); // ends it
            return Err(e);
        }
    };
    let mut run = Run { spec: &spec, watch, signals, output, tree, stop: None, graced: false, ending: None };
    if let Ok(workload) = ProcessId::of(workload) {
        state.phase = Phase::Running { workload, started_at: crate::clock::wall() };
        if let Err(e) = state.write(dir) {
            // Nobody would learn of it: better not to run than to run unseen.
            run.ending = Some(Cause::GuardLost);
            eprintln!("holdfast guard: {e}");
        }
    }
    Ok(run.hold_to_the_end())
}

/// Waits until a deadline that this guard accepts lies ahead; its timer is armed then.
fn await_lease(dir: &Path, spec: &GuardSpec, watch: &mut Watch) -> Result<(), StartFailed> {
    let give_up = crate::clock::now().boot + START_WAIT;
    loop {
        match watch.look(dir)? {
            lease::Verdict::Holds { .. } => return Ok(()),
            lease::Verdict::Over => {
                return Err(StartFailed(format!("lease epoch {} was taken back from this node", spec.epoch)));
            }
            lease::Verdict::Never if crate::clock::now().boot >= give_up => {
                return Err(StartFailed(format!(
                    "this node holds no lease of epoch {}: no deadline ahead on {}; it starts once the lease is renewed",
                    spec.epoch,
                    page::path(dir, spec.epoch).display()
                )));
            }
            lease::Verdict::Never => thread::sleep(START_LOOK_EVERY),
        }
    }
}

/// A workload that was started, until its tree is empty.
struct Run<'a> {
    spec: &'a GuardSpec,
    watch: Watch,
    signals: Signals,
    output: Output,
    tree: Tree,
    /// A planned stop is under way; SIGKILL comes at this CLOCK_BOOTTIME.
    stop: Option<Instant>,
    /// SIGTERM went out because the lease is about to end.
    graced: bool,
    /// The tree is being killed.
    ending: Option<Cause>,
}

impl Run<'_> {
    fn hold_to_the_end(mut self) -> Outcome {
        loop {
            self.signals.wait(&self.output, self.patience());
            self.obey_lease();
            self.obey_signals();
            self.output.drain();
            let children_left = self.tree.reap();
            if self.tree.exit().is_some() && self.ending.is_none() {
                self.ending = Some(self.cause());
            }
            let Some(cause) = self.ending else { continue };
            if !children_left && self.tree.is_empty() {
                // Nothing is left to kill; the guard itself must live to say so.
                self.watch.disarm();
                self.tree.clean_up();
                self.output.finish();
                let exit = self.tree.exit().expect("every child was reaped, the workload among them");
                return Outcome::Ran { exit, cause };
            }
            self.tree.kill();
        }
    }

    /// How long nothing needs to be done, if nothing happens.
    fn patience(&self) -> Duration {
        match (self.ending, self.stop) {
            (Some(_), _) => END_LOOK_EVERY,
            (None, Some(kill_at)) => LOOK_EVERY.min(kill_at.since(crate::clock::now().boot)),
            (None, None) => LOOK_EVERY,
        }
    }

    /// Why the workload ended, when it ended before it was killed.
    fn cause(&self) -> Cause {
        match (self.stop, self.graced) {
            (Some(_), _) => Cause::Stopped,
            (None, true) => Cause::Deadline,
            (None, false) => Cause::Exited,
        }
    }

    fn obey_lease(&mut self) {
        let grace = Duration::from_millis(self.spec.isolation_grace_ms);
        if self.watch.is_over() {
            self.ending.get_or_insert(Cause::Deadline);
        } else if self.watch.within_grace(grace) && !self.graced {
            self.graced = true;
            self.tree.terminate();
        }
    }

    fn obey_signals(&mut self) {
        if let Some(asked) = self.signals.stop_asked() {
            let timeout = asked.unwrap_or(Duration::from_millis(self.spec.stop_timeout_ms));
            let kill_at = crate::clock::now().boot + timeout;
            // A second order can only make it sooner.
            self.stop = Some(self.stop.map_or(kill_at, |before| before.min(kill_at)));
            if !timeout.is_zero() {
                self.tree.terminate();
            }
        }
        if self.stop.is_some_and(|kill_at| crate::clock::now().boot >= kill_at) {
            self.ending.get_or_insert(Cause::Stopped);
        }
    }
}
