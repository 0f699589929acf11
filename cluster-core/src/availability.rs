//! How reliable nodes, workloads and zones were: MTBF, MTTR and MTBF / (MTBF + MTTR), read from the ledger's failure
//! records. For people to look at; nothing is decided by it, so its ratios may be floats.
//!
//! A subject is down from when it was last seen well until it was well again; failures that overlap count one by one,
//! the time that they share counts once. It is observed from when it joined or was applied, without planned stops.
//! A workload is down while any of its instances is: for replicas that is the strict reading. A zone adds up the
//! observed time, the down time and the failures of its nodes.

use crate::{
    ledger::{Failure, Ledger, Node, NodeState, Subject, Workload},
    time::WallTime,
};
use std::collections::BTreeMap;

/// What to account for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Node,
    Workload,
    Zone,
}

/// One subject's account.
#[derive(Clone, Debug, PartialEq)]
pub struct Availability {
    pub name: String,
    pub failures: u64,
    pub down_ms: u64,
    pub observed_ms: u64,
    /// Mean up-time for each failure; none without a failure.
    pub mtbf_ms: Option<u64>,
    /// Mean down-time for each failure, those that still last included; none without a failure.
    pub mttr_ms: Option<u64>,
    /// MTBF / (MTBF + MTTR); 1 without a failure.
    pub availability: f64,
    /// Up-time as a part of the observed time; 1 when nothing was observed yet.
    pub uptime_ratio: f64,
}

/// A span of time, `from` ≤ `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    from: WallTime,
    to: WallTime,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    failures: u64,
    down_ms: u64,
    observed_ms: u64,
}

/// The accounts of all listed subjects, by name. With `since` only what happened from then on counts, and failures
/// that were folded away, whose times are forgotten, don't.
#[must_use]
pub fn availability(ledger: &Ledger, by: By, since: Option<WallTime>, now: WallTime) -> Vec<Availability> {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let outages = Outages::of(ledger, now);
    match by {
        By::Node | By::Zone => {
            for (id, node) in &ledger.nodes {
                let tally = outages.tally(Key::Node(id.0), observed_of_node(node, now), &[], since);
                let profile = &node.profile;
                let name = if by == By::Node { &profile.name } else { &profile.zone };
                tallies.entry(name).or_default().add(tally);
            }
        }
        By::Workload => {
            for (name, workload) in ledger.workloads.iter().filter(|(_, workload)| !workload.deleted) {
                let observed = Span::new(workload.created_at, now);
                let paused = pauses_of(workload, now);
                let tally = outages.tally(Key::Workload(name), observed, &paused, since);
                tallies.insert(name, tally);
            }
        }
    }
    tallies.into_iter().map(|(name, tally)| tally.account(name)).collect()
}

/// A node that left was observed until then.
fn observed_of_node(node: &Node, now: WallTime) -> Span {
    let to = if node.state == NodeState::Left { node.changed_at } else { now };
    Span::new(node.joined_at, to)
}

fn pauses_of(workload: &Workload, now: WallTime) -> Vec<Span> {
    workload.pauses.iter().map(|pause| Span::new(pause.from, pause.to.unwrap_or(now))).collect()
}

/// A workload's instances are one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Node(u64),
    Workload(&'a str),
}

impl<'a> Key<'a> {
    fn of(subject: &'a Subject) -> Self {
        match subject {
            Subject::Node(node) => Self::Node(node.0),
            Subject::Workload(name, _) => Self::Workload(name),
        }
    }
}

/// All failures, grouped by what they are about: one pass over the ledger.
struct Outages<'a> {
    spans: BTreeMap<Key<'a>, Vec<Span>>,
    folded: BTreeMap<Key<'a>, Tally>,
}

impl<'a> Outages<'a> {
    fn of(ledger: &'a Ledger, now: WallTime) -> Self {
        let mut spans: BTreeMap<Key<'a>, Vec<Span>> = BTreeMap::new();
        for failure in ledger.failures.values() {
            spans.entry(Key::of(&failure.subject)).or_default().push(down(failure, now));
        }
        let mut folded: BTreeMap<Key<'a>, Tally> = BTreeMap::new();
        for (subject, total) in &ledger.folded {
            let (failures, down_ms) = (total.failures, total.down_ms);
            folded.entry(Key::of(subject)).or_default().add(Tally { failures, down_ms, observed_ms: 0 });
        }
        Self { spans, folded }
    }

