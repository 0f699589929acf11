//! The priority of this process: a voter's is raised, for a host that is busy must not unseat the leader of all others.
//!
//! It needs CAP_SYS_NICE; without it nothing changes. Guards, and so what they run, get the usual one back; the keeper
//! sets its own.

use std::{
    collections::BTreeSet,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
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
    let mut done = BTreeSet::new();
    // Until no thread was started meanwhile by one that wasn't reached yet.
    while let Some(thread) = threads().find(|thread| !done.contains(thread)) {
        done.insert(thread);
        // SAFETY: as above. On Linux a thread's id is taken where a process's is asked for.
        if unsafe { libc::setpriority(libc::PRIO_PROCESS, thread, nice) } != 0 {
            tracing::debug!(nice, "the priority isn't changed");
        }
    }
}

fn threads() -> impl Iterator<Item = libc::id_t> {
    let listed = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    listed.filter_map(|thread| thread.file_name().to_str()?.parse().ok())
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
        // Without the right to it nothing changes.
        assert!(raised == before.min(VOTER) || raised == before, "{raised}");
        raise(false);
        // SAFETY: as above.
        let after = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        assert_eq!(after, before);
    }
}
