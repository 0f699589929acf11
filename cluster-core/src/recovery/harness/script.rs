//! The words that a script is written in: what befalls the cluster, and what is asked of what happened.

use super::*;

impl Play {
    /// Something of the user's own fires, or ends.
    pub fn raise(&mut self, name: &str, key: &str, labels: &[(&str, &str)]) {
        self.commit(Body::AlertRaised {
            name: name.to_owned(),
            severity: crate::ledger::Severity::Warning,
            dedup_key: key.to_owned(),
            failure: None,
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            summary: key.to_owned(),
            description: String::new(),
        });
    }

    pub fn end(&mut self, key: &str) {
        self.commit(Body::AlertEnded { dedup_key: key.to_owned(), summary: format!("{key} is over") });
    }

    /// What `channel` was told, without its name.
    pub fn told_to(&self, channel: &str) -> Vec<&str> {
        self.told.iter().filter_map(|told| told.strip_prefix(channel)?.strip_prefix(' ')).collect()
    }

    /// Silent from now on; nobody declares it yet.
    pub fn silence(&mut self, name: &str) {
        let id = self.id(name);
        self.off.insert(id);
        self.last_ack.insert(id, self.now);
        self.live.heard.insert(id, Heard::Suspect);
    }

    pub fn declare(&mut self, names: &[&str]) {
        let seen = WallTime(WALL + self.now - 1_100);
        let death = |name: &&str| {
            let node = self.id(name);
            let epoch = self.ledger.nodes[&node].epoch;
            Death {
                node,
                epoch,
                incarnation: Incarnation(1),
                last_seen_at: seen,
                suspected_at: seen,
                observers: vec![NodeId(1)],
                evidence: Vec::new(),
            }
        };
        let deaths = names.iter().map(death).collect();
        self.commit(Body::NodesDead { deaths });
    }

    /// Loses power, and is declared dead 1,100 ms later.
    pub fn lose(&mut self, names: &[&str]) {
        for name in names {
            self.silence(name);
        }
        self.run(1_100);
        self.declare(names);
    }

    /// What enough observers found of its agent.
    pub fn agent_is(&mut self, name: &str, state: AgentState) {
        self.agent_is_since(0, name, state);
    }

    /// Its agent was last heard so long ago.
    pub fn agent_is_since(&mut self, ago_ms: u64, name: &str, state: AgentState) {
        let node = self.id(name);
        let incarnation = self.ledger.nodes[&node].incarnation;
        let (since, observers, evidence) =
            (WallTime(WALL + self.now - ago_ms), vec![], vec!["n1: so it is".to_owned()]);
        self.commit(Body::AgentState { node, incarnation, state, since, observers, evidence });
    }

    pub fn return_of(&mut self, name: &str) {
        let id = self.id(name);
        let zone = self.ledger.nodes[&id].profile.zone.clone();
        self.node_up(id.0, &zone, None);
        self.say(format!("{name} is back"));
    }

    pub fn lose_lease(&mut self, name: &str) {
        let node = self.id(name);
        self.last_ack.insert(node, self.now);
        let epoch = self.ledger.nodes[&node].epoch;
        let last_seen_at = WallTime(WALL + self.now);
        self.commit(Body::LeaseLost { node, epoch, last_seen_at, evidence: Vec::new() });
    }

    /// Another leader in the next term: whatever the old one had under way is lost with it.
    pub fn new_leader(&mut self) {
        self.queue.retain(|(_, happens)| matches!(happens, Happens::Report(..)));
        self.term += 1;
        self.commit(Body::LeaderElected { node: NodeId(2) });
        self.recovery = Recovery::new();
        self.alerting = Alerting::new(NodeId(2), self.term, Instant::from_millis(self.now));
        self.give_voters();
        self.say("new leader".to_owned());
    }

    /// An older leader of the same term's view does what the present one does, at the same moment.
    pub fn step_twice(&mut self) {
        let mut other = Alerting::new(NodeId(2), self.term, Instant::from_millis(self.now));
        self.step(Input::Tick, alerting::Input::Tick);
        core::mem::swap(&mut self.alerting, &mut other);
        self.step(Input::Tick, alerting::Input::Tick);
        core::mem::swap(&mut self.alerting, &mut other);
    }

    pub fn voters_become(&mut self, voters: &[u64]) {
        self.voters = voters.iter().copied().map(NodeId).collect();
        self.give_voters();
    }

    pub fn node_of(&self, workload: &str, index: u32) -> Option<NodeId> {
        self.ledger.slot(workload, index)?.placement.as_ref().map(|placement| placement.node)
    }

    pub fn where_is(&self, workload: &str, index: u32) -> String {
        self.node_of(workload, index).map_or("nowhere".to_owned(), |id| self.name(id))
    }

    pub fn failure(&self, subject: &str) -> (FailureId, &Failure) {
        let found = self.ledger.failures.iter().rev().find(|(_, f)| self.subject(&f.subject) == subject);
        let (id, failure) = found.expect("such a failure");
        (*id, failure)
    }

    /// When something was first noted.
    pub fn time_of(&self, what: &str) -> u64 {
        let line = self.trace.iter().find(|line| line.split_once(' ').is_some_and(|l| l.1.starts_with(what)));
        let line = line.unwrap_or_else(|| panic!("no \"{what}\" in\n{}", self.trace.join("\n")));
        line.split(' ').next().and_then(|ms| ms.parse().ok()).expect("a line begins with its time")
    }

    pub fn time_of_last(&self, what: &str) -> u64 {
        let line = self.trace.iter().rfind(|line| line.contains(what)).expect("it happened");
        line.split(' ').next().and_then(|ms| ms.parse().ok()).expect("a line begins with its time")
    }

    pub fn count(&self, what: &str) -> usize {
        self.trace.iter().filter(|line| line.contains(what)).count()
    }

    /// The trace since the script's `from`, in the order in which it happened.
    #[track_caller]
    pub fn expect(&self, from: u64, script: &str) {
        let said: Vec<&str> = self
            .trace
            .iter()
            .filter(|line| {
                line.split(' ').next().and_then(|ms| ms.parse().ok()).is_some_and(|ms: u64| ms >= from)
            })
            .filter_map(|line| line.split_once(' ').map(|l| l.1))
            .collect();
        let expected: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(said, expected, "\n{}", self.trace.join("\n"));
    }
}
