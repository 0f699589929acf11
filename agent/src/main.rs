//! The `holdfast` binary: hands the command line to `cli`, and to it what only the binary starts.

use holdfast::{
    cli::{self, DemoArgs, Entry},
    config::AgentConfig,
};
use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    cli::main(std::env::args_os(), Entry { guard, agent, demo })
}

fn guard(_arguments: Vec<OsString>) -> ExitCode {
    unavailable("guard")
}

fn agent(_config: AgentConfig) -> ExitCode {
    unavailable("agent")
}

fn demo(_args: DemoArgs) -> ExitCode {
    unavailable("demo")
}

fn unavailable(what: &str) -> ExitCode {
    eprintln!("holdfast: `holdfast {what}` isn't supported by this version yet");
    ExitCode::FAILURE
}
