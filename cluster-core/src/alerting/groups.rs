//! Groups: which alerts are told together on a channel, and when. A group is all alerts of one route with equal values of
//! what it groups by; without that, all of them where people read, and each by itself where programs do.
//!
//! It is told of new firings a moment after the first, so that what fails together is one message, and no sooner than an
//! interval after it was told last. That some are over waits while others still fire, until nothing changed for an
//! interval; that all are over is told at once.
//!
//! Not here: whether there is room to send (`pipeline`), and how it is sent (`outbox`).

use super::{
    PROPOSE_AGAIN,
    config::Compiled,
    matching::value,
    mutes::Mutes,
    standing::{Standing, standing},
};
use crate::{
    ledger::{Alert, Escalation, Ledger, Notification, NotificationState, Phase, Route, Why},
    limits::MESSAGE_ALERTS_MAX,
    time::{Instant, WallTime},
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Where people read and the route says nothing.
pub const GROUP_WAIT: Duration = Duration::from_secs(1);
pub const GROUP_INTERVAL: Duration = Duration::from_secs(10);
/// Nothing is put off for more than so many intervals.
const PATIENCE: u32 = 10;
/// Where people read and the route says nothing.
pub const REPEAT_MS: u64 = 4 * 60 * 60 * 1_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    pub channel: String,
    /// None for what was told by a route that is gone.
    pub route: Option<usize>,
    pub values: Vec<String>,
}

#[derive(Debug)]
pub struct Member<'a> {
    pub id: u64,
    pub alert: &'a Alert,
    pub standing: Standing,
    pub muted: Option<String>,
    escalated: bool,
    acknowledged: bool,
}

/// What to tell a group now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    pub told: Vec<(u64, Phase)>,
    pub incident: u64,
    pub why: Why,
}

/// How an alert comes to a channel.
struct Way {
    route: Option<usize>,
    muted: Option<String>,
    escalated: bool,
}

/// All groups in which something is, or may be, to be told.
#[must_use]
pub fn groups<'a>(
    ledger: &'a Ledger,
    compiled: &Compiled,
    mutes: &Mutes<'_>,
    wall: WallTime,
) -> BTreeMap<GroupKey, Vec<Member<'a>>> {
    let mut groups: BTreeMap<GroupKey, Vec<Member<'a>>> = BTreeMap::new();
    for (id, alert) in &ledger.alerts {
        if is_done(ledger, compiled, *id, alert) {
            continue;
        }
        let acknowledged = is_acknowledged(ledger, alert);
        let muted = mutes.why(*id, alert);
        for (channel, way) in ways(ledger, compiled, *id, alert, muted.is_some() || acknowledged, wall) {
            let standing = standing(alert, &channel, ledger.since(&channel));
            if standing == Standing::Over {
                continue;
            }
            let key = key(ledger, *id, alert, channel, way.route);
            // What ended fired unmuted, or it would be noted: a mute that begins now is too late for it.
            let muted = muted.clone().or(way.muted).filter(|_| alert.ends_at.is_none());
            let escalated = way.escalated;
            groups.entry(key).or_default().push(Member {
                id: *id,
                alert,
                standing,
                muted,
                escalated,
                acknowledged,
            });
        }
    }
    groups
}

/// It is over, and nothing is to be said of it anywhere: most of what the ledger remembers, so this is asked first.
fn is_done(ledger: &Ledger, compiled: &Compiled, id: u64, alert: &Alert) -> bool {
    let config = &ledger.alerting;
    let over = |channel: &String| {
        !config.channels.contains_key(channel)
            || alert.is_about(channel)
            || standing(alert, channel, ledger.since(channel)) == Standing::Over
    };
    alert.ends_at.is_some()
        && alert.notifications.iter().all(|n| over(&n.channel))
        && compiled.matched(id).routes.iter().all(|i| config.routes[*i].channels.iter().all(over))
}

fn is_acknowledged(ledger: &Ledger, alert: &Alert) -> bool {
    alert.failure.is_some_and(|id| ledger.is_acknowledged(id))
}

