//! What a guard believes of its lease: which pages it accepts, when its timer must fire, when it is over.
//!
//! Pure: both clocks and the page come in, a verdict goes out. Here at-most-once is kept on the node, so every doubt
//! is answered with "no": a page that isn't of this guard's own epoch and boot extends nothing.
//!
//! Not here: reading the page, arming the timer, killing.

use crate::workload::page::Content;
use cluster_core::{
    ids::{BootId, LeaseEpoch},
    time::{Clocks, Instant},
};
use std::time::Duration;

/// How long before the deadline the tree is killed: room for a scheduler under load to carry the kill out.
pub const KILL_MARGIN: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No deadline lies ahead that this guard accepts, and none ever did.
    Never,
    /// May run. `kill_at`: CLOCK_BOOTTIME, where the kernel's timer must stand.
    Holds { kill_at: Instant },
    /// It ran out, or was taken back. For good.
    Over,
}

/// One guard's lease.
#[derive(Clone, Debug)]
pub struct Lease {
    epoch: LeaseEpoch,
    boot: BootId,
    length: Duration,
    /// The newest deadline that was accepted, as the page had it.
    seen: Clocks,
    /// The same, capped when it was first seen. `None` before the first.
    deadline: Option<Clocks>,
    over: bool,
}

impl Lease {
    #[must_use]
    pub fn new(epoch: LeaseEpoch, boot: BootId, length: Duration) -> Self {
        Self { epoch, boot, length, seen: Clocks::default(), deadline: None, over: false }
    }

    /// One look at the page. `page` is `None` when it couldn't be read: what was believed so far stands.
    pub fn look(&mut self, now: Clocks, page: Option<&Content>) -> Verdict {
        // Judged by the old deadline first: a late extension doesn't bring an expired lease back.
        self.over |= self.deadline.is_some_and(|deadline| expired(now, deadline));
        if let Some(page) = page.filter(|page| self.is_mine(page)) {
            self.over |= page.revoked;
            self.accept(now, page.deadline);
        }
        match self.deadline {
            _ if self.over => Verdict::Over,
            None => Verdict::Never,
            Some(deadline) => Verdict::Holds { kill_at: deadline.boot - KILL_MARGIN },
        }
    }

    /// Whether SIGTERM is due, so long before the kill.
    #[must_use]
    pub fn within_grace(&self, now: Clocks, grace: Duration) -> bool {
        let ends_by = Clocks { boot: now.boot + grace, raw: now.raw + grace };
        !grace.is_zero() && self.deadline.is_some_and(|deadline| expired(ends_by, deadline))
    }

    fn is_mine(&self, page: &Content) -> bool {
        page.epoch == self.epoch && page.boot == self.boot
    }

    /// A deadline counts once, capped by the clocks of the moment at which it was first seen; so one that lies absurdly
    /// far ahead is worth one lease, and not a new one at each look.
    fn accept(&mut self, now: Clocks, granted: Clocks) {
        if granted.boot <= self.seen.boot || granted.raw <= self.seen.raw {
            return;
        }
        self.seen = granted;
        let capped = Clocks {
            boot: granted.boot.min(now.boot + self.length),
            raw: granted.raw.min(now.raw + self.length),
        };
        if !expired(now, capped) {
            self.deadline = Some(capped);
        }
    }
}

