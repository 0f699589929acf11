//! What this demo started, found by parentage and killed by handles that can't mean anyone else.
//!
//! An agent's guards are its children, their trees are theirs, and what loses its parent comes to the demo, which is
//! a subreaper. So nothing that stands elsewhere in the process tree can be hit.

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, wait};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

/// Killing everything is given up after this: something can't be killed, and a person must look.
const KILL_LIMIT: Duration = Duration::from_secs(5);
const KILL_AGAIN_EVERY: Duration = Duration::from_millis(5);

/// The parent of each process there is.
fn parents() -> BTreeMap<i32, i32> {
    let Ok(listed) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

/// Also of a dead one that isn't collected yet: while its last thread ends, its children are still below it.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    fields.nth(1)?.parse().ok()
}

/// All descendants of `root`, without those at or below one of `spared`.
pub fn below(root: i32, spared: &BTreeSet<i32>) -> BTreeSet<i32> {
    let parents = parents();
    let mut found = BTreeSet::new();
    let mut edge = vec![root];
    while let Some(parent) = edge.pop() {
        for (&pid, _) in parents.iter().filter(|(pid, p)| **p == parent && !spared.contains(pid)) {
            if found.insert(pid) {
                edge.push(pid);
            }
        }
    }
    found
}

/// A process that is still a child of a child of ours: the handle is taken before that is looked at.
pub fn handle(pid: i32) -> Option<OwnedFd> {
    let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    is_below_us(pid).then_some(handle)
}

fn send(pid: i32, signal: Signal) {
    if let Some(handle) = handle(pid) {
        // What ended in between needs no signal.
        let _gone = pidfd_send_signal(handle, signal);
    }
}

/// SIGSTOP, in order.
pub fn stop_all(pids: &[i32]) {
    pids.iter().for_each(|pid| send(*pid, Signal::STOP));
}

fn is_below_us(mut pid: i32) -> bool {
    let me = own();
    // Process trees are shallow; the bound only ends a walk through one that changes meanwhile.
    for _ in 0..64 {
        match parent(pid) {
            Some(parent) if parent == me => return true,
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

/// Kills `first` in order, then whatever is below the demo and not spared, until nothing of it is left.
/// Returns what could not be ended.
pub fn end_all(first: &[i32], spared: &BTreeSet<i32>) -> BTreeSet<i32> {
    let give_up = Instant::now() + KILL_LIMIT;
    first.iter().for_each(|pid| send(*pid, Signal::KILL));
    loop {
        let left = below(own(), spared);
        left.iter().for_each(|pid| send(*pid, Signal::KILL));
        reap();
        if left.is_empty() || Instant::now() >= give_up {
            return left;
        }
        thread::sleep(KILL_AGAIN_EVERY);
    }
}

/// Collects every child that ended, those among them that were left to the demo.
pub fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// Whether it is there as a child of the demo; a pid that was used again is somebody else's child.
pub fn is_child(pid: i32) -> bool {
    parent(pid) == Some(own())
}

pub fn own() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}
