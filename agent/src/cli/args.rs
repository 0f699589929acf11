//! The command line: every command and flag that a person can type, as data.
//!
//! Not here: what they do. Names are part of the public surface; scripts are written against them.

use crate::config::FlagValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{ffi::OsString, path::PathBuf};

#[derive(Debug, Parser)]
#[command(
    name = "holdfast",
    version,
    about = "Notices a lost host and runs its work elsewhere, never twice.",
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command that asks an agent takes.
#[derive(Clone, Debug, Default, Args, PartialEq, Eq)]
pub struct ClientArgs {
    /// The agent to ask (default: HOLDFAST_ADDR, the local agent's file, then 127.0.0.1:7400)
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub addr: Option<String>,
    /// The authority that agents' certificates are of (default: HOLDFAST_CA, then the local agent's file)
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The certificate to show (default: HOLDFAST_CERT, then the local agent's file)
    #[arg(long, global = true, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Its private key (default: HOLDFAST_KEY, then the local agent's file)
    #[arg(long, global = true, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

impl ClientArgs {
    /// The first of these flags that was given, for commands that ask no agent.
    #[must_use]
    pub fn given(&self) -> Option<&'static str> {
        [
            (self.addr.is_some(), "--addr"),
            (self.ca.is_some(), "--ca"),
            (self.cert.is_some(), "--cert"),
            (self.key.is_some(), "--key"),
            (self.json, "--json"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent of this host
    Agent(Box<AgentArgs>),
    /// Show a whole cluster on this machine losing a host and recovering
    Demo(DemoArgs),
    /// Take this host's node out of the cluster for good
    Leave,
    /// Health of the cluster: exits 0 healthy, 1 degraded, 2 critical or no leader, 3 no agent answers
    Status,
    /// The cluster's members
    #[command(subcommand, arg_required_else_help = true)]
    Node(NodeCommand),
    /// What the cluster keeps running
    #[command(subcommand, arg_required_else_help = true)]
    Workload(WorkloadCommand),
    /// What failed, why, and how it was recovered
    #[command(subcommand, arg_required_else_help = true)]
    Failure(FailureCommand),
    /// Mean times between failures and to recover, and observed up-time
    Availability(AvailabilityArgs),
    /// What people were told, and through what
    #[command(subcommand, arg_required_else_help = true)]
    Alert(AlertCommand),
    /// What happened, in order
    Events(EventsArgs),
    /// Consensus
    #[command(subcommand, arg_required_else_help = true)]
    Raft(RaftCommand),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Clone, Debug, Default, Args, PartialEq, Eq)]
pub struct AgentArgs {
    /// The configuration (default: /etc/holdfast/agent.toml, if there is one)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One node, in memory
    #[arg(long, conflicts_with_all = ["join", "expect"])]
    pub dev: bool,
    /// This node's name (default: the host's)
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where to listen for agents and clients
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// Where others reach this agent (default: where it listens)
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Where to listen for HTTP: metrics and health
    #[arg(long, value_name = "IP:PORT")]
    pub http: Option<String>,
    /// Agents to join, with commas between; any reachable one is enough
    #[arg(long, value_name = "HOST:PORT,…")]
    pub join: Option<String>,
    /// How many agents found a new cluster
    #[arg(long, value_name = "N")]
    pub expect: Option<String>,
    /// Where this node keeps its identity and the ledger
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Where this node stands, for spreading
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// A label; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// member, or witness: votes and runs nothing
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// local, lan or wan
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
}

impl AgentArgs {
    /// The settings that were given as flags.
    #[must_use]
    pub fn flags(&self) -> Vec<FlagValue> {
        let labels = (!self.label.is_empty()).then(|| self.label.join(","));
        [
            ("name", "--name", &self.name),
            ("listen.grpc", "--listen", &self.listen),
            ("listen.advertise", "--advertise", &self.advertise),
            ("listen.http", "--http", &self.http),
            ("join.seeds", "--join", &self.join),
            ("join.expect", "--expect", &self.expect),
            ("data_dir", "--data-dir", &self.data_dir),
            ("zone", "--zone", &self.zone),
            ("labels", "--label", &labels),
            ("role", "--role", &self.role),
            ("profile", "--profile", &self.profile),
        ]
        .into_iter()
        .filter_map(|(key, flag, text)| Some(FlagValue { key, flag, text: text.clone()? }))
        .collect()
    }
}

#[derive(Clone, Copy, Debug, Args, PartialEq, Eq)]
pub struct DemoArgs {
    /// How many agents: 3, 5, 7 or 9
    #[arg(long, default_value_t = 5, value_parser = demo_nodes)]
    pub nodes: u16,
    /// End with the story instead of waiting for Ctrl-C
    #[arg(long)]
    pub once: bool,
}

/// One that loses a host must keep a majority, and an even number bears no more losses than the odd one below it.
fn demo_nodes(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(nodes @ (3 | 5 | 7 | 9)) => Ok(nodes),
        _ => Err("the demo's cluster has 3, 5, 7 or 9 agents"),
    }
}

#[derive(Clone, Debug, Subcommand, PartialEq, Eq)]
pub enum NodeCommand {
    /// All members, and who left or died lately
    List,
    /// Everything about one
    Show { node: String },
    /// Move the workloads off a node, and return when they are
    Drain {
        node: String,
        /// Return once the order is written
        #[arg(long)]
        no_wait: bool,
    },
    /// Let a drained node have work again
    Undrain { node: String },
    /// Take a node that is gone for good out of the list
    Remove { node: String },
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Clone, Debug, Subcommand, PartialEq, Eq)]
pub enum WorkloadCommand {
    /// Make the cluster run what the files say
    Apply {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// Refuse unless this is the workload's version now; 0: unless it is new
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
    },
    /// All workloads and where they run
    List,
    /// Everything about one
    Show { workload: String },
    /// What an instance wrote
    Logs {
        workload: String,
        /// Go on with what it writes from now on
        #[arg(short, long)]
        follow: bool,
        /// Which instance
        #[arg(long, default_value_t = 0)]
        index: u32,
    },
    /// Stop all instances, and keep the workload
    Stop { workload: String },
    /// Run a stopped workload again
    Start { workload: String },
    /// Stop all instances and forget the workload
    Delete { workload: String },
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Clone, Debug, Subcommand, PartialEq, Eq)]
pub enum FailureCommand {
    /// Failures, newest first
    List {
        /// Only open and recovering ones
        #[arg(long)]
        open: bool,
        /// Of this node, and what its loss caused
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
        /// Of this workload
        #[arg(long, value_name = "WORKLOAD")]
        workload: Option<String>,
        /// Not older than this: 24h, 30d, or a time like 2026-01-31T12:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Evidence, times and recovery steps of one
    Show { id: u64 },
    /// Say that you have seen it
    Ack { id: u64 },
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum By {
    Node,
    Workload,
    Zone,
}

#[derive(Clone, Debug, Args, PartialEq, Eq)]
pub struct AvailabilityArgs {
    /// Of what (default: nodes and workloads)
    #[arg(long, value_name = "WHAT")]
    pub by: Option<By>,
    /// Over how long: 30d, 24h, or since a time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
}

#[derive(Clone, Debug, Subcommand, PartialEq, Eq)]
pub enum AlertCommand {
    /// Alerts, newest first, with what was sent
    List,
    /// Replace the whole alerting configuration by what the file says
    Apply {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Look for mistakes in an alerting file, on this host and without an agent: exits 1 when there are any
    Check {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Send a test through one channel
    Test { channel: String },
    /// Show what a channel would be sent
    Preview {
        channel: String,
        /// Of this failure's alerts (default: a sample)
        #[arg(long, value_name = "ID")]
        failure: Option<u64>,
    },
    /// Tell nobody of alerts that match, for a while
    Silence {
        /// Like alert=NodeDead, severity!=critical or node=~"web-.*"; an alert must match all
        #[arg(value_name = "MATCHER")]
        matchers: Vec<String>,
        /// How long: 30m, 2h, at most 30d
        #[arg(long = "for", value_name = "DURATION")]
        length: Option<String>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
    },
    /// End a silence now
    Unsilence {
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Silences, newest first
    Silences,
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Clone, Debug, Args, PartialEq, Eq)]
pub struct EventsArgs {
    /// Go on with new events as they come
    #[arg(short, long)]
    pub follow: bool,
    /// Not older than this: 1h, 30d, or a time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
}

#[derive(Clone, Debug, Subcommand, PartialEq, Eq)]
pub enum RaftCommand {
    /// Voters, leader and log
    Status,
    /// Take a snapshot on the answering voter now
    Snapshot,
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}
