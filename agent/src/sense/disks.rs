//! How full the disks of this host are.
//!
//! Only file systems on devices of its own are asked, and in a loop of its own (`run::serve`): one on the network may
//! never answer.

use cluster_core::alerting::{DISK_FILLING, DISK_HAS_ROOM};
use std::{
    collections::BTreeSet,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

/// Between two looks.
pub const DISKS_EVERY: Duration = Duration::from_secs(20);
/// File systems asked, beside that of `data_dir`; the oldest mounts.
const DISKS_MAX: usize = 256;
/// File systems in memory, or over others, that neither hang nor fill a disk of their own.
const HARMLESS: [&[u8]; 5] = [b"overlay", b"tmpfs", b"devtmpfs", b"ramfs", b"rootfs"];

/// The latest look's, in per mille; 0 before it.
#[derive(Clone, Debug, Default)]
pub struct Fullness(Arc<AtomicU16>);

impl Fullness {
    #[must_use]
    pub fn get(&self) -> u16 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Looks again and again; says in the log which disk fills.
#[derive(Debug)]
pub struct Disks {
    data_dir: PathBuf,
    used: Fullness,
    /// The one that the log has named.
    filling: Option<PathBuf>,
}

impl Disks {
    #[must_use]
    pub fn new(data_dir: PathBuf, used: Fullness) -> Self {
        Self { data_dir, used, filling: None }
    }

    /// May block, for as long as a disk takes to say how full it is.
    pub fn look(&mut self) {
        let Some(Fullest { used, at }) = fullest(&self.data_dir) else { return };
        self.used.0.store(used, Ordering::Relaxed);
        if used >= DISK_FILLING && self.filling.as_ref() != Some(&at) {
            tracing::warn!(at = %at.display(), used_percent = used / 10, "a disk of this host fills; make room");
            self.filling = Some(at);
        } else if used < DISK_HAS_ROOM {
            self.filling = None;
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fullest {
    /// In per mille of what its users may fill, as `df` counts.
    used: u16,
    at: PathBuf,
}

/// Of the disk of `data_dir` and the host's others. None when none can be asked.
fn fullest(data_dir: &Path) -> Option<Fullest> {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let places = std::iter::once(data_dir.to_owned()).chain(local(&mounts).into_iter().take(DISKS_MAX));
    places.filter_map(|at| Some(Fullest { used: used(&at)?, at })).max_by_key(|disk| disk.used)
}

fn used(at: &Path) -> Option<u16> {
    let disk = rustix::fs::statvfs(at).ok()?;
    let used = disk.f_blocks.checked_sub(disk.f_bfree)?;
    let all = used.saturating_add(disk.f_bavail);
    (all > 0).then(|| u16::try_from(u128::from(used) * 1_000 / u128::from(all)).unwrap_or(1_000))
}

/// A line of proc(5), mountinfo.
struct Mount<'a> {
    at: PathBuf,
    source: &'a [u8],
    kind: &'a [u8],
    read_only: bool,
}

impl<'a> Mount<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        let is_ro = |options: &[u8]| options.split(|b| *b == b',').any(|option| option == b"ro");
        let (here, whole) = (fields.get(5)?, fields.get(dash + 3)?);
        Some(Self {
            at: PathBuf::from(std::ffi::OsString::from_vec(unescaped(fields.get(4)?))),
            kind: fields.get(dash + 1)?,
            source: fields.get(dash + 2)?,
            read_only: is_ro(here) || is_ro(whole),
        })
    }

    /// On a device of this host, and served by its kernel alone.
    fn is_local(&self) -> bool {
        (self.source.starts_with(b"/dev/") && !self.kind.starts_with(b"fuse")) || self.kind == b"zfs"
    }

    /// Whether to ask what lies at or below it may take for ever.
    fn may_hang(&self) -> bool {
        !self.is_local() && !HARMLESS.contains(&self.kind)
    }
}

/// Where each is mounted that can be written to, once each.
fn local(mounts: &[u8]) -> Vec<PathBuf> {
    let mounts: Vec<Mount<'_>> = mounts.split(|b| *b == b'\n').filter_map(Mount::of).collect();
    let mut seen = BTreeSet::new();
    let mut places = Vec::new();
    // Few are local, and only those are compared with all: a host of containers has thousands.
    let fit = |mount: &&Mount<'_>| mount.is_local() && !mount.read_only;
    for (i, mount) in mounts.iter().enumerate().filter(|(_, mount)| fit(mount)) {
        let hidden = || mounts[i + 1..].iter().any(|later| mount.at.starts_with(&later.at));
        let behind = || mounts.iter().any(|other| other.may_hang() && mount.at.starts_with(&other.at));
        if !seen.contains(mount.source) && !hidden() && !behind() {
            seen.insert(mount.source);
            places.push(mount.at.clone());
        }
    }
    places
}

/// Blanks and the like stand there as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_disks_of_this_host_that_can_be_filled_are_asked_and_each_once() {
        let mounts = b"22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
28 27 254:0 /srv /mnt/bind rw - ext4 /dev/vda rw
29 27 254:1 / /mnt/my\\040disk rw,nosuid master:2 propagate_from:1 - xfs /dev/vdb rw
30 27 7:1 / /snap/core ro,nodev - squashfs /dev/loop1 ro
31 27 0:50 / /mnt/nfs rw - nfs4 store:/export rw
32 27 0:51 / /mnt/fuse rw - fuse.sshfs /dev/fuse rw
33 27 0:52 / /tank rw - zfs tank rw
35 27 7:2 / /opt/app rw - squashfs /dev/loop2 ro
36 31 254:2 / /mnt/nfs/scratch rw - ext4 /dev/vdc rw
37 27 254:3 / /hidden rw - ext4 /dev/vdd rw
38 37 0:54 / /hidden rw - nfs4 store:/other rw
39 27 254:4 / /ntfs rw - fuseblk /dev/vde rw
34 27 0:53 / /run rw - tmpfs tmpfs rw
broken - line
";
        let places = local(mounts);
        let places: Vec<&str> = places.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(places, ["/", "/mnt/my disk", "/tank"]);
    }

    #[test]
    fn the_fullest_is_at_least_as_full_as_the_one_of_data_dir() {
        let here = std::env::temp_dir();
        let (own, all) = (used(&here).expect("it is there"), fullest(&here).expect("one is there"));
        // Others may write meanwhile.
        assert!(own <= all.used + 20 && all.used <= 1_000, "{own} {all:?}");
        let mut disks = Disks::new(here, Fullness::default());
        disks.look();
        assert!(disks.used.get() > 0);
        assert_eq!(used(Path::new("/nonexistent")), None);
        assert_eq!(used(Path::new("/proc")), None, "it has no blocks");
    }
}
