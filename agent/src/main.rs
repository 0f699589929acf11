//! The `holdfast` binary: hands the command line to `cli`, and to it what only the binary starts.

use holdfast::{
    cli::{self, Entry},
    config::AgentConfig,
    demo, keeper, run, telemetry, workload,
};
use std::{ffi::OsString, path::Path, process::ExitCode, time::Duration};

/// What still blocks on the disk when the agent has ended may take so long, and holds up nothing after that: what must
/// be on disk was waited for before, and the next agent has one lease time to come back.
const LAST_CALLS: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // What the demo's cluster runs; no command of anyone's.
    if arguments.get(1).is_some_and(|word| word == "demo-service") {
        return demo::service::main(&arguments[2..]);
    }
    cli::main(arguments, Entry { guard, keeper, agent, demo: demo::main })
}

/// Before anything starts a thread: a guard forks.
fn guard(arguments: Vec<OsString>) -> ExitCode {
    workload::guard::main(Path::new(&arguments.into_iter().next().unwrap_or_default()))
}

fn keeper(arguments: Vec<OsString>) -> ExitCode {
    keeper::main(&arguments)
}

fn agent(config: AgentConfig) -> ExitCode {
    telemetry::start();
    // Orphans of a guard that was killed come to this process, which proves them gone at once.
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::debug!(%error, "not a subreaper");
    }
    // One thread: two would hand each message over, and even one worker of a pool wakes itself through the kernel at each
    // timer. What blocks has threads of its own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return failed(&format!("can't start the runtime: {error}; raise the limit of threads"));
        }
    };
    // As a task, so that a panic comes back as one.
    let ended = runtime.block_on(async { tokio::spawn(run::agent(config)).await });
    runtime.shutdown_timeout(LAST_CALLS);
    match ended {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => failed(&error.to_string()),
        Err(panic) => {
            failed(&format!("the agent's main loop ended by a panic: {panic}; start the agent again"))
        }
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("holdfast: {why}");
    ExitCode::FAILURE
}
