//! The agent's hand on its keeper: adopts the one that is there, starts one when there is none, and again when it dies.
//!
//! A keeper of another version, of another address or of another secret is retired, and a new one takes its place within
//! milliseconds; one that doesn't obey is killed. Not here: what the keeper is told (`run::lease`).

use super::{
    local::{self, Got},
    process::stderr_path,
    protocol::{Hello, PACKET_MAX, ToAgent, ToKeeper},
    secret::Secret,
    state::State,
};
use crate::{
    storage::StorageError,
    workload::sys::{self, ProcessId},
};
use cluster_core::ids::{BootId, NodeId};
use rustix::process::{Signal, pidfd_send_signal};
use std::{
    fs, io,
    net::{SocketAddr, UdpSocket},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
};
use tokio_util::task::AbortOnDropHandle;

/// A keeper that is connected to says who it is within this, or is taken for stuck.
const GREETS_WITHIN: Duration = Duration::from_secs(1);
/// A keeper that was started listens within this.
const STARTS_WITHIN: Duration = Duration::from_secs(5);
/// One that was retired is gone within this, or is killed.
const RETIRES_WITHIN: Duration = Duration::from_millis(300);
const DIES_WITHIN: Duration = Duration::from_secs(2);
/// The port of a keeper that just ended, or whose directory was just removed, is free within this.
const PORT_FREE_WITHIN: Duration = Duration::from_millis(1_500);
const LOOK_AGAIN: Duration = Duration::from_millis(3);
/// Between two attempts to start a keeper; doubled up to the second while they fail.
const AGAIN_MIN: Duration = Duration::from_millis(10);
const AGAIN_MAX: Duration = Duration::from_secs(1);
/// So many packets in a row without a word back, each a while after the other, and the keeper is stuck: it is killed,
/// and started again.
const UNANSWERED_MAX: u32 = 6;
const UNANSWERED_APART: Duration = Duration::from_millis(200);
/// Of a dead keeper's last words, so many bytes are shown.
const LAST_WORDS_BYTES: usize = 512;

#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error(
        "can't listen on listen.grpc = \"{address}\" by UDP, which the keeper needs: {cause}; stop what uses this \
         port, or choose another address"
    )]
    Udp { address: SocketAddr, cause: io::Error },
    #[error("can't start the keeper {exe}: {cause}", exe = .exe.display())]
    Spawn { exe: PathBuf, cause: io::Error },
    #[error("the keeper ended at its start{}", if .0.is_empty() { String::new() } else { format!(": {}", .0) })]
    Ended(String),
    #[error("the keeper (pid {pid}) that is there neither answers nor ends; end it by hand")]
    Stuck { pid: u32 },
    #[error("can't speak to the keeper over its socket in {dir}: {cause}; check the directory's owner", dir = .dir.display())]
    Local { dir: PathBuf, cause: io::Error },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a keeper is started with.
#[derive(Clone)]
pub struct Setup {
    pub exe: PathBuf,
    /// `data_dir/guards`, absolute.
    pub dir: PathBuf,
    pub node: NodeId,
    pub boot: BootId,
    /// Where gRPC listens; the keeper has the same port by UDP.
    pub listen: SocketAddr,
    pub secret: Secret,
}

/// What the agent is told.
#[derive(Debug)]
pub enum KeeperEvent {
    /// A keeper listens, and knows nothing yet.
    Connected,
    Said(ToAgent),
}

/// A connection to one keeper's process.
struct Link {
    socket: AsyncFd<OwnedFd>,
    process: ProcessId,
}

struct Core {
    setup: Setup,
    link: Mutex<Option<Arc<Link>>>,
    unanswered: Mutex<Unanswered>,
    retired: AtomicBool,
}

/// What was said to the keeper since it last said something.
struct Unanswered {
    count: u32,
    counted_at: Instant,
}

impl Unanswered {
    fn none() -> Self {
        Self { count: 0, counted_at: Instant::now() }
    }

    /// Whether that is once too often. Said once.
    fn add(&mut self) -> bool {
        if self.counted_at.elapsed() < UNANSWERED_APART {
            return false;
        }
        // An agent that was stopped itself counts one, and hears the answer to it before the next.
        (self.count, self.counted_at) = (self.count + 1, Instant::now());
        self.count == UNANSWERED_MAX
    }
}

/// Dropping it ends the connection, never the keeper.
pub struct Keeper {
    core: Arc<Core>,
    _task: AbortOnDropHandle<()>,
}

impl Keeper {
    /// Returns once a keeper listens on the port. It is held on to from then on.
    pub async fn start(setup: Setup, events: mpsc::Sender<KeeperEvent>) -> Result<Self, KeeperError> {
        let core = Arc::new(Core {
            setup,
            link: Mutex::default(),
            unanswered: Mutex::new(Unanswered::none()),
            retired: AtomicBool::new(false),
        });
        let link = core.clone().bring_up().await?;
        let task = AbortOnDropHandle::new(tokio::spawn(core.clone().hold(link, events)));
        Ok(Self { core, _task: task })
    }

