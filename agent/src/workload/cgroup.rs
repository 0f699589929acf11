//! A cgroup of its own for each tree, where the machine has a cgroup2 hierarchy that may be written.
//!
//! A second hold on the tree beside its PID namespace, and the only one that proves anything without a namespace. No
//! limits are set here.

use cluster_core::ids::InstanceId;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Cgroups that a workload may have nested inside its own, and that are cleaned away with it.
const MAX_DEPTH: u32 = 16;

pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one beside the caller's own; the error is a sentence for `Confinement::missing`.
    pub fn create(instance: InstanceId) -> Result<Self, String> {
        let made = Self::of(instance).ok_or("no cgroup: no cgroup2 hierarchy is mounted here")?;
        fs::create_dir(&made.0).map_err(|e| format!("no cgroup: cannot create {}: {e}", made.0.display()))?;
        if !made.0.join("cgroup.kill").exists() {
            made.remove().map_err(|e| format!("no cgroup: cannot remove {}: {e}", made.0.display()))?;
            return Err("no cgroup: this kernel has no cgroup.kill (Linux 5.14)".into());
        }
        Ok(made)
    }

    /// Where one made by this process, or by a child of its cgroup, would be. `None` without a hierarchy.
    #[must_use]
    pub fn of(instance: InstanceId) -> Option<Self> {
        own().map(|parent| Self(parent.join(format!("holdfast-{instance}"))))
    }

    /// The one that an earlier process made.
    #[must_use]
    pub fn at(dir: &str) -> Self {
        Self(dir.into())
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writing "0" to it moves the writer in.
    pub fn open_procs(&self) -> io::Result<fs::File> {
        fs::OpenOptions::new().write(true).open(self.0.join("cgroup.procs"))
    }

    /// SIGKILL to all that is inside, forks under way included.
    pub fn kill(&self) -> io::Result<()> {
        allow_gone(fs::write(self.0.join("cgroup.kill"), "1"))
    }

    /// Whether nothing is left inside.
    pub fn is_empty(&self) -> io::Result<bool> {
        match fs::read_to_string(self.0.join("cgroup.events")) {
            Ok(events) => Ok(events.lines().any(|line| line == "populated 0")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// Removes it, once empty, with what the workload nested inside.
    pub fn remove(&self) -> io::Result<()> {
        allow_gone(remove_tree(&self.0, MAX_DEPTH))
    }
}

fn allow_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn remove_tree(dir: &Path, depth: u32) -> io::Result<()> {
    if depth > 0 {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                allow_gone(remove_tree(&entry.path(), depth - 1))?;
            }
        }
    }
    fs::remove_dir(dir)
}

/// The directory of the caller's own cgroup.
fn own() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let cgroup = fs::read_to_string("/proc/self/cgroup").ok()?;
    locate(&mounts, &cgroup)
}

fn locate(mountinfo: &str, cgroup: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        if !kind.starts_with("cgroup2 ") || at.contains('\\') {
            return None; // octal escapes: nobody mounts it at a path with blanks
        }
        let inside = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(at).join(inside))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_unified_hierarchy_wherever_it_is_mounted() {
        let mounts = "24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 24 0:27 /box /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let found = locate(mounts, "3:cpu:/\n0::/box/a.service\n").unwrap();
        assert_eq!(found, Path::new("/sys/fs/cgroup/unified/a.service"));
        assert_eq!(locate(mounts, "0::/elsewhere\n"), None);
        assert_eq!(locate(mounts, "3:cpu:/\n"), None);
    }
}
