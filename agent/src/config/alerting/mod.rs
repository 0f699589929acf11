//! The alerting file: channels, who is told of what, what isn't told, and a user's own alerts, as `alert apply` sends it.
//!
//! Each part has a file of its own beside this one. Not here: which settings a type of channel has and what they may be
//! (`notify`), what conditions mean, sending, and reading secrets; a secret's place travels, and the host that sends
//! reads it.

mod channel;
pub mod condition;
pub mod findings;
mod route;
mod rule;
mod schedule;
mod watchdog;

use super::{
    document::{Document, FileError, Section},
    names::check_name,
    nearest::nearest,
};
use crate::{notify::link::check_base, wire::api::alerting::to_wire};
use cluster_core::{
    ledger::AlertingConfig,
    limits::{
        ACK_URL_BYTES, ALERTING_PARTS_MAX, CHANNELS_MAX, COMPARED_LABELS_MAX, NAME_BYTES, ROUTES_MAX,
        VALUE_BYTES,
    },
};
use holdfast_proto::v1::ApplyAlertingRequest;

const KEYS: [&str; 9] =
    ["channel", "route", "inhibit", "schedule", "maintenance", "rule", "runbooks", "watchdog", "ack_url"];

/// The whole file; `request_id` is left for the caller.
pub fn parse(file: &str, text: &str) -> Result<ApplyAlertingRequest, FileError> {
    Ok(to_wire(read(&Document::parse(file, text)?)?))
}

/// As it would be kept.
pub fn read(document: &Document<'_>) -> Result<AlertingConfig, FileError> {
    let root = document.root();
    root.only(&KEYS, &[])?;
    let mut config = AlertingConfig {
        runbooks: link(&root, "runbooks")?,
        ack_url: ack_url(&root)?,
        ..AlertingConfig::default()
    };
    if let Some(section) = named(&root, "channel", CHANNELS_MAX)? {
        for name in section.names() {
            let channel = channel::read(&section.section(name)?.expect("a name that was just read"))?;
            config.channels.insert(name.to_owned(), channel);
        }
        channel::failovers(&section, &config.channels)?;
    }
    if let Some(section) = named(&root, "schedule", ALERTING_PARTS_MAX)? {
        for name in section.names() {
            let schedule = schedule::read(&section.section(name)?.expect("a name that was just read"))?;
            config.schedules.insert(name.to_owned(), schedule);
        }
    }
    for section in listed(&root, "route", ROUTES_MAX)? {
        let route = route::read(&section, &config)?;
        config.routes.push(route);
    }
    for section in listed(&root, "inhibit", ALERTING_PARTS_MAX)? {
        config.inhibits.push(route::inhibit(&section)?);
    }
    for section in listed(&root, "maintenance", ALERTING_PARTS_MAX)? {
        let maintenance = schedule::maintenance(&section, &config)?;
        config.maintenances.push(maintenance);
    }
    for section in listed(&root, "rule", ALERTING_PARTS_MAX)? {
        let rule = rule::read(&section, &config)?;
        config.rules.push(rule);
    }
    config.watchdog = root.section("watchdog")?.map(|section| watchdog::read(&section)).transpose()?;
    Ok(config)
}

/// A table whose keys are names that the user chose.
fn named<'d>(root: &Section<'d>, key: &str, max: usize) -> Result<Option<Section<'d>>, FileError> {
    let Some(section) = root.section(key)? else { return Ok(None) };
    let names = section.names();
    for name in &names {
        check_name(name).map_err(|why| section.bad(name, why))?;
    }
    few(root, key, names.len(), max)?;
    Ok(Some(section))
}

fn listed<'d>(root: &Section<'d>, key: &str, max: usize) -> Result<Vec<Section<'d>>, FileError> {
    let sections = root.sections(key)?;
    few(root, key, sections.len(), max)?;
    Ok(sections)
}

