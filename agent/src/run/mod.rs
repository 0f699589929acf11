//! The composition root: opens what is on disk, binds the ports, and wires sources to machines and effects to doers.
//!
//! What fails here fails before anything was written that a later start couldn't go on with, and in one sentence.

mod copied;
mod data_dir;
mod ears;
mod ended;
mod follow;
mod gate;
mod handler;
mod identity;
mod input;
mod instances;
mod join;
mod last_resort;
mod leader;
mod lease;
mod leave;
mod live;
mod node;
mod propose;
mod replica;
mod reporter;
mod serve;
mod tell;
mod transport;

use crate::{
    clock,
    config::AgentConfig,
    consensus::{Consensus, ConsensusError, Settings as RaftSettings, Store, Timings},
    http::Pulse,
    keeper::{
        contacts::Contacts,
        handle::{Keeper, KeeperError, Setup as KeeperSetup},
        prober::Prober,
        secret::Secret,
    },
    limits, notify,
    security::{Tls, TlsError},
    sense::{Disks, Fullness, Senses},
    shared::{Identity, Live, Shared},
    storage::{StorageError, node::Identity as StoredIdentity},
    wire::{client::Peers, raft::Lines},
    workload::supervisor::{Supervisor, SupervisorError},
};
use cluster_core::{
    founding::{Candidate, Founding},
    ids::{Incarnation, SessionId},
    lease::Fact,
    ledger::Settings,
    membership::{MemberRecord, MemberState},
    timing::Timing,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::sync::{broadcast, mpsc, watch};

/// Events that aren't in the ledger, kept for watchers that are behind; older ones are lost to them.
const LOCAL_EVENTS: usize = 256;
/// The most voters a cluster has.
const VOTERS_MAX: u32 = 5;

/// Why an agent didn't start, or ended. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Clock(#[from] clock::NoBootId),
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    #[error("no UDP socket can be made to ask other nodes' keepers: {0}; raise the limit of open files")]
    Probing(std::io::Error),
    #[error("can't listen on {key} = \"{address}\": {cause}; stop what uses it, or choose another address")]
    Listen { key: &'static str, address: String, cause: std::io::Error },
    #[error(
        "can't find this program's own file, which guards are started from: {0}; start it by its full path"
    )]
    Executable(std::io::Error),
    #[error("{0}")]
    Ended(String),
}