/// Each channel once, by the first route that leads there and is within its schedule.
fn ways(
    ledger: &Ledger,
    compiled: &Compiled,
    id: u64,
    alert: &Alert,
    stays: bool,
    wall: WallTime,
) -> BTreeMap<String, Way> {
    let config = &ledger.alerting;
    let routes = compiled.matched(id).routes.iter().map(|i| (*i, &config.routes[*i]));
    let mut ways: BTreeMap<String, Way> = BTreeMap::new();
    for (i, route) in routes.clone() {
        let on = compiled.is_on(route.schedule.as_ref(), wall);
        for channel in &route.channels {
            if on || !ways.contains_key(channel) {
                let schedule = route.schedule.as_deref().unwrap_or_default();
                let muted = (!on).then(|| format!("outside of schedule \"{schedule}\""));
                let better = ways.get(channel).is_none_or(|way| way.muted.is_some());
                if better {
                    ways.insert(channel.clone(), Way { route: Some(i), muted, escalated: false });
                }
            }
        }
    }
    for (i, route) in routes.clone() {
        let due = |escalation: &&Escalation| {
            is_due(alert, escalation.after_ms, wall) && compiled.is_on(escalation.schedule.as_ref(), wall)
        };
        for escalation in route.escalations.iter().filter(due).filter(|_| !stays && alert.ends_at.is_none()) {
            for channel in &escalation.channels {
                // A way that is out of its schedule doesn't stand in its way.
                if ways.get(channel).is_none_or(|way| way.muted.is_some()) {
                    let way = Way { route: Some(i), muted: None, escalated: true };
                    ways.insert(channel.clone(), way);
                }
            }
        }
    }
    let known = alert.notifications.iter().filter(|n| n.phase == Phase::Firing && n.is_told());
    for channel in known.map(|n| &n.channel).filter(|channel| config.channels.contains_key(*channel)) {
        if !ways.contains_key(channel) {
            let escalates = |route: &Route| route.escalations.iter().any(|e| e.channels.contains(channel));
            let route = routes.clone().find(|(_, route)| escalates(route)).map(|(i, _)| i);
            ways.insert(channel.clone(), Way { route, muted: None, escalated: false });
        }
    }
    ways.retain(|channel, _| !alert.is_about(channel));
    ways
}

/// So long after its first delivery, or, when all attempts at one failed, after its start.
fn is_due(alert: &Alert, after_ms: u64, wall: WallTime) -> bool {
    let firing: Vec<&Notification> =
        alert.notifications.iter().filter(|n| n.phase == Phase::Firing && n.is_told()).collect();
    let missed = !firing.is_empty() && firing.iter().all(|n| n.state == NotificationState::Failed);
    let first = firing.iter().filter_map(|n| n.told_at).min().or(missed.then_some(alert.starts_at));
    first.is_some_and(|first| wall.since_ms(first) >= after_ms)
}

fn key(ledger: &Ledger, id: u64, alert: &Alert, channel: String, route: Option<usize>) -> GroupKey {
    let group_by = route.and_then(|i| ledger.alerting.routes[i].group_by.as_ref());
    let together = ledger.alerting.channels.get(&channel).is_some_and(|channel| channel.is_grouped());
    let values = match group_by {
        Some(labels) => labels.iter().map(|label| value(alert, label).to_owned()).collect(),
        None if together => Vec::new(),
        None => vec![id.to_string()],
    };
    GroupKey { channel, route, values }
}

/// What this leader remembers of a group. Waits start afresh with it.
#[derive(Debug, Default)]
pub struct Memory {
    untold_since: Option<Instant>,
    /// Those whose end is to be told, since when there are any, and since when there are these.
    ends: BTreeSet<u64>,
    ends_since: Instant,
    ends_changed: Instant,
    /// The latest message of its members, and when this leader first saw it; none for one that it found.
    latest: Option<u64>,
    told_at: Option<Instant>,
    /// When something was proposed that the ledger doesn't show yet.
    pub proposed: Option<Instant>,
}

/// What a route says, or what goes without saying.
struct Waits {
    wait: Duration,
    interval: Duration,
    repeat_ms: Option<u64>,
}

fn waits(ledger: &Ledger, key: &GroupKey) -> Waits {
    let together = ledger.alerting.channels.get(&key.channel).is_some_and(|channel| channel.is_grouped());
    let route = key.route.map(|i| &ledger.alerting.routes[i]);
    let grouped = together || route.is_some_and(|route| route.group_by.is_some());
    let of = |ms: Option<u64>, default: Duration| ms.map_or(default, Duration::from_millis);
    let none = if grouped { GROUP_WAIT } else { Duration::ZERO };
    Waits {
        wait: of(route.and_then(|route| route.group_wait_ms), none),
        interval: of(route.and_then(|route| route.group_interval_ms), GROUP_INTERVAL),
        // What was told by a route that is gone isn't repeated.
        repeat_ms: route.and_then(|route| route.repeat_ms.or(together.then_some(REPEAT_MS))),
    }
}

