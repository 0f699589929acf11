//! Room: how many more attempts a channel's limits allow at this moment. They count attempts, whoever made them, by the
//! ledger's times. Not here: what is sent in what order.

use crate::{
    ledger::{Ledger, Rate},
    time::WallTime,
};

/// `usize::MAX` where there is no limit.
#[must_use]
pub fn room(ledger: &Ledger, channel: &str, wall: WallTime) -> usize {
    let Some(found) = ledger.alerting.channels.get(channel) else { return 0 };
    let attempts = ledger.paces.get(channel).map(|pace| &pace.attempts);
    let left = |rate: Rate| {
        let recent = |at: &&WallTime| wall.since_ms(**at) < rate.per_ms;
        let made = attempts.map_or(0, |attempts| attempts.iter().rev().take_while(recent).count());
        (rate.messages as usize).saturating_sub(made)
    };
    found.rates().into_iter().map(left).min().unwrap_or(usize::MAX)
}

/// What is queued there and wasn't tried needs an attempt each. What was tried comes after what is new.
#[must_use]
pub fn waiting(ledger: &Ledger, channel: &str) -> usize {
    ledger.messages.values().filter(|m| m.channel == channel && m.attempts == 0).count()
}
