//! The alerting file: through which channels people are told, as `alert apply` sends it.
//!
//! What is documented and not built yet is refused by name. Not here: which settings a type of channel has and what
//! they may be (`notify`), sending, and reading secrets; a secret's place travels, and the host that sends reads it.

use super::{
    document::{Document, FileError, Section},
    names::check_name,
    workload::{one_of, time},
};
use crate::{
    notify::{
        fields::{Field, Shape, TYPES, TypeSpec},
        kinds,
    },
    wire::api::channels::{CHANNEL_TIMEOUT_MS, to_wire},
};
use cluster_core::ledger::{self, SecretRef, Setting};
use holdfast_proto::v1::{ApplyAlertingRequest, Channel, Route};

const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
/// What every type of channel has.
const COMMON: [&str; 4] = ["type", "timeout", "language", "template"];
const CHANNEL_NOT_YET: &[&str] = &["rate_limit", "failover"];
const ROUTE_NOT_YET: &[&str] = &["match", "group_by", "group_wait", "repeat"];

/// The whole file; `request_id` is left for the caller.
pub fn parse(file: &str, text: &str) -> Result<ApplyAlertingRequest, FileError> {
    let document = Document::parse(file, text)?;
    let root = document.root();
    root.only(&["channel", "route"], &["inhibit"])?;
    let mut channels = Vec::new();
    if let Some(section) = root.section("channel")? {
        for name in section.names() {
            check_name(name).map_err(|why| section.bad(name, why))?;
            channels.push(channel(name, &section.section(name)?.expect("a name that was just read"))?);
        }
    }
    let routes = root.sections("route")?.iter().map(|r| route(r, &channels)).collect::<Result<_, _>>()?;
    Ok(ApplyAlertingRequest { channels, routes, request_id: String::new() })
}

fn channel(name: &str, section: &Section<'_>) -> Result<Channel, FileError> {
    let types: Vec<(&str, &TypeSpec)> = TYPES.iter().map(|spec| (spec.name, spec)).collect();
    let Some(spec) = one_of(section, "type", &types, &[])? else {
        let names: Vec<&str> = types.iter().map(|(name, _)| *name).collect();
        let what = format!("has no type; add type = \"webhook\", or another of: {}", names.join(", "));
        return Err(section.wrong(what));
    };
    let keys = COMMON.into_iter().chain(spec.fields.iter().map(|field| field.name));
    section.only(&keys.collect::<Vec<_>>(), CHANNEL_NOT_YET)?;
    let timeout_ms = time(section, "timeout", TIMEOUT_MS)?.unwrap_or(CHANNEL_TIMEOUT_MS);
    let mut channel = ledger::Channel::new(spec.name, timeout_ms);
    channel.language = section.text("language")?;
    channel.template = section.text("template")?;
    for field in spec.fields {
        if let Some(setting) = setting(section, field)? {
            channel.settings.insert(field.name.to_owned(), setting);
        }
    }
    kinds::check(&channel).map_err(|wrong| match wrong.key {
        Some(key) => section.bad(key, wrong.what),
        None => section.wrong(wrong.what),
    })?;
    Ok(to_wire(name, channel))
}

fn setting(section: &Section<'_>, field: &Field) -> Result<Option<Setting>, FileError> {
    let key = field.name;
    Ok(match field.shape {
        Shape::Text => section.text(key)?.map(Setting::Text),
        Shape::Texts => section.texts(key)?.map(Setting::Texts),
        Shape::Pairs => section.pairs(key)?.map(Setting::Pairs),
        Shape::Secret => secret(section, key)?.map(Setting::Secret),
        Shape::Flag => section.switch(key)?.map(Setting::Flag),
        Shape::Number => match section.number(key)? {
            Some(number) => {
                let number = u64::try_from(number)
                    .map_err(|_| section.bad(key, format!("{number} is below 0; write it without \"-\"")))?;
                Some(Setting::Number(number))
            }
            None => None,
        },
    })
}

/// `{ file = … }`, `{ env = … }`, or the secret itself.
fn secret(section: &Section<'_>, key: &str) -> Result<Option<SecretRef>, FileError> {
    if !section.has(key) {
        return Ok(None);
    }
    if section.is_text(key) {
        return Ok(section.text(key)?.map(SecretRef::Inline));
    }
    let Some(place) = section.section(key)? else { return Ok(None) };
    place.only(&["file", "env"], &[])?;
    match (place.text("file")?, place.text("env")?) {
        (Some(file), None) if file.starts_with('/') => Ok(Some(SecretRef::File(file))),
        (Some(_), None) => Err(place.bad("file", "the path is relative; begin it with \"/\"")),
        (None, Some(env)) if !env.is_empty() && !env.contains(['=', '\0']) => Ok(Some(SecretRef::Env(env))),
        (None, Some(_)) => Err(place.bad("env", "give a variable's name")),
        _ => Err(section.bad(key, "write { file = \"/path\" } or { env = \"NAME\" }, one of them")),
    }
}

fn route(section: &Section<'_>, channels: &[Channel]) -> Result<Route, FileError> {
    section.only(&["channels"], ROUTE_NOT_YET)?;
    let named = section.texts("channels")?.unwrap_or_default();
    if named.is_empty() {
        return Err(section.wrong("leads nowhere; add channels = [\"NAME\"]"));
    }
    for name in &named {
        if channels.iter().any(|c| c.name == *name) {
            continue;
        }
        let hint = match super::nearest::nearest(name, channels.iter().map(|c| c.name.as_str())) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add [channel.{}], or take it out", name.escape_debug()),
        };
        let what = format!("there is no channel \"{}\" in this file; {hint}", name.escape_debug());
        return Err(section.bad("channels", what));
    }
    Ok(Route { channels: named })
}

#[cfg(test)]
#[path = "alerting_tests.rs"]
mod tests;
