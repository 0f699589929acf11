//! Guard: whether a deadline that stands in a page holds for an instance, and when the kill is due.
//!
//! A page outlives agents: one of an older epoch may lie beside the one that counts, and a disk carries pages over a
//! reboot. So a guard takes a deadline of its own epoch and its own boot only, and never one further off than a lease:
//! a damaged page, or a confused writer, can't grant more than voters could.
//!
//! Not here: mapping the page, arming timers, killing.

use crate::{
    ids::{BootId, LeaseEpoch},
    time::{Clocks, Instant},
};
use core::time::Duration;

/// How long before the deadline the kill begins: what the scheduler may take to carry it out.
pub const KILL_BEFORE: Duration = Duration::from_millis(100);

/// What a deadline page says: one page a lease epoch, shared by all guards of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub epoch: LeaseEpoch,
    pub boot: BootId,
    pub deadline: Clocks,
}

/// The deadline that this page sets for an instance started under `epoch` in `boot`; none if it isn't the instance's
/// page, or is over by either clock.
#[must_use]
pub fn accept(page: &Page, own: (LeaseEpoch, BootId), now: Clocks, lease: Duration) -> Option<Clocks> {
    if (page.epoch, page.boot) != own || page.deadline.is_over(now) {
        return None;
    }
    Some(page.deadline.min_each(now.after(lease)))
}

/// When the kill timer must fire, on CLOCK_BOOTTIME. The raw clock has no timer; what it has left is what counts if
/// it is less.
#[must_use]
pub fn kill_at(deadline: Clocks, now: Clocks) -> Instant {
    let left = deadline.boot.since(now.boot).min(deadline.raw.since(now.raw));
    now.boot + left.saturating_sub(KILL_BEFORE)
}

/// Whether it is worth starting something under this deadline. With less left its guard would kill it, or refuse to
/// begin, at once, and the node would try again and again.
#[must_use]
pub fn has_room(deadline: Clocks, now: Clocks) -> bool {
    kill_at(deadline, now) >= now.boot + KILL_BEFORE
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(2);
    const OWN: (LeaseEpoch, BootId) = (LeaseEpoch(7), BootId(1));

    fn at(boot: u64, raw: u64) -> Clocks {
        Clocks { boot: Instant::from_millis(boot), raw: Instant::from_millis(raw) }
    }

    fn page(epoch: u64, boot: u64, deadline: Clocks) -> Page {
        Page { epoch: LeaseEpoch(epoch), boot: BootId(boot), deadline }
    }

    #[test]
    fn only_a_page_of_the_same_epoch_and_boot_counts() {
        let now = at(1_000, 900);
        assert_eq!(accept(&page(7, 1, at(2_000, 1_900)), OWN, now, LEASE), Some(at(2_000, 1_900)));
        assert_eq!(accept(&page(8, 1, at(2_000, 1_900)), OWN, now, LEASE), None);
        assert_eq!(accept(&page(7, 2, at(2_000, 1_900)), OWN, now, LEASE), None);
    }

    #[test]
    fn a_deadline_is_over_when_either_clock_says_so() {
        assert_eq!(accept(&page(7, 1, at(2_000, 900)), OWN, at(1_000, 900), LEASE), None);
        assert_eq!(accept(&page(7, 1, at(1_000, 1_900)), OWN, at(1_000, 900), LEASE), None);
    }

    #[test]
    fn no_page_grants_more_than_a_lease() {
        let far = page(7, 1, at(90_000, 90_000));
        assert_eq!(accept(&far, OWN, at(1_000, 900), LEASE), Some(at(3_000, 2_900)));
    }

    #[test]
    fn the_kill_comes_before_the_nearer_deadline() {
        assert_eq!(kill_at(at(3_000, 2_900), at(1_000, 900)), Instant::from_millis(2_900));
        assert_eq!(kill_at(at(3_000, 1_900), at(1_000, 900)), Instant::from_millis(1_900));
        assert_eq!(kill_at(at(1_050, 950), at(1_000, 900)), Instant::from_millis(1_000));
    }

    #[test]
    fn nothing_starts_shortly_before_the_end() {
        assert!(has_room(at(1_200, 1_200), at(1_000, 1_000)));
        assert!(!has_room(at(1_200, 1_199), at(1_000, 1_000)));
    }
}
