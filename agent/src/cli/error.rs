//! Why a command failed, in one sentence that says what to do, and the exit code that scripts read.

use crate::{
    config::{ConfigError, FileError},
    wire::cli_client::ClientError,
};

pub const EXIT_FAILED: u8 = 1;
pub const EXIT_NO_AGENT: u8 = 3;
pub const EXIT_USAGE: u8 = 64;

#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Something on the command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// A file or a variable is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    File(#[from] FileError),
    /// The agent was asked, or should have been.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// It was asked and answered, and that is no success.
    #[error("{0}")]
    Failed(String),
    /// The reader of our output went away; nothing to tell anyone.
    #[error("the output can't be written: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Config(e) if e.is_usage() => EXIT_USAGE,
            Self::Client(ClientError::NoAnswer { .. }) => EXIT_NO_AGENT,
            Self::Client(ClientError::BadAddress(_)) => EXIT_USAGE,
            _ => EXIT_FAILED,
        }
    }

    /// A reader that stopped reading (`holdfast events | head`) isn't worth a word.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Output(e) if e.kind() == std::io::ErrorKind::BrokenPipe)
    }
}
