//! Keep: an Alertmanager forgets an alert that isn't posted again, so what fires is, again and again. Outside of the
//! ledger: such a post says nothing new, and it does no harm when it is lost or comes twice.

use super::{
    Effect,
    standing::{Standing, standing},
};
use crate::{ledger::Ledger, time::Instant};
use core::time::Duration;

pub const KEEP_EVERY: Duration = Duration::from_secs(60);
/// A new leader can't know when the one before it did so, but must first know what is over by now.
pub const KEEP_FIRST: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Keep {
    due: Instant,
}

impl Keep {
    /// For a leader from the moment it became that.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { due: now + KEEP_FIRST }
    }

    pub fn step(&mut self, now: Instant, ledger: &Ledger, effects: &mut Vec<Effect>) {
        if now < self.due {
            return;
        }
        self.due = now + KEEP_EVERY;
        let kept = ledger.alerting.channels.iter().filter(|(_, channel)| channel.kind == "alertmanager");
        for (channel, _) in kept {
            let told = |(id, alert): (&u64, &crate::ledger::Alert)| {
                (standing(alert, channel, ledger.since(channel)) == Standing::Told).then_some(*id)
            };
            let alerts: Vec<u64> = ledger.alerts.iter().filter_map(told).collect();
            if !alerts.is_empty() {
                effects.push(Effect::Keep { channel: channel.clone(), alerts });
            }
        }
    }
}
