//! The whole alerting configuration to and from the wire. Checks what only the wire's wider types allow, and what must be
//! understood before it is kept; sizes and whether names lead somewhere are the ledger's to say.
//!
//! Not here: channels and their settings (`channels`).

use super::{channels, errors::invalid};
use crate::{
    config::alerting::condition::{check_condition, check_rule_condition, check_timezone},
    notify::{kinds, link},
    view::{timestamp, wall_time},
};
use cluster_core::{
    alerting::check_rule,
    ledger::{
        AlertingConfig, Channel, Escalation, Inhibit, Maintenance, Over, Route, Rule, Schedule, SecretRef,
        Severity, Watchdog, Weekday,
    },
};
use holdfast_proto::v1;
use tonic::Status;

/// The longest time-out of a channel: the leader waits for it.
const CHANNEL_TIMEOUT_MAX_MS: u64 = 60_000;

/// `request_id` is left for the caller.
#[must_use]
pub fn to_wire(config: AlertingConfig) -> v1::ApplyAlertingRequest {
    v1::ApplyAlertingRequest {
        channels: config
            .channels
            .into_iter()
            .map(|(name, channel)| channels::to_wire(&name, channel))
            .collect(),
        routes: config.routes.into_iter().map(route_to_wire).collect(),
        request_id: String::new(),
        inhibits: config.inhibits.into_iter().map(inhibit_to_wire).collect(),
        schedules: config.schedules.into_iter().map(|(name, s)| schedule_to_wire(name, s)).collect(),
        maintenances: config.maintenances.into_iter().map(maintenance_to_wire).collect(),
        rules: config.rules.into_iter().map(rule_to_wire).collect(),
        runbooks: config.runbooks,
        ack_url: config.ack_url,
        watchdog: config.watchdog.map(|watchdog| v1::Watchdog {
            url: Some(channels::secret_to_wire(watchdog.url)),
            every_ms: watchdog.every_ms,
        }),
    }
}

/// # Errors
/// It can't be kept: says which part, and why.
pub fn from_wire(request: v1::ApplyAlertingRequest) -> Result<AlertingConfig, Status> {
    let mut config =
        AlertingConfig { runbooks: request.runbooks, ack_url: request.ack_url, ..AlertingConfig::default() };
    for channel in request.channels {
        let name = channel.name.clone();
        if config.channels.insert(name.clone(), self::channel(channel)?).is_some() {
            return Err(invalid("DUPLICATE_CHANNEL", format!("channel {name} is given twice")));
        }
    }
    for schedule in request.schedules {
        let name = schedule.name.clone();
        if config.schedules.insert(name.clone(), schedule_from_wire(schedule)?).is_some() {
            return Err(invalid("DUPLICATE_SCHEDULE", format!("schedule {name} is given twice")));
        }
    }
    config.routes = request.routes.into_iter().map(route_from_wire).collect();
    config.inhibits = request.inhibits.into_iter().map(inhibit_from_wire).collect();
    config.maintenances = request.maintenances.into_iter().map(maintenance_from_wire).collect();
    config.rules = request.rules.into_iter().map(rule_from_wire).collect::<Result<_, _>>()?;
    config.watchdog = request.watchdog.map(watchdog_from_wire).transpose()?;
    understood(&config)?;
    Ok(config)
}

fn watchdog_from_wire(watchdog: v1::Watchdog) -> Result<Watchdog, Status> {
    let wrong = |what: &str| invalid("INVALID_WATCHDOG", format!("watchdog: {what}"));
    let url = watchdog.url.and_then(channels::secret_from_wire).ok_or_else(|| wrong("it has no url"))?;
    if matches!(&url, SecretRef::Inline(url) if !kinds::is_url(url)) {
        return Err(wrong("its url isn't a URL"));
    }
    Ok(Watchdog { url, every_ms: watchdog.every_ms })
}

