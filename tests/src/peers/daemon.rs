//! A server of other people's that a test starts, and ends by its own process id.

use crate::lab::{LabError, command, process, wait::wait_until};
use std::{
    fs::File,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Generous: machines are busy.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Dropping it ends it.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program that stays in the foreground; what it says goes to `NAME.out` in `directory`.
    pub fn start(mut command: Command, directory: &Path) -> Result<Self, LabError> {
        let program = Path::new(command.get_program()).to_owned();
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = directory.join(format!("{name}.out"));
        let out = File::options().create(true).append(true).open(&log).map_err(LabError::io("open a log"))?;
        let both = out.try_clone().map_err(LabError::io("share a log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(both)
            .spawn()
            .map_err(LabError::io(format!("start {program:?}")))?;
        Ok(Self { name, child, log })
    }

    /// Waits until it listens on this port of loopback.
    pub fn until_it_listens(&mut self, port: u16) -> Result<(), LabError> {
        wait_until(&format!("{} to listen on port {port}", self.name), STARTS_WITHIN, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended with {status}: {}", self.said()));
            }
            TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|e| format!("{e}: {}", self.said()))
        })
    }

    /// SIGHUP: many read their configuration anew.
    pub fn reload(&self) {
        process::signal(self.child.id().cast_signed(), libc::SIGHUP);
    }

    /// SIGTERM, and SIGKILL if that isn't enough. Its children are its own to end.
    pub fn stop(&mut self) {
        process::signal(self.child.id().cast_signed(), libc::SIGTERM);
        self.collect();
    }

    /// After it was asked to end by other means.
    pub fn collect(&mut self) {
        let child = &mut self.child;
        let ended = wait_until("the end of a server", ENDS_WITHIN, || match child.try_wait() {
            Ok(None) => Err("it still runs".to_owned()),
            _ => Ok(()),
        });
        if ended.is_err() {
            command::end(&mut self.child);
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}
