//! Mutes: why an alert isn't told at this moment. An inhibition, a silence, or a maintenance; the first that there is
//! gives the reason. Whoever was told that an alert fires is told that it is over, muted or not.
//!
//! Not here: schedules of routes (`groups`), which mute on some channels only.

use super::{config::Compiled, matching::value};
use crate::{
    ledger::{Alert, Ledger},
    limits::{SENTENCE_BYTES, clip},
    time::WallTime,
};
use std::collections::BTreeMap;

pub struct Mutes<'a> {
    compiled: &'a Compiled,
    ledger: &'a Ledger,
    wall: WallTime,
    /// Alerts that fire and are the source of an inhibition, by its index.
    sources: BTreeMap<usize, Vec<(u64, &'a Alert)>>,
    /// Silences in force.
    silences: Vec<u64>,
}

impl<'a> Mutes<'a> {
    #[must_use]
    pub fn new(compiled: &'a Compiled, ledger: &'a Ledger, wall: WallTime) -> Self {
        let mut sources: BTreeMap<usize, Vec<(u64, &Alert)>> = BTreeMap::new();
        for (id, alert) in ledger.alerts.iter().filter(|(_, alert)| alert.ends_at.is_none()) {
            for rule in &compiled.matched(*id).sources {
                sources.entry(*rule).or_default().push((*id, alert));
            }
        }
        let in_force = ledger.silences.iter().filter(|(_, s)| s.starts_at <= wall && wall < s.ends_at);
        let silences = in_force.map(|(id, _)| *id).collect();
        Self { compiled, ledger, wall, sources, silences }
    }

    /// As the ledger will have it, so that the two can be compared.
    #[must_use]
    pub fn why(&self, id: u64, alert: &Alert) -> Option<String> {
        let why = self.inhibited(id, alert).or_else(|| self.silenced(alert)).or_else(|| self.maintained(id));
        why.map(|why| clip(&why, SENTENCE_BYTES))
    }

    /// As Alertmanager has it: what matches both sides of a rule isn't inhibited by another such, nor by itself; labels
    /// that both lack are equal.
    fn inhibited(&self, id: u64, alert: &Alert) -> Option<String> {
        let matched = self.compiled.matched(id);
        for rule in &matched.targets {
            let both = matched.sources.contains(rule);
            let equal = &self.ledger.alerting.inhibits[*rule].equal;
            let inhibits = |(source_id, source): &&(u64, &Alert)| {
                *source_id != id
                    && !(both && self.compiled.matched(*source_id).targets.contains(rule))
                    && equal.iter().all(|label| value(source, label) == value(alert, label))
            };
            let mut sources = self.sources.get(rule).into_iter().flatten();
            if let Some((_, source)) = sources.find(inhibits) {
                let labels = ["node", "workload"].map(|label| value(source, label));
                let of = labels.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
                return Some(format!("inhibited by {} {of}", source.name).trim_end().to_owned());
            }
        }
        None
    }

    fn silenced(&self, alert: &Alert) -> Option<String> {
        let id = self.silences.iter().find(|id| self.compiled.silences(**id, alert))?;
        let silence = &self.ledger.silences[id];
        Some(format!("silence {id} by {}: {}", silence.author, silence.comment))
    }

    fn maintained(&self, id: u64) -> Option<String> {
        let known = |i: &&usize| {
            let maintenance = &self.ledger.alerting.maintenances[**i];
            maintenance.from.is_none_or(|from| from <= self.wall)
                && maintenance.until.is_none_or(|until| self.wall < until)
                && self.compiled.is_on(maintenance.schedule.as_ref(), self.wall)
        };
        let i = self.compiled.matched(id).maintenances.iter().find(known)?;
        Some(format!("maintenance \"{}\"", self.ledger.alerting.maintenances[*i].comment))
    }
}
