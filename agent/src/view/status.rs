//! The cluster's health in one message, with a sentence for each reason and what to do about it.
//!
//! Critical: no leader, or a workload with nothing running that should run. Degraded: a dead, suspect or quarantined
//! node, an agent that is down, a missing instance, an open failure, an alert that can't be sent. What was planned (left, drained, stopped) is healthy.

use super::{State, View};
use cluster_core::{
    ids::NodeId,
    ledger::{NodeState, Notification, NotificationState, Subject},
};
use holdfast_proto::v1;
use std::collections::BTreeMap;

/// Sentences in one answer; how many more there are is the last one.
const REASONS: usize = 32;
/// Things named in one sentence before it says "and others".
const NAMED: usize = 5;

/// Reasons, and the worst that they say of the cluster.
struct Verdict {
    health: v1::Health,
    reasons: Vec<String>,
}

impl Verdict {
    fn add(&mut self, health: v1::Health, reason: String) {
        self.health = self.health.max(health);
        self.reasons.push(reason);
    }

    fn finish(mut self) -> Self {
        if self.reasons.len() > REASONS {
            let more = self.reasons.len() - (REASONS - 1);
            self.reasons.truncate(REASONS - 1);
            self.reasons.push(format!("There are {more} more reasons; see `holdfast failure list --open`."));
        }
        self
    }
}