impl Memory {
    fn note(&mut self, now: Instant, members: &[Member<'_>], channel: &str) {
        let latest = members
            .iter()
            .flat_map(|m| &m.alert.notifications)
            .filter(|n| n.channel == channel)
            .map(|n| n.message)
            .max()
            .unwrap_or(0);
        if let Some(before) = self.latest
            && latest > before
        {
            (self.told_at, self.proposed, self.untold_since) = (Some(now), None, None);
        }
        self.latest = Some(latest.max(self.latest.unwrap_or(0)));
        let untold = members.iter().any(Member::is_to_tell);
        self.untold_since = untold.then(|| self.untold_since.unwrap_or(now));
        let ends: BTreeSet<u64> =
            members.iter().filter(|m| m.standing == Standing::ToEnd).map(|m| m.id).collect();
        if self.ends.is_empty() && !ends.is_empty() {
            self.ends_since = now;
        }
        if self.ends != ends {
            self.ends_changed = now;
            self.ends = ends;
        }
        self.proposed = self.proposed.filter(|at| now.since(*at) < PROPOSE_AGAIN);
    }

    /// What to tell this group now, if anything.
    pub fn step(
        &mut self,
        now: Instant,
        wall: WallTime,
        ledger: &Ledger,
        key: &GroupKey,
        members: &[Member<'_>],
    ) -> Option<Telling> {
        self.note(now, members, &key.channel);
        if self.proposed.is_some() {
            return None;
        }
        let waits = waits(ledger, key);
        if self.is_due(now, members, &waits) {
            return Some(news(ledger, &key.channel, members));
        }
        repeat(wall, ledger, &key.channel, members, waits.repeat_ms?)
    }

    fn is_due(&self, now: Instant, members: &[Member<'_>], waits: &Waits) -> bool {
        let alive = members.iter().any(|m| m.standing.is_alive());
        if let Some(since) = self.untold_since {
            let soon = self.told_at.is_some_and(|at| alive && now < at + waits.interval);
            return !soon && now >= since + waits.wait;
        }
        if self.ends.is_empty() {
            return false;
        }
        let goes_on = |m: &Member<'_>| {
            m.standing == Standing::Telling || (m.standing.is_alive() && m.alert.ends_at.is_none())
        };
        !members.iter().any(goes_on)
            || now >= self.ends_changed + waits.interval
            || now >= self.ends_since + waits.interval * PATIENCE
    }
}

impl Member<'_> {
    #[must_use]
    pub fn is_to_tell(&self) -> bool {
        self.standing == Standing::Untold && self.muted.is_none()
    }
}

/// The incident that it was told in.
fn incident_of(member: &Member<'_>, channel: &str) -> Option<u64> {
    let told = member.alert.told(channel, Phase::Firing)?;
    Some(if told.incident == 0 { member.id } else { told.incident })
}

/// Of a group that holds several incidents only one is told of its ends: the next look takes the next one.
fn news(ledger: &Ledger, channel: &str, members: &[Member<'_>]) -> Telling {
    let fires = members.iter().any(Member::is_to_tell);
    let ends = |m: &&Member<'_>| m.standing == Standing::ToEnd;
    let alive = members.iter().filter(|m| if fires { m.standing.is_alive() } else { ends(m) });
    let alive = alive.filter_map(|m| incident_of(m, channel)).min();
    let mut told: Vec<&Member<'_>> =
        members.iter().filter(|m| m.is_to_tell() || (ends(m) && incident_of(m, channel) == alive)).collect();
    // What fires comes first, the worst of it before the rest.
    told.sort_by_key(|m| (!m.is_to_tell(), core::cmp::Reverse(m.alert.severity), m.id));
    told.truncate(MESSAGE_ALERTS_MAX);
    let why = match alive {
        Some(_) => Why::News,
        None if told.iter().any(|m| m.escalated) => Why::Escalation,
        None => Why::First,
    };
    let lead = told.iter().map(|m| m.id).min().unwrap_or_default();
    let phase = |m: &Member<'_>| if m.is_to_tell() { Phase::Firing } else { Phase::Resolved };
    Telling {
        told: told.iter().map(|m| (m.id, phase(m))).collect(),
        incident: alive.filter(|id| ledger.alerts.contains_key(id)).unwrap_or(lead),
        why,
    }
}

/// What still fires, nobody acknowledged, and nobody was told of for so long; of one incident, and with it what they
/// missed. Nothing else may be under way.
fn repeat(
    wall: WallTime,
    ledger: &Ledger,
    channel: &str,
    members: &[Member<'_>],
    repeat_ms: u64,
) -> Option<Telling> {
    let busy = |m: &Member<'_>| {
        matches!(m.standing, Standing::Telling | Standing::ToEnd | Standing::Ending) || m.is_to_tell()
    };
    if members.iter().any(busy) {
        return None;
    }
    let due = |m: &&Member<'_>| {
        let still = matches!(m.standing, Standing::Told | Standing::Missed);
        let told = m.alert.told(channel, Phase::Firing);
        let last = told.and_then(|n| n.settled_at.or(n.sent_at)).unwrap_or(m.alert.starts_at);
        still && !m.acknowledged && m.muted.is_none() && wall.since_ms(last) >= repeat_ms
    };
    let due: Vec<&Member<'_>> = members.iter().filter(due).collect();
    let known = due.iter().filter(|m| m.standing == Standing::Told);
    let incident = known.filter_map(|m| incident_of(m, channel)).min();
    let of_it = |m: &&&Member<'_>| m.standing == Standing::Missed || incident_of(m, channel) == incident;
    let told: Vec<&Member<'_>> = due.iter().filter(of_it).take(MESSAGE_ALERTS_MAX).copied().collect();
    let of = told.iter().filter_map(|m| Some(m.alert.told(channel, Phase::Firing)?.message)).max()?;
    let lead = told.iter().map(|m| m.id).min()?;
    Some(Telling {
        told: told.iter().map(|m| (m.id, Phase::Firing)).collect(),
        incident: incident.filter(|id| ledger.alerts.contains_key(id)).unwrap_or(lead),
        why: Why::Repeat { of },
    })
}
