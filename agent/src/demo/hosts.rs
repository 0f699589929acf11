//! The demo's hosts: an agent each, as a process of its own with a directory of its own, that can lose its power.
//!
//! Whoever drops them ends every process and removes every file.

use super::{error::DemoError, processes, silence::Silence};
use cluster_core::timing::LOCAL;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Ports are taken from here up to the range that the kernel takes ports of outgoing connections from: a port in that
/// range may be somebody's when a host comes back.
const FIRST_PORT: u16 = 20_000;
const PORT_TRIES: u32 = 200;
/// Ports besides those of the agents: the singleton's and one for each replica.
const SERVICE_PORTS: u16 = 1 + super::REPLICAS;
/// The end of an agent's log that is shown when it ended by itself.
const LOG_SHOWN: usize = 400;
/// The newest warnings of each agent that are shown when the demo fails.
const WARNINGS_SHOWN: usize = 5;

pub struct Host {
    pub name: String,
    pub grpc: SocketAddr,
    http: SocketAddr,
    dir: PathBuf,
    agent: Option<i32>,
    /// While it has no power.
    silence: Option<Silence>,
}

pub struct Hosts {
    pub root: PathBuf,
    pub exe: PathBuf,
    pub all: Vec<Host>,
    pub counter_port: u16,
    pub web_port: u16,
    /// Children that the demo had before it started anything.
    strangers: BTreeSet<i32>,
}

impl Hosts {
    /// Ports, directories and configurations; nothing runs yet.
    pub fn lay_out(nodes: u16) -> Result<Self, DemoError> {
        let exe = std::env::current_exe()
            .map_err(|cause| DemoError::Machine { what: "find this program's own file", cause })?;
        let strangers = processes::below(processes::own(), &BTreeSet::new());
        let base = free_ports(2 * nodes + SERVICE_PORTS)?;
        let root = std::env::temp_dir().join(format!("holdfast-demo-{:016x}", rand::random::<u64>()));
        let make = |path: &Path| {
            let made = fs::DirBuilder::new().mode(0o700).create(path);
            made.map_err(|cause| DemoError::Files { what: "make", path: path.to_owned(), cause })
        };
        make(&root)?;
        let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let all = (0..nodes).map(|i| {
            let name = format!("n{}", i + 1);
            let dir = root.join(&name);
            Host {
                name,
                grpc: address(base + i),
                http: address(base + nodes + i),
                dir,
                agent: None,
                silence: None,
            }
        });
        let (counter_port, web_port) = (base + 2 * nodes, base + 2 * nodes + 1);
        let hosts = Self { exe, all: all.collect(), counter_port, web_port, strangers, root };
        make(&hosts.stamps())?;
        for host in &hosts.all {
            make(&host.dir)?;
            hosts.write(&host.config(), &hosts.configuration(host))?;
        }
        Ok(hosts)
    }

    /// Where the singleton's runs stamp themselves.
    #[must_use]
    pub fn stamps(&self) -> PathBuf {
        self.root.join("stamps")
    }