    /// Sends at once, or not at all: to a keeper that is being started again nothing can be said.
    pub fn send(&self, message: &ToKeeper) {
        let link = self.core.link().clone();
        let Some(link) = link else { return };
        // What can't be sent is answered as little; if the connection has ended, its reader sees that.
        let _dropped = local::put(link.socket.get_ref(), &message.encode());
        if matches!(message, ToKeeper::Tell(_)) && self.core.unanswered().add() {
            tracing::error!(pid = link.process.pid, "the keeper is stuck: it is killed and started again");
            kill(link.process);
        }
    }

    /// Ends the keeper, and starts none any more: this node has left.
    pub fn retire(&self) {
        self.core.retired.store(true, Ordering::Relaxed);
        self.send(&ToKeeper::Retire);
    }
}

impl Core {
    fn link(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unanswered(&self) -> MutexGuard<'_, Unanswered> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the agent ends: hears the keeper, and whenever it is gone brings up the next one.
    async fn hold(self: Arc<Self>, mut link: Arc<Link>, events: mpsc::Sender<KeeperEvent>) {
        loop {
            if events.send(KeeperEvent::Connected).await.is_err() {
                return;
            }
            self.hear(&link, &events).await;
            *self.link() = None;
            // Nobody listens any more: the agent is ending, and the keeper stays for the next one.
            if self.retired.load(Ordering::Relaxed) || events.is_closed() {
                return;
            }
            let process = link.process;
            let said = last_words(&self.setup);
            tracing::warn!(pid = process.pid, said, "the keeper is gone; it is started again");
            let _gone = tokio::task::spawn_blocking(move || gone_within(process, DIES_WITHIN)).await;
            let mut pause = AGAIN_MIN;
            link = loop {
                match self.clone().bring_up().await {
                    Ok(link) => break link,
                    Err(error) => tracing::error!(%error, "no keeper: the lease runs out soon"),
                }
                tokio::time::sleep(pause).await;
                pause = AGAIN_MAX.min(2 * pause);
            };
        }
    }

    /// Returns when the connection is over, or when nobody listens any more.
    async fn hear(&self, link: &Link, events: &mpsc::Sender<KeeperEvent>) {
        let mut buffer = [0; PACKET_MAX];
        loop {
            let Ok(mut ready) = link.socket.readable().await else { return };
            match local::get(link.socket.get_ref(), &mut buffer) {
                Ok(Got::Packet(packet)) => {
                    *self.unanswered() = Unanswered::none();
                    match ToAgent::decode(packet) {
                        Ok(message) => {
                            if events.send(KeeperEvent::Said(message)).await.is_err() {
                                return;
                            }
                        }
                        Err(error) => tracing::warn!(%error, "a packet of the keeper is dropped"),
                    }
                }
                Ok(Got::Nothing) => ready.clear_ready(),
                Ok(Got::End) | Err(_) => return,
            }
        }
    }

    /// A keeper to speak to: the one that is there, or a new one.
    async fn bring_up(self: Arc<Self>) -> Result<Arc<Link>, KeeperError> {
        let setup = self.setup.clone();
        let found = tokio::task::spawn_blocking(move || adopt_or_start(&setup)).await;
        let (socket, process, hello) = found.expect("looking for a keeper doesn't panic")?;
        for missing in hello.missing {
            tracing::info!(missing, "the keeper isn't as hard to harm as it should be");
        }
        // SAFETY: an OwnedFd is open, and the same, for as long as it lives.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        let socket = socket.map_err(|cause| self.setup.local(cause.into()))?;
        let link = Arc::new(Link { socket, process });
        *self.unanswered() = Unanswered::none();
        *self.link() = Some(link.clone());
        Ok(link)
    }
}

type Found = (OwnedFd, ProcessId, Hello);

impl Setup {
    fn local(&self, cause: io::Error) -> KeeperError {
        KeeperError::Local { dir: self.dir.clone(), cause }
    }

