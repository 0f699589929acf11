//! One host: its agent's configuration, process and log.

use super::{
    Plan,
    certificates::{Authority, Files},
    command,
    error::LabError,
    network::{self, Network},
    process,
};
use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// In a lab of more hosts some found the cluster, and the others only know those.
const ALL_ARE_SEEDS: usize = 25;
/// An agent that was asked to end does so within this.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

pub struct Host {
    pub name: String,
    /// Of its agent, `HOST:PORT`.
    pub address: String,
    /// Of its metrics and health pages.
    pub http: String,
    pub directory: PathBuf,
    agent: Option<Child>,
}

/// The hosts of a lab, with their directories and configurations; each knows the others as seeds.
pub fn make(
    plan: Plan,
    directory: &Path,
    authority: &Authority,
    network: Option<&Network>,
) -> Result<Vec<Host>, LabError> {
    let addresses: Vec<(String, u16, u16)> = match network {
        Some(_) => (0..plan.hosts).map(|h| (network::address(h), 7_400, 7_401)).collect(),
        None => free_ports(2 * plan.hosts)?.chunks(2).map(|p| ("127.0.0.1".to_owned(), p[0], p[1])).collect(),
    };
    let seeds: Vec<String> = addresses.iter().map(|(ip, port, _)| format!("{ip}:{port}")).collect();
    let known = if plan.hosts > ALL_ARE_SEEDS { &seeds[..plan.expect] } else { &seeds };
    let host = |(at, (ip, _, http)): (usize, &(String, u16, u16))| {
        let name = format!("n{}", at + 1);
        let tls = authority.issue(&[&name, ip])?;
        let host = Host {
            directory: directory.join(&name),
            address: seeds[at].clone(),
            http: format!("{ip}:{http}"),
            agent: None,
            name,
        };
        std::fs::create_dir_all(&host.directory).map_err(LabError::io("make a host's directory"))?;
        host.configure(&tls, known, (known.len() == seeds.len() || at < plan.expect).then_some(plan.expect))?;
        Ok(host)
    };
    addresses.iter().enumerate().map(host).collect()
}

impl Host {
    /// Writes its agent's configuration.
    pub fn configure(&self, tls: &Files, seeds: &[String], expect: Option<usize>) -> Result<(), LabError> {
        let expect = expect.map_or_else(String::new, |count| format!("expect = {count}\n"));
        let [file, rung] = self.last_words();
        let ring = ["/bin/sh", "-c", &format!("cat >> '{}'", rung.display())];
        let text = format!(
            "name = \"{}\"\ncluster = \"lab\"\ndata_dir = {:?}\n[listen]\ngrpc = \"{}\"\nhttp = \"{}\"\n[join]\nseeds = \
             {seeds:?}\n{expect}[tls]\nca = {:?}\ncert = {:?}\nkey = {:?}\n[last_resort]\nfile = {file:?}\ncommand = \
             {ring:?}\n",
            self.name,
            self.directory.join("data"),
            self.address,
            self.http,
            tls.ca,
            tls.cert,
            tls.key
        );
        let path = self.config();
        std::fs::write(&path, text).map_err(LabError::io(format!("write {path:?}")))
    }

    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join("agent.toml")
    }

    /// What its agents wrote, one after the other.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("agent.log")
    }

    /// Where its agent says on the spot that it is cut off: its file, and what its command writes.
    #[must_use]
    pub fn last_words(&self) -> [PathBuf; 2] {
        ["last-words.jsonl", "rung.jsonl"].map(|name| self.directory.join(name))
    }

    /// Starts its agent in the given namespace.
    pub fn start(&mut self, binary: &Path, namespace: Option<&Path>) -> Result<(), LabError> {
        assert!(self.agent.is_none(), "{} runs an agent already", self.name);
        let log =
            File::options().create(true).append(true).open(self.log()).map_err(LabError::io("open a log"))?;
        let mut command = Command::new(binary);
        command.arg("agent").arg("--config").arg(self.config());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(filter) = std::env::var_os("RUST_LOG") {
            command.env("RUST_LOG", filter);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let Some(namespace) = namespace {
            command::enter(&mut command, namespace)?;
        }
        self.agent = Some(command.spawn().map_err(LabError::io(format!("start {binary:?}")))?);
        Ok(())
    }

    /// Of its agent, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Child::id)
    }

    /// SIGKILL of the agent alone: its guards and workloads stay.
    pub fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            command::end(&mut agent);
        }
    }

    /// SIGKILL sent, the end not waited for: for several at once.
    pub fn signal(&self, signal: i32) {
        if let Some(agent) = &self.agent {
            process::signal(agent.id().cast_signed(), signal);
        }
    }

    /// After its process was ended by other means.
    pub fn collect(&mut self) {
        self.kill();
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) -> Result<(), LabError> {
        self.signal(libc::SIGTERM);
        self.ends()
    }

    /// Waits until its agent has ended by itself.
    pub fn ends(&mut self) -> Result<(), LabError> {
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        let what = format!("the agent of {} to end", self.name);
        let ended = super::wait::wait_until(&what, ENDS_WITHIN, || match agent.try_wait() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("it still runs".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        if ended.is_err() {
            command::end(&mut agent);
        }
        ended
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports that nobody listens on just now.
pub fn free_ports(count: usize) -> Result<Vec<u16>, LabError> {
    let free = || -> std::io::Result<Vec<u16>> {
        // All are held until all are found, so that they differ.
        let held: Vec<TcpListener> =
            (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        held.iter().map(|l| Ok(l.local_addr()?.port())).collect()
    };
    free().map_err(LabError::io("find free ports"))
}
