//! The only place that reads a clock for the core, and the ticks on which this process does what it does again and again.

use cluster_core::{
    ids::BootId,
    time::{Clocks, Instant, WallTime},
};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::{
    io,
    os::fd::OwnedFd,
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Between two looks at everything that has a time, while anything is under way. What needn't be exact falls on the same
/// moments: to wake costs more than what is done then.
pub const TICK: Duration = Duration::from_millis(50);

fn read(id: ClockId) -> Instant {
    let t = clock_gettime(id);
    let seconds = u64::try_from(t.tv_sec).expect("monotonic clocks start at zero");
    let nanos = u64::try_from(t.tv_nsec).expect("the kernel keeps nanoseconds below a second");
    Instant::from_nanos(seconds * 1_000_000_000 + nanos)
}

/// Both clocks that a lease's holder lives by.
#[must_use]
pub fn now() -> Clocks {
    Clocks { boot: read(ClockId::Boottime), raw: raw() }
}

/// `CLOCK_MONOTONIC_RAW`: what voters, the leader and every other machine count in.
#[must_use]
pub fn raw() -> Instant {
    read(ClockId::MonotonicRaw)
}

/// The host's wall clock, for people to read.
#[must_use]
pub fn wall() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// How long until the first tick that is no sooner than `wait` from now.
#[must_use]
pub fn until_tick(wait: Duration) -> Duration {
    static FIRST: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    until_tick_after(FIRST.elapsed(), wait)
}

fn until_tick_after(now: Duration, wait: Duration) -> Duration {
    let tick = TICK.as_nanos();
    let over = (now + wait).as_nanos() % tick;
    let missing = if over == 0 { 0 } else { tick - over };
    wait + Duration::from_nanos(u64::try_from(missing).expect("it is less than a tick"))
}

/// A timer of the kernel's, for waits that come again and again. tokio's sorts its timers by 64 ms, and wakes once more
/// for nearly each wait to sort anew; and once more when one is set that comes before all others.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    rings_at: Option<std::time::Instant>,
}

impl Alarm {
    /// Within tokio's runtime.
    ///
    /// # Errors
    /// The kernel gives no timer: this process has too many files open.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: an `OwnedFd` is one open descriptor for as long as it lives.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Self { timer, rings_at: None })
    }

    /// It rings after `wait` at the latest, and sooner if it was set so: unless that is much later it isn't set anew, since
    /// whoever is woken for nothing once in a while saves a call at each time.
    pub fn rings_within(&mut self, wait: Duration) {
        let at = std::time::Instant::now() + wait;
        if self.rings_at.is_some_and(|set| set <= at + TICK / 2) {
            return;
        }
        // Nothing would take it off.
        let wait = wait.max(Duration::from_micros(1));
        let it_value = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)
            .expect("the descriptor is a timer's, and the time is one");
        self.rings_at = Some(at);
    }

    /// May be given up and asked again. Never, if it isn't set.
    pub async fn rings(&mut self) {
        loop {
            let Ok(mut ready) = self.timer.readable().await else { return std::future::pending().await };
            let mut rung = [0; 8];
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut rung)?));
            if matches!(read, Ok(Ok(_))) {
                self.rings_at = None;
                return;
            }
        }
    }
}

/// The kernel's boot id is missing or malformed.
#[derive(Debug, thiserror::Error)]
#[error("/proc/sys/kernel/random/boot_id: {0}; Holdfast needs /proc mounted to tell one boot from the next")]
pub struct NoBootId(String);

/// 64 bits of the kernel's random boot id.
pub fn boot_id() -> Result<BootId, NoBootId> {
    let text =
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(|e| NoBootId(e.to_string()))?;
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    let first = digits.get(..16).ok_or_else(|| NoBootId(format!("\"{}\" is too short", text.trim())))?;
    first.parse().map_err(|_| NoBootId(format!("\"{}\" is no id", text.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_never_sooner_than_asked_for_and_less_than_one_later() {
        let ms = Duration::from_millis;
        for (now, wait, until) in
            [(0, 0, 0), (0, 1, 50), (10, 0, 40), (10, 40, 40), (10, 41, 90), (149, 100, 101)]
        {
            assert_eq!(until_tick_after(ms(now), ms(wait)), ms(until), "{wait} ms at {now} ms");
        }
        let until = until_tick(TICK);
        assert!(until >= TICK && until < 2 * TICK);
    }

    #[tokio::test]
    async fn an_alarm_rings_once_and_at_the_soonest_time_that_it_was_set_to() {
        let ms = Duration::from_millis;
        let (mut alarm, began) = (Alarm::new().expect("a timer"), std::time::Instant::now());
        alarm.rings_within(Duration::from_secs(60));
        alarm.rings_within(ms(40));
        alarm.rings_within(ms(60));
        alarm.rings().await;
        assert!((ms(40)..ms(60)).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert!(tokio::time::timeout(ms(100), alarm.rings()).await.is_err(), "once");
        alarm.rings_within(Duration::ZERO);
        alarm.rings().await;
    }

    #[test]
    fn clocks_go_forward_and_the_boot_id_stays() {
        let before = now();
        let after = now();
        assert!(before.boot <= after.boot && before.raw <= after.raw);
        assert_eq!(boot_id().expect("/proc is mounted").0, boot_id().expect("/proc is mounted").0);
    }
}
