//! The lab: the real binary as agents on several hosts of one machine, real processes as workloads, and real harm.
//!
//! Hosts are network namespaces, or, without root, only ports on loopback. What an agent says is read through the
//! product's own command line; what is true about workloads comes from their stamps.

pub mod ask;
pub mod certificates;
pub mod command;
pub mod cost;
pub mod ears;
pub mod error;
mod host;
pub mod lines;
pub mod metrics;
pub mod network;
pub mod process;
pub mod provider;
pub mod receiver;
pub mod report;
pub mod scenario;
pub mod serf;
pub mod stamp;
pub mod state;
pub mod throttle;
pub mod wait;

pub use error::LabError;
pub use host::{Host, free_ports};

use certificates::{Authority, Files};
use command::Output;
use cost::Meter;
use network::{HUB_ADDRESS, Network, RECEIVER_PORT};
use receiver::Receiver;
use state::{Failure, Failures, Status};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use wait::wait_until;

/// How long a client may take, before the lab calls it hung.
const CLIENT_LIMIT: Duration = Duration::from_secs(20);
/// A new cluster stands within this, on a busy machine, too.
pub const FOUNDED_WITHIN: Duration = Duration::from_secs(30);

/// What a lab is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub hosts: usize,
    /// How many agents found the cluster.
    pub expect: usize,
    /// A network namespace for each host; otherwise all share loopback, and only processes can be harmed.
    pub namespaces: bool,
}

pub struct Lab {
    pub hosts: Vec<Host>,
    pub network: Option<Network>,
    pub receiver: Receiver,
    pub authority: Authority,
    client_files: Files,
    binary: PathBuf,
    directory: tempfile::TempDir,
    keep: bool,
    plan: Plan,
}

impl Lab {
    /// Makes hosts and network; no agent runs yet.
    pub fn new(plan: Plan) -> Result<Self, LabError> {
        let directory = tempfile::Builder::new()
            .prefix("holdfast-lab-")
            .tempdir()
            .map_err(LabError::io("make a directory"))?;
        let network = plan.namespaces.then(|| Network::new(plan.hosts)).transpose()?;
        let receiver = match &network {
            Some(n) => Receiver::start(socket(HUB_ADDRESS, RECEIVER_PORT), Some(n.hub()))?,
            None => Receiver::start(socket("127.0.0.1", 0), None)?,
        };
        let authority = Authority::new(&directory.path().join("authority"))?;
        let client_files = authority.issue(&["client"])?;
        let hosts = host::make(plan, directory.path(), &authority, network.as_ref())?;
        let binary = binary()?;
        Ok(Self { hosts, network, receiver, authority, client_files, binary, directory, keep: false, plan })
    }

    /// Starts all agents, and waits until they know each other and a leader.
    pub fn found(&mut self) -> Result<(), LabError> {
        for host in 0..self.hosts.len() {
            self.start(host)?;
        }
        self.until_healthy(FOUNDED_WITHIN).map(drop)
    }

    /// Where the lab keeps everything.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves logs and data behind, for a person to read.
    pub fn keep_files(&mut self) {
        self.keep = true;
    }

    pub fn start(&mut self, host: usize) -> Result<(), LabError> {
        let namespace = self.network.as_ref().map(|n| n.namespace(host));
        self.hosts[host].start(&self.binary, namespace.as_deref())
    }

    /// Other certificates for this host's next agent.
    pub fn reconfigure_tls(&self, host: usize, files: &Files) -> Result<(), LabError> {
        let seeds: Vec<String> = self.hosts.iter().map(|h| h.address.clone()).collect();
        self.hosts[host].configure(files, &seeds, Some(self.plan.expect))
    }

    /// Of the agent that runs on this host.
    pub fn agent_pid(&self, host: usize) -> Result<i32, LabError> {
        let host = &self.hosts[host];
        let pid = host.pid().ok_or_else(|| LabError::Broken(format!("{} runs no agent", host.name)))?;
        Ok(pid.cast_signed())
    }

    /// Ends what agents that were ended left to run: keepers, guards, workloads.
    pub fn end_helpers(&self) {
        for host in 0..self.hosts.len() {
            if let Some(namespace) = self.network.as_ref().map(|n| n.namespace(host)) {
                process::kill_all(|| process::in_namespace(&namespace));
            }
        }
    }

