//! Everything that a person types and reads.
//!
//! Not here: what the answers mean to the cluster, and how they travel (`wire`).

mod account;
mod alert;
pub mod args;
mod check;
mod error;
mod failure;
mod node;
mod parse;
mod preview;
mod session;
mod silence;
mod status;
mod table;
mod text;
mod workload;

pub use args::{AgentArgs, DemoArgs};
pub use error::CliError;

use crate::config::{self, AgentConfig};
use args::{Cli, Command};
use parse::{Parsed, parse};
use session::Session;
use std::{ffi::OsString, process::ExitCode};

/// What `main` does when it isn't a client's command. Each is called on the process's only thread, before a runtime
/// exists.
#[derive(Clone, Copy)]
pub struct Entry {
    /// `holdfast guard SPECFILE`: the process that stands between the agent and one instance. It gets the arguments
    /// after the word.
    pub guard: fn(Vec<OsString>) -> ExitCode,
    /// `holdfast keeper DIRECTORY NODE`: the process that renews this node's lease. Arguments as above.
    pub keeper: fn(Vec<OsString>) -> ExitCode,
    pub agent: fn(AgentConfig) -> ExitCode,
    pub demo: fn(DemoArgs) -> ExitCode,
}

/// The whole program, apart from what `entry` does.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>, entry: Entry) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Before anything else: a guard holds an instance, a keeper the lease, and nothing of this program may stand in
    // their way.
    for (name, main) in [("guard", entry.guard), ("keeper", entry.keeper)] {
        if arguments.get(1).is_some_and(|word| word == name) {
            return main(arguments.into_iter().skip(2).collect());
        }
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
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| CliError::Failed(format!("no runtime can be made: {e}")))?;
            let code = runtime.block_on(ask(&Session::new(cli.client), command))?;
            Ok(ExitCode::from(code))
        }
    }
}

/// A command that asks an agent; its answer is the exit code.
async fn ask(session: &Session, command: Command) -> Result<u8, CliError> {
    match command {
        Command::Status => status::run(session).await,
        Command::Node(command) => node::run(session, command).await,
        Command::Workload(command) => workload::run(session, command).await,
        Command::Failure(command) => failure::run(session, command).await,
        Command::Availability(args) => account::availability(session, args).await,
        Command::Alert(command) => alert::run(session, command).await,
        Command::Events(args) => account::events(session, args).await,
        Command::Raft(command) => account::raft(session, command).await,
        Command::Leave => leave(session).await,
        Command::Agent(_) | Command::Demo(_) | Command::Other(_) => unreachable!("handled before"),
    }
}

async fn leave(session: &Session) -> Result<u8, CliError> {
    session.connect().await?.leave().await?;
    session.done("This node has left the cluster; its agent may be stopped.")?;
    Ok(0)
}

/// Makes a repetition of a request harmless.
fn request_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}
