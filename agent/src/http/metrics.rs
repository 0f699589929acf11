//! `/metrics`: the cluster as this agent sees it, made anew for each scrape.

use super::process;
use crate::{shared::Shared, view::View};
use cluster_core::time::WallTime;
use holdfast_proto::v1;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::AtomicU64,
    time::{SystemTime, UNIX_EPOCH},
};

type Labels = Vec<(String, String)>;

/// The states are always all there: a series that comes and goes can't be alerted on.
const NODE_STATES: [v1::NodeState; 4] =
    [v1::NodeState::Alive, v1::NodeState::Suspect, v1::NodeState::Dead, v1::NodeState::Left];

pub async fn render(shared: &Shared) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let cluster = registry.sub_registry_with_prefix("holdfast");
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = WallTime(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX));
    let live = shared.live.borrow().clone();
    let status =
        shared.read(|ledger| View { ledger, live: &live, me: &shared.identity, now }.status(live.is_leader));
    describe(cluster, &status, live.is_leader);
    let raft = shared.raft.view();
    gauge(cluster, "ledger_applied_index", "Last entry of the ledger applied here", raft.applied);
    gauge(cluster, "ledger_committed_index", "Last entry known here to be committed", raft.committed);
    gauge(cluster, "log_entries", "Entries kept in this agent's log", raft.log_entries);
    describe_process(&mut registry).await;
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn describe(registry: &mut Registry, status: &v1::GetStatusResponse, leads: bool) {
    gauge(registry, "up", "This agent answers", 1);
    let agent = Family::<Labels, Gauge>::default();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let names = labels(&[("cluster", &status.cluster), ("node", &status.observed_by), ("version", &version)]);
    agent.get_or_create(&names).set(1);
    registry.register("agent", "Who this agent is", agent);
    let is = |wanted| u64::from(status.health() == wanted);
    let (healthy, critical) = (is(v1::Health::Healthy), is(v1::Health::Critical));
    gauge(registry, "cluster_healthy", "1 when nothing is wrong, as this agent sees it", healthy);
    gauge(registry, "cluster_critical", "1 without a leader or with a workload down", critical);
    nodes(registry, &status.nodes);
    gauge(registry, "leader", "1 on the agent that leads", leads.into());
    gauge(registry, "has_leader", "1 when this agent knows a leader", status.leader.is_some().into());
    gauge(registry, "term", "Term of consensus", status.term);
    gauge(registry, "view_epoch", "Changes of the set of living members so far", status.view_epoch);
    gauge(registry, "voters", "Voters of the newest configuration", status.voters.into());
    gauge(registry, "voters_online", "Voters that this agent hears", status.voters_online.into());
    gauge(registry, "failures_open", "Failures that are open or recovering", status.open_failures.into());
    gauge(registry, "alerts_firing", "Alerts that fire", status.alerts_firing.into());
    let help = "Notifications that could not be sent, of alerts that still matter";
    gauge(registry, "notifications_failed", help, status.notifications_failed.into());
    workloads(registry, &status.workloads);
}

fn nodes(registry: &mut Registry, nodes: &[v1::Node]) {
    let by_state = Family::<Labels, Gauge>::default();
    let mut counts: BTreeMap<i32, i64> = BTreeMap::new();
    for node in nodes {
        *counts.entry(node.state).or_default() += 1;
    }
    for state in NODE_STATES {
        let name = state.as_str_name().trim_start_matches("NODE_STATE_").to_lowercase();
        let count = counts.get(&state.into()).copied().unwrap_or(0);
        by_state.get_or_create(&labels(&[("state", &name)])).set(count);
    }
    registry.register("nodes", "Nodes by state", by_state);
}

fn workloads(registry: &mut Registry, workloads: &[v1::Workload]) {
    let families = [(); 3].map(|()| Family::<Labels, Gauge>::default());
    let [desired, running, healthy] = &families;
    for workload in workloads {
        let name = labels(&[("workload", &workload.name)]);
        desired.get_or_create(&name).set(workload.desired.into());
        running.get_or_create(&name).set(workload.running.into());
        healthy.get_or_create(&name).set(workload.healthy.into());
    }
    let [desired, running, healthy] = families;
    registry.register("workload_instances_desired", "Instances that should run", desired);
    registry.register("workload_instances_running", "Instances that run", running);
    registry.register("workload_instances_healthy", "Instances that run and are healthy", healthy);
}

/// Left out when the kernel doesn't say: the rest is worth having without it.
async fn describe_process(registry: &mut Registry) {
    let Ok(Ok(usage)) = tokio::task::spawn_blocking(process::usage).await else {
        return;
    };
    let resident = Gauge::<u64, AtomicU64>::default();
    resident.set(usage.resident_bytes);
    registry.register_with_unit("process_resident_memory", "Resident memory", Unit::Bytes, resident);
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(usage.cpu_seconds);
    registry.register_with_unit("process_cpu", "User and system time", Unit::Seconds, cpu);
    gauge(registry, "process_open_fds", "Open file descriptors", usage.open_files);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}

fn labels(pairs: &[(&str, &String)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).clone())).collect()
}
