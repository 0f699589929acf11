//! Everything that a person types and reads.
//!
//! Not here: what the answers mean to the cluster, and how they travel (`wire`).

pub mod args;
mod error;
mod parse;

pub use args::{AgentArgs, DemoArgs};
pub use error::CliError;

use crate::config::{self, AgentConfig};
use args::{Cli, Command};
use parse::{Parsed, parse};
use std::{ffi::OsString, process::ExitCode};

/// What `main` does when it isn't a client's command. Each is called on the process's only thread, before a runtime
/// exists.
#[derive(Clone, Copy)]
pub struct Entry {
    /// `holdfast guard SPECFILE`: the process that stands between the agent and one instance. It gets the arguments
    /// after the word.
    pub guard: fn(Vec<OsString>) -> ExitCode,
    pub agent: fn(AgentConfig) -> ExitCode,
    pub demo: fn(DemoArgs) -> ExitCode,
}

/// The whole program, apart from what `entry` does.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>, entry: Entry) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Before anything else: a guard holds an instance, and nothing of this program may stand in its way.
    if arguments.get(1).is_some_and(|word| word == "guard") {
        return (entry.guard)(arguments.into_iter().skip(2).collect());
    }
    let outcome = match parse(arguments) {
        Ok(Parsed::Command(cli)) => dispatch(*cli, entry),
        Ok(Parsed::Told(text)) => {
            use std::io::Write as _;
            // A reader that went away misses nothing.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(ExitCode::SUCCESS)
        }
        Ok(Parsed::Untold(text)) => {
            eprint!("{text}");
            Ok(ExitCode::from(error::EXIT_USAGE))
        }
        Err(e) => Err(e),
    };
    outcome.unwrap_or_else(|e| {
        if !e.is_silent() {
            eprintln!("holdfast: {e}");
        }
        ExitCode::from(e.exit_code())
    })
}

fn dispatch(cli: Cli, entry: Entry) -> Result<ExitCode, CliError> {
    match cli.command {
        Command::Agent(args) => {
            let config = config::load(args.config.clone(), args.dev, args.flags())?;
            Ok((entry.agent)(config))
        }
        Command::Demo(args) => Ok((entry.demo)(args)),
        _ => Err(CliError::Failed("this command isn't supported by this version yet".into())),
    }
}
