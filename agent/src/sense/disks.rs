//! How full the disks of this host are.
//!
//! Only file systems on devices of its own are asked: one on the network may never answer.

use std::{
    collections::BTreeSet,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// File systems asked, beside that of `data_dir`.
const DISKS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fullest {
    /// In per mille of what its users may fill, as `df` counts.
    pub used: u16,
    pub at: PathBuf,
}

/// Of the disk of `data_dir` and the host's others. May block. None when none can be asked.
pub fn fullest(data_dir: &Path) -> Option<Fullest> {
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

/// Where each is mounted that can be written to, once each (proc(5), mountinfo).
fn local(mounts: &[u8]) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut places = Vec::new();
    for line in mounts.split(|b| *b == b'\n') {
        let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let Some(dash) = fields.iter().position(|field| *field == b"-") else { continue };
        let (Some(options), Some(kind), Some(source)) =
            (fields.get(5), fields.get(dash + 1), fields.get(dash + 2))
        else {
            continue;
        };
        let device = source.starts_with(b"/dev/") && *kind != b"fuse" && !kind.starts_with(b"fuse.");
        let read_only = options.split(|b| *b == b',').any(|option| option == b"ro");
        if (device || *kind == b"zfs") && !read_only && seen.insert(*source) {
            places.push(PathBuf::from(std::ffi::OsString::from_vec(unescaped(fields[4]))));
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
        assert!(own <= all.used && all.used <= 1_000, "{own} {all:?}");
        assert_eq!(used(Path::new("/nonexistent")), None);
        assert_eq!(used(Path::new("/proc")), None, "it has no blocks");
    }
}
