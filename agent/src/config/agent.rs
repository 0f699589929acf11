//! What an agent is told about itself: `/etc/holdfast/agent.toml`, then `HOLDFAST_*` variables, then flags.
//!
//! Everything is checked here, before anything starts; a wrong value is refused, never guessed at.

use super::{
    AGENT_FILE,
    duration::milliseconds,
    layers::{self, ConfigError, FlagValue, Origin, Setting, Value},
    names::{check_address, check_name, check_node_name},
    nearest::nearest,
};
use crate::security::TlsFiles;
use cluster_core::{
    ledger::{Role, Settings},
    timing::Timing,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// More labels than this are refused: every agent keeps every node's.
const LABELS: usize = 64;
/// Seeds of one agent; more are refused. Any reachable one is enough.
const SEEDS: usize = 256;
/// Shorter, and an upgrade costs its node the workloads; longer, and nobody would wait for it.
const AGENT_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 10_000..=86_400_000;
/// Founding never waits for more agents than this.
const MOST_EXPECTED: i64 = 10_000;

/// All that one agent is configured with, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// Default: the host's name.
    pub name: String,
    /// Agents of different clusters never merge. Default: `default`.
    pub cluster: String,
    /// Always absolute. Default: `/var/lib/holdfast`; with `--dev` a directory for this process alone.
    pub data_dir: PathBuf,
    /// Default: none (empty).
    pub zone: String,
    pub role: Role,
    pub labels: BTreeMap<String, String>,
    /// Default: `lan`, with `--dev` `local`. Proposed at founding; the ledger's from then on.
    pub profile: Timing,
    /// How long an agent may be gone or frozen on a host that lives. Default: a minute. As with `profile`.
    pub agent_timeout_ms: u64,
    /// Whether work is moved off a node that says that it is sick. Default: no. As with `profile`.
    pub drain_when_sick: bool,
    pub insecure: bool,
    pub listen: Listen,
    pub join: Join,
    pub tls: Option<TlsFiles>,
    pub last_resort: LastResort,
    /// One node, in memory.
    pub dev: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Default: `127.0.0.1:7400`.
    pub grpc: SocketAddr,
    /// Where others reach it, `HOST:PORT`. Default: `grpc`.
    pub advertise: String,
    /// Default: `127.0.0.1:7401`.
    pub http: SocketAddr,
    /// Whether other hosts may post alerts to `http`, where nobody is asked who they are. Default: no.
    pub alerts: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// `HOST:PORT` each.
    pub seeds: Vec<String>,
    /// How many agents founding waits for. `None`: joins, never founds. Without seeds and when nothing is set: 1.
    pub expect: Option<u32>,
}

/// How a host that is cut off says so, besides on its console. Default: not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastResort {
    /// A program and its arguments; reads the JSON.
    pub command: Vec<String>,
    /// Absolute; gets a line of JSON each time.
    pub file: Option<String>,
}

/// What the configuration depends on besides the file.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// `--config`; without it the default file is read, if there is one.
    pub file: Option<PathBuf>,
    pub dev: bool,
    pub flags: Vec<FlagValue>,
    pub variables: Vec<(String, String)>,
    pub host_name: String,
}

/// Reads the configuration of the agent that this process is to be.
pub fn load(file: Option<PathBuf>, dev: bool, flags: Vec<FlagValue>) -> Result<AgentConfig, ConfigError> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    load_from(&Context { file, dev, flags, variables, host_name })
}

/// As `load`, with everything outside given.
pub fn load_from(context: &Context) -> Result<AgentConfig, ConfigError> {
    let file = match &context.file {
        Some(file) => Some(file.clone()),
        None => Some(PathBuf::from(AGENT_FILE)).filter(|f| !context.dev && f.exists()),
    };
    let mut settings = match file {
        Some(file) => layers::from_file(&file)?,
        None => layers::Settings::new(),
    };
    settings.extend(layers::from_variables(context.variables.iter().cloned())?);
    settings.extend(layers::from_flags(&context.flags)?);
    build(&Reader(&settings), context)
}

fn build(read: &Reader<'_>, context: &Context) -> Result<AgentConfig, ConfigError> {
    let insecure = read.switch("insecure");
    let tls = tls(read)?;
    let config = AgentConfig {
        name: name(read, context)?,
        cluster: read.checked("cluster", check_name)?.unwrap_or_else(|| "default".into()),
        data_dir: data_dir(read, context.dev)?,
        zone: read.checked("zone", check_name)?.unwrap_or_default(),
        role: role(read)?,
        labels: labels(read)?,
        profile: profile(read, context.dev)?,
        agent_timeout_ms: agent_timeout(read)?,
        drain_when_sick: read.switch("drain_when_sick"),
        insecure,
        listen: listen(read, insecure || tls.is_some())?,
        join: join(read, context.dev)?,
        tls,
        last_resort: last_resort(read)?,
        dev: context.dev,
    };
    Ok(config)
}

