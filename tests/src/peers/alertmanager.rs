//! A Prometheus Alertmanager that tells all it is told to a recorder.

use super::{
    daemon::Daemon,
    http,
    installed::{self, program},
};
use crate::lab::{LabError, certificates::Files, free_ports};
use serde_json::Value;
use std::{fs, net::SocketAddr, process::Command};

const PROGRAM: &str = "prometheus-alertmanager";

pub const PASSWORD: &str = "correct horse";

pub struct Alertmanager {
    pub port: u16,
    daemon: Daemon,
    _directory: tempfile::TempDir,
}

/// Why there can be none.
#[must_use]
pub fn missing() -> Option<String> {
    installed::missing(&[(PROGRAM, PROGRAM)])
}

impl Alertmanager {
    /// What it sends goes to `recorder`, under `/theirs/`.
    pub fn start(recorder: SocketAddr) -> Result<Self, LabError> {
        Self::run(recorder, None)
    }

    /// The same, with HTTPS and a password for `holdfast`.
    pub fn start_guarded(recorder: SocketAddr, files: &Files) -> Result<Self, LabError> {
        let web = include_str!("../../peers/alertmanager/web.yml")
            .replace("@CERT@", &files.cert.display().to_string())
            .replace("@KEY@", &files.key.display().to_string());
        Self::run(recorder, Some(&web))
    }

    fn run(recorder: SocketAddr, web: Option<&str>) -> Result<Self, LabError> {
        let directory = tempfile::Builder::new()
            .prefix("holdfast-alertmanager-")
            .tempdir()
            .map_err(LabError::io("make a directory"))?;
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).map_err(LabError::io("write Alertmanager's configuration"))?;
            Ok::<_, LabError>(path.display().to_string())
        };
        let text = include_str!("../../peers/alertmanager/alertmanager.yml")
            .replace("@RECORDER@", &recorder.to_string());
        let port = free_ports(1)?[0];
        let mut command = Command::new(program(PROGRAM).unwrap_or_default());
        command.arg(format!("--config.file={}", write("alertmanager.yml", &text)?));
        command.arg(format!("--storage.path={}", directory.path().join("data").display()));
        if let Some(web) = web {
            command.arg(format!("--web.config.file={}", write("web.yml", web)?));
        }
        // Without gossip it listens on nothing else.
        command.args([&format!("--web.listen-address=127.0.0.1:{port}"), "--cluster.listen-address="]);
        let mut daemon = Daemon::start(command, directory.path())?;
        daemon.until_it_listens(port)?;
        Ok(Self { port, daemon, _directory: directory })
    }

    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// What fires, as it shows it.
    pub fn alerts(&self) -> Result<Vec<Value>, LabError> {
        let body = http::get(self.port, "/api/v2/alerts").map_err(LabError::io("ask Alertmanager"))?;
        serde_json::from_str(&body).map_err(|e| LabError::Broken(format!("{e} in {body}")))
    }
}
