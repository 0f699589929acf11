//! Linux's calls that neither std nor rustix offers in the shape needed here: process identities, pidfds.
//!
//! Not here: any decision.

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::{fs, io, os::fd::OwnedFd};

/// A process that can't be mistaken for another of the same boot: a pid is used again, but not at the same tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: u32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot.
    pub start_ticks: u64,
}

impl ProcessId {
    /// Reads the identity of `pid` as it is now.
    pub fn of(pid: u32) -> io::Result<Self> {
        let (_, start_ticks) = stat(pid)?;
        Ok(Self { pid, start_ticks })
    }

    /// Whether it still runs. A zombie doesn't: nothing of it, nor of a PID namespace it headed, is left.
    pub fn is_alive(&self) -> io::Result<bool> {
        match stat(self.pid) {
            Ok((state, ticks)) => Ok(ticks == self.start_ticks && !matches!(state, 'Z' | 'X')),
            Err(e) if is_gone(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// A handle on exactly this process, or `None` when it is gone.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let fd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        // The pid could have been another's before the handle existed; from here on it can't change.
        Ok(self.is_alive()?.then_some(fd))
    }
}

fn is_gone(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH)
}

/// State letter and start time. The command's name may hold anything, so fields count from its last parenthesis.
fn stat(pid: u32) -> io::Result<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has an unknown form"))
    })
}

fn parse_stat(text: &str) -> Option<(char, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace(); // from field 3 on
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

/// The signal by which an agent tells a guard to stop, with the milliseconds it has. A real-time one: of two SIGTERMs
/// that are pending the kernel keeps the first, and the second may be the urgent one. Part of the guard's protocol, so
/// it is a number: libraries differ in where such signals begin.
pub const STOP_ORDER: i32 = 40;

/// Sends `signal` with a number to the process behind `pidfd`, as sigqueue(3) does.
pub fn queue_signal(pidfd: &OwnedFd, signal: i32, value: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    /// The head of `siginfo_t` for queued signals, which libc doesn't let one fill in.
    #[repr(C)]
    struct Queued {
        signo: i32,
        errno: i32,
        code: i32,
        pad: i32,
        pid: i32,
        uid: u32,
        value: libc::sigval,
    }
    // SAFETY: all-zero is a valid siginfo_t, and `Queued` is the kernel's layout of its head on 64-bit Linux.
    let info = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let head = (&raw mut info).cast::<Queued>();
        (*head).signo = signal;
        (*head).code = libc::SI_QUEUE;
        (*head).pid = libc::getpid();
        (*head).uid = libc::getuid();
        (*head).value = libc::sigval { sival_ptr: value as usize as *mut libc::c_void };
        info
    };
    // SAFETY: the descriptor and the siginfo_t live through the call.
    let rc =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, &raw const info, 0) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Collects a child that ended, so that it leaves no zombie. Not a child, or not ended: nothing happens.
pub fn reap(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // SAFETY: a null status is allowed.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_fools_nobody() {
        let line =
            "7 (a) R 1 2 (b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1 18446744073709551615";
        assert_eq!(parse_stat(line), Some(('S', 4242)));
        assert_eq!(parse_stat("7 (x) S 1"), None);
    }

    #[test]
    fn another_start_time_is_another_process() {
        let me = ProcessId::of(std::process::id()).unwrap();
        assert!(me.is_alive().unwrap());
        assert!(me.open().unwrap().is_some());
        let earlier = ProcessId { start_ticks: me.start_ticks - 1, ..me };
        assert!(!earlier.is_alive().unwrap());
        assert!(earlier.open().unwrap().is_none());
    }
}