    fn tally(&self, key: Key<'_>, observed: Span, paused: &[Span], since: Option<WallTime>) -> Tally {
        let window = Span { from: observed.from.max(since.unwrap_or_default()), to: observed.to };
        let paused: Vec<Span> = paused.iter().filter_map(|pause| pause.within(window)).collect();
        let spans = self.spans.get(&key).into_iter().flatten();
        let down: Vec<Span> = spans.filter_map(|span| span.within(window)).collect();
        let observed_ms = window.len_ms().saturating_sub(union_ms(paused));
        let failures = down.len() as u64;
        let mut tally = Tally { failures, down_ms: union_ms(down), observed_ms };
        if since.is_none() {
            tally.add(self.folded.get(&key).copied().unwrap_or_default());
        }
        tally.down_ms = tally.down_ms.min(tally.observed_ms);
        tally
    }
}

fn down(failure: &Failure, now: WallTime) -> Span {
    Span::new(failure.last_seen_at, failure.recovered_at.unwrap_or(now))
}

impl Span {
    fn new(from: WallTime, to: WallTime) -> Self {
        Self { from, to: to.max(from) }
    }

    fn len_ms(self) -> u64 {
        self.to.since_ms(self.from)
    }

    fn within(self, window: Self) -> Option<Self> {
        let (from, to) = (self.from.max(window.from), self.to.min(window.to));
        (from <= to).then_some(Self { from, to })
    }
}