fn few(section: &Section<'_>, key: &str, count: usize, max: usize) -> Result<(), FileError> {
    match count <= max {
        true => Ok(()),
        false => Err(section.bad(key, format!("there are {count} of them; at most {max} can be kept"))),
    }
}

/// Refuses a name that leads nowhere. `what` is "channel" or "schedule", as the file has them.
fn is_there<'k>(
    section: &Section<'_>,
    key: &str,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'k String> + Clone,
) -> Result<(), FileError> {
    if known.clone().any(|k| k == name) {
        return Ok(());
    }
    let hint = match nearest(name, known.map(String::as_str)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("add [{what}.{}], or take it out", name.escape_debug()),
    };
    let what = format!("there is no {what} \"{}\" in this file; {hint}", name.escape_debug());
    Err(section.bad(key, what))
}

/// The channels that `section` names.
fn channels(section: &Section<'_>, config: &AlertingConfig) -> Result<Vec<String>, FileError> {
    let named = section.texts("channels")?.unwrap_or_default();
    if named.is_empty() {
        return Err(section.wrong("leads nowhere; add channels = [\"NAME\"]"));
    }
    for name in &named {
        is_there(section, "channels", "channel", name, config.channels.keys())?;
    }
    few(section, "channels", named.len(), CHANNELS_MAX)?;
    Ok(named)
}

/// The schedule that `section` names.
fn schedule_of(section: &Section<'_>, config: &AlertingConfig) -> Result<Option<String>, FileError> {
    let name = section.text("schedule")?;
    if let Some(name) = &name {
        is_there(section, "schedule", "schedule", name, config.schedules.keys())?;
    }
    Ok(name)
}

fn condition_at(section: &Section<'_>, key: &str) -> Result<Option<String>, FileError> {
    let text = section.text(key)?;
    if let Some(text) = &text {
        condition::check_condition(text).map_err(|why| section.bad(key, why))?;
    }
    Ok(text)
}

/// One that must be there; `like` is how it is written.
fn needed_condition(section: &Section<'_>, key: &str, like: &str) -> Result<String, FileError> {
    condition_at(section, key)?.ok_or_else(|| section.wrong(format!("has no {key}; add {key} = \"{like}\"")))
}

/// Labels to compare.
fn labels(section: &Section<'_>, key: &str) -> Result<Option<Vec<String>>, FileError> {
    let Some(labels) = section.texts(key)? else { return Ok(None) };
    if let Some(wrong) = labels.iter().find(|label| label.is_empty() || label.len() > NAME_BYTES) {
        let what =
            format!("\"{}\" can't be a label; names have 1 to {NAME_BYTES} bytes", wrong.escape_debug());
        return Err(section.bad(key, what));
    }
    few(section, key, labels.len(), COMPARED_LABELS_MAX)?;
    Ok(Some(labels))
}

/// A text of at most so many bytes.
fn short(section: &Section<'_>, key: &str, max: usize) -> Result<Option<String>, FileError> {
    let text = section.text(key)?;
    match &text {
        Some(long) if long.len() > max => {
            Err(section.bad(key, format!("it has {} bytes; shorten it to at most {max}", long.len())))
        }
        _ => Ok(text),
    }
}

/// A URL that people are to open.
fn link(section: &Section<'_>, key: &str) -> Result<Option<String>, FileError> {
    let text = short(section, key, VALUE_BYTES)?;
    match &text {
        Some(url) if !crate::notify::kinds::is_url(url) => {
            Err(section.bad(key, "it isn't a URL; write one like \"https://example.org/runbooks\""))
        }
        _ => Ok(text),
    }
}

/// Where the links by which people acknowledge begin.
fn ack_url(root: &Section<'_>) -> Result<Option<String>, FileError> {
    const KEY: &str = "ack_url";
    let base = short(root, KEY, ACK_URL_BYTES)?;
    if let Some(base) = &base {
        check_base(base).map_err(|why| root.bad(KEY, why))?;
    }
    Ok(base)
}

#[cfg(test)]
mod parts_tests;
#[cfg(test)]
mod tests;
