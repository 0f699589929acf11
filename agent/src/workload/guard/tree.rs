//! The tree of processes under a guard: how it is confined, started, ended, and proven empty.
//!
//! The guard unshares a PID namespace, forks its init, then the workload as a second child inside. The guard's death
//! kills the init (parent-death signal, and the end of a pipe), the init's death kills everything in the namespace;
//! the workload stays the guard's own child, so its host pid and its exit are known. Where no namespace may be made,
//! the guard adopts what detaches itself, and kills it while it lives; beyond its own death nothing is promised.
//!
//! Proven empty: no child is left to wait for. The namespace's init can only be waited for once all inside is gone.

use super::{StartFailed, child, output::Output, plan::Plan, watch::Watch};
use crate::workload::{
    cgroup::Cgroup,
    spec::{Confinement, Namespace},
};
use cluster_core::{ids::InstanceId, instance::Exit};
use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr, thread,
    time::Duration,
};

/// How often the child is looked after while it executes its program.
const EXEC_LOOK: Duration = Duration::from_millis(50);
const END_LOOK: Duration = Duration::from_millis(2);

pub struct Tree {
    namespace: Namespace,
    cgroup: Option<Cgroup>,
    init: Option<libc::pid_t>,
    workload: Option<libc::pid_t>,
    exit: Option<Exit>,
    /// Its end tells the init that the guard is gone.
    _life: OwnedFd,
}

impl Tree {
    /// Makes the best confinement there is, its init included; what couldn't be had is added to `missing`.
    pub fn prepare(instance: InstanceId, missing: &mut Vec<String>) -> io::Result<Self> {
        let (init_end, life) = pipe()?;
        let namespace = unshare(missing);
        let mut tree = Self { namespace, cgroup: None, init: None, workload: None, exit: None, _life: life };
        if namespace == Namespace::None {
            // SAFETY: no pointers. What detaches itself from the workload becomes the guard's child.
            unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        } else {
            // SAFETY: this process has one thread; the child never returns.
            match unsafe { libc::fork() } {
                0 => child::init(init_end.as_raw_fd()),
                -1 => return Err(io::Error::last_os_error()),
                pid => tree.init = Some(pid),
            }
        }
        match Cgroup::create(instance) {
            Ok(cgroup) => tree.cgroup = Some(cgroup),
            Err(why) => missing.push(why),
        }
        Ok(tree)
    }

    pub fn init(&self) -> Option<u32> {
        self.init.map(libc::pid_t::cast_unsigned)
    }

    pub fn confinement(&self, missing: Vec<String>) -> Confinement {
        let cgroup = self.cgroup.as_ref().map(|cgroup| cgroup.path().display().to_string());
        Confinement { namespace: self.namespace, cgroup, missing }
    }

    /// Starts the workload; returns its host pid once its program runs.
    pub fn start(&mut self, plan: &Plan, output: &Output, watch: &mut Watch) -> Result<u32, StartFailed> {
        let (failure, failure_write) = pipe()?;
        let procs = self.cgroup.as_ref().map(Cgroup::open_procs).transpose()?;
        let null = fs::OpenOptions::new().read(true).open("/dev/null")?;
        let job = child::Job {
            plan,
            stdin: null.as_raw_fd(),
            output: output.write_fd(),
            failure: failure_write.as_raw_fd(),
            cgroup_procs: procs.as_ref().map(AsRawFd::as_raw_fd),
            // Inside the namespace the init answers for it.
            parent: (self.namespace == Namespace::None).then(std::process::id),
            arguments: child::pointers(&plan.arguments),
            environment: child::pointers(&plan.environment),
        };
        // SAFETY: this process has one thread; the child never returns.
        let pid = match unsafe { libc::fork() } {
            0 => child::workload(&job),
            -1 => return Err(StartFailed(format!("cannot fork: {}", io::Error::last_os_error()))),
            pid => pid,
        };
        self.workload = Some(pid);
        drop(failure_write);
        match await_exec(&failure, watch)? {
            None => Ok(pid.cast_unsigned()),
            Some(failure) => Err(StartFailed(failure.sentence(plan))),
        }
    }

    /// SIGTERM to the workload's process group; to its own process when it left that.
    pub fn terminate(&self) {
        if let Some(pid) = self.workload.filter(|_| self.exit.is_none()) {
            // SAFETY: plain system calls; the pid isn't reaped yet, so it can't be another's.
            unsafe {
                if libc::kill(-pid, libc::SIGTERM) != 0 {
                    libc::kill(pid, libc::SIGTERM);
                }
            }
        }
    }