/// A client may send what no file of ours said.
fn understood(config: &AlertingConfig) -> Result<(), Status> {
    if let Some(base) = &config.ack_url {
        link::check_base(base).map_err(|why| invalid("INVALID_ACK_URL", format!("ack_url: {why}")))?;
    }
    let wrong = |what: &str, why: String| invalid("INVALID_CONDITION", format!("{what}: {why}"));
    for (i, route) in config.routes.iter().enumerate() {
        if let Some(condition) = &route.condition {
            check_condition(condition).map_err(|why| wrong(&format!("route {}", i + 1), why))?;
        }
    }
    for (i, inhibit) in config.inhibits.iter().enumerate() {
        for (side, condition) in [("source", &inhibit.source), ("target", &inhibit.target)] {
            check_condition(condition).map_err(|why| wrong(&format!("inhibition {}, {side}", i + 1), why))?;
        }
    }
    for (i, maintenance) in config.maintenances.iter().enumerate() {
        if let Some(condition) = &maintenance.condition {
            check_condition(condition).map_err(|why| wrong(&format!("maintenance {}", i + 1), why))?;
        }
    }
    for rule in &config.rules {
        let place = format!("rule {}", rule.name);
        check_rule_condition(&rule.condition, rule.over).map_err(|why| wrong(&place, why))?;
        check_rule(rule).map_err(|why| invalid("INVALID_RULE", format!("{place}: {why}")))?;
    }
    for (name, schedule) in &config.schedules {
        check_timezone(&schedule.timezone)
            .map_err(|why| invalid("INVALID_SCHEDULE", format!("schedule {name}: {why}")))?;
    }
    Ok(())
}

fn channel(channel: v1::Channel) -> Result<Channel, Status> {
    let name = channel.name.clone();
    let wrong = |text: String| invalid("INVALID_CHANNEL", format!("channel {name} {text}"));
    let channel = channels::from_wire(channel).map_err(wrong)?;
    if channel.timeout_ms > CHANNEL_TIMEOUT_MAX_MS {
        return Err(wrong("timeout: it is above 60 s".to_owned()));
    }
    kinds::check(&channel).map_err(|why| wrong(why.to_string()))?;
    Ok(channel)
}

fn route_to_wire(route: Route) -> v1::Route {
    let escalation =
        |e: Escalation| v1::Escalation { after_ms: e.after_ms, channels: e.channels, schedule: e.schedule };
    v1::Route {
        channels: route.channels,
        condition: route.condition,
        group_by: route.group_by.map(|values| v1::Texts { values }),
        group_wait_ms: route.group_wait_ms,
        group_interval_ms: route.group_interval_ms,
        repeat_ms: route.repeat_ms,
        go_on: route.go_on,
        schedule: route.schedule,
        escalations: route.escalations.into_iter().map(escalation).collect(),
    }
}

fn route_from_wire(route: v1::Route) -> Route {
    let escalation =
        |e: v1::Escalation| Escalation { after_ms: e.after_ms, channels: e.channels, schedule: e.schedule };
    Route {
        condition: route.condition,
        channels: route.channels,
        group_by: route.group_by.map(|labels| labels.values),
        group_wait_ms: route.group_wait_ms,
        group_interval_ms: route.group_interval_ms,
        repeat_ms: route.repeat_ms,
        go_on: route.go_on,
        schedule: route.schedule,
        escalations: route.escalations.into_iter().map(escalation).collect(),
    }
}

fn inhibit_to_wire(inhibit: Inhibit) -> v1::Inhibit {
    v1::Inhibit { source: inhibit.source, target: inhibit.target, equal: inhibit.equal }
}

fn inhibit_from_wire(inhibit: v1::Inhibit) -> Inhibit {
    Inhibit { source: inhibit.source, target: inhibit.target, equal: inhibit.equal }
}

fn schedule_to_wire(name: String, schedule: Schedule) -> v1::Schedule {
    let day = |day: Weekday| match day {
        Weekday::Monday => v1::Weekday::Monday,
        Weekday::Tuesday => v1::Weekday::Tuesday,
        Weekday::Wednesday => v1::Weekday::Wednesday,
        Weekday::Thursday => v1::Weekday::Thursday,
        Weekday::Friday => v1::Weekday::Friday,
        Weekday::Saturday => v1::Weekday::Saturday,
        Weekday::Sunday => v1::Weekday::Sunday,
    };
    v1::Schedule {
        name,
        timezone: schedule.timezone,
        days: schedule.days.into_iter().map(|d| day(d).into()).collect(),
        from_minute: schedule.from_minute.into(),
        to_minute: schedule.to_minute.into(),
    }
}

