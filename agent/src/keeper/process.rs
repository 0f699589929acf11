//! The keeper's process, before and around its work: arguments, socket, lock, signals, complaints.
//!
//! `holdfast keeper GUARDS-DIRECTORY NODE`, started by the agent, with the UDP socket as its standard input. It depends
//! on nothing but sockets and a cipher, and outlives the agent. Not here: the work itself (`keeping`).

use super::{
    keeping::Keeper,
    local,
    protocol::{Hello, VERSION},
    secret::Secret,
    state::{Lock, State, StateError},
};
use crate::{
    clock,
    storage::StorageError,
    workload::{guard::harden, sys::ProcessId},
};
use std::{
    ffi::OsString,
    io,
    net::UdpSocket,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

#[derive(Debug, thiserror::Error)]
pub(super) enum KeeperError {
    #[error("it takes the guards' directory and the node's id: keepers are started by the agent")]
    Arguments,
    #[error("its standard input must be a UDP socket: keepers are started by the agent: {0}")]
    Socket(io::Error),
    #[error("there is no secret in {0}: keepers are started by the agent")]
    NoSecret(PathBuf),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Clock(#[from] clock::NoBootId),
    #[error("cannot listen for its agent in {dir}: {source}", dir = .dir.display())]
    Local { dir: PathBuf, source: io::Error },
    #[error("cannot read this process's identity under /proc: {0}; is /proc mounted?")]
    Identity(io::Error),
    #[error("cannot wait for anything: {0}")]
    Wait(io::Error),
}

/// Runs the keeper until it ends. Must be called before any thread exists.
#[must_use]
pub fn main(arguments: &[OsString]) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("holdfast keeper: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> Result<(), KeeperError> {
    let [dir, node] = arguments else { return Err(KeeperError::Arguments) };
    let dir = PathBuf::from(dir);
    let node = node.to_str().and_then(|text| text.parse().ok()).ok_or(KeeperError::Arguments)?;
    let udp = inherited_socket().map_err(KeeperError::Socket)?;
    let secret = Secret::load(&dir)?.ok_or_else(|| KeeperError::NoSecret(dir.clone()))?;
    let boot = clock::boot_id()?;
    let lock = Lock::take(&dir)?;
    listen_for_term();
    let (missing, _) = harden::harden("keeper");
    let address = udp.local_addr().map_err(KeeperError::Socket)?;
    let listener = local::serve(&dir).map_err(|source| KeeperError::Local { dir: dir.clone(), source })?;
    let process = ProcessId::of(std::process::id()).map_err(KeeperError::Identity)?;
    State::new(process, boot, node, address).write(&dir)?;
    let hello = Hello { version: VERSION, node, key_id: secret.id(), address, missing };
    Keeper::new(dir, node, boot, secret, udp, listener, hello).keep(&lock)
}

fn inherited_socket() -> io::Result<UdpSocket> {
    let udp = UdpSocket::from(io::stdin().as_fd().try_clone_to_owned()?);
    udp.set_nonblocking(true)?;
    // Without a name it is something else.
    udp.local_addr()?;
    Ok(udp)
}

/// Complaints in a keeper's life; whoever reads its file sees the first ones.
const COMPLAINTS_MAX: u32 = 64;

/// To the file that takes a keeper's last words, which mustn't grow for ever.
pub(super) fn complain(what: &str) {
    static COMPLAINTS: AtomicU32 = AtomicU32::new(0);
    if COMPLAINTS.fetch_add(1, Ordering::Relaxed) < COMPLAINTS_MAX {
        eprintln!("holdfast keeper: {what}");
    }
}

static TERM: AtomicBool = AtomicBool::new(false);

extern "C" fn on_term(_signal: libc::c_int) {
    TERM.store(true, Ordering::Relaxed);
}

/// Whether somebody asked this process to end.
pub(super) fn is_asked_to_end() -> bool {
    TERM.load(Ordering::Relaxed)
}

/// Terminals, and whoever ends process groups, don't mean the keeper.
fn listen_for_term() {
    // SAFETY: the handler only stores into an atomic; no other thread exists.
    unsafe {
        libc::signal(libc::SIGTERM, on_term as *const () as libc::sighandler_t);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}

/// Where a keeper's last words go, should it have any.
#[must_use]
pub fn stderr_path(dir: &Path) -> PathBuf {
    dir.join("keeper.stderr")
}
