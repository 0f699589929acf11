//! A program of the user's: the message's JSON on its standard input, on one line, as the `file` channel writes it.
//!
//! Exit 0 is delivered. EX_USAGE, EX_DATAERR, EX_NOPERM and EX_CONFIG of sysexits.h say that trying again is no use;
//! anything else is tried again. Dropping the future kills the program and all that it started.
//! Not here: a shell. `command` is run as it is.

use crate::notify::{Refused, body, http::shown, message::Message};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{process::ExitStatus, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};

/// Of what the program prints, on each of its two outputs; the rest is read and dropped.
const OUTPUT_BYTES: usize = 4 * 1024;
/// After its exit, for what others in its group may still hold open.
const OUTPUT_GRACE: Duration = Duration::from_millis(100);
const NO_USE_AGAIN: [i32; 4] = [64, 65, 77, 78];

#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// The program and its arguments.
    pub command: Vec<String>,
}

impl std::fmt::Debug for Config {
    /// Arguments may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exec({})", self.program())
    }
}

impl Config {
    #[must_use]
    pub fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }
}

/// What the program reads.
#[must_use]
pub fn request(message: &Message) -> String {
    format!("{}\n", body::of(message))
}

/// `said` is the start of what it printed: its errors if there are any, its output otherwise.
///
/// # Errors
/// It didn't exit with 0.
pub fn judge(status: ExitStatus, said: &str) -> Result<String, Refused> {
    let said = shown(said);
    let text = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    match status.code() {
        Some(0) => Ok(text),
        Some(code) if NO_USE_AGAIN.contains(&code) => Err(Refused::for_good(text)),
        _ => Err(Refused::for_now(text)),
    }
}

/// # Errors
/// The program can't be started or says no.
pub async fn deliver(config: &Config, message: &Message) -> Result<String, Refused> {
    let variables =
        [("HOLDFAST_ALERT_ID", message.id.as_str()), ("HOLDFAST_ALERT_STATUS", body::status(message.status))];
    run(&config.command, &variables, &request(message)).await
}

/// Runs a command that reads `input`. Returns the start of what it printed.
///
/// # Errors
/// The program can't be started or says no.
pub async fn run(command: &[String], variables: &[(&str, &str)], input: &str) -> Result<String, Refused> {
    let [program, arguments @ ..] = command else {
        return Err(Refused::for_good("the channel's command is empty"));
    };
    let broken =
        |cause: std::io::Error| Refused::for_now(format!("{program} can't be run on this host: {cause}"));
    let child = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    let mut group = Group(child);
    let (stdin, stdout, stderr) = (group.0.stdin.take(), group.0.stdout.take(), group.0.stderr.take());
    let feed = async {
        // A program that doesn't read it all has its reasons.
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let talk = async { tokio::join!(feed, start_of(stdout, &mut out), start_of(stderr, &mut err)) };
    let status = {
        tokio::pin!(talk);
        tokio::select! {
            exited = group.0.wait() => {
                let _ = tokio::time::timeout(OUTPUT_GRACE, &mut talk).await;
                exited
            }
            _ = &mut talk => group.0.wait().await,
        }
    };
    let status = status.map_err(broken)?;
    let said = if err.is_empty() { out } else { err };
    judge(status, &String::from_utf8_lossy(&said)).map_err(|refused| refused.said_by(&format!("{program}:")))
}

/// Kept to be killed while its first process hasn't been waited for: until then the number can't be anyone else's.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

/// Reads to the end and keeps the start, so that the program never waits for a reader.
async fn start_of(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read.min(OUTPUT_BYTES - kept.len())]);
    }
}

#[cfg(test)]
#[path = "exec_tests.rs"]
mod tests;
