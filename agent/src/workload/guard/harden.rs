//! What a guard, and the keeper, does so that it isn't what fails: memory locked, last to be killed for memory, first to
//! be scheduled.
//!
//! Each is done where it is permitted; what isn't becomes a sentence for the operator. The workload gets none of it.

use std::{fs, io};

/// Above ordinary processes, below real-time ones: a guard that stores a flood of output must not starve its host.
const NICE: i32 = -15;

/// Returns what `who` couldn't have, and the priority that the workload is to get back.
pub fn harden(who: &str) -> (Vec<String>, i32) {
    let mut missing = Vec::new();
    // SAFETY: plain system calls without pointers.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
        missing.push(format!("{who}'s priority not raised: {}", io::Error::last_os_error()));
    }
    if let Err(e) = fs::write("/proc/self/oom_score_adj", "-1000") {
        missing.push(format!("{who} not exempt from the OOM killer: {e}"));
    }
    // Only what was touched is locked: the whole binary would be megabytes for nothing, the kill needs none of it.
    // Later mappings are included only when no limit could make them fail.
    // SAFETY: as above.
    let unlimited = unsafe { libc::geteuid() } == 0;
    let later = if unlimited { libc::MCL_FUTURE } else { 0 };
    if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_ONFAULT | later) } != 0 {
        missing.push(format!("{who}'s memory not locked: {}", io::Error::last_os_error()));
    }
    (missing, nice)
}