/// Over when either clock says so.
fn expired(now: Clocks, deadline: Clocks) -> bool {
    now.boot + KILL_MARGIN >= deadline.boot || now.raw + KILL_MARGIN >= deadline.raw
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EPOCH: LeaseEpoch = LeaseEpoch(3);
    const BOOT: BootId = BootId(9);
    const LENGTH: Duration = Duration::from_millis(2_000);

    fn at(ms: u64) -> Clocks {
        Clocks { boot: Instant::from_millis(ms), raw: Instant::from_millis(ms) }
    }

    fn page(deadline: Clocks) -> Content {
        Content { boot: BOOT, epoch: EPOCH, deadline, revoked: false }
    }

    fn lease() -> Lease {
        Lease::new(EPOCH, BOOT, LENGTH)
    }

    fn until(ms: u64) -> Verdict {
        Verdict::Holds { kill_at: Instant::from_millis(ms) }
    }

    #[test]
    fn runs_to_the_margin_before_the_deadline_and_no_further() {
        let mut lease = lease();
        assert_eq!(lease.look(at(1_000), Some(&page(at(0)))), Verdict::Never);
        assert_eq!(lease.look(at(1_000), Some(&page(at(3_000)))), until(2_900));
        assert_eq!(lease.look(at(2_000), Some(&page(at(3_500)))), until(3_400));
        assert_eq!(lease.look(at(3_399), None), until(3_400));
        assert_eq!(lease.look(at(3_400), Some(&page(at(5_000)))), Verdict::Over);
        assert_eq!(lease.look(at(3_400), Some(&page(at(5_001)))), Verdict::Over);
    }

    #[test]
    fn obeys_its_own_epoch_and_boot_alone() {
        let other_epoch = Content { epoch: LeaseEpoch(4), ..page(at(3_000)) };
        let other_boot = Content { boot: BootId(8), ..page(at(3_000)) };
        for foreign in [other_epoch, other_boot] {
            assert_eq!(lease().look(at(1_000), Some(&foreign)), Verdict::Never);
            let mut held = lease();
            assert_eq!(held.look(at(1_000), Some(&page(at(2_000)))), until(1_900));
            assert_eq!(held.look(at(1_800), Some(&foreign)), until(1_900));
            assert_eq!(held.look(at(1_800), Some(&Content { revoked: true, ..foreign })), until(1_900));
            assert_eq!(held.look(at(1_900), Some(&foreign)), Verdict::Over);
        }
    }

    #[test]
    fn either_clock_ends_it() {
        let mut slow_raw = lease();
        slow_raw.look(at(1_000), Some(&page(at(3_000))));
        let now = Clocks { boot: at(2_900).boot, raw: at(1_001).raw };
        assert_eq!(slow_raw.look(now, None), Verdict::Over);
        let mut slow_boot = lease();
        slow_boot.look(at(1_000), Some(&page(at(3_000))));
        let now = Clocks { boot: at(1_001).boot, raw: at(2_900).raw };
        assert_eq!(slow_boot.look(now, None), Verdict::Over);
    }

    #[test]
    fn revoked_is_over_at_once_and_before_any_start() {
        let mut held = lease();
        held.look(at(1_000), Some(&page(at(3_000))));
        assert_eq!(held.look(at(1_001), Some(&Content { revoked: true, ..page(at(3_000)) })), Verdict::Over);
        let late = Content { revoked: true, ..page(at(3_000)) };
        assert_eq!(lease().look(at(1_000), Some(&late)), Verdict::Over);
    }

    #[test]
    fn a_deadline_that_passed_starts_nothing() {
        assert_eq!(lease().look(at(3_000), Some(&page(at(3_000)))), Verdict::Never);
        assert_eq!(lease().look(at(2_900), Some(&page(at(3_000)))), Verdict::Never);
        assert_eq!(lease().look(at(2_899), Some(&page(at(3_000)))), until(2_900));
    }

    #[test]
    fn an_absurd_deadline_is_worth_one_lease() {
        let mut lease = lease();
        let absurd = page(Clocks { boot: Instant::from_nanos(u64::MAX), raw: Instant::from_nanos(u64::MAX) });
        assert_eq!(lease.look(at(1_000), Some(&absurd)), until(2_900));
        assert_eq!(lease.look(at(2_000), Some(&absurd)), until(2_900));
        assert_eq!(lease.look(at(2_900), Some(&absurd)), Verdict::Over);
    }

    #[test]
    fn grace_begins_before_the_kill() {
        let mut lease = lease();
        let grace = Duration::from_millis(500);
        lease.look(at(1_000), Some(&page(at(3_000))));
        assert!(!lease.within_grace(at(2_399), grace));
        assert!(lease.within_grace(at(2_400), grace));
        assert!(!lease.within_grace(at(2_899), Duration::ZERO));
    }

    proptest! {
        /// Whatever pages are seen, by clocks that drift apart: while it holds, some page of its own epoch and boot
        /// granted a later deadline than now + margin on both clocks, no more than one lease after it was first seen;
        /// and once over it stays over.
        #[test]
        fn holds_only_by_its_own_grants(
            looks in prop::collection::vec((0u64..400, 0u64..400, 0u64..6_000, 2u64..5, 8u64..11, 0u8..20), 1..80)
        ) {
            let mut lease = lease();
            let (mut now, mut grants, mut over) = (at(1_000), Vec::new(), false);
            for (boot_ms, raw_ms, deadline, epoch, boot, kind) in looks {
                now = Clocks {
                    boot: now.boot + Duration::from_millis(boot_ms),
                    raw: now.raw + Duration::from_millis(raw_ms),
                };
                let content = Content {
                    boot: BootId(boot), epoch: LeaseEpoch(epoch), deadline: at(deadline), revoked: kind == 0,
                };
                let readable = kind < 15;
                if readable && content.boot == BOOT && content.epoch == EPOCH {
                    grants.push((now, content.deadline));
                }
                let verdict = lease.look(now, readable.then_some(&content));
                prop_assert!(!over || verdict == Verdict::Over);
                over = verdict == Verdict::Over;
                if let Verdict::Holds { kill_at } = verdict {
                    let granted = grants.iter().any(|(seen, deadline)| {
                        kill_at + KILL_MARGIN <= deadline.boot
                            && kill_at + KILL_MARGIN <= seen.boot + LENGTH
                            && now.boot < kill_at
                            && now.raw + KILL_MARGIN < deadline.raw
                            && now.raw + KILL_MARGIN < seen.raw + LENGTH
                    });
                    prop_assert!(granted, "holds until {:?} at {:?}", kill_at, now);
                }
            }
        }
    }
}
