//! `[channel.NAME]`: a type's settings, and what every channel has.

use super::{
    super::{
        document::{FileError, Section},
        duration::milliseconds,
        workload::{one_of, time},
    },
    is_there,
};
use crate::{
    notify::{
        fields::{Field, Shape, TYPES, TypeSpec},
        kinds,
    },
    wire::api::channels::CHANNEL_TIMEOUT_MS,
};
use cluster_core::{
    ledger::{Channel, Rate, SecretRef, Setting},
    limits::{ALERTING_WAIT_MAX_MS, RATE_MESSAGES_MAX},
};
use std::collections::BTreeMap;

const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
/// What every type of channel has.
pub(super) const COMMON: [&str; 6] = ["type", "timeout", "language", "template", "rate_limit", "failover"];

pub(super) fn read(section: &Section<'_>) -> Result<Channel, FileError> {
    let types: Vec<(&str, &TypeSpec)> = TYPES.iter().map(|spec| (spec.name, spec)).collect();
    let Some(spec) = one_of(section, "type", &types, &[])? else {
        let names: Vec<&str> = types.iter().map(|(name, _)| *name).collect();
        let what = format!("has no type; add type = \"webhook\", or another of: {}", names.join(", "));
        return Err(section.wrong(what));
    };
    let keys = COMMON.into_iter().chain(spec.fields.iter().map(|field| field.name));
    section.only(&keys.collect::<Vec<_>>(), &[])?;
    let timeout_ms = time(section, "timeout", TIMEOUT_MS)?.unwrap_or(CHANNEL_TIMEOUT_MS);
    let mut channel = Channel::new(spec.name, timeout_ms);
    channel.language = section.text("language")?;
    channel.template = section.text("template")?;
    channel.rate = rate(section)?;
    channel.failover = section.text("failover")?;
    for field in spec.fields {
        if let Some(setting) = setting(section, field)? {
            channel.settings.insert(field.name.to_owned(), setting);
        }
    }
    kinds::check(&channel).map_err(|wrong| match wrong.key {
        Some(key) => section.bad(key, wrong.what),
        None => section.wrong(wrong.what),
    })?;
    Ok(channel)
}

/// Each leads to another channel of the file, and never back. `section` holds all channels.
pub(super) fn failovers(
    section: &Section<'_>,
    channels: &BTreeMap<String, Channel>,
) -> Result<(), FileError> {
    for name in section.names() {
        let Some(to) = &channels[name].failover else { continue };
        let own = section.section(name)?.expect("a name that was just read");
        is_there(&own, "failover", "channel", to, channels.keys())?;
    }
    for name in section.names() {
        let own = section.section(name)?.expect("a name that was just read");
        let mut way = vec![name];
        while let Some(next) = &channels[way[way.len() - 1]].failover {
            if next == name {
                let way = way.iter().copied().chain([name]).collect::<Vec<_>>().join(" → ");
                let what = format!("it leads in a circle, {way}; let one of them end it without failover");
                return Err(own.bad("failover", what));
            }
            if way.contains(&next.as_str()) {
                // A circle further on; it is told of those that are in it.
                break;
            }
            way.push(next);
        }
    }
    Ok(())
}

/// `20/1m`: at most so many in any such time.
fn rate(section: &Section<'_>) -> Result<Option<Rate>, FileError> {
    const KEY: &str = "rate_limit";
    let Some(text) = section.text(KEY)? else { return Ok(None) };
    let quoted = text.escape_debug();
    let shape = || section.bad(KEY, format!("\"{quoted}\" isn't a rate; write one like \"20/1m\""));
    let (messages, per) = text.split_once('/').ok_or_else(shape)?;
    let messages: u32 = messages.trim().parse().map_err(|_| shape())?;
    let per_ms = milliseconds(per.trim()).map_err(|_| shape())?;
    if !(1..=RATE_MESSAGES_MAX).contains(&messages) || !(1..=ALERTING_WAIT_MAX_MS).contains(&per_ms) {
        let what = format!("\"{quoted}\" is out of range; use 1 to {RATE_MESSAGES_MAX} in 1ms to 31d");
        return Err(section.bad(KEY, what));
    }
    Ok(Some(Rate { messages, per_ms }))
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
pub(super) fn secret(section: &Section<'_>, key: &str) -> Result<Option<SecretRef>, FileError> {
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