    pub fn write(&self, path: &Path, text: &str) -> Result<(), DemoError> {
        let open = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let written = open.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|cause| DemoError::Files { what: "write", path: path.to_owned(), cause })
    }

    fn configuration(&self, host: &Host) -> String {
        let seeds: Vec<String> = self.all.iter().map(|other| other.grpc.to_string()).collect();
        // A JSON string is a TOML string, too.
        let seeds = serde_json::json!(seeds);
        let data_dir = quoted(&host.dir.join("data"));
        format!(
            "name = \"{}\"\ncluster = \"demo\"\ndata_dir = {data_dir}\nprofile = \"{}\"\n\n[listen]\ngrpc = \"{}\"\nhttp = \"{}\"\n\n\
             [join]\nseeds = {seeds}\nexpect = {}\n",
            host.name,
            LOCAL.name,
            host.grpc,
            host.http,
            self.all.len()
        )
    }

    /// Starts the host's agent.
    pub fn power_on(&mut self, index: usize) -> Result<(), DemoError> {
        let host = &mut self.all[index];
        host.silence = None;
        let path = host.log();
        let log = fs::OpenOptions::new().create(true).append(true).open(&path);
        let log = log.map_err(|cause| DemoError::Files { what: "open", path, cause })?;
        let mut command = Command::new(&self.exe);
        command.arg("agent").arg("--config").arg(host.config());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir(&self.root);
        // Ctrl-C is for the demo alone, which then ends the agents and what they run.
        command.process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"HOLDFAST_") {
                command.env_remove(name);
            }
        }
        // SAFETY: a plain system call between fork and exec. Should the demo be killed, its agents go with it, and
        // their workloads when the leases end.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let child = command.spawn().map_err(|cause| DemoError::Machine { what: "start an agent", cause })?;
        host.agent = Some(i32::try_from(child.id()).expect("Linux's process ids fit"));
        Ok(())
    }

    /// The end of everything on the host: its agent, its guards, and what they hold; nobody hears of it.
    pub fn power_off(&mut self, index: usize) -> Result<(), DemoError> {
        let host = &mut self.all[index];
        let Some(agent) = host.agent.take() else { return Ok(()) };
        // The agent first: it must not see its guards die.
        let mut doomed = vec![agent];
        doomed.extend(processes::below(agent, &BTreeSet::new()));
        processes::stop_all(&doomed);
        let (name, mut silence) = (host.name.clone(), Silence::before_the_kill(&doomed, host.grpc));
        let left = processes::end_all(&doomed, &self.spared());
        if !left.is_empty() {
            return Err(DemoError::Broken(format!("{name} can't be killed: {left:?} live on")));
        }
        silence.after_the_kill().map_err(|cause| DemoError::Machine { what: "silence a host", cause })?;
        self.all[index].silence = Some(silence);
        Ok(())
    }

    /// Finds an agent that ended though nobody took its host's power.
    pub fn check(&mut self) -> Result<(), DemoError> {
        processes::reap();
        let ended = |host: &&mut Host| host.agent.is_some_and(|pid| !processes::is_child(pid));
        let Some(host) = self.all.iter_mut().find(ended) else {
            return Ok(());
        };
        host.agent = None;
        let log = fs::read_to_string(host.log()).unwrap_or_default();
        let shown: Vec<char> = log.trim().chars().rev().take(LOG_SHOWN).collect();
        let said = shown.into_iter().rev().collect();
        Err(DemoError::AgentEnded { name: host.name.clone(), said })
    }

    /// What the agents found worth a warning: their logs go with them.
    pub fn show_warnings(&self) {
        for host in &self.all {
            let log = fs::read_to_string(host.log()).unwrap_or_default();
            let warnings: Vec<&str> =
                log.lines().filter(|l| l.contains("WARN") || l.contains("ERROR")).collect();
            for line in &warnings[warnings.len().saturating_sub(WARNINGS_SHOWN)..] {
                eprintln!("{}: {line}", host.name);
            }
        }
    }

    fn spared(&self) -> BTreeSet<i32> {
        self.all.iter().filter_map(|host| host.agent).chain(self.strangers.iter().copied()).collect()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let agents: Vec<i32> = self.all.iter_mut().filter_map(|host| host.agent.take()).collect();
        let left = processes::end_all(&agents, &self.spared());
        if !left.is_empty() {
            eprintln!("holdfast: processes {left:?} can't be ended; end them by hand");
        }
        if let Err(e) = fs::remove_dir_all(&self.root) {
            eprintln!("holdfast: {} can't be removed: {e}; remove it by hand", self.root.display());
        }
    }
}

impl Host {
    fn config(&self) -> PathBuf {
        self.dir.join("agent.toml")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("agent.log")
    }
}

/// A path as a TOML string.
#[must_use]
pub fn quoted(path: &Path) -> String {
    serde_json::json!(path.to_string_lossy()).to_string()
}

/// The first of `count` neighbouring ports that nobody has.
fn free_ports(count: u16) -> Result<u16, DemoError> {
    let outgoing = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let outgoing = outgoing.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768);
    let last = if outgoing > FIRST_PORT + 2 * count { outgoing } else { u16::MAX } - count;
    for _ in 0..PORT_TRIES {
        let base = rand::random_range(FIRST_PORT..last);
        let held: Result<Vec<TcpListener>, _> =
            (base..base + count).map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))).collect();
        if held.is_ok() {
            return Ok(base);
        }
    }
    Err(DemoError::NoPorts(count))
}