fn name(read: &Reader<'_>, context: &Context) -> Result<String, ConfigError> {
    if let Some(name) = read.checked("name", check_node_name)? {
        return Ok(name);
    }
    match check_node_name(&context.host_name) {
        Ok(()) => Ok(context.host_name.clone()),
        Err(why) => Err(read.refuse("name", format!("the host's own name is no good: {why}; or set name"))),
    }
}

fn data_dir(read: &Reader<'_>, dev: bool) -> Result<PathBuf, ConfigError> {
    match read.text("data_dir") {
        Some(dir) if Path::new(dir).is_absolute() => Ok(dir.into()),
        Some(dir) => {
            Err(read.refuse("data_dir", format!("\"{dir}\" is relative; give a path that begins with \"/\"")))
        }
        None if dev => Ok(std::env::temp_dir().join(format!("holdfast-dev-{}", std::process::id()))),
        None => Ok("/var/lib/holdfast".into()),
    }
}

fn role(read: &Reader<'_>) -> Result<Role, ConfigError> {
    match read.text("role") {
        None | Some("member") => Ok(Role::Member),
        Some("witness") => Ok(Role::Witness),
        Some(other) => Err(read.not_one_of("role", other, &["member", "witness"])),
    }
}

fn profile(read: &Reader<'_>, dev: bool) -> Result<Timing, ConfigError> {
    let name = read.text("profile").unwrap_or(if dev { "local" } else { "lan" });
    Timing::named(name).ok_or_else(|| read.not_one_of("profile", name, &["local", "lan", "wan"]))
}

fn agent_timeout(read: &Reader<'_>) -> Result<u64, ConfigError> {
    const KEY: &str = "agent_timeout";
    let Some(text) = read.text(KEY) else { return Ok(Settings::default().agent_timeout_ms) };
    let timeout = milliseconds(text).map_err(|why| read.refuse(KEY, why.to_string()))?;
    if !AGENT_TIMEOUT_MS.contains(&timeout) {
        let what = format!(
            "\"{text}\" is out of range; an agent's restart takes some seconds, and people are told after ten: give 10s \
             to 1d"
        );
        return Err(read.refuse(KEY, what));
    }
    Ok(timeout)
}

fn labels(read: &Reader<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
    let labels = match read.value("labels") {
        Some(Value::Pairs(labels)) => labels.clone(),
        _ => BTreeMap::new(),
    };
    if labels.len() > LABELS {
        return Err(read.refuse("labels", format!("{} are too many; {LABELS} may be set", labels.len())));
    }
    for key in labels.keys() {
        check_name(key).map_err(|why| read.refuse("labels", why))?;
    }
    Ok(labels)
}

fn tls(read: &Reader<'_>) -> Result<Option<TlsFiles>, ConfigError> {
    const KEYS: [&str; 3] = ["tls.ca", "tls.cert", "tls.key"];
    let given: Vec<&str> = KEYS.into_iter().filter(|k| read.value(k).is_some()).collect();
    let missing = KEYS.into_iter().find(|k| read.value(k).is_none());
    match (given.first(), missing) {
        (None, _) => Ok(None),
        (Some(given), Some(missing)) => {
            Err(read.refuse(given, format!("{missing} is missing; tls.ca, tls.cert and tls.key go together")))
        }
        (Some(_), None) => {
            let path = |key: &'static str| -> Result<PathBuf, ConfigError> {
                let path = read.text(key).unwrap_or_default();
                match std::fs::File::open(path) {
                    Ok(_) => Ok(path.into()),
                    Err(e) => {
                        let why =
                            format!("\"{path}\" can't be read ({e}); give the path of a readable PEM file");
                        Err(read.refuse(key, why))
                    }
                }
            };
            Ok(Some(TlsFiles { ca: path("tls.ca")?, cert: path("tls.cert")?, key: path("tls.key")? }))
        }
    }
}

