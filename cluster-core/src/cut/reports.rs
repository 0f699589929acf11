//! What the observers say now: the newest report of each, for as long as it is repeated, and who speaks of whom.
//!
//! Not here: whether an observer's word counts (`tally`).

use crate::{
    ids::{NodeId, ViewEpoch},
    membership::{ASKING_MAX, Finding, Report},
    time::Instant,
};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Findings of one report; the rest is dropped. Nobody watches as many.
const FINDINGS_MAX: usize = 64;

/// One observer's newest word.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// When it came, in this process's waking time.
    pub at: Instant,
    pub view: ViewEpoch,
    findings: BTreeMap<NodeId, Finding>,
    /// Whom it asks about.
    asking: BTreeSet<NodeId>,
}

/// Never more words than the view has members: the caller keeps others out.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    words: BTreeMap<NodeId, Word>,
    /// By subject, who has a finding about it; no entry is empty.
    speakers: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

impl Reports {
    /// Replaces what this observer said before, unless this is older and came late.
    pub fn hear(&mut self, at: Instant, report: Report) {
        let observer = report.observer;
        if self.words.get(&observer).is_some_and(|known| known.view > report.view) {
            return;
        }
        self.forget(observer);
        let findings = report.findings.into_iter().filter(|f| f.node != observer).take(FINDINGS_MAX);
        let findings: BTreeMap<NodeId, Finding> = findings.map(|f| (f.node, f)).collect();
        for &subject in findings.keys() {
            self.speakers.entry(subject).or_default().insert(observer);
        }
        let asking =
            report.asking.into_iter().filter(|subject| *subject != observer).take(ASKING_MAX).collect();
        self.words.insert(observer, Word { at, view: report.view, findings, asking });
    }

    /// Who hasn't repeated its word for `limit` says nothing any more.
    pub fn expire(&mut self, at: Instant, limit: Duration) {
        let over = self.words.iter().filter(|(_, word)| at.since(word.at) > limit);
        for observer in over.map(|(&o, _)| o).collect::<Vec<_>>() {
            self.forget(observer);
        }
    }

    /// Drops the words of all others.
    pub fn keep(&mut self, living: &BTreeSet<NodeId>) {
        for observer in self.words.keys().filter(|o| !living.contains(o)).copied().collect::<Vec<_>>() {
            self.forget(observer);
        }
    }

    fn forget(&mut self, observer: NodeId) {
        let Some(word) = self.words.remove(&observer) else { return };
        for subject in word.findings.keys() {
            let speakers = self.speakers.get_mut(subject).expect("every finding is listed");
            speakers.remove(&observer);
            if speakers.is_empty() {
                self.speakers.remove(subject);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Everyone of whom anybody says anything.
    pub fn subjects(&self) -> impl Iterator<Item = NodeId> {
        self.speakers.keys().copied()
    }

    /// What is said of the subject, by observer.
    pub fn about(&self, subject: NodeId) -> impl Iterator<Item = (NodeId, &Word, &Finding)> {
        let speakers = self.speakers.get(&subject).into_iter().flatten();
        speakers.map(move |&observer| {
            let word = &self.words[&observer];
            (observer, word, &word.findings[&subject])
        })
    }

    /// Who asks about each subject, and of which view it speaks.
    pub fn asking(&self) -> BTreeMap<NodeId, Vec<(NodeId, ViewEpoch)>> {
        let mut asking: BTreeMap<NodeId, Vec<(NodeId, ViewEpoch)>> = BTreeMap::new();
        for (&observer, word) in &self.words {
            for &subject in &word.asking {
                asking.entry(subject).or_default().push((observer, word.view));
            }
        }
        asking
    }

    /// Whether the observer reported anything of late, be it that it has no findings any more.
    pub fn speaks(&self, observer: NodeId) -> bool {
        self.words.contains_key(&observer)
    }
}
