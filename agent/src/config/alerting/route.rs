//! `[[route]]` with its `[[route.escalate]]`, and `[[inhibit]]`: who is told of an alert, and what explains it away.

use super::{
    super::{
        document::{FileError, Section},
        workload::time,
    },
    channels, condition_at, few, labels, needed_condition, schedule_of,
};
use cluster_core::{
    ledger::{AlertingConfig, Escalation, Inhibit, Route},
    limits::{ALERTING_WAIT_MAX_MS, ESCALATIONS_MAX},
};

/// Who is told again sooner than that stops to read.
const SHORTEST_REPEAT_MS: u64 = 1_000;
pub(super) const KEYS: [&str; 9] = [
    "match",
    "channels",
    "group_by",
    "group_wait",
    "group_interval",
    "repeat",
    "continue",
    "schedule",
    "escalate",
];
pub(super) const ESCALATION_KEYS: [&str; 3] = ["after", "channels", "schedule"];
pub(super) const INHIBIT_KEYS: [&str; 3] = ["source", "target", "equal"];

/// `config` has the channels and schedules that a route can name.
pub(super) fn read(section: &Section<'_>, config: &AlertingConfig) -> Result<Route, FileError> {
    section.only(&KEYS, &[])?;
    let wait = |key| time(section, key, 0..=ALERTING_WAIT_MAX_MS);
    let escalations = section.sections("escalate")?;
    few(section, "escalate", escalations.len(), ESCALATIONS_MAX)?;
    Ok(Route {
        condition: condition_at(section, "match")?,
        channels: channels(section, config)?,
        group_by: labels(section, "group_by")?,
        group_wait_ms: wait("group_wait")?,
        group_interval_ms: wait("group_interval")?,
        repeat_ms: time(section, "repeat", SHORTEST_REPEAT_MS..=ALERTING_WAIT_MAX_MS)?,
        go_on: section.switch("continue")?.unwrap_or(false),
        schedule: schedule_of(section, config)?,
        escalations: escalations.iter().map(|e| escalation(e, config)).collect::<Result<_, _>>()?,
    })
}

fn escalation(section: &Section<'_>, config: &AlertingConfig) -> Result<Escalation, FileError> {
    section.only(&ESCALATION_KEYS, &[])?;
    let after = time(section, "after", 0..=ALERTING_WAIT_MAX_MS)?;
    Ok(Escalation {
        after_ms: after.ok_or_else(|| section.wrong("doesn't say when; add after = \"15m\""))?,
        channels: channels(section, config)?,
        schedule: schedule_of(section, config)?,
    })
}

pub(super) fn inhibit(section: &Section<'_>) -> Result<Inhibit, FileError> {
    section.only(&INHIBIT_KEYS, &[])?;
    Ok(Inhibit {
        source: needed_condition(section, "source", "alert == 'NodeDead'")?,
        target: needed_condition(section, "target", "alert == 'WorkloadDown'")?,
        equal: labels(section, "equal")?.unwrap_or_default(),
    })
}
