//! Real `serf` agents in the lab's namespaces: what others do with the same hosts and the same harm.

use super::{
    command::{enter, output},
    error::LabError,
    lines::Speaker,
    network::{self, Network},
    wait::wait_until,
};
use serde::Deserialize;
use std::{
    process::Command,
    time::{Duration, SystemTime},
};

const CLIENT_LIMIT: Duration = Duration::from_secs(10);

/// One agent a host, of the profile `lan`.
pub struct Serf {
    agents: Vec<Speaker>,
}

#[derive(Deserialize)]
struct Members {
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    status: String,
}

impl Serf {
    pub fn start(network: &Network, hosts: usize) -> Result<Self, LabError> {
        let start = |host: usize| {
            let mut command = Command::new("serf");
            command.args(["agent", "-profile=lan", "-log-level=debug"]);
            command.arg(format!("-node={}", name(host)));
            command.arg(format!("-bind={}:7946", network::address(host)));
            // Every host is asked at once and then every second: joining isn't what is measured.
            command.arg("-retry-interval=1s").arg(format!("-retry-join={}", network::address(0)));
            enter(&mut command, &network.namespace(host))?;
            Speaker::start(command)
        };
        Ok(Self { agents: (0..hosts).map(start).collect::<Result<_, LabError>>()? })
    }

    /// Waits until each sees all alive.
    pub fn until_whole(&self, network: &Network, within: Duration) -> Result<(), LabError> {
        for host in 0..self.agents.len() {
            wait_until(&format!("serf on {} to see all alive", name(host)), within, || {
                let alive = alive(network, host)?;
                if alive == self.agents.len() { Ok(()) } else { Err(format!("{alive} alive")) }
            })?;
        }
        Ok(())
    }

    #[must_use]
    pub fn pid(&self, host: usize) -> u32 {
        self.agents[host].pid()
    }

    /// When each other host first said this of the victim, if it did.
    #[must_use]
    pub fn said(&self, what: &str, victim: usize, then: SystemTime) -> Vec<Option<SystemTime>> {
        let others = self.agents.iter().enumerate().filter(|(host, _)| *host != victim);
        let needle = format!("{what} {} ", name(victim));
        others
            .map(|(_, agent)| {
                let lines = agent.lines();
                lines.iter().find(|l| l.at >= then && l.text.contains(&needle)).map(|l| l.at)
            })
            .collect()
    }
}

/// As it calls itself.
#[must_use]
pub fn version() -> String {
    let mut command = Command::new("serf");
    command.arg("version");
    let said = output(command, None, CLIENT_LIMIT).map(|done| done.stdout).unwrap_or_default();
    said.lines().next().unwrap_or("of unknown version").to_owned()
}

fn name(host: usize) -> String {
    format!("n{}", host + 1)
}

fn alive(network: &Network, host: usize) -> Result<usize, String> {
    let mut command = Command::new("serf");
    command.args(["members", "-format=json"]);
    enter(&mut command, &network.namespace(host)).map_err(|e| e.to_string())?;
    let done = output(command, None, CLIENT_LIMIT).map_err(|e| e.to_string())?;
    let list: Members = serde_json::from_str(&done.stdout).map_err(|e| format!("{e}: {}", done.stderr))?;
    Ok(list.members.iter().filter(|m| m.status == "alive").count())
}