fn schedule_from_wire(schedule: v1::Schedule) -> Result<Schedule, Status> {
    let name = &schedule.name;
    let wrong = |what: String| invalid("INVALID_SCHEDULE", format!("schedule {name}: {what}"));
    let day = |day: v1::Weekday| match day {
        v1::Weekday::Monday => Ok(Weekday::Monday),
        v1::Weekday::Tuesday => Ok(Weekday::Tuesday),
        v1::Weekday::Wednesday => Ok(Weekday::Wednesday),
        v1::Weekday::Thursday => Ok(Weekday::Thursday),
        v1::Weekday::Friday => Ok(Weekday::Friday),
        v1::Weekday::Saturday => Ok(Weekday::Saturday),
        v1::Weekday::Sunday => Ok(Weekday::Sunday),
        v1::Weekday::Unspecified => Err(wrong("a day is none of Monday to Sunday".to_owned())),
    };
    let minute = |minute: u32| {
        u16::try_from(minute).map_err(|_| wrong(format!("minute {minute} is after the day's end, 1440")))
    };
    Ok(Schedule {
        days: schedule.days().map(day).collect::<Result<_, _>>()?,
        from_minute: minute(schedule.from_minute)?,
        to_minute: minute(schedule.to_minute)?,
        timezone: schedule.timezone.clone(),
    })
}

fn maintenance_to_wire(maintenance: Maintenance) -> v1::Maintenance {
    v1::Maintenance {
        condition: maintenance.condition,
        schedule: maintenance.schedule,
        from: maintenance.from.map(timestamp),
        until: maintenance.until.map(timestamp),
        comment: maintenance.comment,
    }
}

fn maintenance_from_wire(maintenance: v1::Maintenance) -> Maintenance {
    Maintenance {
        condition: maintenance.condition,
        schedule: maintenance.schedule,
        from: maintenance.from.as_ref().map(wall_time),
        until: maintenance.until.as_ref().map(wall_time),
        comment: maintenance.comment,
    }
}

fn rule_to_wire(rule: Rule) -> v1::Rule {
    v1::Rule {
        name: rule.name,
        over: match rule.over {
            Over::Nodes => v1::Over::Nodes,
            Over::Workloads => v1::Over::Workloads,
        }
        .into(),
        condition: rule.condition,
        for_ms: rule.for_ms,
        severity: match rule.severity {
            Severity::Info => v1::Severity::Info,
            Severity::Warning => v1::Severity::Warning,
            Severity::Critical => v1::Severity::Critical,
        }
        .into(),
        summary: rule.summary,
        description: rule.description,
        labels: rule.labels.into_iter().collect(),
        runbook: rule.runbook,
    }
}

fn rule_from_wire(rule: v1::Rule) -> Result<Rule, Status> {
    let wrong = |what: &str| invalid("INVALID_RULE", format!("rule {}: {what}", rule.name));
    Ok(Rule {
        over: match rule.over() {
            v1::Over::Nodes => Over::Nodes,
            v1::Over::Workloads => Over::Workloads,
            v1::Over::Unspecified => return Err(wrong("over is missing: nodes or workloads")),
        },
        severity: match rule.severity() {
            v1::Severity::Info => Severity::Info,
            v1::Severity::Warning => Severity::Warning,
            v1::Severity::Critical => Severity::Critical,
            v1::Severity::Unspecified => return Err(wrong("severity is missing: info, warning or critical")),
        },
        name: rule.name,
        condition: rule.condition,
        for_ms: rule.for_ms,
        summary: rule.summary,
        description: rule.description,
        labels: rule.labels.into_iter().collect(),
        runbook: rule.runbook,
    })
}

#[cfg(test)]
#[path = "alerting_tests.rs"]
mod tests;
