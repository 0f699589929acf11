//! What the guard's forks do: the namespace's init, and the steps from fork to the workload's program.
//!
//! Nothing is looked up here: system calls only, and a failure goes back through a pipe as two numbers.

use super::plan::Plan;
use std::{ffi::CString, mem, os::fd::RawFd, path::Path, ptr};

const LAST_SIGNAL: libc::c_int = 64;
const EXIT_FAILED: libc::c_int = 127;

/// The head of a PID namespace: collects orphans and dies with its guard. Never returns.
pub fn init(life: RawFd) -> ! {
    // SAFETY: system calls on numbers, and on buffers that live through them.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NAME, c"holdfast-init".as_ptr());
        libc::setsid();
        libc::chdir(c"/".as_ptr());
        // Ignored, it makes the kernel collect every orphan by itself.
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        libc::dup2(life, 0);
        libc::syscall(libc::SYS_close_range, 1, u32::MAX, 0);
        // Had the guard died before the first line, no signal would come: the pipe ends in any case.
        let mut byte = 0u8;
        while libc::read(0, (&raw mut byte).cast(), 1) < 0
            && std::io::Error::last_os_error().raw_os_error() == Some(libc::EINTR)
        {}
        libc::_exit(0)
    }
}

/// What the workload's child needs, complete before the fork.
pub struct Job<'a> {
    pub plan: &'a Plan,
    pub stdin: RawFd,
    pub output: RawFd,
    pub failure: RawFd,
    pub cgroup_procs: Option<RawFd>,
    /// The guard's pid, where only a parent-death signal binds the child to it.
    pub parent: Option<u32>,
    pub arguments: Vec<*const libc::c_char>,
    pub environment: Vec<*const libc::c_char>,
}

/// As exec wants them: with a null at the end.
pub fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    Setup,
    Cgroup,
    Groups,
    Group,
    User,
    WorkingDir,
    Exec,
}

const STEPS: [Step; 7] =
    [Step::Setup, Step::Cgroup, Step::Groups, Step::Group, Step::User, Step::WorkingDir, Step::Exec];

/// Becomes the workload. Never returns.
pub fn workload(job: &Job<'_>) -> ! {
    let step = match prepare(job) {
        Ok(()) => exec(job),
        Err(step) => step,
    };
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    let mut message = [step as u8, 0, 0, 0, 0];
    message[1..].copy_from_slice(&errno.to_ne_bytes());
    // SAFETY: the buffer has that length.
    unsafe {
        libc::write(job.failure, message.as_ptr().cast(), message.len());
        libc::_exit(EXIT_FAILED)
    }
}

fn prepare(job: &Job<'_>) -> Result<(), Step> {
    let check = |rc: libc::c_int, step| if rc < 0 { Err(step) } else { Ok(()) };
    // SAFETY: system calls on numbers, and on texts that the plan owns.
    unsafe {
        check(libc::setsid(), Step::Setup)?;
        // While still the guard's user: nothing of the guard's privileges is handed on.
        write_file(c"/proc/self/oom_score_adj", b"0");
        libc::setpriority(libc::PRIO_PROCESS, 0, job.plan.nice);
        if let Some(procs) = job.cgroup_procs {
            check(if libc::write(procs, c"0".as_ptr().cast(), 1) == 1 { 0 } else { -1 }, Step::Cgroup)?;
        }
        for (from, to) in [(job.stdin, 0), (job.output, 1), (job.output, 2)] {
            check(libc::dup2(from, to), Step::Setup)?;
        }
        if let Some(switch) = &job.plan.switch {
            check(libc::setgroups(switch.groups.len(), switch.groups.as_ptr()), Step::Groups)?;
            check(libc::setresgid(switch.gid, switch.gid, switch.gid), Step::Group)?;
            check(libc::setresuid(switch.uid, switch.uid, switch.uid), Step::User)?;
        }
        // After the change of user, which clears it.
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), Step::Setup)?;
        if job.parent.is_some_and(|guard| libc::getppid().cast_unsigned() != guard) {
            libc::_exit(EXIT_FAILED);
        }
        check(libc::chdir(job.plan.working_dir.as_ptr()), Step::WorkingDir)?;
        for signal in 1..=LAST_SIGNAL {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()), Step::Setup)
    }
}

/// Tries each candidate as execvp does: one that may not be executed is remembered, one that isn't there is not.
fn exec(job: &Job<'_>) -> Step {
    let mut worst = libc::ENOENT;
    // SAFETY: null-terminated arrays of texts that the plan owns; errno is this thread's own.
    unsafe {
        for candidate in &job.plan.candidates {
            libc::execve(candidate.as_ptr(), job.arguments.as_ptr(), job.environment.as_ptr());
            match *libc::__errno_location() {
                libc::ENOENT | libc::ENOTDIR => {}
                other => worst = other,
            }
        }
        *libc::__errno_location() = worst;
    }
    Step::Exec
}

/// Best effort: there may be no /proc.
unsafe fn write_file(path: &std::ffi::CStr, content: &[u8]) {
    // SAFETY: a text and a buffer that live through the calls.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd >= 0 {
            libc::write(fd, content.as_ptr().cast(), content.len());
            libc::close(fd);
        }
    }
}

/// Why the program doesn't run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    step: Step,
    errno: i32,
}

impl Failure {
    /// Reads what the child wrote; `None` when the pipe ended because the program runs.
    pub fn receive(fd: RawFd) -> Option<Self> {
        let mut message = [0u8; 5];
        // SAFETY: the buffer has that length. Five bytes come whole through a pipe.
        let got = unsafe { libc::read(fd, message.as_mut_ptr().cast(), message.len()) };
        let [step, errno @ ..] = message;
        let step = STEPS.get(usize::from(step)).copied().filter(|_| got == 5)?;
        Some(Self { step, errno: i32::from_ne_bytes(errno) })
    }

    /// Names the key of the workload's file, and what to do.
    pub fn sentence(self, plan: &Plan) -> String {
        let Plan { workload, program, user, .. } = plan;
        let why = std::io::Error::from_raw_os_error(self.errno);
        let dir = plan.working_dir.to_string_lossy();
        let key = format!("workload.{workload}.exec");
        match self.step {
            Step::Exec if self.errno == libc::ENOENT && Path::new(program).exists() => {
                format!(
                    "{key}.command: the interpreter that \"{program}\" names isn't on this node: install it"
                )
            }
            Step::Exec if self.errno == libc::ENOENT => {
                format!("{key}.command: \"{program}\" isn't on this node: install it or correct the path")
            }
            Step::Exec if self.errno == libc::EACCES => format!(
                "{key}.command: user \"{user}\" may not execute \"{program}\": check its mode and its directories'"
            ),
            Step::Exec if self.errno == libc::ENOEXEC => {
                format!(
                    "{key}.command: \"{program}\" is no program: a script starts with a line like #!/bin/sh"
                )
            }
            Step::Exec => format!("{key}.command: cannot execute \"{program}\": {why}"),
            Step::WorkingDir if self.errno == libc::ENOENT => {
                format!("{key}.working_dir: {dir} isn't on this node: make it or correct the path")
            }
            Step::WorkingDir => format!("{key}.working_dir: user \"{user}\" cannot enter {dir}: {why}"),
            Step::Groups | Step::Group | Step::User => {
                format!(
                    "{key}.user: cannot become \"{user}\": {why}; run the agent as root or remove the key"
                )
            }
            Step::Cgroup => format!("workload {workload}: cannot enter its cgroup: {why}"),
            Step::Setup => format!("workload {workload}: cannot set up its process: {why}"),
        }
    }
}
