//! An agent's share of the work with guards, in a directory of its own; and what a test looks at.

use cluster_core::{
    ids::{BootId, Generation, InstanceId, LeaseEpoch},
    instance::{Cause, Exit, Outcome},
};
use holdfast::workload::{
    page::{self, DeadlinePage},
    spec::{Confinement, GuardEvent, GuardSpec, LogLimits},
    state::State,
    supervisor::Supervisor,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

pub const EPOCH: LeaseEpoch = LeaseEpoch(3);
pub const LEASE: Duration = Duration::from_millis(2_000);
/// Nothing that is waited for takes nearly so long, unless it never comes.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const NOBODY: u32 = 65_534;

/// Detached twice over, deaf to SIGTERM, stamping all the time; and a parent that waits.
pub const ESCAPIST: &str = r#"
trap "" TERM HUP
(setsid sh -c 'trap "" TERM HUP; while :; do cat /proc/uptime >> "$STAMPS"; done' &)
while :; do cat /proc/uptime >> "$STAMPS.parent"; sleep 0.01; done"#;

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Renews the page until it is dropped.
pub struct Renewer(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Drop for Renewer {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        self.1.take().unwrap().join().unwrap();
    }
}

/// An agent's share of the work, in a directory of its own.
pub struct Rig {
    pub dir: tempfile::TempDir,
    pub boot: BootId,
    pub exe: PathBuf,
    pub page: Arc<DeadlinePage>,
    pub supervisor: Supervisor,
    pub events: mpsc::Receiver<GuardEvent>,
    pub instances: u64,
}

impl Rig {
    pub fn new() -> Self {
        Self::with_exe(env!("CARGO_BIN_EXE_holdfast").into(), tempfile::tempdir().unwrap())
    }

    pub fn with_exe(exe: PathBuf, dir: tempfile::TempDir) -> Self {
        let boot = holdfast::clock::boot_id().unwrap();
        let guards = dir.path().join("guards");
        let (sender, events) = mpsc::channel(64);
        let supervisor = Supervisor::new(&guards, boot, exe.clone(), sender).unwrap();
        let page = Arc::new(DeadlinePage::create_or_open(&guards, EPOCH, boot).unwrap());
        Self { dir, boot, exe, page, supervisor, events, instances: 0 }
    }

    /// The same directory under the next agent. The old one is gone as if it had been killed.
    pub fn next_agent(self) -> Self {
        let next = Self::with_exe(self.exe.clone(), self.dir);
        Self { instances: self.instances, ..next }
    }

    pub fn guards(&self) -> PathBuf {
        self.dir.path().join("guards")
    }

    pub fn renew(&self) -> Renewer {
        let (page, stop) = (Arc::clone(&self.page), Arc::new(AtomicBool::new(false)));
        page.extend(page::deadline_in(LEASE));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                page.extend(page::deadline_in(LEASE));
                thread::sleep(Duration::from_millis(50));
            }
        });
        Renewer(stop, Some(thread))
    }

    pub fn spec(&mut self, command: &[&str]) -> GuardSpec {
        self.instances += 1;
        // Unlike those of other tests, so that a scan of /proc tells them apart.
        let unique = u64::from(std::process::id()) << 32 | (Arc::as_ptr(&self.page) as u64 & 0xffff_ff00);
        GuardSpec {
            instance: InstanceId(unique.wrapping_add(self.instances)),
            workload: "web".into(),
            index: u32::try_from(self.instances).unwrap(),
            generation: Generation(7),
            epoch: EPOCH,
            boot: self.boot,
            version: 1,
            node: "n1".into(),
            agent_addr: "127.0.0.1:7400".into(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            env: BTreeMap::from([("STAMPS".into(), self.dir.path().join("stamps").display().to_string())]),
            user: None,
            working_dir: None,
            stop_timeout_ms: 10_000,
            isolation_grace_ms: 0,
            lease_ms: LEASE.as_millis().try_into().unwrap(),
            logs: LogLimits::default(),
        }
    }

    pub async fn event(&mut self) -> GuardEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event in time").unwrap()
    }

    pub async fn started(&mut self) -> (u32, Confinement) {
        match self.event().await {
            GuardEvent::Started { pid, confinement, .. } => (pid, confinement),
            other => panic!("{other:?} instead of a start; {}", self.last_words()),
        }
    }

    pub async fn ended(&mut self) -> (Outcome, bool) {
        match self.event().await {
            GuardEvent::Ended { outcome, confirmed, .. } => (outcome, confirmed),
            other @ GuardEvent::Started { .. } => panic!("{other:?} instead of an end"),
        }
    }

    /// An end of which nobody but the kernel can tell is first told unproven when its proof takes long; this waits for it.
    pub async fn proven_end(&mut self) -> Outcome {
        loop {
            let (outcome, confirmed) = self.ended().await;
            if confirmed {
                return outcome;
            }
        }
    }

    /// Starts it, and waits until it runs: its host pid and its guard's.
    pub async fn run(&mut self, spec: &GuardSpec) -> (u32, u32) {
        self.supervisor.start(spec.clone()).unwrap();
        let (pid, _) = self.started().await;
        (pid, self.state(spec).guard.unwrap().pid)
    }

    pub fn state(&self, spec: &GuardSpec) -> State {
        State::read(&self.guards(), spec.instance).unwrap()
    }

    pub fn last_words(&self) -> String {
        let words = fs::read_dir(self.guards()).unwrap().filter_map(|entry| {
            let path = entry.ok()?.path();
            path.extension().is_some_and(|e| e == "stderr").then(|| fs::read_to_string(path).ok())?
        });
        words.collect()
    }

    /// CLOCK_BOOTTIME of the last whole stamp, in milliseconds.
    pub fn last_stamp_ms(&self, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.dir.path().join(name)).ok()?;
        let line = text.lines().rfind(|line| line.split(' ').count() == 2)?;
        let (seconds, hundredths) = line.split(' ').next()?.split_once('.')?;
        Some(seconds.parse::<u64>().ok()? * 1_000 + hundredths.parse::<u64>().ok()? * 10)
    }

    pub async fn until_stamped(&self) {
        until("stamps of both", || {
            self.last_stamp_ms("stamps").is_some() && self.last_stamp_ms("stamps.parent").is_some()
        })
        .await;
    }
}

pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The processes that carry this instance's name in their environment.
pub fn alive(spec: &GuardSpec) -> Vec<u32> {
    let mark = format!("HOLDFAST_INSTANCE={}", spec.instance);
    let pids = fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    let marked = |pid: &u32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|env| env.split(|&b| b == 0).any(|entry| entry == mark.as_bytes()))
    };
    pids.filter(marked).collect()
}

pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

pub fn killed(cause: Cause) -> (Outcome, bool) {
    (Outcome::Ran { exit: Exit::Signal(9), cause }, true)
}

pub fn left_cgroup(spec: &GuardSpec, rig: &Rig) -> bool {
    let confinement = rig.state(spec).confinement.unwrap();
    confinement.cgroup.is_some_and(|dir| Path::new(&dir).exists())
}
