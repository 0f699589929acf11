//! Guards, modelled: one an instance, alive as long as its host is, whatever the agent does.
//!
//! A guard reads its epoch's page now and then and arms the kernel's timer for what the page grants, by the core's
//! own rule; the timer kills even if the guard is stopped, up to the time in hand late. A start without a valid page
//! comes to nothing. Not modelled: grace, cgroups, adoption's protocol.

use super::{Breaks, agent::Disk};
use cluster_core::{
    ids::BootId,
    instance::Placement,
    lease::{self, Page},
    time::{Clocks, Instant},
    timing::LAN,
};

#[derive(Clone, Debug)]
pub struct Guard {
    pub key: (String, u32),
    pub placement: Placement,
    /// The boot that it was started in.
    pub boot: BootId,
    /// The workload runs; before, the guard is being spawned.
    pub running: bool,
    deadline: Option<Clocks>,
    /// Counts the timers set; only the last one kills.
    pub armed: u64,
}

impl Guard {
    #[must_use]
    pub fn new(key: (String, u32), placement: Placement, boot: BootId) -> Self {
        Self { key, placement, boot, running: false, deadline: None, armed: 0 }
    }

    /// Reads the page; gives the moment for the timer, on CLOCK_BOOTTIME, if it is to be set anew.
    pub fn look(&mut self, disk: &Disk, now: Clocks, breaks: Breaks) -> Option<Instant> {
        let granted = if breaks.guard_accepts_any_epoch {
            let any = |page: &Page| lease::accept(page, (page.epoch, page.boot), now, LAN.lease);
            disk.pages.values().filter_map(any).max_by_key(|d| d.boot)
        } else {
            let page = disk.pages.get(&self.placement.epoch)?;
            lease::accept(page, (self.placement.epoch, self.boot), now, LAN.lease)
        };
        let deadline = granted.filter(|d| self.deadline.is_none_or(|old| old.boot < d.boot))?;
        self.deadline = Some(deadline);
        self.armed += 1;
        Some(lease::kill_at(deadline, now))
    }

    /// Whether it may begin.
    #[must_use]
    pub fn has_time(&self, now: Clocks) -> bool {
        self.deadline.is_some_and(|d| lease::kill_at(d, now) > now.boot)
    }
}
