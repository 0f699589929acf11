//! What the demo asks its cluster through the public API: is it whole, run this, where does it run.

use super::{
    error::DemoError,
    hosts::{Hosts, quoted},
    sources::Asker,
};
use crate::{
    config::{alerting, workload},
    wire::cli_client::{CliClient, ClientError},
};
use holdfast_proto::v1::{
    AlertStatus, ApplyWorkloadsRequest, GetStatusRequest, GetStatusResponse, InstanceState,
    ListAlertsRequest, NodeState, NotificationState,
};
use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep};

const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Waits until `look` finds something.
pub async fn until<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T, DemoError> {
    let give_up = Instant::now() + limit;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(detail) if Instant::now() >= give_up => {
                let detail = format!(" ({detail})");
                return Err(DemoError::Late { what: what.to_owned(), limit_ms: limit.as_millis(), detail });
            }
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}

/// The status, once a leader confirms that all `nodes` are alive.
pub async fn whole(address: &str, nodes: usize) -> Result<(CliClient, GetStatusResponse), String> {
    let client = CliClient::connect(address, None).await.map_err(|e| e.to_string())?;
    let status = status(&client).await?;
    let alive = status.nodes.iter().filter(|node| node.state() == NodeState::Alive).count();
    match (&status.leader, status.consistent) {
        (Some(_), true) if alive == nodes => Ok((client, status)),
        (Some(_), true) => Err(format!("{alive} of {nodes} agents are alive")),
        _ => Err("there is no leader".into()),
    }
}

async fn status(client: &CliClient) -> Result<GetStatusResponse, String> {
    client.get_status(GetStatusRequest {}).await.map_err(|e| e.to_string())
}

/// The sample services, and where alerts go. Their files stay to be looked at.
pub async fn apply(
    client: &CliClient,
    hosts: &Hosts,
    receiver_port: u16,
    secret: &str,
    limit: Duration,
) -> Result<(), DemoError> {
    let secret_file = hosts.root.join("alerts.secret");
    hosts.write(&secret_file, secret)?;
    let alerts = format!(
        "[channel.demo]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{receiver_port}/\"\nsecret = {{ file = {} }}\n\n\
         [[route]]\nchannels = [\"demo\"]\n",
        quoted(&secret_file)
    );
    let alerts_file = hosts.root.join("alerts.toml");
    hosts.write(&alerts_file, &alerts)?;
    let mut alerting = alerting::parse(&alerts_file.display().to_string(), &alerts)?;
    alerting.request_id = request_id();
    let workloads = workloads(hosts);
    let workloads_file = hosts.root.join("workloads.toml");
    hosts.write(&workloads_file, &workloads)?;
    let specs = workload::parse(&workloads_file.display().to_string(), &workloads)?;
    let request =
        ApplyWorkloadsRequest { specs, request_id: request_id(), ..ApplyWorkloadsRequest::default() };
    // A leader may change at any time; the request's id makes a repetition harmless.
    let said = |e: ClientError| e.to_string();
    let apply = || async { client.apply_alerting(alerting.clone()).await.map_err(said) };
    until("the alerts' channel being taken", limit, apply).await?;
    let apply = || async { client.apply_workloads(request.clone()).await.map_err(said) };
    until("the workloads being taken", limit, apply).await?;
    Ok(())
}

fn workloads(hosts: &Hosts) -> String {
    let (exe, stamps, replicas) = (quoted(&hosts.exe), quoted(&hosts.stamps()), super::REPLICAS);
    let (counter, web) = (hosts.counter_port, hosts.web_port);
    format!(
        "[workload.counter]\nkind = \"singleton\"\nports = {{ http = {counter} }}\n\n\
         [workload.counter.exec]\ncommand = [{exe}, \"demo-service\", \"{counter}\", {stamps}]\n\n\
         # Replica i listens on port {web} + i.\n\
         [workload.web]\nkind = \"replicas\"\nreplicas = {replicas}\n\n\
         [workload.web.exec]\ncommand = [{exe}, \"demo-service\", \"{web}\"]\n"
    )
}

fn request_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Where the services run.
#[derive(Clone, Debug)]
pub struct Placed {
    pub counter: String,
    pub web: Vec<String>,
}

/// Where they run, once all that should does, and answers.
pub async fn placed(client: &CliClient, hosts: &Hosts, asker: &Asker) -> Result<Placed, String> {
    let status = status(client).await?;
    let running = |name: &str| -> Vec<String> {
        let instances = status.workloads.iter().filter(|w| w.name == name).flat_map(|w| &w.instances);
        let running = instances.filter(|i| i.state() == InstanceState::Running);
        let mut nodes: Vec<String> = running.filter_map(|i| i.node.clone()).collect();
        nodes.sort_unstable();
        nodes
    };
    let (counter, web) = (running("counter"), running("web"));
    if counter.len() != 1 || web.len() != usize::from(super::REPLICAS) {
        return Err(format!("{} counter and {} web run", counter.len(), web.len()));
    }
    for port in std::iter::once(hosts.counter_port).chain((0..super::REPLICAS).map(|i| hosts.web_port + i)) {
        asker.ask(port).await.ok_or_else(|| format!("nobody answers on port {port}"))?;
    }
    Ok(Placed { counter: counter[0].clone(), web })
}

/// The ledger's word that the victim's one alert fired and was resolved, and that nothing is left to send.
pub async fn account(client: &CliClient, victim: &str) -> Result<(), String> {
    let request = ListAlertsRequest { page_size: 0, page_token: String::new() };
    let answer = client.list_alerts(request).await.map_err(|e| e.to_string())?;
    let is_it = |alert: &holdfast_proto::v1::Alert| {
        alert.alert == "NodeDead" && alert.labels.get("node").is_some_and(|node| node == victim)
    };
    let found: Vec<_> = answer.alerts.iter().filter(|alert| is_it(alert)).collect();
    let [alert] = found.as_slice() else {
        return Err(format!("the ledger has {} alerts about {victim}, not one", found.len()));
    };
    let unsent = alert.notifications.iter().filter(|n| n.state() != NotificationState::Sent).count();
    match (alert.status(), alert.notifications.len(), unsent) {
        (AlertStatus::Resolved, 2, 0) => Ok(()),
        (status, all, unsent) => {
            Err(format!("its alert is {status:?} with {unsent} of {all} notices unsent"))
        }
    }
}
