//! Which channels fail: several attempts in a row, or a message for good, and nothing was delivered since.
//!
//! Read from the ledger, whenever that changed. Not here: trying again (`outbox`), and who is told of it (`groups`: never
//! the channel itself).

use crate::{
    ids::LogId,
    ledger::{Ledger, NotificationState, Pace},
};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Channels {
    /// The ledger's position at the last look.
    seen: LogId,
    /// The latest message that each is known to have delivered. Notifications forget it when a repetition takes them.
    delivered: BTreeMap<String, u64>,
    failing: BTreeMap<String, String>,
}

impl Channels {
    /// Those that fail, and what the last attempt there said.
    pub fn failing(&mut self, ledger: &Ledger) -> &BTreeMap<String, String> {
        if self.seen != ledger.applied {
            self.seen = ledger.applied;
            self.look(ledger);
        }
        &self.failing
    }

    fn look(&mut self, ledger: &Ledger) {
        let mut failed: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
        for n in ledger.alerts.values().flat_map(|alert| &alert.notifications) {
            match n.state {
                NotificationState::Sent => {
                    let last = self.delivered.entry(n.channel.clone()).or_default();
                    *last = n.message.max(*last);
                }
                NotificationState::Failed => {
                    let last = failed.entry(n.channel.as_str()).or_default();
                    *last = (n.message, n.reason.as_str()).max(*last);
                }
                NotificationState::Pending | NotificationState::Suppressed => {}
            }
        }
        self.delivered.retain(|channel, _| ledger.alerting.channels.contains_key(channel));
        self.failing.clear();
        for channel in ledger.alerting.channels.keys() {
            let delivered = self.delivered.get(channel).copied().unwrap_or_default();
            let for_good = failed.get(channel.as_str()).filter(|(message, _)| *message > delivered);
            let in_a_row = ledger.paces.get(channel).is_some_and(Pace::keeps_failing);
            if in_a_row || for_good.is_some() {
                let tried = ledger.messages.values().filter(|message| message.channel == *channel);
                let said = tried.map(|message| message.reason.as_str()).rfind(|reason| !reason.is_empty());
                let said = said.or(for_good.map(|(_, reason)| *reason)).unwrap_or("it doesn't say why");
                self.failing.insert(channel.clone(), said.to_owned());
            }
        }
    }
}
