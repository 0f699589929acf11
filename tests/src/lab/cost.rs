//! What agents cost: memory, processor time, and frames on their cables, between two looks.

use super::{error::LabError, network::Traffic, process};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Ethernet, IP and TCP with a timestamp: what each frame carries besides its message.
const HEADER_BYTES: f64 = 66.0;

/// Of one host, up to now.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    at: Instant,
    resident_kb: u64,
    cpu_ticks: u64,
    traffic: Traffic,
}

/// Of one host, over a stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub resident_mb: f64,
    /// Percent of one core.
    pub cpu: f64,
    /// A second, with all headers.
    pub sent_bytes: f64,
    pub sent_frames: f64,
    pub received_bytes: f64,
}

impl Meter {
    /// Of these processes together, and this cable.
    pub fn read(pids: &[u32], traffic: Traffic) -> Result<Self, LabError> {
        let mut meter = Self { at: Instant::now(), resident_kb: 0, cpu_ticks: 0, traffic };
        for pid in pids {
            let path = format!("/proc/{pid}/status");
            let status = fs::read_to_string(&path).map_err(LabError::io(format!("read {path}")))?;
            let resident = status
                .lines()
                .find_map(|l| l.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
            meter.resident_kb += resident.unwrap_or(0);
            meter.cpu_ticks += cpu_ticks(*pid)?;
        }
        Ok(meter)
    }

    #[must_use]
    pub fn until(&self, later: &Self) -> Cost {
        let seconds = later.at.duration_since(self.at).max(Duration::from_millis(1)).as_secs_f64();
        let rate = |was: u64, is: u64| is.saturating_sub(was) as f64 / seconds;
        Cost {
            resident_mb: later.resident_kb as f64 / 1024.0,
            cpu: rate(self.cpu_ticks, later.cpu_ticks) / ticks_per_second() * 100.0,
            sent_bytes: rate(self.traffic.sent_bytes, later.traffic.sent_bytes),
            sent_frames: rate(self.traffic.sent_frames, later.traffic.sent_frames),
            received_bytes: rate(self.traffic.received_bytes, later.traffic.received_bytes),
        }
    }
}

impl Cost {
    /// The median of each figure by itself.
    #[must_use]
    pub fn median(costs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(costs.iter().map(figure).collect());
        Self {
            resident_mb: of(|c| c.resident_mb),
            cpu: of(|c| c.cpu),
            sent_bytes: of(|c| c.sent_bytes),
            sent_frames: of(|c| c.sent_frames),
            received_bytes: of(|c| c.received_bytes),
        }
    }

    /// In a line.
    #[must_use]
    pub fn brief(&self) -> String {
        let messages = (self.sent_bytes - self.sent_frames * HEADER_BYTES).max(0.0);
        format!(
            "{:.1} MB, {:.2} % of a core, sent {:.2} KB/s ({:.2} without headers) in {:.0} frames/s, received {:.2} KB/s",
            self.resident_mb,
            self.cpu,
            self.sent_bytes / 1e3,
            messages / 1e3,
            self.sent_frames,
            self.received_bytes / 1e3
        )
    }
}

/// User and system time of all threads so far.
pub fn cpu_ticks(pid: u32) -> Result<u64, LabError> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(LabError::io(format!("read {path}")))?;
    // The name in parentheses may hold blanks; the two are the 12th and 13th fields after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    Ok(fields.skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum())
}

#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// An agent's helpers of the same host that are no workload: its keeper.
#[must_use]
pub fn keepers(namespace: &Path) -> Vec<u32> {
    let is_keeper = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).nth(1).is_some_and(|word| word.windows(6).any(|w| w == b"keeper"))
    };
    process::in_namespace(namespace).into_iter().filter(is_keeper).map(i32::cast_unsigned).collect()
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf only reads.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_second() {
        let at = Instant::now();
        let meter = |at, sent_bytes| Meter {
            at,
            resident_kb: 2_048,
            cpu_ticks: 0,
            traffic: Traffic { sent_bytes, ..Traffic::default() },
        };
        let cost = meter(at, 1_000).until(&meter(at + Duration::from_secs(2), 5_000));
        assert!((cost.sent_bytes - 2_000.0).abs() < 1e-6 && (cost.resident_mb - 2.0).abs() < 1e-6);
    }
}
