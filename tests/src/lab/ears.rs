//! What the agents tell whoever watches their events, with the moment in which the lab heard it.
//!
//! A suspicion is nowhere kept: it is heard while it happens, or not at all.

use super::{Lab, error::LabError, lines::Speaker};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    pub index: u64,
    #[serde(rename = "type")]
    pub kind: String,
    pub subject: String,
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub struct Heard {
    pub at: SystemTime,
    /// The host whose agent said it.
    pub by: usize,
    pub event: Event,
}

/// A watcher of each host's events.
pub struct Ears {
    speakers: Vec<(usize, Speaker)>,
}

impl Ears {
    pub fn on(lab: &Lab, hosts: impl IntoIterator<Item = usize>) -> Result<Self, LabError> {
        let speaker = |host| Ok((host, Speaker::start(lab.follow_events(host)?)?));
        Ok(Self { speakers: hosts.into_iter().map(speaker).collect::<Result<_, LabError>>()? })
    }

    /// Starts those anew that ended: their agent was away for too long.
    pub fn open_again(&mut self, lab: &Lab) -> Result<(), LabError> {
        for (host, speaker) in &mut self.speakers {
            if speaker.has_ended() {
                *speaker = Speaker::start(lab.follow_events(*host)?)?;
            }
        }
        Ok(())
    }

    /// What was heard from then on, oldest first; an entry of the ledger once a host.
    #[must_use]
    pub fn since(&self, then: SystemTime) -> Vec<Heard> {
        let mut all = Vec::new();
        for (by, speaker) in &self.speakers {
            let mut told = BTreeSet::new();
            for line in speaker.lines() {
                let Ok(event) = serde_json::from_str::<Event>(&line.text) else { continue };
                let new = event.kind == "node_suspected"
                    || told.insert((event.index, event.kind.clone(), event.subject.clone()));
                if new && line.at >= then {
                    all.push(Heard { at: line.at, by: *by, event });
                }
            }
        }
        all.sort_by_key(|h| h.at);
        all
    }

    /// The same, of one kind.
    #[must_use]
    pub fn of_kind(&self, then: SystemTime, kind: &str) -> Vec<Heard> {
        let mut all = self.since(then);
        all.retain(|h| h.event.kind == kind);
        all
    }

    /// Whom the agents suspected, and how often.
    #[must_use]
    pub fn suspicions(&self, then: SystemTime) -> BTreeMap<String, usize> {
        let mut of = BTreeMap::new();
        for heard in self.of_kind(then, "node_suspected") {
            *of.entry(heard.event.subject).or_default() += 1;
        }
        of
    }

    /// Nodes that were declared dead, each once.
    #[must_use]
    pub fn deaths(&self, then: SystemTime) -> BTreeSet<String> {
        self.of_kind(then, "node_dead").into_iter().map(|h| h.event.subject).collect()
    }
}
