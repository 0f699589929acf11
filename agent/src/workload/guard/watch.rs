//! The guard's senses and its last resort: the page, the clocks, the kernel's timer, signals.
//!
//! Not here: what they mean (`lease` decides, the loop acts).

use super::{
    lease::{Lease, Verdict},
    output::Output,
};
use crate::workload::{page::PageReader, spec::GuardSpec, sys};
use cluster_core::{ids::LeaseEpoch, time::Instant};
use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    ptr,
    time::Duration,
};

/// Signals taken up at one look; the rest waits for the next.
const MAX_SIGNALS_A_LOOK: u32 = 64;

/// A lease as seen through its page, with a timer that kills this process when it ends.
pub struct Watch {
    epoch: LeaseEpoch,
    lease: Lease,
    /// `None` until the page could be mapped.
    page: Option<PageReader>,
    timer: KillTimer,
}

impl Watch {
    pub fn new(spec: &GuardSpec) -> io::Result<Self> {
        Ok(Self {
            epoch: spec.epoch,
            lease: Lease::new(spec.epoch, spec.boot, Duration::from_millis(spec.lease_ms)),
            page: None,
            timer: KillTimer::new()?,
        })
    }

    /// A look before the start: maps the page if it is there, and fails when the timer can't be armed.
    pub fn look(&mut self, dir: &Path) -> io::Result<Verdict> {
        if self.page.is_none() {
            self.page = PageReader::open(dir, self.epoch).ok();
        }
        let content = self.page.as_ref().and_then(|page| page.read().ok());
        // The clocks are read after the page: what they say can only be too late, never too early.
        let verdict = self.lease.look(crate::clock::now(), content.as_ref());
        if let Verdict::Holds { kill_at } = verdict {
            self.timer.arm(kill_at)?;
        }
        Ok(verdict)
    }

    /// A look while the workload runs. Doubt counts as over.
    pub fn is_over(&mut self) -> bool {
        let verdict = self.look(Path::new("")); // the page is mapped by now
        !matches!(verdict, Ok(Verdict::Holds { .. }))
    }

    pub fn within_grace(&self, grace: Duration) -> bool {
        self.lease.within_grace(crate::clock::now(), grace)
    }

    /// The kill is no longer needed: there is nothing left to kill.
    pub fn disarm(&mut self) {
        // A timer that can't be disarmed kills a guard that has nothing left to guard.
        let _ = self.timer.set(Duration::ZERO);
    }
}

/// SIGKILL to this very process at a CLOCK_BOOTTIME, sent by the kernel: a stopped process dies of it too.
struct KillTimer {
    id: libc::timer_t,
    armed: Option<Instant>,
}

impl KillTimer {
    fn new() -> io::Result<Self> {
        // SAFETY: all-zero is a valid sigevent; the pointers live through the call.
        unsafe {
            let mut event: libc::sigevent = mem::zeroed();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = libc::SIGKILL;
            let mut id: libc::timer_t = ptr::null_mut();
            if libc::timer_create(libc::CLOCK_BOOTTIME, &raw mut event, &raw mut id) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { id, armed: None })
        }
    }

    fn arm(&mut self, at: Instant) -> io::Result<()> {
        if self.armed != Some(at) {
            // Zero would disarm it; a nanosecond after boot is just as much over.
            self.set(Duration::from_nanos(at.as_nanos().max(1)))?;
            self.armed = Some(at);
        }
        Ok(())
    }

    fn set(&mut self, since_boot: Duration) -> io::Result<()> {
        let seconds = libc::time_t::try_from(since_boot.as_secs()).unwrap_or(libc::time_t::MAX);
        // SAFETY: the timer is this process's own; all-zero is a valid itimerspec.
        let rc = unsafe {
            let mut when: libc::itimerspec = mem::zeroed();
            when.it_value.tv_sec = seconds;
            when.it_value.tv_nsec = since_boot.subsec_nanos().into();
            libc::timer_settime(self.id, libc::TIMER_ABSTIME, &raw const when, ptr::null_mut())
        };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// All signals, read from a descriptor: none interrupts, none kills (but those that always do).
pub struct Signals(OwnedFd);

impl Signals {
    pub fn block_all() -> io::Result<Self> {
        // SAFETY: the set is filled before it is used; the new descriptor is owned by nobody else.
        unsafe {
            let mut all: libc::sigset_t = mem::zeroed();
            libc::sigfillset(&raw mut all);
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, &raw const all, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(OwnedFd::from_raw_fd(fd))) }
        }
    }

    /// Until a signal or output comes, but no longer than `patience`.
    pub fn wait(&self, output: &Output, patience: Duration) {
        let interest = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [interest(self.0.as_raw_fd()), interest(output.poll_fd())];
        // Rounded up, or the last millisecond would be spent spinning.
        let ms = i32::try_from(patience.as_micros().div_ceil(1_000)).unwrap_or(i32::MAX);
        // SAFETY: two pollfds that live through the call. Whatever it returns, the loop looks at everything.
        unsafe { libc::poll(fds.as_mut_ptr(), 2, ms) };
    }

    /// Whether it is to stop: by a person's SIGTERM, or by the agent's order, which carries a time-out.
    pub fn stop_asked(&self) -> Option<Option<Duration>> {
        let mut asked: Option<Option<Duration>> = None;
        for _ in 0..MAX_SIGNALS_A_LOOK {
            let Some(info) = self.next() else { break };
            let ordered =
                info.ssi_signo == sys::STOP_ORDER.cast_unsigned() && info.ssi_code == libc::SI_QUEUE;
            if ordered || info.ssi_signo == libc::SIGTERM.cast_unsigned() {
                let timeout = u64::try_from(info.ssi_int).ok().filter(|_| ordered).map(Duration::from_millis);
                asked = Some(match asked.flatten() {
                    Some(before) => Some(timeout.map_or(before, |new| new.min(before))),
                    None => timeout,
                });
            }
        }
        asked
    }

    fn next(&self) -> Option<libc::signalfd_siginfo> {
        const SIZE: usize = mem::size_of::<libc::signalfd_siginfo>();
        // SAFETY: all-zero is a valid signalfd_siginfo, and the kernel writes whole ones.
        unsafe {
            let mut info: libc::signalfd_siginfo = mem::zeroed();
            let got = libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), SIZE);
            (usize::try_from(got) == Ok(SIZE)).then_some(info)
        }
    }
}
