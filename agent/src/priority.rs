//! The priority of this process: a voter's is raised, for a host that is busy must not unseat the leader of all others.
//!
//! It needs CAP_SYS_NICE; without it nothing changes. What the agent starts gets the usual one back.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

/// Above ordinary processes, below guards and the keeper.
const VOTER: i32 = -10;

static USUAL: OnceLock<i32> = OnceLock::new();

static RAISED: AtomicBool = AtomicBool::new(false);

/// What this process was started with.
pub fn usual() -> i32 {
    // SAFETY: a plain system call without pointers.
    *USUAL.get_or_init(|| unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) })
}

/// For all threads of this process, and those that they will start.
pub fn raise(votes: bool) {
    let usual = usual();
    if RAISED.swap(votes, Ordering::Relaxed) == votes {
        return;
    }
    let nice = if votes { usual.min(VOTER) } else { usual };
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ids = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
    let set = |thread: libc::id_t| {
        // SAFETY: as above. On Linux a thread's id is taken where a process's is asked for.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, thread, nice) == 0 }
    };
    let refused = ids.filter(|thread| !set(*thread)).count();
    if refused > 0 {
        tracing::debug!(nice, refused, "the priority isn't changed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_s_threads_come_first_where_that_is_permitted() {
        let before = usual();
        raise(true);
        // SAFETY: as above.
        let raised = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let permitted = unsafe { libc::geteuid() } == 0;
        assert!(raised == before.min(VOTER) || !permitted && raised == before, "{raised}");
        raise(false);
        let after = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        assert!(after == before || !permitted, "{after}");
    }
}
