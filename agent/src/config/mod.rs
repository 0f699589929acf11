//! Every file that a person writes for Holdfast: the agent's own configuration, workloads, alerting.
//!
//! Not here: the command line (`cli`), and loading keys and certificates (`security`).

mod agent;
pub mod alerting;
mod document;
pub mod duration;
mod layers;
pub mod names;
pub mod nearest;
pub mod workload;

pub use agent::{AgentConfig, Context, Join, LastResort, Listen, load, load_from};
pub use document::{FileError, read};
pub use layers::{ConfigError, FlagValue, Origin};

use std::path::Path;

/// Where the agent's configuration is, unless `--config` says otherwise.
pub const AGENT_FILE: &str = "/etc/holdfast/agent.toml";

/// What the commands on a host need to know of the agent on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalAgent {
    pub grpc: Option<String>,
    pub advertise: Option<String>,
    pub tls: Option<crate::security::TlsFiles>,
}

/// Reads the local agent's file for the commands on its host; `None` when there is none, or it isn't theirs to read.
pub fn local_agent(path: &Path) -> Result<Option<LocalAgent>, ConfigError> {
    if std::fs::File::open(path).is_err() {
        return Ok(None);
    }
    let settings = layers::from_file(path)?;
    let text = |key: &str| match settings.get(key).map(|s| &s.value) {
        Some(layers::Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let tls = match (text("tls.ca"), text("tls.cert"), text("tls.key")) {
        (Some(ca), Some(cert), Some(key)) => {
            Some(crate::security::TlsFiles { ca: ca.into(), cert: cert.into(), key: key.into() })
        }
        _ => None,
    };
    Ok(Some(LocalAgent { grpc: text("listen.grpc"), advertise: text("listen.advertise"), tls }))
}
