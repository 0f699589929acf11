//! A Zabbix proxy: it has the same trapper as the server, and needs no database but a file.
//!
//! A server would tell it of hosts and items; here they are written into its database.

use super::{
    daemon::Daemon,
    installed::{self, program},
};
use crate::lab::{LabError, command};
use serde_json::Value;
use std::{fs, net::TcpListener, process::Command};

const PROGRAMS: [(&str, &str); 2] =
    [("zabbix_proxy", "zabbix-proxy-sqlite3"), ("sqlite3", "zabbix-proxy-sqlite3")];

pub struct Proxy {
    pub port: u16,
    daemon: Daemon,
    directory: tempfile::TempDir,
}

/// Why there can be none.
#[must_use]
pub fn missing() -> Option<String> {
    installed::missing(&PROGRAMS)
}

impl Proxy {
    /// Knows the host `holdfast` with two trapper items: `holdfast.alert`, and `others.alert`, which we mayn't write.
    pub fn start() -> Result<Self, LabError> {
        let directory = tempfile::Builder::new()
            .prefix("holdfast-zabbix-")
            .tempdir()
            .map_err(LabError::io("make a directory"))?;
        let at = directory.path();
        let port = free_port()?;
        let text = include_str!("../../peers/zabbix/proxy.conf")
            .replace("@DIR@", &at.display().to_string())
            .replace("@PORT@", &port.to_string());
        fs::write(at.join("proxy.conf"), text).map_err(LabError::io("write Zabbix's configuration"))?;
        let start = || {
            let mut command = Command::new(program("zabbix_proxy").unwrap_or_default());
            command.arg("-f").arg("-c").arg(at.join("proxy.conf"));
            let mut daemon = Daemon::start(command, at)?;
            daemon.until_it_listens(port)?;
            Ok::<_, LabError>(daemon)
        };
        // The first one makes the database; the second one reads what it is to know.
        start()?.stop();
        let database = at.join("proxy.db").display().to_string();
        command::tool(&["sqlite3", &database], Some(include_str!("../../peers/zabbix/items.sql")))?;
        Ok(Self { port, daemon: start()?, directory })
    }

    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// The values that it keeps for its server, oldest first: `key_`, `clock`, `ns` and `value`.
    pub fn values(&self) -> Result<Vec<Value>, LabError> {
        const QUERY: &str =
            "SELECT key_, clock, ns, value FROM proxy_history JOIN items USING (itemid) ORDER BY id";
        let database = self.directory.path().join("proxy.db").display().to_string();
        let rows = command::tool(
            &["sqlite3", "-readonly", "-json", "-cmd", ".timeout 5000", &database, QUERY],
            None,
        )?;
        // Nothing at all is said of no rows.
        let rows = if rows.trim().is_empty() { "[]" } else { &rows };
        serde_json::from_str(rows).map_err(|e| LabError::Broken(format!("{e} in {rows}")))
    }
}

/// Zabbix takes no port above 32,767, where the kernel's own choices begin.
fn free_port() -> Result<u16, LabError> {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).expect("it is below 10,000");
    let mut ports = first..=32_767;
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.ok_or_else(|| LabError::Broken(format!("no port from {first} to 32767 is free")))
}
