//! Running other programs to their end: in a network namespace, with a time limit.

use super::error::LabError;
use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// What a program said.
#[derive(Clone, Debug)]
pub struct Output {
    /// `None`: it was ended by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Lets the child start in the network namespace of this file of `/run/netns`.
pub fn enter(command: &mut Command, namespace: &Path) -> Result<(), LabError> {
    let file = OwnedFd::from(File::open(namespace).map_err(LabError::io(format!("open {namespace:?}")))?);
    // SAFETY: between fork and exec only setns is called, which is async-signal-safe, on a descriptor that the
    // closure owns.
    unsafe {
        command.pre_exec(move || match libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    Ok(())
}

/// Moves the calling thread, and what it starts from now on, into a network namespace.
pub fn move_thread(namespace: &Path) -> Result<(), LabError> {
    let file = File::open(namespace).map_err(LabError::io(format!("open {namespace:?}")))?;
    // SAFETY: setns changes the calling thread's network alone; the descriptor lives until after the call.
    match unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(LabError::io(format!("enter {namespace:?}"))(std::io::Error::last_os_error())),
    }
}

/// Runs it to its end, or kills it after `within`.
pub fn output(mut command: Command, input: Option<&str>, within: Duration) -> Result<Output, LabError> {
    let shown = show(&command);
    let failed = |why: String| LabError::Command { command: shown.clone(), why };
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(text.as_bytes()).map_err(|e| failed(e.to_string()))?;
    }
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let text = |from: mpsc::Receiver<String>| from.recv_timeout(within);
    match (text(stdout), text(stderr)) {
        (Ok(stdout), Ok(stderr)) => {
            let code = child.wait().map_err(|e| failed(e.to_string()))?.code();
            Ok(Output { code, stdout, stderr })
        }
        _ => {
            end(&mut child);
            Err(failed(format!("no end within {} ms", within.as_millis())))
        }
    }
}

/// Runs one of the system's tools, which must succeed.
pub fn tool(command: &[&str], input: Option<&str>) -> Result<String, LabError> {
    const LIMIT: Duration = Duration::from_secs(20);
    let (program, arguments) = command.split_first().expect("a command names a program");
    let mut run = Command::new(program);
    run.args(arguments);
    let done = output(run, input, LIMIT)?;
    if done.code == Some(0) {
        return Ok(done.stdout);
    }
    Err(LabError::Command { command: command.join(" "), why: done.stderr.trim().to_owned() })
}

/// SIGKILL, and no zombie stays.
pub fn end(child: &mut Child) {
    // It may have ended by itself: then there is nothing to do but to collect it.
    let _gone = child.kill();
    let _status = child.wait();
}

fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _cut_short = pipe.by_ref().take(16 << 20).read_to_end(&mut bytes);
        }
        // Nobody waits any more after a time-out.
        let _late = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}
