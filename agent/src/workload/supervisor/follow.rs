//! Following one instance: from its guard's start, or adoption, to the end of its tree.
//!
//! A pidfd tells at once that the guard is gone, whoever's child it is. Not here: the proof that its tree is too
//! (`settle`).

use super::{
    Shared, blocking,
    settle::{Settled, settle},
};
use crate::{
    priority,
    workload::{
        spec::{GuardEvent, GuardSpec},
        state::{self, Lock, Phase, State},
        sys::{self, ProcessId},
    },
};
use cluster_core::{ids::InstanceId, instance::Outcome};
use std::{
    fs, io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{error, warn};

/// How often the state file of an instance that starts is read.
const START_LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often a tree is looked at whose guard is gone.
const PROOF_LOOK_EVERY: Duration = Duration::from_millis(10);
/// After so long without a proof the end is told without one.
const UNPROVEN_AFTER: Duration = Duration::from_secs(2);
/// How soon what the disk refused is tried again.
const DISK_RETRY: Duration = Duration::from_secs(1);

struct Follower {
    shared: Arc<Shared>,
    instance: InstanceId,
    orders: watch::Receiver<Option<Duration>>,
    ended: Arc<AtomicBool>,
}

/// Ends once the end is known and told, or can't be known.
pub(super) async fn follow(
    shared: Arc<Shared>,
    instance: InstanceId,
    new: Option<GuardSpec>,
    orders: watch::Receiver<Option<Duration>>,
    ended: Arc<AtomicBool>,
) {
    let mut follower = Follower { shared: Arc::clone(&shared), instance, orders, ended };
    let guard = match new {
        Some(spec) => match blocking(move || launch(&shared, spec)).await {
            Ok(Some(guard)) => Some(guard),
            Ok(None) => follower.find_guard().await,
            Err(reason) => return follower.tell_end(Outcome::StartFailed(reason), true).await,
        },
        None => follower.find_guard().await,
    };
    if let Some(guard) = guard {
        follower.while_guarded(guard).await;
    }
    follower.after_guard().await;
}

impl Follower {
    async fn tell(&self, event: GuardEvent) {
        // A closed channel: the agent is ending, and the next one adopts.
        let _ = self.shared.events.send(event).await;
    }

    async fn tell_end(&self, outcome: Outcome, confirmed: bool) {
        self.ended.store(confirmed, Ordering::Release);
        self.tell(GuardEvent::Ended { instance: self.instance, outcome, confirmed }).await;
    }

    async fn read(&self) -> Option<State> {
        let (shared, instance) = (Arc::clone(&self.shared), self.instance);
        match blocking(move || State::read(&shared.dir, instance)).await {
            Ok(state) => Some(state),
            Err(e) => {
                error!(instance = %self.instance, "{e}");
                None
            }
        }
    }

    /// The guard of an adopted instance, if there is one. A guard that was about to start finds its lock or its state
    /// taken, and gives up.
    async fn find_guard(&self) -> Option<ProcessId> {
        loop {
            let state = self.read().await?;
            if state.guard.is_some() || state.phase != Phase::Starting || state.spec.boot != self.shared.boot
            {
                return state.guard.filter(|_| state.spec.boot == self.shared.boot);
            }
            let shared = Arc::clone(&self.shared);
            let nobody = blocking(move || give_up_unguarded(&shared, state)).await;
            match nobody {
                Ok(true) => return None,
                Ok(false) => sleep(START_LOOK_EVERY).await, // it has the lock, and will say who it is
                Err(e) => {
                    error!(instance = %self.instance, "{e}");
                    sleep(DISK_RETRY).await;
                }
            }
        }
    }

    /// Until the guard is gone: passes orders on, and tells when the workload runs. Of a run shorter than a look nobody
    /// is told that it began.
    async fn while_guarded(&mut self, guard: ProcessId) {
        let opened = guard.open().and_then(|fd| fd.map(readiness).transpose());
        let pidfd = match opened {
            Ok(Some(pidfd)) => pidfd,
            Ok(None) => {
                return reap(guard);
            }
            Err(e) => {
                error!(instance = %self.instance, "cannot watch guard {}: {e}", guard.pid);
                return self.while_guarded_slowly(guard).await;
            }
        };
        let mut announced = false;
        loop {
            tokio::select! {
                _ = pidfd.readable() => return reap(guard),
                Ok(()) = self.orders.changed() => self.pass_on(pidfd.get_ref()),
                () = sleep(START_LOOK_EVERY), if !announced => announced = self.announce().await,
            }
        }
    }

    /// The same without a handle (no descriptors left): late, and deaf to orders, but never wrong.
    async fn while_guarded_slowly(&mut self, guard: ProcessId) {
        let mut announced = false;
        while guard.is_alive().unwrap_or(true) {
            announced = announced || self.announce().await;
            sleep(DISK_RETRY).await;
        }
        reap(guard);
    }

    fn pass_on(&mut self, guard: &OwnedFd) {
        let Some(timeout) = *self.orders.borrow_and_update() else { return };
        let ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        if let Err(e) = sys::queue_signal(guard, sys::STOP_ORDER, ms)
            && e.raw_os_error() != Some(libc::ESRCH)
        {
            error!(instance = %self.instance, "cannot tell the guard to stop: {e}");
        }
    }

    async fn announce(&self) -> bool {
        let Some(state) = self.read().await else { return false };
        let Phase::Running { workload, started_at } = state.phase else { return false };
        let Some(confinement) = state.confinement else { return false };
        let (instance, pid) = (self.instance, workload.pid);
        self.tell(GuardEvent::Started { instance, pid, started_at, confinement }).await;
        true
    }

    /// The guard is gone: until its tree is proven to be, too.
    async fn after_guard(&self) {
        let began = Instant::now();
        let mut told = false;
        loop {
            let (shared, instance) = (Arc::clone(&self.shared), self.instance);
            let (outcome, pause) = match blocking(move || settle(&shared, instance)).await {
                Ok(Settled::Proven(outcome)) => return self.tell_end(outcome, true).await,
                Ok(Settled::NotYet(outcome)) => (outcome, PROOF_LOOK_EVERY),
                Ok(Settled::Unprovable(outcome)) => {
                    warn!(%instance, "its guard was killed and it was unconfined: what it detached may still run");
                    return self.tell_end(outcome, false).await;
                }
                Err(e) => {
                    error!(%instance, "cannot settle its end: {e}");
                    (Outcome::StartFailed(e.to_string()), DISK_RETRY)
                }
            };
            if !told && began.elapsed() >= UNPROVEN_AFTER {
                told = true;
                self.tell_end(outcome, false).await;
            }
            sleep(if told { DISK_RETRY } else { pause }).await;
        }
    }
}

/// Readable once the process is gone.
fn readiness(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, and the same, for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}

/// Leaves no zombie of our own; an adopted guard is another's child.
fn reap(process: ProcessId) {
    if ProcessId::of(process.pid).is_ok_and(|now| now == process) {
        sys::reap(process.pid);
    }
}

/// Writes the state file and starts the guard; `None` when its identity must be read there. The error is a sentence;
/// nothing runs then.
fn launch(shared: &Shared, spec: GuardSpec) -> Result<Option<ProcessId>, String> {
    let instance = spec.instance;
    State::starting(spec).write(&shared.dir).map_err(|e| e.to_string())?;
    let spawned = spawn(shared, instance);
    spawned.map(|pid| ProcessId::of(pid).ok()).map_err(|e| {
        // Without a guard the file describes nothing.
        let removed =
            state::remove(&shared.dir, instance).err().map(|e| format!("; {e}")).unwrap_or_default();
        format!("cannot start the guard {}: {e}{removed}", shared.exe.display())
    })
}

fn spawn(shared: &Shared, instance: InstanceId) -> io::Result<u32> {
    let last_words = fs::File::create(state::stderr_path(&shared.dir, instance))?;
    let mut command = Command::new(&shared.exe);
    command.arg("guard").arg(state::path(&shared.dir, instance));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(last_words);
    command.env_clear().current_dir("/");
    let nice = priority::usual();
    // SAFETY: system calls only, allowed between fork and exec.
    unsafe {
        command.pre_exec(move || {
            // A voter's is no workload's.
            libc::setpriority(libc::PRIO_PROCESS, 0, nice);
            // An order may come before the guard is ready for it: it stays pending.
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
            // Its own session: what the agent's terminal or process group is sent doesn't reach it.
            if libc::setsid() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
    Ok(command.spawn()?.id())
}

/// With the lock in hand, no guard of this instance is or will be. Whether that was so.
fn give_up_unguarded(shared: &Shared, mut state: State) -> Result<bool, state::StateError> {
    let Some(_lock) = Lock::take(&shared.dir, state.spec.instance)? else { return Ok(false) };
    // Read again under the lock: a guard may have been here and gone in between.
    let now = State::read(&shared.dir, state.spec.instance)?;
    if now.guard.is_none() && now.phase == Phase::Starting {
        let outcome = Outcome::StartFailed("the agent ended before it had started the guard".into());
        state.phase = Phase::Ended { outcome, ended_at: crate::clock::wall() };
        state.write(&shared.dir)?;
    }
    Ok(true)
}
