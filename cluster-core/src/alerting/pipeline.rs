//! The pipeline: from alerts that fire to messages that are queued. What nobody may hear of now is muted, with a reason;
//! the rest is grouped, and told as the channels' limits allow: when several groups wait for the same little room, one
//! digest tells them all, except where the provider knows each by its key.
//!
//! It remembers waits only. What was told stands in the ledger, which refuses a second telling, so that leaders that
//! follow each other, or propose at once, queue a message once.
//!
//! Not here: sending (`outbox`), and which alerts there are (`rules`).

use super::{
    Effect, PROPOSE_AGAIN,
    config::Compiled,
    groups::{self, GroupKey, Member, Memory, Telling},
    mutes::Mutes,
    room,
    standing::Standing,
};
use crate::{
    ids::LogId,
    ledger::{Alert, Body, Ledger, Notification, NotificationState, Phase, Why},
    limits::{MESSAGE_ALERTS_MAX, MESSAGES_MAX},
    time::{Instant, WallTime},
};
use core::time::Duration;
use std::collections::BTreeMap;

/// Messages queued on one channel in one step; the others follow with the next.
const QUEUED_AT_ONCE: usize = 64;
/// How long nothing is looked at while the ledger stands still: while something waits to be told, and otherwise.
const LOOK_SOON: Duration = Duration::from_millis(50);
const LOOK_LATER: Duration = Duration::from_secs(1);
/// How long nothing is looked at though the ledger moves: a look costs as much as there are alerts.
const LOOK_APART: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub struct Pipeline {
    compiled: Compiled,
    groups: BTreeMap<GroupKey, Memory>,
    /// Mutes, and ends of them, that were proposed and that the ledger doesn't show yet: by alert, channel and reason.
    muting: BTreeMap<(u64, String, String), Instant>,
    /// The ledger's position at the last look, and when to look again though it stands there still.
    seen: LogId,
    looked: Instant,
    look_again: Instant,
    /// Something waits to be told.
    waits: bool,
}

impl Pipeline {
    /// Whether something waits to be told, or wasn't looked at yet.
    pub fn waits(&self, ledger: &Ledger) -> bool {
        self.waits || ledger.applied != self.seen
    }

    pub fn step(&mut self, now: Instant, wall: WallTime, ledger: &Ledger, effects: &mut Vec<Effect>) {
        let moved = ledger.applied != self.seen && now >= self.looked + LOOK_APART;
        if !moved && now < self.look_again {
            return;
        }
        (self.seen, self.looked) = (ledger.applied, now);
        let mut complaints = Vec::new();
        self.compiled.refresh(ledger, &mut complaints);
        effects.extend(complaints.into_iter().map(Effect::Warn));
        let mutes = Mutes::new(&self.compiled, ledger, wall);
        let groups = groups::groups(ledger, &self.compiled, &mutes, wall);
        self.mute(now, wall, &groups, effects);
        let mut due: BTreeMap<String, Vec<(GroupKey, Telling)>> = BTreeMap::new();
        self.waits = false;
        self.groups.retain(|key, _| groups.contains_key(key));
        for (key, members) in &groups {
            let memory = self.groups.entry(key.clone()).or_default();
            if let Some(telling) = memory.step(now, wall, ledger, key, members) {
                due.entry(key.channel.clone()).or_default().push((key.clone(), telling));
            }
            self.waits |= members.iter().any(|m| m.is_to_tell() || m.standing == Standing::ToEnd);
        }
        self.look_again = now + if self.waits { LOOK_SOON } else { LOOK_LATER };
        for (channel, tellings) in due {
            self.queue(now, wall, ledger, &channel, tellings, effects);
        }
    }

    /// Queues what there is room for.
    fn queue(
        &mut self,
        now: Instant,
        wall: WallTime,
        ledger: &Ledger,
        channel: &str,
        mut tellings: Vec<(GroupKey, Telling)>,
        effects: &mut Vec<Effect>,
    ) {
        let room = room::room(ledger, channel, wall).saturating_sub(room::waiting(ledger, channel));
        let room = room.min(MESSAGES_MAX.saturating_sub(ledger.messages.len()));
        if room == 0 {
            return;
        }
        let keyed = ledger.alerting.channels.get(channel).is_some_and(|channel| channel.is_keyed());
        let is_news = |telling: &Telling| !matches!(telling.why, Why::Repeat { .. });
        tellings.sort_by_key(|(_, telling)| (!is_news(telling), telling.told.first().map(|(id, _)| *id)));
        if !keyed && tellings.iter().filter(|(_, telling)| is_news(telling)).count() > room.max(1) {
            tellings.retain(|(_, telling)| is_news(telling));
            for (key, _) in &tellings {
                self.groups.entry(key.clone()).or_default().proposed = Some(now);
            }
            effects.push(Effect::Propose(queued(channel, digest(tellings)), wall));
            return;
        }
        for (key, telling) in tellings.into_iter().take(room.min(QUEUED_AT_ONCE)) {
            self.groups.entry(key).or_default().proposed = Some(now);
            effects.push(Effect::Propose(queued(channel, telling), wall));
        }
    }

    /// Writes down why who isn't told, once for each reason, and that there is none any more: what ends muted is dropped,
    /// so it must not look muted when it fired on.
    fn mute(
        &mut self,
        now: Instant,
        wall: WallTime,
        groups: &BTreeMap<GroupKey, Vec<Member<'_>>>,
        effects: &mut Vec<Effect>,
    ) {
        self.muting.retain(|_, at| now.since(*at) < PROPOSE_AGAIN);
        let mut news: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
        for (key, members) in groups {
            for member in members.iter().filter(|m| m.standing == Standing::Untold) {
                let reason = member.muted.as_deref().unwrap_or_default();
                let about = (member.id, key.channel.clone(), reason.to_owned());
                if noted(member.alert, &key.channel) != reason && !self.muting.contains_key(&about) {
                    self.muting.insert(about, now);
                    news.entry((key.channel.as_str(), reason)).or_default().push(member.id);
                }
            }
        }
        for ((channel, reason), alerts) in news {
            for alerts in alerts.chunks(MESSAGE_ALERTS_MAX) {
                let (alerts, channels) = (alerts.to_vec(), vec![channel.to_owned()]);
                let reason = reason.to_owned();
                effects.push(Effect::Propose(Body::AlertsMuted { alerts, channels, reason }, wall));
            }
        }
    }
}

/// Why it isn't told there, as the ledger has it; empty when nothing is noted.
fn noted<'a>(alert: &'a Alert, channel: &str) -> &'a str {
    let mute = |n: &&Notification| {
        n.channel == channel && n.phase == Phase::Firing && n.state == NotificationState::Suppressed
    };
    alert.notifications.iter().find(mute).map_or("", |n| n.reason.as_str())
}

/// One for all of them; what doesn't fit into it is told by the next.
fn digest(tellings: Vec<(GroupKey, Telling)>) -> Telling {
    let incident = tellings.first().map(|(_, telling)| telling.incident).unwrap_or_default();
    let mut told: Vec<(u64, Phase)> = tellings.into_iter().flat_map(|(_, telling)| telling.told).collect();
    told.truncate(MESSAGE_ALERTS_MAX);
    Telling { told, incident, why: Why::Digest }
}

fn queued(channel: &str, telling: Telling) -> Body {
    let Telling { told, incident, why } = telling;
    Body::MessageQueued { channel: channel.to_owned(), told, incident, why }
}