/// Runs one agent until SIGTERM or SIGINT, until it has left its cluster, or until it can't go on.
pub async fn agent(config: AgentConfig) -> Result<(), AgentError> {
    let boot = clock::boot_id()?;
    let exe = std::env::current_exe().map_err(AgentError::Executable)?;
    let tls = config.tls.as_ref().map(Tls::load).transpose()?;
    let timing = config.profile;
    let dir = data_dir::DataDir::open(&config)?;
    let grpc = serve::bind("listen.grpc", config.listen.grpc).await?;
    let http = serve::bind("listen.http", config.listen.http).await?;

    let stored = dir.identity.clone();
    let (guard_events, guards) = mpsc::channel(crate::limits::LOOP_QUEUE);
    let supervisor = Arc::new(Supervisor::new(&dir.path.join("guards"), boot, exe.clone(), guard_events)?);
    let secret = Secret::load_or_make(supervisor.dir())?;
    let (keeper_told, keeper_events) = mpsc::channel(crate::limits::LOOP_QUEUE);
    let keeper_setup = KeeperSetup {
        exe,
        dir: supervisor.dir().to_owned(),
        node: stored.node,
        boot,
        listen: grpc.local_addr().unwrap_or(config.listen.grpc),
        secret: secret.clone(),
    };
    let keeper = Keeper::start(keeper_setup, keeper_told).await?;
    let identity = identity_of(&config, &stored, &dir.path);
    let incarnation = Incarnation(stored.incarnation);
    let membership = identity::Membership::new(stored.clone(), dir.file.clone());
    let peers = Arc::new(Peers::new(tls.clone()));
    let replica = replica::Replica::new(identity.node);
    let (live_tx, live_rx) = watch::channel(Arc::new(Live::default()));
    let (inputs, input_queue) = mpsc::channel(crate::limits::LOOP_QUEUE);

    if let Some(cluster) = stored.cluster_id {
        let asked = copied::nobody_else(&identity, incarnation, cluster, &config.join.seeds, &peers);
        asked.await.map_err(AgentError::Ended)?;
    }
    let transport = transport::RaftTransport {
        me: identity.node,
        membership: membership.clone(),
        peers: peers.clone(),
        lines: Lines::new(peers.clone()),
        live: live_rx.clone(),
    };
    let noted = membership.clone();
    let consensus = Consensus::open(
        raft_settings(&config, &stored, &dir.path, &timing),
        Box::new(replica::ReplicaMachine(replica.clone())),
        Arc::new(replica::BookKeeper(replica.clone())),
        Arc::new(transport),
        Box::new(move || Box::pin(async move { noted.has_log().await })),
    )
    .await?;
    // The whole log was told: from here on this voter knows which epochs it must refuse.
    replica.book().step(clock::raw(), Fact::Opened);

    let adopted = supervisor.adopt().await?;

    let proposer = Arc::new(propose::Proposer::new(
        identity.node,
        membership.clone(),
        consensus.clone(),
        peers.clone(),
        live_rx.clone(),
        replica.clone(),
        timing,
    ));
    let expect = config.join.expect.map(|e| usize::try_from(e).unwrap_or(usize::MAX));
    let candidate =
        Candidate { address: identity.address.clone(), zone: identity.zone.clone(), role: identity.role };
    let founding = Founding::new(identity.node, candidate, expect, stored.pledge.clone());
    let founding: join::SharedFounding = Arc::new(tokio::sync::Mutex::new(founding));
    let pulse = Arc::new(Pulse::default());
    let sensing = inputs.clone();
    let ears = Arc::new(ears::Ears {
        identity: identity.clone(),
        membership: membership.clone(),
        live: live_rx.clone(),
        inputs: inputs.clone(),
    });
    let handler = Arc::new(handler::Handler {
        identity: identity.clone(),
        incarnation,
        membership: membership.clone(),
        founding: founding.clone(),
        consensus: consensus.clone(),
        proposer: proposer.clone(),
        replica: replica.clone(),
        live: live_rx.clone(),
        inputs: inputs.clone(),
        secret: secret.clone(),
        ears: ears.clone(),
        pulse: pulse.clone(),
        questions: tokio::sync::Semaphore::new(limits::QUESTIONS_IN_FLIGHT),
    });
    let (local_events, _) = broadcast::channel(LOCAL_EVENTS);
    let shared = Arc::new(Shared {
        identity: identity.clone(),
        ledger: replica.ledger.clone(),
        live: live_rx.clone(),
        applied: replica.applied(),
        raft: proposer.clone(),
        peers: peers.clone(),
        tester: Arc::new(notify::Tester::new(&identity, replica.ledger.clone(), live_rx.clone())),
        logs: Arc::new(serve::Logs::new(supervisor.clone())),
        local_events: local_events.clone(),
    });

    let mut tasks = tokio::task::JoinSet::new();
    let settings = settings_of(&config, &timing);
    let hints = Arc::new(Mutex::new(BTreeMap::new()));
    let (heard_tx, heard) = watch::channel(follow::Heard::default());
    let joiner = join::Joiner {
        identity: identity.clone(),
        incarnation,
        seeds: config.join.seeds.clone(),
        membership: membership.clone(),
        founding,
        consensus: consensus.clone(),
        peers: peers.clone(),
        live: live_rx.clone(),
        hints: hints.clone(),
        inputs: inputs.clone(),
        settings: settings.clone(),
    };
    let fatal = inputs.clone();
    tasks.spawn(async move {
        let error = joiner.run().await;
        let _stopping = fatal.send(input::Input::Fatal(error.to_string())).await;
    });
    let follower = follow::Follower {
        me: identity.node,
        membership: membership.clone(),
        replica: replica.clone(),
        consensus: consensus.clone(),
        peers: peers.clone(),
        live: live_rx.clone(),
        heard: heard_tx,
        hints,
    };
    tasks.spawn(follower.run());
    let (reports, report_queue) = mpsc::channel(instances::REPORTS_QUEUED);
    let ended = ended::Ended::open(supervisor.dir())?;
    tasks.spawn(serve::report(
        proposer.clone(),
        identity.name.clone(),
        ended.clone(),
        inputs.clone(),
        report_queue,
    ));
    let cluster = membership.clone();
    let contacts = Arc::new(Contacts::new(identity.node, move || cluster.cluster(), peers.clone()));
    let (probed, mut answers) = mpsc::channel(limits::LOOP_QUEUE);
    let prober = Prober::new(identity.node, contacts.clone(), probed).await.map_err(AgentError::Probing)?;
    let relay = inputs.clone();
    tasks.spawn(async move {
        while let Some(answer) = answers.recv().await {
            let _stopping = relay.send(input::Input::Probed(answer)).await;
        }
    });
    let lease = lease::Lease::new(lease::Parts {
        me: identity.node,
        boot,
        timing,
        guards_dir: supervisor.dir().to_owned(),
        dev: config.dev,
        replica: replica.clone(),
        peers: peers.clone(),
        keeper,
        keeper_events,
        contacts,
    });
    let instances =
        instances::Instances::new(identity.clone(), boot, supervisor, ended, reports, clock::raw(), adopted);
    let office = leader::Office {
        identity: identity.clone(),
        consensus: consensus.clone(),
        replica: replica.clone(),
        peers: peers.clone(),
        inputs: inputs.clone(),
        settings,
    };
    let node = node::Node::new(node::Parts {
        boot,
        timing,
        record: record_of(&identity, &config, incarnation),
        seeds: config.join.seeds.clone(),
        stored: membership,
        consensus: consensus.clone(),
        replica,
        peers,
        inputs,
        office,
        proposer,
        instances,
        lease,
        last_resort: last_resort::LastResort::new(
            config.last_resort.clone(),
            identity.name.clone(),
            identity.cluster_name.clone(),
        ),
        prober,
        secret,
        ear: ears,
        live: live_tx,
        heard,
        local_events,
        pulse: pulse.clone(),
        identity: identity.clone(),
    });
    let (fullness, validity) = (Fullness::default(), tls.as_ref().map(Tls::validity));
    tasks.spawn(serve::look_at_disks(Disks::new(dir.path.clone(), fullness.clone())));
    let senses = Senses::new(dir.path.clone(), fullness, validity.cloned().unwrap_or_default());
    tasks.spawn(serve::sense(senses, sensing));
    let (stop_tx, stop) = watch::channel(false);
    serve::http(&mut tasks, http, shared.clone(), pulse, config.listen.alerts, stop.clone());
    serve::grpc(&mut tasks, grpc, tls.as_ref(), handler, &shared, stop.clone());
    serve::signals(&mut tasks, stop_tx);
    tracing::info!(node = %identity.node, name = identity.name, address = identity.address, "the agent runs");

    let ended = node.run(input_queue, guards, stop).await;
    tasks.shutdown().await;
    consensus.shutdown().await;
    drop(dir);
    ended.map_err(AgentError::Ended)
}

