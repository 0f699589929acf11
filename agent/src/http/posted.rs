//! What an alerting system posts, as Alertmanager's API has it (version 2): read, bounded, and compared with the ledger.
//!
//! Whoever posts repeats what fires, each minute or so and to every agent it knows. Only what is news becomes an entry:
//! what the ledger doesn't show firing, what is over, and what would run out before half of its time has gone by again.
//! The text stays that of the first post: values in it change with every one. Not here: HTTP, and writing (`alerts`).

use crate::{
    limits::{ALERT_LABEL_BYTES, ALERT_LASTS, ALERTS_PER_POST},
    notify::sign,
};
use cluster_core::{
    ledger::{Body, Ledger, POSTED_PREFIX, Severity},
    limits::{LABELS_MAX, NAME_BYTES, POSTED_LASTS_MAX_MS, SENTENCE_BYTES, clip},
    time::WallTime,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Labels that say best what an alert is about, where it says nothing itself.
const TELLING: [&str; 7] = ["instance", "node", "host", "namespace", "pod", "service", "job"];
/// So many of them.
const TOLD_LABELS: usize = 3;

/// As it comes. What isn't named is ignored: `startsAt` too, since the ledger has its own clock.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    labels: BTreeMap<String, String>,
    annotations: Option<BTreeMap<String, String>>,
    ends_at: Option<String>,
    #[serde(rename = "generatorURL")]
    generator_url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    pub name: String,
    pub severity: Severity,
    /// Of the whole label set: whoever posts the same alert names it by the same key.
    pub dedup_key: String,
    /// Without those that have a place of their own.
    pub labels: BTreeMap<String, String>,
    pub summary: String,
    pub description: String,
    /// Until when it fires; in the past when it is over.
    pub until: WallTime,
}

/// One for each label set; of two with the same the latter counts.
///
/// # Errors
/// A sentence that names the alert by its place in the list. Then none is to be used.
pub fn parse(body: &[u8], now: WallTime) -> Result<Vec<Posted>, String> {
    let raw: Vec<Raw> = serde_json::from_slice(body).map_err(|why| {
        format!("this isn't a JSON list of alerts as Alertmanager's API (v2) takes them: {why}")
    })?;
    if raw.len() > ALERTS_PER_POST {
        return Err(format!("{} alerts are too many; post at most {ALERTS_PER_POST} at once", raw.len()));
    }
    let mut alerts = BTreeMap::new();
    for (i, raw) in raw.into_iter().enumerate() {
        let posted = posted(raw, now).map_err(|why| format!("alert {} of the list {why}", i + 1))?;
        alerts.insert(posted.dedup_key.clone(), posted);
    }
    Ok(alerts.into_values().collect())
}

fn posted(raw: Raw, now: WallTime) -> Result<Posted, String> {
    let mut labels = raw.labels;
    // An empty label is none, as its sender has it.
    labels.retain(|name, value| !name.is_empty() && !value.is_empty());
    let dedup_key = format!("{POSTED_PREFIX}{}", fingerprint(&labels));
    let name = labels.remove("alertname").ok_or("has no label alertname; every alert needs one")?;
    let severity = severity(labels.remove("severity").as_deref());
    let annotations = raw.annotations.unwrap_or_default();
    let annotation = |key: &str| annotations.get(key).map(|text| text.trim()).filter(|text| !text.is_empty());
    let summary = annotation("summary").or_else(|| annotation("description"));
    let summary = summary.map_or_else(|| named(&name, &labels), |text| clip(text, SENTENCE_BYTES));
    let link = raw.generator_url.as_deref().map(str::trim).filter(|url| !url.is_empty());
    let description: Vec<&str> = annotation("description").into_iter().chain(link).collect();
    let ends_at = raw.ends_at.as_deref().map(moment).transpose()?.flatten();
    Ok(Posted {
        severity,
        dedup_key,
        summary,
        description: description.join("\n"),
        until: until(ends_at, now),
        labels: bounded(labels),
        name: clip(&name, NAME_BYTES),
    })
}

fn severity(label: Option<&str>) -> Severity {
    match label.map(str::to_ascii_lowercase).as_deref() {
        Some("critical" | "page") => Severity::Critical,
        Some("info") => Severity::Info,
        _ => Severity::Warning,
    }
}

/// Each text behind its length, so that no two sets read the same.
fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    let texts = labels.iter().flat_map(|(name, value)| [name, value]);
    let bytes = texts.fold(Vec::new(), |mut bytes, text| {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    });
    sign::sha256_hex(bytes)[..32].to_owned()
}

fn bounded(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let bounded = labels.into_iter().take(LABELS_MAX);
    bounded.map(|(name, value)| (clip(&name, NAME_BYTES), clip(&value, ALERT_LABEL_BYTES))).collect()
}

/// What is said of an alert that says nothing itself.
fn named(name: &str, labels: &BTreeMap<String, String>) -> String {
    let telling = TELLING.iter().filter_map(|key| labels.get_key_value(*key));
    let others = labels.iter().filter(|(key, _)| !TELLING.contains(&key.as_str()));
    let told: Vec<String> =
        telling.chain(others).take(TOLD_LABELS).map(|(key, value)| format!("{key} {value}")).collect();
    clip(
        &if told.is_empty() { name.to_owned() } else { format!("{name}: {}", told.join(", ")) },
        SENTENCE_BYTES,
    )
}

/// `None` for the year 1, which is how Go writes that a time isn't set.
fn moment(text: &str) -> Result<Option<WallTime>, String> {
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        let shown = clip(text, NAME_BYTES);
        format!("has endsAt = \"{}\", which isn't a time; write RFC 3339", shown.escape_debug())
    })?;
    Ok(u64::try_from(time.as_millisecond()).ok().map(WallTime))
}

fn until(ends_at: Option<WallTime>, now: WallTime) -> WallTime {
    let after = |ms: u64| WallTime(now.0.saturating_add(ms));
    let lasts = u64::try_from(ALERT_LASTS.as_millis()).unwrap_or(u64::MAX);
    ends_at.unwrap_or(after(lasts)).min(after(POSTED_LASTS_MAX_MS))
}

/// The entries that these posts are worth.
#[must_use]
pub fn news(ledger: &Ledger, now: WallTime, posted: Vec<Posted>) -> Vec<Body> {
    let firing: BTreeMap<&str, WallTime> =
        ledger.posted().map(|(alert, until)| (alert.dedup_key.as_str(), until)).collect();
    let (mut entries, mut extended) = (Vec::new(), Vec::new());
    for alert in posted {
        let over = alert.until <= now;
        match firing.get(alert.dedup_key.as_str()) {
            Some(_) if over => {
                let summary = format!("it is over: {}", alert.summary);
                entries.push(Body::AlertEnded { dedup_key: alert.dedup_key, summary });
            }
            Some(good_until) => {
                if good_until.since_ms(now) < alert.until.since_ms(now) / 2 {
                    extended.push((alert.dedup_key, alert.until));
                }
            }
            None if over => {}
            None => entries.push(raised(alert)),
        }
    }
    if !extended.is_empty() {
        entries.push(Body::AlertsExtended { until: extended });
    }
    entries
}

fn raised(alert: Posted) -> Body {
    let Posted { name, severity, dedup_key, labels, summary, description, until } = alert;
    Body::AlertPosted { name, severity, dedup_key, labels, summary, description, valid_until: until }
}

#[cfg(test)]
#[path = "posted_tests.rs"]
mod tests;
