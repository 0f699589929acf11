//! Hosts that are network namespaces, joined by veth pairs and a bridge in a namespace of its own; cuts and loss are
//! nftables rules of that bridge. Nothing outside the lab's own namespaces is touched.
//!
//! Names carry the process's id, so that labs run side by side, and what a dead one left is found and removed.

use super::{
    command::tool,
    error::LabError,
    process::{in_namespace, kill_all},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

const NAMED: &str = "hflab";
const NAMESPACES: &str = "/run/netns";
/// Where the lab's own end of the bridge is.
pub const HUB_ADDRESS: &str = "10.77.255.254";
/// Where alerts are received.
pub const RECEIVER_PORT: u16 = 9_000;
/// Hosts of one lab.
pub const MOST_HOSTS: usize = 500;
/// With more hosts than this they know each other's hardware addresses from the start: a question for one floods to all,
/// and what as many machines would share the work of is this one machine's alone. The kernel's neighbour table, which all
/// namespaces share, would be too small for them as it comes.
const NEIGHBOURS_AS_THEY_COME: usize = 20;
const NEIGHBOUR_LIMITS: [(&str, u32); 3] =
    [("gc_thresh3", 131_072), ("gc_thresh2", 65_536), ("gc_thresh1", 32_768)];

static LABS: AtomicU32 = AtomicU32::new(0);

/// All hosts' network. Hosts are numbered from 0.
pub struct Network {
    prefix: String,
    hosts: usize,
    /// Packets from the first to the second are dropped.
    one_way: BTreeSet<(usize, usize)>,
    /// Hear nobody and are heard by nobody, though they run.
    silent: BTreeSet<usize>,
    loss_percent: u8,
    _neighbours: Option<Neighbours>,
}

/// What a host's cable carried so far: frames with all headers, counted at the bridge's end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub sent_bytes: u64,
    pub sent_frames: u64,
    pub received_bytes: u64,
    pub received_frames: u64,
}