    /// What each host's agent and keeper have cost so far.
    pub fn meters(&self) -> Result<Vec<Meter>, LabError> {
        let network = self.network.as_ref().expect("this scenario asked for namespaces");
        let traffic = network.traffic()?;
        let meter = |at: usize| {
            let mut pids = cost::keepers(&network.namespace(at));
            pids.push(self.agent_pid(at)?.cast_unsigned());
            Meter::read(&pids, traffic[at])
        };
        (0..self.hosts.len()).map(meter).collect()
    }

    /// The network, for cuts; a lab on loopback has none.
    pub fn net(&mut self) -> &mut Network {
        self.network.as_mut().expect("this scenario asked for namespaces")
    }

    /// The power goes: the cable first, so that nothing says goodbye, then every process at once.
    pub fn power_off(&mut self, host: usize) -> Result<(), LabError> {
        let network = self.network.as_ref().expect("only a namespace can lose its power");
        network.plug(host, false)?;
        let namespace = network.namespace(host);
        process::kill_all(|| process::in_namespace(&namespace));
        self.hosts[host].collect();
        Ok(())
    }

    /// The power is back, with what was on the disk. The boot id stays the machine's: namespaces share it.
    pub fn power_on(&mut self, host: usize) -> Result<(), LabError> {
        self.network.as_ref().expect("only a namespace can have power").plug(host, true)?;
        self.start(host)
    }

    /// Runs the product's command line, from where every host can be reached.
    pub fn cli(&self, host: usize, arguments: &[&str]) -> Result<Output, LabError> {
        self.cli_as(&self.client_files, host, arguments)
    }

    /// The same, showing these files.
    pub fn cli_as(&self, files: &Files, host: usize, arguments: &[&str]) -> Result<Output, LabError> {
        self.run(self.client_as(files, host, arguments))
    }

    /// What tells this host's events as they come, to be started.
    pub fn follow_events(&self, host: usize) -> Result<Command, LabError> {
        let mut command = self.client_as(&self.client_files, host, &["events", "-f", "--json"]);
        self.network.as_ref().map_or(Ok(()), |n| command::enter(&mut command, &n.hub()))?;
        Ok(command)
    }

    fn client_as(&self, files: &Files, host: usize, arguments: &[&str]) -> Command {
        let mut command = self.client(host, arguments);
        command.arg("--ca").arg(&files.ca).arg("--cert").arg(&files.cert).arg("--key").arg(&files.key);
        command
    }

    /// The same, in plain text.
    pub fn cli_without_tls(&self, host: usize, arguments: &[&str]) -> Result<Output, LabError> {
        self.run(self.client(host, arguments))
    }

    fn client(&self, host: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().args(arguments).arg("--addr").arg(&self.hosts[host].address);
        command
    }

    fn run(&self, mut command: Command) -> Result<Output, LabError> {
        if let Some(network) = &self.network {
            command::enter(&mut command, &network.hub())?;
        }
        command::output(command, None, CLIENT_LIMIT)
    }

    /// As `cli`, for commands that must succeed.
    pub fn ask(&self, host: usize, arguments: &[&str]) -> Result<String, LabError> {
        let done = self.cli(host, arguments)?;
        if done.code == Some(0) {
            return Ok(done.stdout);
        }
        let command = format!("holdfast {} (on {})", arguments.join(" "), self.hosts[host].name);
        Err(LabError::Command { command, why: format!("exit {:?}: {}", done.code, done.stderr.trim()) })
    }

    /// `status` as this host sees it, whatever its exit code says about health.
    pub fn status(&self, host: usize) -> Result<Status, String> {
        let done = self.cli(host, &["status", "--json"]).map_err(|e| e.to_string())?;
        serde_json::from_str(&done.stdout).map_err(|e| {
            format!("status of {}: {e}: {:?} {}", self.hosts[host].name, done.code, done.stderr.trim())
        })
    }

    pub fn failures(&self, host: usize) -> Result<Vec<Failure>, String> {
        let text = self.ask(host, &["failure", "list", "--json"]).map_err(|e| e.to_string())?;
        let list: Failures =
            serde_json::from_str(&text).map_err(|e| format!("failure list: {e} in {text}"))?;
        Ok(list.failures)
    }

    /// Waits until every agent sees all members alive, a leader, and nothing amiss.
    pub fn until_healthy(&self, within: Duration) -> Result<Status, LabError> {
        let count = self.hosts.len();
        let mut found = None;
        for host in 0..count {
            let what = format!("{} to call the cluster of {count} healthy", self.hosts[host].name);
            found = Some(self.until(host, &what, within, |s| {
                s.leader.is_some() && s.consistent && s.in_state("alive") == count && s.health == "healthy"
            })?);
        }
        found.ok_or_else(|| LabError::Broken("a lab without hosts".into()))
    }

