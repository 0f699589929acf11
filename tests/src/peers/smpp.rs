//! An SMSC made of Perl's Net::SMPP, which shares no code with ours.

use super::{
    daemon::Daemon,
    installed::{self, program},
};
use crate::lab::{LabError, free_ports};
use serde_json::Value;
use std::{
    fs,
    process::{Command, Stdio},
};

pub const PASSWORD: &str = "secret08";

pub struct Smsc {
    pub port: u16,
    daemon: Daemon,
    directory: tempfile::TempDir,
}

/// Why there can be none.
#[must_use]
pub fn missing() -> Option<String> {
    installed::missing(&[("perl", "perl")]).or_else(|| {
        let mut perl = Command::new("perl");
        perl.args(["-MNet::SMPP", "-e1"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let has_it = perl.status().is_ok_and(|status| status.success());
        let why = "no Net::SMPP here: `.ci/run` installs it, from Debian's package libnet-smpp-perl";
        (!has_it).then(|| why.to_owned())
    })
}

impl Smsc {
    pub fn start() -> Result<Self, LabError> {
        let directory = tempfile::Builder::new()
            .prefix("holdfast-smpp-")
            .tempdir()
            .map_err(LabError::io("make a directory"))?;
        let taken = directory.path().join("taken.jsonl");
        fs::write(&taken, "").map_err(LabError::io("make a file"))?;
        let port = free_ports(1)?[0];
        let mut command = Command::new(program("perl").unwrap_or_default());
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/smpp/smsc.pl"))
            .arg(port.to_string())
            .arg(taken);
        let mut daemon = Daemon::start(command, directory.path())?;
        daemon.until_it_listens(port)?;
        Ok(Self { port, daemon, directory })
    }

    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// What it took, oldest first.
    pub fn taken(&self) -> Result<Vec<Value>, LabError> {
        let path = self.directory.path().join("taken.jsonl");
        let text = fs::read_to_string(path).map_err(LabError::io("read what the SMSC took"))?;
        let line = |line| serde_json::from_str(line).map_err(|e| LabError::Broken(format!("{e} in {line}")));
        text.lines().map(line).collect()
    }
}
