//! What the kernel says of this process.

use std::io;

/// Memory and processor time of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    pub resident_bytes: u64,
    pub cpu_seconds: f64,
    pub open_files: u64,
}

/// Reads `/proc/self`: memory of the kernel's own, which is always there at once.
pub fn usage() -> io::Result<Usage> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (ticks, pages) = parse(&stat).ok_or_else(|| io::Error::other("/proc/self/stat has another form"))?;
    Ok(Usage {
        resident_bytes: pages * sysconf(libc::_SC_PAGESIZE)?,
        cpu_seconds: ticks as f64 / sysconf(libc::_SC_CLK_TCK)? as f64,
        open_files: std::fs::read_dir("/proc/self/fd")?.count() as u64,
    })
}

fn sysconf(name: libc::c_int) -> io::Result<u64> {
    // SAFETY: sysconf takes a number and touches no memory of ours.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).map_err(|_| io::Error::last_os_error())
}

/// User plus system ticks, and resident pages. The second field, the program's name, may contain anything.
fn parse(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // proc(5) counts from 1 and the state, field 3, is the first one here.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some((field(14)? + field(15)?, field(24)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_an_odd_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 12 30 0 0 20 0 3 0 5 9000 250 18446744073709551615";
        assert_eq!(parse(stat), Some((42, 250)));
        assert_eq!(parse("7 (a"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = usage().unwrap();
        assert!(usage.resident_bytes > 100_000 && usage.open_files > 2, "{usage:?}");
    }
}
