//! `[[rule]]`: a user's own alert. Not here: what its condition can ask of a node or a workload.

use super::{
    super::{
        document::{FileError, Section},
        names::check_name,
        workload::{one_of, time},
    },
    condition::check_rule_condition,
    link, short,
};
use cluster_core::{
    alerting::{RULE_LABELS_MAX, check_rule_name},
    ledger::{AlertingConfig, Over, Rule, Severity},
    limits::{ALERTING_WAIT_MAX_MS, DESCRIPTION_BYTES, NAME_BYTES, SENTENCE_BYTES, VALUE_BYTES},
};
use std::collections::BTreeMap;

pub(super) const KEYS: [&str; 9] =
    ["name", "over", "when", "for", "severity", "summary", "description", "labels", "runbook"];

/// `config` has the rules before this one.
pub(super) fn read(section: &Section<'_>, config: &AlertingConfig) -> Result<Rule, FileError> {
    section.only(&KEYS, &[])?;
    let Some(name) = section.text("name")? else {
        return Err(section.wrong("has no name; add name = \"DiskFull\""));
    };
    check_name(&name).map_err(|why| section.bad("name", why))?;
    if config.rules.iter().any(|rule| rule.name == name) {
        return Err(section.bad("name", format!("there is a rule \"{name}\" above; choose another name")));
    }
    check_rule_name(&name).map_err(|why| section.bad("name", why))?;
    let over = one_of(section, "over", &[("nodes", Over::Nodes), ("workloads", Over::Workloads)], &[])?;
    let severities = Severity::ALL.map(|severity| (severity.name(), severity));
    let over = over
        .ok_or_else(|| section.wrong("doesn't say of what; add over = \"nodes\", or over = \"workloads\""))?;
    Ok(Rule {
        over,
        condition: condition(section, over)?,
        for_ms: time(section, "for", 0..=ALERTING_WAIT_MAX_MS)?.unwrap_or(0),
        severity: one_of(section, "severity", &severities, &[])?.unwrap_or(Severity::Warning),
        summary: short(section, "summary", SENTENCE_BYTES)?.unwrap_or_else(|| name.clone()),
        description: short(section, "description", DESCRIPTION_BYTES)?.unwrap_or_default(),
        labels: labels(section)?,
        runbook: link(section, "runbook")?,
        name,
    })
}

fn condition(section: &Section<'_>, over: Over) -> Result<String, FileError> {
    let Some(text) = section.text("when")? else {
        let like = match over {
            Over::Nodes => "labels.disk == 'ssd'",
            Over::Workloads => "running < desired",
        };
        return Err(section.wrong(format!("has no when; add when = \"{like}\"")));
    };
    check_rule_condition(&text, over).map_err(|why| section.bad("when", why))?;
    Ok(text)
}

fn labels(section: &Section<'_>) -> Result<BTreeMap<String, String>, FileError> {
    let labels = section.pairs("labels")?.unwrap_or_default();
    super::few(section, "labels", labels.len(), RULE_LABELS_MAX)?;
    let good = |key: &str, value: &str| (1..=NAME_BYTES).contains(&key.len()) && value.len() <= VALUE_BYTES;
    match labels.iter().find(|(key, value)| !good(key, value)) {
        None => Ok(labels),
        Some((key, _)) => {
            let what = format!(
                "\"{}\" can't be kept; names have 1 to {NAME_BYTES} bytes, values at most {VALUE_BYTES}",
                key.escape_debug()
            );
            Err(section.bad("labels", what))
        }
    }
}
