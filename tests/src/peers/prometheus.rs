//! A Prometheus that tells agents of its alerts, as it tells Alertmanagers.

use super::{
    daemon::Daemon,
    http,
    installed::{self, program},
};
use crate::lab::{LabError, free_ports, metrics::Metrics};
use std::{fs, path::Path, process::Command, time::Duration};

const PROGRAM: &str = "prometheus";
/// What fires is told again about as often, and is said to last four times as long.
const RESENDS_EVERY: Duration = Duration::from_secs(5);

pub struct Prometheus {
    port: u16,
    daemon: Daemon,
    directory: tempfile::TempDir,
}

/// What one agent got of it, as it counts itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posts {
    pub made: f64,
    pub refused: f64,
}

/// Why there can be none.
#[must_use]
pub fn missing() -> Option<String> {
    installed::missing(&[(PROGRAM, PROGRAM)])
}

impl Prometheus {
    /// Two alerts fire: `Always`, and `UntilMended`. It tells all of these agents, by the addresses of their pages.
    pub fn start(agents: &[&str]) -> Result<Self, LabError> {
        let directory = tempfile::Builder::new()
            .prefix("holdfast-prometheus-")
            .tempdir()
            .map_err(LabError::io("make a directory"))?;
        let at = directory.path();
        let text =
            include_str!("../../peers/prometheus/prometheus.yml").replace("@AGENTS@", &format!("{agents:?}"));
        let config = at.join("prometheus.yml");
        fs::write(&config, text).map_err(LabError::io("write Prometheus's configuration"))?;
        write_rules(at, true)?;
        let port = free_ports(1)?[0];
        let mut command = Command::new(program(PROGRAM).unwrap_or_default());
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", at.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.arg(format!("--rules.alert.resend-delay={}s", RESENDS_EVERY.as_secs()));
        let mut daemon = Daemon::start(command, at)?;
        daemon.until_it_listens(port)?;
        Ok(Self { port, daemon, directory })
    }

    /// The rule of `UntilMended` holds no more. It goes on to tell of the end, too.
    pub fn mend(&self) -> Result<(), LabError> {
        write_rules(self.directory.path(), false)?;
        self.daemon.reload();
        Ok(())
    }

    /// `agent` as it was started with.
    pub fn posts(&self, agent: &str) -> Result<Posts, LabError> {
        let page = http::get(self.port, "/metrics").map_err(LabError::io("ask Prometheus"))?;
        let metrics = Metrics::parse(&page);
        let count = |name: &str| {
            let name = format!("prometheus_notifications_{name}");
            metrics.value(&format!("{name}{{alertmanager=\"http://{agent}/api/v2/alerts\"}}"))
        };
        Ok(Posts { made: count("latency_seconds_count"), refused: count("errors_total") })
    }
}

fn write_rules(directory: &Path, broken: bool) -> Result<(), LabError> {
    let text =
        include_str!("../../peers/prometheus/rules.yml").replace("@BROKEN@", if broken { "1" } else { "0" });
    fs::write(directory.join("rules.yml"), text).map_err(LabError::io("write Prometheus's rules"))
}
