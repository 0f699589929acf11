//! Why a demo didn't come to its good end: what follows `FAIL: `.

use crate::{config::FileError, wire::cli_client::ClientError};
use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("can't {what} {path}: {cause}; set TMPDIR to a directory that may be written", path = .path.display())]
    Files { what: &'static str, path: PathBuf, cause: io::Error },
    #[error("can't {what}: {cause}; is this machine out of processes or ports?")]
    Machine { what: &'static str, cause: io::Error },
    #[error(
        "no {0} neighbouring ports are free below the range for outgoing connections; end something that listens"
    )]
    NoPorts(u16),
    #[error("the agent of {name} ended by itself; it said: {said}")]
    AgentEnded { name: String, said: String },
    #[error("{what} hasn't happened within {limit_ms} ms{detail}; is this machine overloaded?")]
    Late { what: String, limit_ms: u128, detail: String },
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("{0}")]
    File(#[from] FileError),
    /// The cluster did what it must not, or not what it must.
    #[error("{0}")]
    Broken(String),
    #[error("interrupted")]
    Interrupted,
}
