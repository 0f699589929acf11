//! The agent's own log: one line an event on stderr, by `RUST_LOG` or at `info`. Secrets never come here: their types
//! don't print them.

use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// What is logged when nobody says otherwise: our own doings, and only the troubles of the libraries below.
const DEFAULT: &str = "warn,holdfast=info,openraft=error";

/// Once, at the start of an agent.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