impl View<'_> {
    /// `consistent`: this was read through the leader.
    #[must_use]
    pub fn status(&self, consistent: bool) -> v1::GetStatusResponse {
        let nodes = self.nodes();
        let workloads = self.workloads();
        let verdict = self.verdict(&nodes, &workloads, consistent);
        let cluster = self.ledger.cluster.as_ref();
        let cluster_id = cluster.map(|c| c.id).or(self.live.cluster);
        v1::GetStatusResponse {
            cluster: cluster.map_or(&self.me.cluster_name, |c| &c.name).clone(),
            cluster_id: cluster_id.map(|id| id.to_string()),
            health: verdict.health.into(),
            reasons: verdict.reasons,
            leader: self.live.leader.map(|id| self.name(id)),
            term: self.live.term,
            view_epoch: self.ledger.view_epoch.0,
            voters: count(self.live.voters.len()),
            voters_online: count(self.voters_online().len()),
            observed_by: self.me.name.clone(),
            consistent,
            nodes,
            workloads,
            open_failures: count(self.ledger.open_failures().count()),
            alerts_firing: count(self.alerts_firing()),
            notifications_failed: count(self.notifications_failed().len()),
        }
    }

    fn verdict(&self, nodes: &[v1::Node], workloads: &[v1::Workload], consistent: bool) -> Verdict {
        let mut verdict = Verdict { health: v1::Health::Healthy, reasons: Vec::new() };
        self.judge_leader(&mut verdict);
        self.judge_workloads(workloads, &mut verdict);
        self.judge_nodes(nodes, &mut verdict);
        self.judge_scheduling(&mut verdict);
        self.judge_failures(&mut verdict);
        self.judge_alerting(&mut verdict);
        if !consistent {
            let copy = format!(
                "This answer is what {} knows by itself and was not read through the leader: it may be old.",
                self.me.name
            );
            verdict.reasons.push(copy);
        }
        verdict.reasons.extend(self.live.notes.iter().cloned());
        verdict.finish()
    }

    fn judge_leader(&self, verdict: &mut Verdict) {
        if self.live.leader.is_some() {
            return;
        }
        let me = &self.me.name;
        if self.live.voters.is_empty() {
            let alone = format!(
                "There is no leader: {me} hasn't founded or joined a cluster yet; check its join.seeds and \
                 join.expect, and that the other agents run."
            );
            return verdict.add(v1::Health::Critical, alone);
        }
        let (all, needed) = (self.live.voters.len(), self.live.voters.len() / 2 + 1);
        let online = self.voters_online();
        let missing: Vec<String> =
            self.live.voters.keys().filter(|id| !online.contains(id)).map(|id| self.name(*id)).collect();
        let cause = if online.len() >= needed {
            "an election should end within seconds".to_owned()
        } else {
            format!("start or reconnect the agents of {}", listed(&missing))
        };
        let text = format!(
            "There is no leader: {me} hears {} of {all} voters and {needed} are needed; nothing is moved or changed \
             meanwhile; {cause}.",
            online.len()
        );
        verdict.add(v1::Health::Critical, text);
    }

    fn judge_workloads(&self, workloads: &[v1::Workload], verdict: &mut Verdict) {
        for workload in workloads.iter().filter(|w| w.running < w.desired) {
            let (name, running, desired) = (&workload.name, workload.running, workload.desired);
            let missing: Vec<String> = workload
                .instances
                .iter()
                .filter(|i| i.index < desired && i.state() != v1::InstanceState::Running)
                .map(missing_instance)
                .collect();
            let missing = listed(&missing);
            let (health, what) = match running {
                0 => (v1::Health::Critical, format!("Nothing of workload {name} runs")),
                _ => (v1::Health::Degraded, format!("Workload {name} runs {running} of {desired} instances")),
            };
            verdict.add(health, format!("{what}: {missing}; see `holdfast workload show {name}`."));
        }
    }

    fn judge_nodes(&self, nodes: &[v1::Node], verdict: &mut Verdict) {
        for node in nodes {
            let name = &node.name;
            let lives = matches!(node.state(), v1::NodeState::Alive | v1::NodeState::Suspect);
            match node.state() {
                _ if lives && node.agent() != v1::AgentState::Up => {
                    let stalled = node.agent() == v1::AgentState::Stalled;
                    let how = if stalled { "says nothing" } else { "is gone" };
                    // Without a leader their leases may have ended.
                    let work = if self.live.leader.is_some() { " and its workloads run on" } else { "" };
                    let text = format!(
                        "The agent of {name} {how}, but its host answers{work}; restart the agent there (`systemctl \
                         restart holdfast`) and look at its log."
                    );
                    verdict.add(v1::Health::Degraded, text);
                }
                v1::NodeState::Dead => verdict.add(
                    v1::Health::Degraded,
                    format!(
                        "Node {name} is dead: bring its host or its agent back, or take it out with \
                         `holdfast node remove {name}`."
                    ),
                ),
                v1::NodeState::Suspect => verdict.add(
                    v1::Health::Degraded,
                    format!(
                        "Node {name} isn't heard any more; within seconds it is heard again or declared dead; look at \
                         its host and its network."
                    ),
                ),
                v1::NodeState::Alive | v1::NodeState::Left | v1::NodeState::Unspecified => {}
            }
        }
    }

    /// What the cluster itself keeps work from. What a person drained is healthy.
    fn judge_scheduling(&self, verdict: &mut Verdict) {
        for node in self.ledger.nodes.values().filter(|n| n.state == NodeState::Alive) {
            let (name, Some(held)) = (&node.profile.name, &node.held_back) else { continue };
            let why = held.evidence.first().map_or("no reason was given", String::as_str);
            let text = format!(
                "Node {name} is given no work: {why}; it is again once it was well for 10 minutes, or when you say \
                 so with `holdfast node undrain {name}`."
            );
            verdict.add(v1::Health::Degraded, text);
        }
    }

    fn judge_failures(&self, verdict: &mut Verdict) {
        let open: Vec<String> = self
            .ledger
            .open_failures()
            .map(|(id, failure)| match failure.subject {
                Subject::Node(_) => format!("{id} of node {}", failure.name),
                Subject::Workload(_, index) => format!("{id} of workload {} (index {index})", failure.name),
            })
            .collect();
        if !open.is_empty() {
            let text = format!("Failures are open: {}; see `holdfast failure show ID`.", listed(&open));
            verdict.add(v1::Health::Degraded, text);
        }
    }

    fn judge_alerting(&self, verdict: &mut Verdict) {
        let mut of_channel: BTreeMap<&str, Vec<&Notification>> = BTreeMap::new();
        for (_, notice) in self.notifications_failed() {
            of_channel.entry(&notice.channel).or_default().push(notice);
        }
        for (channel, notices) in of_channel {
            let text = format!(
                "Channel {channel} doesn't deliver, {}: {}; see `holdfast alert list`, and try `holdfast alert test \
                 {channel}`.",
                what_became_of(&notices),
                notices.iter().max_by_key(|notice| notice.message).map_or("", |latest| &latest.reason),
            );
            verdict.add(v1::Health::Degraded, text);
        }
        if self.ledger.alerting.routes.iter().all(|route| route.channels.is_empty()) {
            let text = "No alert route is set, so nobody is told of failures; apply one with \
                        `holdfast alert apply FILE`.";
            verdict.reasons.push(text.to_owned());
        }
    }

    /// Voters whose agents are heard from here, this agent among them: a host that lives without its agent doesn't vote.
    fn voters_online(&self) -> Vec<NodeId> {
        let heard = |id: &NodeId| *id == self.me.node || self.live.members.contains_key(id);
        let votes = |id: &NodeId| {
            let state = self.state(*id);
            state == State::Alive && self.agent(*id, state) == v1::AgentState::Up
        };
        self.live.voters.keys().copied().filter(|id| heard(id) && votes(id)).collect()
    }
}

fn missing_instance(instance: &v1::Instance) -> String {
    let state = instance.state().as_str_name().trim_start_matches("INSTANCE_STATE_").to_lowercase();
    let node = instance.node.as_ref().map(|n| format!(" on {n}")).unwrap_or_default();
    let detail = instance.detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default();
    format!("index {} is {state}{node}{detail}", instance.index)
}

fn what_became_of(notices: &[&Notification]) -> String {
    let given_up = notices.iter().filter(|notice| notice.state == NotificationState::Failed).count();
    let counted = |n: usize, verb: [&str; 2]| match n {
        0 => None,
        1 => Some(format!("1 notice {}", verb[0])),
        n => Some(format!("{n} notices {}", verb[1])),
    };
    let waiting = counted(notices.len() - given_up, ["is tried again", "are tried again"]);
    let given_up = counted(given_up, ["was given up", "were given up"]);
    waiting.into_iter().chain(given_up).collect::<Vec<_>>().join(" and ")
}

fn listed(things: &[String]) -> String {
    match things.len() {
        0 => "nothing".to_owned(),
        n if n <= NAMED => things.join(", "),
        n => format!("{} and {} others", things[..NAMED].join(", "), n - NAMED),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
