//! Verdict: one dead node as the leader proposes it, with sentences that a tired person understands.

use super::{case::Case, reports::Reports, roster::Roster, tally::Tally};
use crate::{
    ids::{Incarnation, NodeId},
    membership::{AgentState, DialOutcome, Finding},
    time::Instant,
    timing::Timing,
};
use core::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub node: NodeId,
    /// As the view had it.
    pub incarnation: Incarnation,
    /// How long ago any of those who report it had a sign of it.
    pub last_seen: Duration,
    /// How long ago the first of them suspected it; never longer than `last_seen`.
    pub suspected: Duration,
    /// Who found so: never empty.
    pub observers: Vec<NodeId>,
    /// Sentences for people.
    pub evidence: Vec<String>,
}

/// Where the sentences come from: everything as it is at the moment of the verdict.
pub(super) struct Witness<'a> {
    pub at: Instant,
    pub roster: &'a Roster,
    pub reports: &'a Reports,
    pub timing: &'a Timing,
}

impl Witness<'_> {
    /// Its host, and all that is on it, answers nobody.
    pub fn host_gone(&self, node: NodeId, tally: &Tally, case: &Case) -> Verdict {
        let (last_seen, suspected) = self.times(node, &tally.accusers);
        let mut evidence = vec![self.accusation(node, tally, last_seen)];
        evidence.extend(self.helpers(node, tally));
        evidence.extend(self.stream_end(node, &tally.accusers));
        if tally.is_reached() {
            let names = self.roster.names(&tally.host_lives);
            evidence.push(format!("{names} reached it at times: most of its packets are lost"));
        }
        if !tally.implied.is_empty() {
            let names = self.roster.names(&tally.implied);
            evidence.push(format!("{names} should watch it, and are found gone themselves"));
        }
        evidence.extend(case.poll.as_ref().and_then(|poll| {
            let hears = poll.answers.values().filter(|hears| **hears).count();
            let (asked, deaf) = (poll.asked.len(), poll.answers.len() - hears);
            (asked > 0).then(|| {
                format!("of {asked} others, asked by the leader, {hears} heard it and {deaf} didn't")
            })
        }));
        self.verdict(node, last_seen, suspected, tally.accusers.clone(), evidence)
    }

    /// Its host lives, but nothing has led its agent back to work for too long.
    pub fn agent_gone(&self, node: NodeId, tally: &Tally, state: AgentState, limit: Duration) -> Verdict {
        let observers = agent_observers(tally);
        let (last_seen, suspected) = self.times(node, &observers);
        let evidence = vec![
            self.agent_trouble(node, tally, state),
            format!("that is longer than agent_timeout, {}", seconds(limit)),
        ];
        self.verdict(node, last_seen, suspected, observers, evidence)
    }

    /// "n1 n2 n3: its host answers, but its agent's process is gone; last heard 12.00 s ago".
    pub fn agent_trouble(&self, node: NodeId, tally: &Tally, state: AgentState) -> String {
        let observers = agent_observers(tally);
        let (last_seen, _) = self.times(node, &observers);
        let what = match state {
            AgentState::Up => "its agent answers again",
            AgentState::Stalled => "its host answers, but its agent says nothing",
            AgentState::Gone => "its host answers, but its agent's process is gone",
        };
        let names = self.roster.names(&observers);
        format!("{names}: {what}; last heard {} ago", seconds(last_seen))
    }

    /// How long ago any of these heard it last, and how long ago the first of them began to suspect it.
    pub fn times(&self, node: NodeId, observers: &[NodeId]) -> (Duration, Duration) {
        let ages: Vec<(Duration, Duration)> = self
            .findings(node, observers)
            .map(|(_, age, finding)| {
                (finding.silence.saturating_add(age), finding.suspected.saturating_add(age))
            })
            .collect();
        let last_seen = ages.iter().map(|(seen, _)| *seen).min().unwrap_or_default();
        let suspected = ages.iter().map(|(_, suspected)| *suspected).max().unwrap_or_default();
        (last_seen, suspected.min(last_seen))
    }

    fn findings<'a>(
        &'a self,
        node: NodeId,
        observers: &'a [NodeId],
    ) -> impl Iterator<Item = (NodeId, Duration, &'a Finding)> {
        let said = self.reports.about(node).filter(|(observer, ..)| observers.contains(observer));
        said.map(|(observer, word, finding)| (observer, self.at.since(word.at), finding))
    }

    fn accusation(&self, node: NodeId, tally: &Tally, last_seen: Duration) -> String {
        let dialled = |outcome| self.findings(node, &tally.accusers).any(|(.., f)| f.dial == Some(outcome));
        let connection = if dialled(DialOutcome::NoRoute) { " and to a new connection" } else { "" };
        format!(
            "{}: no heartbeat, no answer to {} probes{connection}, for {}",
            self.roster.names(&tally.accusers),
            self.timing.probes,
            seconds(last_seen)
        )
    }

    fn helpers(&self, node: NodeId, tally: &Tally) -> Option<String> {
        let sum = |of: fn(&Finding) -> u8| -> u32 {
            self.findings(node, &tally.accusers).map(|(.., finding)| u32::from(of(finding))).sum()
        };
        let (asked, answered) = (sum(|f| f.helpers_asked), sum(|f| f.helpers_answered));
        (asked > 0).then(|| {
            format!("others were asked to try {asked} times; {answered} answered, and none had reached it")
        })
    }

    fn stream_end(&self, node: NodeId, observers: &[NodeId]) -> Option<String> {
        let ended = |(observer, age, finding): (NodeId, Duration, &Finding)| {
            Some((finding.ended?.saturating_add(age), observer))
        };
        let (ago, observer) = self.findings(node, observers).filter_map(ended).max()?;
        Some(format!("its stream to {} ended {} ago", self.roster.names(&[observer]), seconds(ago)))
    }

    fn verdict(
        &self,
        node: NodeId,
        last_seen: Duration,
        suspected: Duration,
        observers: Vec<NodeId>,
        evidence: Vec<String>,
    ) -> Verdict {
        assert!(!observers.is_empty(), "nobody dies by nobody's word");
        let living = self.roster.get(node).expect("only the living are judged");
        Verdict { node, incarnation: living.incarnation, last_seen, suspected, observers, evidence }
    }
}

pub(super) fn agent_observers(tally: &Tally) -> Vec<NodeId> {
    tally.agent.iter().map(|(observer, _)| *observer).collect()
}

fn seconds(d: Duration) -> String {
    format!("{}.{:02} s", d.as_secs(), d.subsec_millis() / 10)
}