    /// Waits until the host is back. Lost three times in ten minutes it is quarantined: then does what an operator does
    /// who knows why.
    pub fn trust_again(&self, asked: usize, name: &str, within: Duration) -> Result<(), LabError> {
        let is_back = |s: &Status| s.node(name).is_some_and(|n| n.state == "alive");
        let status = self.until(asked, &format!("{name} to be back"), within, is_back)?;
        if status.node(name).is_some_and(|n| n.scheduling == "quarantined") {
            self.ask(asked, &["node", "undrain", name])?;
        }
        Ok(())
    }

    /// Waits until `status` of this host is as it should be.
    pub fn until(
        &self,
        host: usize,
        what: &str,
        within: Duration,
        condition: impl Fn(&Status) -> bool,
    ) -> Result<Status, LabError> {
        wait_until(what, within, || {
            let status = self.status(host)?;
            if condition(&status) { Ok(status) } else { Err(status.brief()) }
        })
    }

    /// The number of the host with this name.
    pub fn number(&self, name: &str) -> Result<usize, LabError> {
        let found = self.hosts.iter().position(|h| h.name == name);
        found.ok_or_else(|| LabError::Broken(format!("no host is called {name}")))
    }

    /// The leader, as this host sees it.
    pub fn leader(&self, seen_by: usize) -> Result<usize, LabError> {
        let status =
            self.until(seen_by, "a leader", FOUNDED_WITHIN, |s| s.leader.is_some() && s.consistent)?;
        self.number(status.leader.as_deref().unwrap_or_default())
    }

    /// Where a workload's stamps go.
    #[must_use]
    pub fn stamps(&self, workload: &str) -> PathBuf {
        self.directory().join(format!("{workload}.stamps"))
    }

    /// Applies singletons that stamp.
    pub fn apply_stampers(&self, host: usize, names: &[String]) -> Result<(), LabError> {
        let stamper = std::env::current_exe().map_err(LabError::io("find this program"))?;
        let text: String = names
            .iter()
            .map(|name| {
                let file = self.stamps(name);
                format!("[workload.{name}]\nkind = \"singleton\"\nexec.command = [{stamper:?}, \"stamp\", {file:?}]\n")
            })
            .collect();
        self.apply(host, "stampers.toml", &text)
    }

    pub fn apply(&self, host: usize, file: &str, text: &str) -> Result<(), LabError> {
        let path = self.write(file, text)?;
        self.ask(host, &["workload", "apply", &path.to_string_lossy()]).map(drop)
    }

    /// Sends all alerts to the lab's receiver.
    pub fn route_alerts(&self, host: usize) -> Result<(), LabError> {
        let text = format!(
            "[channel.oncall]\ntype = \"webhook\"\nurl = \"http://{}/hook\"\nsecret = \"{}\"\n[[route]]\nchannels = \
             [\"oncall\"]\n",
            self.receiver.address,
            receiver::SECRET
        );
        self.apply_alerts(host, &text)
    }

    /// Replaces all channels and routes.
    pub fn apply_alerts(&self, host: usize, text: &str) -> Result<(), LabError> {
        let path = self.write("alerts.toml", text)?;
        self.ask(host, &["alert", "apply", &path.to_string_lossy()]).map(drop)
    }

    fn write(&self, file: &str, text: &str) -> Result<PathBuf, LabError> {
        let path = self.directory().join(file);
        std::fs::write(&path, text).map_err(LabError::io(format!("write {path:?}")))?;
        Ok(path)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() || self.keep {
            self.directory.disable_cleanup(true);
            eprintln!("lab: logs and data are in {}", self.directory.path().display());
        }
        for host in &mut self.hosts {
            host.kill();
        }
        let directory = self.directory.path().to_owned();
        // Guards and workloads outlive their agents by design.
        process::kill_all(|| process::naming(&directory));
    }
}

fn socket(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().expect("the lab's addresses are addresses"), port)
}

/// The binary under test: `HOLDFAST_BIN`, or the one that was built beside this program.
fn binary() -> Result<PathBuf, LabError> {
    if let Some(path) = std::env::var_os("HOLDFAST_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(LabError::io("find this program"))?;
    let beside = own.ancestors().skip(1).take(2).map(|d| d.join("holdfast")).find(|p| p.is_file());
    beside.ok_or_else(|| {
        LabError::Broken(format!(
            "no holdfast beside {}: run `cargo build -p holdfast`, or set HOLDFAST_BIN",
            own.display()
        ))
    })
}
