//! Standing: how an alert stands with one channel, read from the ledger alone, so that every leader reads the same.

use crate::{
    ledger::{Alert, NotificationState, Phase},
    time::WallTime,
};

/// An alert that was over so long before something led to a channel isn't told there any more. One that was over a
/// moment before still is: it may have been on its way.
pub const OVER_BEFORE_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody there was told, and somebody should be. It may have ended meanwhile: both are told, one after the other.
    Untold,
    /// That it fires waits to be sent, or is sent again.
    Telling,
    /// They know that it fires, and it does.
    Told,
    /// It fires, and all attempts to say so failed.
    Missed,
    /// They know that it fired, and not yet that it is over.
    ToEnd,
    /// That it is over waits to be sent.
    Ending,
    /// Nothing more is to be said.
    Over,
}

impl Standing {
    /// They were told, or are about to be, and not yet that it is over.
    #[must_use]
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Telling | Self::Told | Self::ToEnd)
    }
}

/// `since`: since when the channel is led to as it is now.
#[must_use]
pub fn standing(alert: &Alert, channel: &str, since: WallTime) -> Standing {
    let Some(firing) = alert.told(channel, Phase::Firing) else {
        return untold(alert, channel, since);
    };
    match (firing.state, alert.ends_at) {
        (NotificationState::Pending, _) => Standing::Telling,
        (_, None) if firing.was_heard() => Standing::Told,
        (_, None) => Standing::Missed,
        (_, Some(_)) if firing.was_heard() => match alert.told(channel, Phase::Resolved) {
            None => Standing::ToEnd,
            Some(resolved) if resolved.state == NotificationState::Pending => Standing::Ending,
            Some(_) => Standing::Over,
        },
        (_, Some(_)) => Standing::Over,
    }
}

fn untold(alert: &Alert, channel: &str, since: WallTime) -> Standing {
    let Some(ends_at) = alert.ends_at else { return Standing::Untold };
    // A record without a message says that it was muted, or that its channel was gone.
    let muted = |n: &crate::ledger::Notification| {
        n.channel == channel && n.phase == Phase::Firing && n.state == NotificationState::Suppressed
    };
    let long_over = since.since_ms(ends_at) >= OVER_BEFORE_MS;
    if long_over || alert.notifications.iter().any(muted) { Standing::Over } else { Standing::Untold }
}