    /// SIGKILL to everything. To be repeated until `reap` and `is_empty` say that it is over.
    pub fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            // If it fails, the others still hold.
            let _ = cgroup.kill();
        }
        let kill = |pid| {
            // SAFETY: numbers only; pids of children that aren't reaped, which can't be others'. Gone already: fine.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        };
        if let Some(init) = self.init {
            kill(init);
        } else {
            if let Some(workload) = self.workload.filter(|_| self.exit.is_none()) {
                kill(-workload);
                kill(workload);
            }
            // What detached itself is the guard's child by now, or becomes it when its own parent dies.
            children().into_iter().for_each(kill);
        }
    }

    /// Collects what ended. Whether any child is left.
    pub fn reap(&mut self) -> bool {
        loop {
            let mut status = 0;
            // SAFETY: a valid pointer to the status.
            match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
                0 => return true,
                -1 if io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) => {}
                -1 => return false, // ECHILD
                pid if Some(pid) == self.workload => self.exit = Some(exit(status)),
                pid if Some(pid) == self.init => self.init = None,
                _ => {}
            }
        }
    }

    /// How the workload's own process ended, once it has.
    pub fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Whether the cgroup agrees that nothing is left. One that can't be read doesn't.
    pub fn is_empty(&self) -> bool {
        self.cgroup.as_ref().is_none_or(|cgroup| cgroup.is_empty().unwrap_or(false))
    }

    pub fn clean_up(&mut self) {
        if let Some(cgroup) = self.cgroup.take()
            && let Err(e) = cgroup.remove()
        {
            eprintln!("holdfast guard: cannot remove {}: {e}", cgroup.path().display());
        }
    }
}

impl Drop for Tree {
    /// Ends what is left of it, however long that takes: whoever drops it may say that it is empty.
    fn drop(&mut self) {
        while self.reap() || !self.is_empty() {
            self.kill();
            thread::sleep(END_LOOK);
        }
        self.clean_up();
    }
}

fn exit(status: libc::c_int) -> Exit {
    if libc::WIFEXITED(status) {
        Exit::Code(libc::WEXITSTATUS(status))
    } else {
        Exit::Signal(libc::WTERMSIG(status))
    }
}

/// Both ends close on exec; the first is to be read.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which are owned by nobody else.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// Waits for the program to run (the pipe ends) or for what kept it from running. The lease is renewed meanwhile.
fn await_exec(failure: &OwnedFd, watch: &mut Watch) -> Result<Option<child::Failure>, StartFailed> {
    let fd: RawFd = failure.as_raw_fd();
    let timeout = i32::try_from(EXEC_LOOK.as_millis()).expect("a fraction of a second");
    loop {
        let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd that lives through the call.
        if unsafe { libc::poll(&raw mut entry, 1, timeout) } > 0 {
            return Ok(child::Failure::receive(fd));
        }
        if watch.is_over() {
            return Err(StartFailed("the lease ended before the program ran".into()));
        }
    }
}

/// The best namespace that may be had. Tried in a child first: half of it would be worse than none.
fn unshare(missing: &mut Vec<String>) -> Namespace {
    let attempts = [
        (Namespace::Pid, libc::CLONE_NEWPID),
        (Namespace::UserAndPid, libc::CLONE_NEWUSER | libc::CLONE_NEWPID),
    ];
    let mut reasons = Vec::new();
    for (namespace, flags) in attempts {
        match probe(flags).and_then(|()| enter(flags)) {
            Ok(()) => return namespace,
            Err(e) => reasons.push(e.to_string()),
        }
    }
    missing.push(format!(
        "unconfined: no PID namespace may be made here ({}), nor one inside a user namespace ({}); run the agent as root, or allow user namespaces",
        reasons[0], reasons[1]
    ));
    Namespace::None
}

fn enter(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: no pointers; numbers only.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    if unsafe { libc::unshare(flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::CLONE_NEWUSER != 0 {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    Ok(())
}

/// Whether `enter`, and a fork after it, would work: a child tries.
fn probe(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: this process has one thread; the children never return, and the statuses are valid pointers.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let code = match enter(flags) {
                Err(e) => e.raw_os_error().unwrap_or(libc::EIO),
                Ok(()) => match libc::fork() {
                    0 => 0,
                    -1 => io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO),
                    init => {
                        libc::waitpid(init, ptr::null_mut(), 0);
                        0
                    }
                },
            };
            libc::_exit(code);
        }
        let mut status = 0;
        if pid < 0 || libc::waitpid(pid, &raw mut status, 0) != pid {
            return Err(io::Error::last_os_error());
        }
        match exit(status) {
            Exit::Code(0) => Ok(()),
            Exit::Code(errno) => Err(io::Error::from_raw_os_error(errno)),
            Exit::Signal(signal) => Err(io::Error::other(format!("the attempt died of signal {signal}"))),
        }
    }
}

/// This process's children, by /proc.
fn children() -> Vec<libc::pid_t> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let parent = |pid: libc::pid_t| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| parent(pid) == Some(own)).collect()
}
