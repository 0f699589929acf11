//! Finding and ending the processes of one host: those in its network namespace, or those whose command line names
//! the lab's own directory. Nothing else is ever touched.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// Processes whose network is this namespace.
pub fn in_namespace(namespace: &Path) -> Vec<i32> {
    let Ok(wanted) = fs::metadata(namespace).map(|m| (m.dev(), m.ino())) else { return Vec::new() };
    all()
        .filter(|pid| fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| (m.dev(), m.ino()) == wanted))
        .collect()
}

/// Processes with `directory` in their command line.
pub fn naming(directory: &Path) -> Vec<i32> {
    let wanted = directory.as_os_str().as_encoded_bytes();
    let own = std::process::id().cast_signed();
    all()
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            *pid != own && line.windows(wanted.len()).any(|w| w == wanted)
        })
        .collect()
}

pub fn signal(pid: i32, signal: i32) {
    // SAFETY: kill has no memory effects; a process that is gone already is an error without consequence.
    unsafe { libc::kill(pid, signal) };
}

/// As when the power goes: all stop before the first one dies, so that none sees another's end.
pub fn kill_all(find: impl Fn() -> Vec<i32>) {
    const LIMIT: Duration = Duration::from_secs(10);
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = find();
        if found.is_empty() || Instant::now() >= deadline {
            return;
        }
        for pid in &found {
            signal(*pid, libc::SIGSTOP);
        }
        for pid in &found {
            signal(*pid, libc::SIGKILL);
        }
        std::thread::yield_now();
    }
}

pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}