/// How long all spans last together, what they share counted once.
fn union_ms(mut spans: Vec<Span>) -> u64 {
    spans.sort_unstable();
    let (mut total_ms, mut end) = (0, WallTime(0));
    for span in spans {
        total_ms += span.to.since_ms(span.from.max(end));
        end = end.max(span.to);
    }
    total_ms
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.failures = self.failures.saturating_add(other.failures);
        self.down_ms = self.down_ms.saturating_add(other.down_ms);
        self.observed_ms = self.observed_ms.saturating_add(other.observed_ms);
    }

    fn account(self, name: &str) -> Availability {
        let Self { failures, down_ms, observed_ms } = self;
        let up_ms = observed_ms.saturating_sub(down_ms);
        let ratio = |part: u64, whole: u64| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
        let uptime_ratio = ratio(up_ms, observed_ms);
        Availability {
            name: name.to_owned(),
            failures,
            down_ms,
            observed_ms,
            mtbf_ms: up_ms.checked_div(failures),
            mttr_ms: down_ms.checked_div(failures),
            // Both means are over the same number of failures, which cancels out.
            availability: if failures == 0 { 1.0 } else { uptime_ratio },
            uptime_ratio,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{FailureId, LeaseEpoch, NodeId},
        ledger::{FailureState, Folded, Method, NodeProfile},
    };

    fn failure(subject: Subject, from: u64, to: Option<u64>) -> Failure {
        Failure {
            subject,
            name: String::new(),
            state: FailureState::Open,
            epoch: LeaseEpoch(0),
            caused_by: None,
            method: Method::Heartbeat,
            evidence: vec![],
            last_seen_at: WallTime(from),
            detected_at: WallTime(from),
            declared_at: WallTime(from),
            revoked_at: None,
            safe_at: None,
            started_at: None,
            recovered_at: to.map(WallTime),
            acknowledged_at: None,
            acknowledged_by: None,
            steps: vec![],
            cause: String::new(),
            alerts: vec![],
        }
    }

    fn node(name: &str, zone: &str, joined_at: u64) -> Node {
        let profile = NodeProfile { name: name.to_owned(), zone: zone.to_owned(), ..NodeProfile::default() };
        Node {
            profile,
            state: NodeState::Alive,
            scheduling: crate::ledger::Scheduling::Eligible,
            incarnation: Default::default(),
            boot: Default::default(),
            session: Default::default(),
            epoch: LeaseEpoch(1),
            joined_at: WallTime(joined_at),
            changed_at: WallTime(joined_at),
            failure: None,
            death: None,
            agent: Default::default(),
            deaths: vec![],
            held_back: None,
        }
    }

    /// n1 and n2 in zone a, n3 in zone b, since 0, with these failures.
    fn ledger(failures: &[(Subject, u64, Option<u64>)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (id, name, zone) in [(1, "n1", "a"), (2, "n2", "a"), (3, "n3", "b")] {
            ledger.nodes.insert(NodeId(id), node(name, zone, 0));
        }
        for (id, (subject, from, to)) in failures.iter().enumerate() {
            ledger.failures.insert(FailureId(id as u64), failure(subject.clone(), *from, *to));
        }
        ledger
    }

    fn n1(ledger: &Ledger, since: Option<u64>, now: u64) -> Availability {
        availability(ledger, By::Node, since.map(WallTime), WallTime(now)).remove(0)
    }

    const N1: Subject = Subject::Node(NodeId(1));

    #[test]
    fn without_a_failure_there_is_no_mean_and_it_was_always_available() {
        let account = n1(&ledger(&[]), None, 1_000);
        assert_eq!((account.mtbf_ms, account.mttr_ms, account.availability), (None, None, 1.0));
        assert_eq!((account.observed_ms, account.uptime_ratio), (1_000, 1.0));
        assert_eq!(n1(&ledger(&[]), None, 0).uptime_ratio, 1.0, "nothing observed yet");
    }

    #[test]
    fn availability_is_mtbf_by_mtbf_and_mttr() {
        let account = n1(&ledger(&[(N1, 100, Some(150)), (N1, 500, Some(650))]), None, 1_000);
        assert_eq!((account.failures, account.down_ms), (2, 200));
        assert_eq!((account.mtbf_ms, account.mttr_ms), (Some(400), Some(100)));
        assert_eq!(account.availability, 0.8);
    }

    #[test]
    fn an_open_failure_lasts_until_now_and_shared_time_counts_once() {
        let account =
            n1(&ledger(&[(N1, 100, Some(300)), (N1, 200, Some(250)), (N1, 900, None)]), None, 1_000);
        assert_eq!((account.failures, account.down_ms), (3, 300));
    }

    #[test]
    fn a_window_cuts_what_reaches_into_it_and_passes_over_what_was_before() {
        let mut ledger = ledger(&[(N1, 100, Some(150)), (N1, 400, Some(600))]);
        ledger.folded.insert(N1, Folded { failures: 3, down_ms: 30 });
        let account = n1(&ledger, Some(500), 1_000);
        assert_eq!((account.failures, account.down_ms, account.observed_ms), (1, 100, 500));
        let account = n1(&ledger, None, 1_000);
        assert_eq!((account.failures, account.down_ms), (5, 280));
    }

    #[test]
    fn a_zone_adds_up_its_nodes() {
        let ledger = ledger(&[(N1, 0, Some(500)), (Subject::Node(NodeId(2)), 0, Some(500))]);
        let zones = availability(&ledger, By::Zone, None, WallTime(1_000));
        let names: Vec<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!((zones[0].observed_ms, zones[0].down_ms, zones[0].failures), (2_000, 1_000, 2));
        assert_eq!((zones[0].availability, zones[1].availability), (0.5, 1.0));
    }

    #[test]
    fn a_node_that_left_is_observed_until_then() {
        let mut ledger = ledger(&[]);
        let left = ledger.nodes.get_mut(&NodeId(1)).unwrap();
        (left.state, left.changed_at) = (NodeState::Left, WallTime(300));
        assert_eq!(n1(&ledger, None, 1_000).observed_ms, 300);
    }

    #[test]
    fn planned_stops_of_a_workload_are_not_observed_and_its_instances_are_one_subject() {
        let instance = |index| Subject::Workload("web".to_owned(), index);
        let mut ledger = ledger(&[(instance(0), 100, Some(200)), (instance(1), 150, Some(300))]);
        let workload = Workload {
            spec: crate::ledger::WorkloadSpec {
                name: "web".to_owned(),
                kind: crate::ledger::Kind::Replicas,
                replicas: 2,
                priority: 0,
                ports: [].into(),
                exec: Default::default(),
                recovery: crate::ledger::RecoverySpec {
                    restart_attempts: 0,
                    restart_window_ms: 0,
                    backoff_min_ms: 0,
                    backoff_max_ms: 0,
                    migrate: true,
                    stop_timeout_ms: 0,
                    isolation_grace_ms: 0,
                    keep_on_isolation: true,
                },
            },
            version: 1,
            stopped: true,
            deleted: false,
            created_at: WallTime(0),
            slots: [].into(),
            pauses: vec![
                crate::ledger::Pause { from: WallTime(400), to: Some(WallTime(500)) },
                crate::ledger::Pause { from: WallTime(900), to: None },
            ],
        };
        ledger.workloads.insert("web".to_owned(), workload);
        let all = availability(&ledger, By::Workload, None, WallTime(1_000));
        assert_eq!((all[0].failures, all[0].down_ms, all[0].observed_ms), (2, 200, 800));
        assert_eq!((all[0].mtbf_ms, all[0].mttr_ms, all[0].availability), (Some(300), Some(100), 0.75));
    }
}