fn identity_of(config: &AgentConfig, stored: &StoredIdentity, data_dir: &std::path::Path) -> Identity {
    Identity {
        node: stored.node,
        name: config.name.clone(),
        cluster_name: config.cluster.clone(),
        address: config.listen.advertise.clone(),
        zone: config.zone.clone(),
        role: config.role,
        labels: config.labels.clone(),
        session: SessionId(rand::random()),
        data_dir: data_dir.to_owned(),
    }
}

fn record_of(identity: &Identity, config: &AgentConfig, incarnation: Incarnation) -> MemberRecord {
    MemberRecord {
        node: identity.node,
        incarnation,
        state: MemberState::Alive,
        session: identity.session,
        revision: 0,
        sick: None,
        name: identity.name.clone(),
        address: identity.address.clone(),
        http: Some(config.listen.http.to_string()),
        zone: identity.zone.clone(),
        role: identity.role,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// What the files of a founding cluster propose; the ledger's from then on.
fn settings_of(config: &AgentConfig, timing: &Timing) -> Settings {
    let expect = config.join.expect.unwrap_or(1).clamp(1, VOTERS_MAX);
    let voters = expect - u32::from(expect.is_multiple_of(2));
    let lease_ms = u64::try_from(timing.lease.as_millis()).expect("a lease takes seconds");
    Settings {
        profile: timing.name.to_owned(),
        lease_ms,
        voters,
        agent_timeout_ms: config.agent_timeout_ms,
        drain_when_sick: config.drain_when_sick,
    }
}

fn raft_settings(
    config: &AgentConfig,
    stored: &StoredIdentity,
    data_dir: &std::path::Path,
    timing: &Timing,
) -> RaftSettings {
    let store = if config.dev {
        Store::Memory
    } else {
        Store::Directory { path: data_dir.join("raft"), must_exist: stored.has_log }
    };
    let timings = Timings {
        heartbeat: timing.raft_heartbeat,
        election_min: timing.election_min,
        election_max: timing.election_max,
    };
    RaftSettings { timings, ..RaftSettings::new(stored.node, store) }
}