fn listen(read: &Reader<'_>, may_leave_loopback: bool) -> Result<Listen, ConfigError> {
    let grpc = socket(read, "listen.grpc", "127.0.0.1:7400")?;
    let http = socket(read, "listen.http", "127.0.0.1:7401")?;
    for (key, address) in [("listen.grpc", grpc), ("listen.http", http)] {
        if !address.ip().is_loopback() && !may_leave_loopback {
            let what = format!(
                "{address} can be reached from other hosts, and there is no [tls]; \
                 set tls.ca, tls.cert and tls.key, or insecure = true"
            );
            return Err(read.refuse(key, what));
        }
    }
    if grpc == http {
        return Err(read.refuse("listen.http", format!("{http} is listen.grpc's, too; choose another port")));
    }
    let advertise = match read.checked("listen.advertise", check_address)? {
        Some(address) if address.starts_with("0.0.0.0:") || address.starts_with("[::]:") => {
            let what = format!("{address} is no address that others can reach; give this host's own");
            return Err(read.refuse("listen.advertise", what));
        }
        Some(address) => address,
        None if grpc.ip().is_unspecified() => {
            let what = format!(
                "{grpc} is every address of this host; set listen.advertise to the one that others reach"
            );
            return Err(read.refuse("listen.grpc", what));
        }
        None => grpc.to_string(),
    };
    Ok(Listen { grpc, advertise, http, alerts: read.switch("listen.alerts") })
}

fn socket(read: &Reader<'_>, key: &'static str, default: &str) -> Result<SocketAddr, ConfigError> {
    let text = read.text(key).unwrap_or(default);
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            Err(read.refuse(key, format!("{text} has port 0; give the port that clients are told")))
        }
        Ok(address) => Ok(address),
        Err(_) => Err(read.refuse(key, format!("\"{text}\" isn't IP:PORT; write one like {default}"))),
    }
}

fn join(read: &Reader<'_>, dev: bool) -> Result<Join, ConfigError> {
    if dev {
        return Ok(Join { seeds: Vec::new(), expect: Some(1) });
    }
    let seeds = match read.value("join.seeds") {
        Some(Value::List(seeds)) => seeds.clone(),
        _ => Vec::new(),
    };
    if seeds.len() > SEEDS {
        let what = format!("{} are too many; {SEEDS} may be given, and one is enough", seeds.len());
        return Err(read.refuse("join.seeds", what));
    }
    for seed in &seeds {
        check_address(seed).map_err(|why| read.refuse("join.seeds", why))?;
    }
    let expect = match read.value("join.expect") {
        Some(Value::Number(n @ 1..=MOST_EXPECTED)) => Some(u32::try_from(*n).expect("at most MOST_EXPECTED")),
        Some(Value::Number(n)) => {
            let what =
                format!("{n} is out of range; say how many agents found the cluster, 1 to {MOST_EXPECTED}");
            return Err(read.refuse("join.expect", what));
        }
        _ if seeds.is_empty() => Some(1),
        _ => None,
    };
    Ok(Join { seeds, expect })
}

fn last_resort(read: &Reader<'_>) -> Result<LastResort, ConfigError> {
    let command = match read.value("last_resort.command") {
        Some(Value::List(command)) if command.first().is_none_or(String::is_empty) => {
            let what = "it names no program; write one like [\"/usr/local/bin/ring\"]".to_owned();
            return Err(read.refuse("last_resort.command", what));
        }
        Some(Value::List(command)) => command.clone(),
        _ => Vec::new(),
    };
    let file = read.checked("last_resort.file", |file| match file.starts_with('/') {
        true => Ok(()),
        false => Err(format!("\"{file}\" is relative; give a path that begins with \"/\"")),
    })?;
    Ok(LastResort { command, file })
}

/// The merged settings, and who to blame for each.
struct Reader<'s>(&'s layers::Settings);

impl<'s> Reader<'s> {
    fn value(&self, key: &str) -> Option<&'s Value> {
        self.0.get(key).map(|s| &s.value)
    }

    fn text(&self, key: &str) -> Option<&'s str> {
        match self.value(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn switch(&self, key: &str) -> bool {
        matches!(self.value(key), Some(Value::Switch(true)))
    }

    fn checked(
        &self,
        key: &'static str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Result<Option<String>, ConfigError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        check(text).map_err(|why| self.refuse(key, why))?;
        Ok(Some(text.to_owned()))
    }

    fn refuse(&self, key: &'static str, what: String) -> ConfigError {
        let origin = match self.0.get(key) {
            Some(Setting { origin, .. }) => origin.clone(),
            None => Origin::Default(key),
        };
        ConfigError::Value { origin, what }
    }

    fn not_one_of(&self, key: &'static str, found: &str, known: &[&'static str]) -> ConfigError {
        let hint = match nearest(found, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("use one of {}", known.join(", ")),
        };
        self.refuse(key, format!("\"{}\" isn't known; {hint}", found.escape_debug()))
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