impl Network {
    pub fn new(hosts: usize) -> Result<Self, LabError> {
        assert!(hosts <= MOST_HOSTS, "{hosts} hosts are more than the lab's {MOST_HOSTS}");
        sweep()?;
        let prefix = format!("{NAMED}{}x{}-", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        // From here on Drop removes what was made, also when the rest fails.
        let network = Self {
            prefix,
            hosts,
            one_way: BTreeSet::new(),
            silent: BTreeSet::new(),
            loss_percent: 0,
            _neighbours: (hosts > NEIGHBOURS_AS_THEY_COME).then(Neighbours::raise).transpose()?,
        };
        let hub = network.hub_name();
        tool(&["ip", "netns", "add", &hub], None)?;
        ip(&hub, "link set lo up")?;
        ip(&hub, "link add br0 type bridge mcast_snooping 0")?;
        if Path::new("/proc/sys/net/bridge").exists() {
            // What hosts say to each other doesn't pass the rules for routed packets as well: costly, and never meant.
            let off = "for f in /proc/sys/net/bridge/bridge-nf-call-*; do echo 0 > $f; done";
            tool(&["ip", "netns", "exec", &hub, "sh", "-c", off], None)?;
        }
        ip(&hub, &format!("addr add {HUB_ADDRESS}/16 dev br0"))?;
        ip(&hub, "link set br0 up")?;
        for host in 0..hosts {
            network.add_host(host)?;
        }
        if hosts > NEIGHBOURS_AS_THEY_COME {
            let known = |h: usize| format!("neigh replace {} lladdr {} dev eth0\n", address(h), hardware(h));
            let all: String = (0..hosts).map(known).collect();
            for host in 0..hosts {
                tool(&["ip", "-n", &network.name(host), "-batch", "-"], Some(&all))?;
            }
        }
        Ok(network)
    }

    fn add_host(&self, host: usize) -> Result<(), LabError> {
        let (hub, name) = (self.hub_name(), self.name(host));
        tool(&["ip", "netns", "add", &name], None)?;
        ip(
            &hub,
            &format!("link add v{host} type veth peer name eth0 address {} netns {name}", hardware(host)),
        )?;
        ip(&hub, &format!("link set v{host} master br0 up"))?;
        ip(&name, "link set lo up")?;
        ip(&name, &format!("addr add {}/16 dev eth0", address(host)))?;
        ip(&name, "link set eth0 up")?;
        ip(&name, &format!("route add default via {HUB_ADDRESS}"))
    }

    fn name(&self, host: usize) -> String {
        format!("{}h{host}", self.prefix)
    }

    fn hub_name(&self) -> String {
        format!("{}hub", self.prefix)
    }

    /// The namespace file of a host.
    #[must_use]
    pub fn namespace(&self, host: usize) -> PathBuf {
        Path::new(NAMESPACES).join(self.name(host))
    }

    /// The bridge's own namespace, which reaches every host whatever is cut.
    #[must_use]
    pub fn hub(&self) -> PathBuf {
        Path::new(NAMESPACES).join(self.hub_name())
    }

    /// Pulls or plugs the cable, at the bridge's end.
    pub fn plug(&self, host: usize, plugged: bool) -> Result<(), LabError> {
        let state = if plugged { "up" } else { "down" };
        ip(&self.hub_name(), &format!("link set v{host} {state}"))
    }

    /// This host and the others, alert receivers included, no longer hear each other.
    pub fn silence(&mut self, host: usize) -> Result<(), LabError> {
        self.silent.insert(host);
        self.write_rules()
    }

    /// Packets from each of `from` to each of `to` are dropped.
    pub fn drop_between(&mut self, from: &[usize], to: &[usize]) -> Result<(), LabError> {
        self.one_way.extend(from.iter().flat_map(|f| to.iter().map(move |t| (*f, *t))));
        self.write_rules()
    }

    pub fn lose(&mut self, percent: u8) -> Result<(), LabError> {
        self.loss_percent = percent;
        self.write_rules()
    }

    /// No cut and no loss any more.
    pub fn heal(&mut self) -> Result<(), LabError> {
        self.one_way.clear();
        self.silent.clear();
        self.loss_percent = 0;
        self.write_rules()
    }

    /// Of each host.
    pub fn traffic(&self) -> Result<Vec<Traffic>, LabError> {
        let text = tool(&["ip", "-j", "-s", "-n", &self.hub_name(), "link", "show"], None)?;
        let links: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
        let of = |host: usize| {
            let name = format!("v{host}");
            let stats = &links.iter().find(|l| l["ifname"] == name.as_str())?["stats64"];
            let count = |direction: &str, what: &str| stats[direction][what].as_u64();
            Some(Traffic {
                sent_bytes: count("rx", "bytes")?,
                sent_frames: count("rx", "packets")?,
                received_bytes: count("tx", "bytes")?,
                received_frames: count("tx", "packets")?,
            })
        };
        let all: Option<Vec<Traffic>> = (0..self.hosts).map(of).collect();
        all.ok_or_else(|| LabError::Broken(format!("ip counts nothing: {text}")))
    }

    fn write_rules(&self) -> Result<(), LabError> {
        let mut between = String::new();
        let mut inward = String::new();
        for host in &self.silent {
            between += &format!("  iifname \"v{host}\" drop\n  oifname \"v{host}\" drop\n");
            inward += &format!("  iifname \"v{host}\" tcp dport {RECEIVER_PORT} drop\n");
        }
        for (from, to) in &self.one_way {
            between += &format!("  iifname \"v{from}\" oifname \"v{to}\" drop\n");
        }
        if self.loss_percent > 0 {
            between += &format!("  numgen random mod 100 < {} drop\n", self.loss_percent);
        }
        // One transaction: nothing gets through while rules change.
        let rules = format!(
            "table bridge lab {{}}\ndelete table bridge lab\ntable bridge lab {{\n chain between {{ type filter hook \
             forward priority 0;\n{between} }}\n chain inward {{ type filter hook input priority 0;\n{inward} }}\n}}\n"
        );
        tool(&["ip", "netns", "exec", &self.hub_name(), "nft", "-f", "-"], Some(&rules)).map(drop)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in (0..self.hosts).map(|h| self.name(h)).chain([self.hub_name()]) {
            remove(&name);
        }
    }
}

/// The kernel's neighbour table made large enough, until it is dropped.
struct Neighbours {
    before: Vec<(PathBuf, String)>,
}

impl Neighbours {
    fn raise() -> Result<Self, LabError> {
        let mut raised = Self { before: Vec::new() };
        // The largest first: the kernel wants them in order.
        for (name, least) in NEIGHBOUR_LIMITS {
            let path = Path::new("/proc/sys/net/ipv4/neigh/default").join(name);
            let was = std::fs::read_to_string(&path).map_err(LabError::io(format!("read {path:?}")))?;
            if was.trim().parse::<u32>().is_ok_and(|limit| limit < least) {
                std::fs::write(&path, least.to_string()).map_err(LabError::io(format!("write {path:?}")))?;
                raised.before.push((path, was));
            }
        }
        Ok(raised)
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for (path, was) in self.before.iter().rev() {
            if let Err(error) = std::fs::write(path, was) {
                eprintln!("lab: can't set {} to {} again: {error}", path.display(), was.trim());
            }
        }
    }
}

/// What the lab can't do on this machine, if anything: it needs root, `ip` and `nft`.
#[must_use]
pub fn missing() -> Option<Missing> {
    // SAFETY: geteuid only reads.
    if unsafe { libc::geteuid() } != 0 {
        return Some(Missing::Root);
    }
    ["ip", "nft"].into_iter().find(|tool| !installed(tool)).map(Missing::Tool)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Root,
    Tool(&'static str),
    /// Another product to be measured beside ours.
    Peer(&'static str),
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => f.write_str("network namespaces need root"),
            Self::Tool(tool) => write!(f, "`{tool}` isn't installed (packages iproute2 and nftables)"),
            Self::Peer(name) => {
                write!(f, "`{name}` isn't installed, and there is nothing to measure against")
            }
        }
    }
}

#[must_use]
pub fn installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(tool).is_file())
}

/// `10.77.0.1` is host 0's.
#[must_use]
pub fn address(host: usize) -> String {
    format!("10.77.{}.{}", host / 250, host % 250 + 1)
}

/// Locally administered, of a host's end of its cable.
fn hardware(host: usize) -> String {
    format!("02:00:0a:4d:{:02x}:{:02x}", host / 250, host % 250 + 1)
}

fn ip(namespace: &str, arguments: &str) -> Result<(), LabError> {
    let mut command = vec!["ip", "-n", namespace];
    command.extend(arguments.split(' '));
    tool(&command, None).map(drop)
}

/// Removes what labs of processes that are gone left behind.
fn sweep() -> Result<(), LabError> {
    let Ok(entries) = std::fs::read_dir(NAMESPACES) else { return Ok(()) };
    for name in entries.flatten().filter_map(|e| e.file_name().into_string().ok()) {
        let owner = name.strip_prefix(NAMED).and_then(|rest| rest.split_once('x')?.0.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&name);
        }
    }
    Ok(())
}

fn remove(name: &str) {
    let path = Path::new(NAMESPACES).join(name);
    if !path.exists() {
        return;
    }
    kill_all(|| in_namespace(&path));
    if let Err(error) = tool(&["ip", "netns", "del", name], None) {
        eprintln!("lab: {error}; remove it by hand");
    }
}