    fn is_ours(&self, hello: &Hello) -> bool {
        hello.node == self.node && hello.key_id == self.secret.id() && hello.address == self.listen
    }
}

/// Blocks for milliseconds, and for seconds only when something is wrong.
fn adopt_or_start(setup: &Setup) -> Result<Found, KeeperError> {
    if let Some(socket) = local::dial(&setup.dir).map_err(|e| setup.local(e))?
        && let Some(process) = process_behind(setup, &socket)?
    {
        match greet(&socket, GREETS_WITHIN) {
            Some(hello) if setup.is_ours(&hello) => {
                tracing::info!(pid = process.pid, "the keeper is adopted");
                return Ok((socket, process, hello));
            }
            _ => replace(&socket, process)?,
        }
    }
    start(setup)
}

/// The process that listens at the other end, by the kernel's word; a state file that says otherwise is told of. `None`
/// when it has just ended.
fn process_behind(setup: &Setup, socket: &OwnedFd) -> Result<Option<ProcessId>, KeeperError> {
    let pid = local::peer(socket).map_err(|e| setup.local(e))?;
    let Ok(process) = ProcessId::of(pid) else { return Ok(None) };
    match State::read(&setup.dir) {
        Ok(Some(state)) if state.process == process && state.boot == setup.boot => {}
        Ok(_) => tracing::warn!(pid, "the keeper's state file doesn't describe it"),
        Err(error) => tracing::warn!(pid, %error, "the keeper's state file can't be read"),
    }
    Ok(Some(process))
}

/// The other's hello, if it comes in time and in a version that is spoken here.
fn greet(socket: &OwnedFd, within: Duration) -> Option<Hello> {
    let give_up = Instant::now() + within;
    let mut buffer = [0; PACKET_MAX];
    local::put(socket, &ToKeeper::Hello.encode()).ok()?;
    while Instant::now() < give_up {
        match local::get(socket, &mut buffer).ok()? {
            Got::Packet(packet) => match ToAgent::decode(packet) {
                Ok(ToAgent::Hello(hello)) => return Some(hello),
                Ok(_) => {}
                Err(_) => return None,
            },
            Got::Nothing => thread::sleep(LOOK_AGAIN),
            Got::End => return None,
        }
    }
    None
}

/// Makes room for another keeper.
fn replace(socket: &OwnedFd, process: ProcessId) -> Result<(), KeeperError> {
    tracing::info!(pid = process.pid, "the keeper that is there makes room for another");
    let _gone = local::put(socket, &ToKeeper::Retire.encode());
    if gone_within(process, RETIRES_WITHIN) {
        return Ok(());
    }
    kill(process);
    if gone_within(process, DIES_WITHIN) { Ok(()) } else { Err(KeeperError::Stuck { pid: process.pid }) }
}

fn kill(process: ProcessId) {
    if let Ok(Some(handle)) = process.open() {
        // What ended in between needs no signal.
        let _gone = pidfd_send_signal(handle, Signal::KILL);
    }
}

fn gone_within(process: ProcessId, within: Duration) -> bool {
    let give_up = Instant::now() + within;
    loop {
        if !process.is_alive().unwrap_or(true) {
            // A child of this agent's leaves no zombie; an adopted one is another's child.
            sys::reap(process.pid);
            return true;
        }
        if Instant::now() >= give_up {
            return false;
        }
        thread::sleep(LOOK_AGAIN);
    }
}

fn start(setup: &Setup) -> Result<Found, KeeperError> {
    let udp = bind(setup.listen)?;
    let pid = spawn(setup, udp).map_err(|cause| KeeperError::Spawn { exe: setup.exe.clone(), cause })?;
    let process = ProcessId::of(pid).map_err(|cause| setup.local(cause))?;
    let give_up = Instant::now() + STARTS_WITHIN;
    while Instant::now() < give_up {
        if let Some(socket) = local::dial(&setup.dir).map_err(|e| setup.local(e))?
            && local::peer(&socket).is_ok_and(|peer| peer == pid)
            // Not given up early: a keeper that never held anything ends with its first agent.
            && let Some(hello) = greet(&socket, give_up.saturating_duration_since(Instant::now()))
        {
            tracing::info!(pid, "the keeper is started");
            return Ok((socket, process, hello));
        }
        if !process.is_alive().unwrap_or(true) {
            sys::reap(pid);
            return Err(KeeperError::Ended(last_words(setup)));
        }
        thread::sleep(LOOK_AGAIN);
    }
    kill(process);
    gone_within(process, DIES_WITHIN);
    Err(KeeperError::Stuck { pid })
}

/// Bound here, so that a port in use is this agent's own clear error.
fn bind(address: SocketAddr) -> Result<UdpSocket, KeeperError> {
    let give_up = Instant::now() + PORT_FREE_WITHIN;
    loop {
        match UdpSocket::bind(address) {
            Ok(socket) => return Ok(socket),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                thread::sleep(LOOK_AGAIN);
            }
            Err(cause) => return Err(KeeperError::Udp { address, cause }),
        }
    }
}

fn spawn(setup: &Setup, udp: UdpSocket) -> io::Result<u32> {
    let last_words = fs::File::create(stderr_path(&setup.dir))?;
    let mut command = Command::new(&setup.exe);
    command.arg("keeper").arg(&setup.dir).arg(setup.node.to_string());
    command.stdin(OwnedFd::from(udp)).stdout(Stdio::null()).stderr(last_words);
    command.env_clear().current_dir("/");
    // SAFETY: a system call only, allowed between fork and exec.
    unsafe {
        // Its own session: what the agent's terminal or process group is sent doesn't reach it.
        command.pre_exec(|| if libc::setsid() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) });
    }
    Ok(command.spawn()?.id())
}

fn last_words(setup: &Setup) -> String {
    let said = fs::read_to_string(stderr_path(&setup.dir)).unwrap_or_default();
    let said = said.trim();
    said[..said.floor_char_boundary(LAST_WORDS_BYTES)].replace('\n', "; ")
}
