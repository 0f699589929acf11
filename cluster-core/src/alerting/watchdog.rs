//! Watchdog: a sign of life to somebody outside, who tells people when it stays away. Given only while alerting could
//! tell anybody: silence is the message. Outside of the ledger: a sign that is lost is followed by the next.
//!
//! Not here: confirming the leadership, and the request (the agent's).

use super::Effect;
use crate::{
    ledger::{Ledger, Pace},
    time::Instant,
};
use core::time::Duration;

#[derive(Debug, Default)]
pub struct Watchdog {
    /// When this leader gave the last one.
    last: Option<Instant>,
}

impl Watchdog {
    pub fn step(&mut self, now: Instant, ledger: &Ledger, effects: &mut Vec<Effect>) {
        let Some(watchdog) = &ledger.alerting.watchdog else { return };
        let every = Duration::from_millis(watchdog.every_ms);
        if self.last.is_some_and(|last| now.since(last) < every) || !somebody_can_be_told(ledger) {
            return;
        }
        self.last = Some(now);
        effects.push(Effect::SignOfLife(watchdog.url.clone()));
    }
}

/// Some channel doesn't keep failing.
fn somebody_can_be_told(ledger: &Ledger) -> bool {
    let fails = |channel: &String| ledger.paces.get(channel).is_some_and(Pace::keeps_failing);
    ledger.alerting.channels.keys().any(|channel| !fails(channel))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::{Channel, SecretRef},
        limits::CHANNEL_FAILURES_MAX,
    };

    fn shop() -> Ledger {
        let mut ledger = Ledger::default();
        for name in ["chat", "mail"] {
            ledger.alerting.channels.insert(name.to_owned(), Channel::new("console", 5_000));
        }
        let url = SecretRef::Env("PING".to_owned());
        ledger.alerting.watchdog = Some(crate::ledger::Watchdog { url, every_ms: 60_000 });
        ledger
    }

    fn fails(ledger: &mut Ledger, channel: &str, failed_in_a_row: u32) {
        ledger.paces.insert(channel.to_owned(), Pace { failed_in_a_row, ..Pace::default() });
    }

    /// Times in seconds at which a sign is given, of those at which the machine looks.
    fn signs(watchdog: &mut Watchdog, ledger: &Ledger, looks: core::ops::Range<u64>) -> Vec<u64> {
        let gives = |second: &u64| {
            let mut effects = Vec::new();
            watchdog.step(Instant::from_millis(second * 1_000), ledger, &mut effects);
            assert!(effects.iter().all(|e| *e == Effect::SignOfLife(SecretRef::Env("PING".to_owned()))));
            !effects.is_empty()
        };
        looks.filter(gives).collect()
    }

    #[test]
    fn at_its_pace_and_at_once_by_a_new_leader() {
        let ledger = shop();
        assert_eq!(signs(&mut Watchdog::default(), &ledger, 7..200), [7, 67, 127, 187]);
        assert!(signs(&mut Watchdog::default(), &Ledger::default(), 7..200).is_empty());
    }

    #[test]
    fn silent_while_nobody_can_be_told() {
        let (mut ledger, mut watchdog) = (shop(), Watchdog::default());
        fails(&mut ledger, "chat", CHANNEL_FAILURES_MAX);
        assert_eq!(signs(&mut watchdog, &ledger, 0..70), [0, 60], "mail works");
        fails(&mut ledger, "mail", CHANNEL_FAILURES_MAX);
        assert!(signs(&mut watchdog, &ledger, 70..500).is_empty());
        fails(&mut ledger, "mail", CHANNEL_FAILURES_MAX - 1);
        assert_eq!(signs(&mut watchdog, &ledger, 500..510), [500]);
        ledger.alerting.channels.clear();
        assert!(signs(&mut watchdog, &ledger, 510..700).is_empty(), "there is no channel");
    }
}
