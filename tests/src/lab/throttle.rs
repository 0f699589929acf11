//! A process that gets a tenth of a core: by the kernel's cpu controller, version 1 or 2, whichever is there.
//!
//! Without one the whole process is stopped and continued in turn, and `how` says so.

use super::{
    error::LabError,
    process::{is_alive, signal},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

const PERIOD: Duration = Duration::from_millis(100);
const ROOT_V2: &str = "/sys/fs/cgroup";

/// Dropping it gives the process its time back.
pub enum Throttle {
    Group { directory: PathBuf, parent: PathBuf, how: &'static str },
    Duty { pid: i32, stop: Arc<AtomicBool>, thread: Option<JoinHandle<()>> },
}

impl Throttle {
    /// The process, all its threads, and what it starts from now on.
    pub fn new(pid: i32, percent: u32) -> Result<Self, LabError> {
        let name = format!("hflab-{}-{pid}", std::process::id());
        let quota = PERIOD * percent / 100;
        let group = version_1(&name, quota).or_else(|| version_2(&name, quota));
        if let Some(group) = group {
            let Self::Group { directory, .. } = &group else { unreachable!("both make groups") };
            let procs = directory.join("cgroup.procs");
            fs::write(&procs, pid.to_string()).map_err(LabError::io(format!("write {procs:?}")))?;
            return Ok(group);
        }
        Ok(Self::duty(pid, quota))
    }

    fn duty(pid: i32, quota: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) && is_alive(pid) {
                signal(pid, libc::SIGSTOP);
                std::thread::sleep(PERIOD - quota);
                signal(pid, libc::SIGCONT);
                std::thread::sleep(quota);
            }
        });
        Self::Duty { pid, stop, thread: Some(thread) }
    }

    #[must_use]
    pub const fn how(&self) -> &'static str {
        match self {
            Self::Group { how, .. } => how,
            Self::Duty { .. } => "stopped and continued, for want of a cpu controller",
        }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        match self {
            Self::Group { directory, parent, .. } => {
                let inside = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
                for pid in inside.lines() {
                    // What ended meanwhile need not move.
                    let _gone = fs::write(parent.join("cgroup.procs"), pid);
                }
                if let Err(error) = fs::remove_dir(&directory) {
                    eprintln!("lab: can't remove {}: {error}; remove it by hand", directory.display());
                }
            }
            Self::Duty { pid, stop, thread } => {
                stop.store(true, Ordering::Relaxed);
                if let Some(thread) = thread.take() {
                    let _ended = thread.join();
                }
                signal(*pid, libc::SIGCONT);
            }
        }
    }
}

fn version_1(name: &str, quota: Duration) -> Option<Throttle> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let parent = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, at, "cgroup", options, ..] = fields.as_slice() else { return None };
        options.split(',').any(|o| o == "cpu").then(|| PathBuf::from(*at))
    })?;
    let settings = [("cpu.cfs_period_us", PERIOD.as_micros()), ("cpu.cfs_quota_us", quota.as_micros())];
    let settings = settings.map(|(file, value)| (file, value.to_string()));
    group(parent, name, &settings, "cpu controller, cgroup version 1")
}

fn version_2(name: &str, quota: Duration) -> Option<Throttle> {
    let parent = Path::new(ROOT_V2);
    let controllers = fs::read_to_string(parent.join("cgroup.controllers")).ok()?;
    controllers.split_whitespace().find(|c| *c == "cpu")?;
    fs::write(parent.join("cgroup.subtree_control"), "+cpu").ok()?;
    let value = format!("{} {}", quota.as_micros(), PERIOD.as_micros());
    group(parent.to_owned(), name, &[("cpu.max", value)], "cpu controller, cgroup version 2")
}

fn group(
    parent: PathBuf,
    name: &str,
    settings: &[(&'static str, String)],
    how: &'static str,
) -> Option<Throttle> {
    let directory = parent.join(name);
    fs::create_dir(&directory).ok()?;
    let group = Throttle::Group { directory: directory.clone(), parent, how };
    // A group that can't be set is dropped, and with it removed.
    settings.iter().all(|(file, value)| fs::write(directory.join(file), value).is_ok()).then_some(group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{command::end, cost::cpu_ticks};
    use std::process::{Child, Command};

    const LOOK: Duration = Duration::from_secs(1);

    fn busy() -> Child {
        Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap()
    }

    /// A busy process of its own gets all the ticks there are, a hundred; ten are allowed, forty are forgiven.
    fn starves(mut child: Child, throttle: Throttle) {
        let pid = child.id();
        let before = cpu_ticks(pid).unwrap();
        std::thread::sleep(LOOK);
        let used = cpu_ticks(pid).unwrap() - before;
        drop(throttle);
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        end(&mut child);
        assert!(used < 40, "{used} ticks in a second");
        assert!(!stat.contains(") T "), "it is still stopped");
    }

    #[test]
    fn whatever_the_machine_has_starves_a_process() {
        let child = busy();
        let throttle = Throttle::new(child.id().cast_signed(), 10).unwrap();
        starves(child, throttle);
    }

    #[test]
    fn stopping_and_continuing_starves_it_too() {
        let child = busy();
        let throttle = Throttle::duty(child.id().cast_signed(), PERIOD / 10);
        starves(child, throttle);
    }
}
