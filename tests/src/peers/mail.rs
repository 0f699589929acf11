//! Postfix that takes mail from who logs in, and Dovecot that knows who may and shows what came.
//!
//! Both are Debian's, run from a directory of their own and leave the machine's mail alone.

use super::{
    daemon::Daemon,
    installed::{self, program},
};
use crate::lab::{LabError, certificates::Authority, command, free_ports, wait::wait_until};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

pub const USER: &str = "ops@example.com";
pub const PASSWORD: &str = "correct horse";
const PROGRAMS: [(&str, &str); 3] =
    [("postfix", "postfix"), ("dovecot", "dovecot-imapd"), ("python3", "python3")];
/// Nobody and no group, who own the mailbox.
const NOBODY: u32 = 65_534;
const ARRIVES_WITHIN: Duration = Duration::from_secs(20);

pub struct MailServer {
    pub starttls_port: u16,
    pub implicit_port: u16,
    /// The authority of its certificate, which is for 127.0.0.1.
    pub ca: PathBuf,
    imap_port: u16,
    postfix: Daemon,
    _dovecot: Daemon,
    directory: tempfile::TempDir,
}

/// Why there can be none.
#[must_use]
pub fn missing() -> Option<String> {
    installed::missing(&PROGRAMS)
}

impl MailServer {
    pub fn start() -> Result<Self, LabError> {
        let directory = tempfile::Builder::new()
            .prefix("holdfast-mail-")
            .tempdir()
            .map_err(LabError::io("make a directory"))?;
        let at = directory.path();
        let authority = Authority::new(&at.join("tls"))?;
        let files = authority.issue(&["127.0.0.1"])?;
        let ports = free_ports(3)?;
        let values = [
            ("@DIR@", at.display().to_string()),
            ("@CERT@", files.cert.display().to_string()),
            ("@KEY@", files.key.display().to_string()),
            ("@STARTTLS_PORT@", ports[0].to_string()),
            ("@IMPLICIT_PORT@", ports[1].to_string()),
            ("@IMAP_PORT@", ports[2].to_string()),
        ];
        lay_out(at, &values).map_err(LabError::io("write the mail servers' files"))?;

        let mut command = Command::new(program("dovecot").unwrap_or_default());
        command.arg("-F").arg("-c").arg(at.join("dovecot/dovecot.conf"));
        let mut dovecot = Daemon::start(command, at)?;
        dovecot.until_it_listens(ports[2])?;
        let mut postfix = Daemon::start(postfix(at)?, at)?;
        postfix.until_it_listens(ports[0])?;
        Ok(Self {
            starttls_port: ports[0],
            implicit_port: ports[1],
            imap_port: ports[2],
            ca: files.ca,
            postfix,
            _dovecot: dovecot,
            directory,
        })
    }

    /// Ends Postfix; the mailbox can still be read.
    pub fn stop_postfix(&mut self) {
        self.postfix.stop();
    }

    /// All mails that arrived, oldest first, read over IMAP.
    pub fn mails(&self) -> Result<Vec<Value>, LabError> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/read_mail.py");
        let done = command::tool(&["python3", script, &self.imap_port.to_string(), USER, PASSWORD], None)?;
        serde_json::from_str(&done).map_err(|e| LabError::Broken(format!("{e} in {done}")))
    }

    /// Waits until as many mails are there, and no more.
    pub fn until_there_are(&self, count: usize) -> Result<Vec<Value>, LabError> {
        wait_until(&format!("{count} mails"), ARRIVES_WITHIN, || {
            let mails = self.mails().map_err(|e| e.to_string())?;
            if mails.len() == count { Ok(mails) } else { Err(format!("{} mails: {mails:?}", mails.len())) }
        })
    }

    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("postfix.log")).unwrap_or_default()
    }
}

/// Its master process itself, which ends all the others when it ends; `postfix start-fg` would put a shell before it.
fn postfix(at: &Path) -> Result<Command, LabError> {
    let directory = at.join("postfix").display().to_string();
    let run = |name: &str, arguments: &[&str]| {
        let path = program(name).unwrap_or_default().display().to_string();
        command::tool(&[&[path.as_str(), "-c", &directory], arguments].concat(), None)
    };
    // Makes the queue's directories.
    run("postfix", &["check"])?;
    let daemons = run("postconf", &["-h", "daemon_directory"])?;
    let mut master = Command::new(Path::new(daemons.trim()).join("master"));
    master.args(["-c", &directory, "-s"]);
    Ok(master)
}

fn lay_out(at: &Path, values: &[(&str, String)]) -> std::io::Result<()> {
    // The servers' own users must pass through.
    fs::set_permissions(at, fs::Permissions::from_mode(0o755))?;
    for name in ["postfix", "queue", "data", "mail", "dovecot"] {
        fs::create_dir(at.join(name))?;
    }
    chown(at.join("data"), Some(user_id("postfix")?), None)?;
    chown(at.join("mail"), Some(NOBODY), Some(NOBODY))?;
    let files = [
        ("postfix/main.cf", include_str!("../../peers/mail/main.cf")),
        ("postfix/master.cf", include_str!("../../peers/mail/master.cf")),
        ("dovecot/dovecot.conf", include_str!("../../peers/mail/dovecot.conf")),
        ("dovecot/users", &format!("{USER}:{{PLAIN}}{PASSWORD}\n")),
    ];
    for (name, text) in files {
        let text = values.iter().fold(text.to_owned(), |text, (key, value)| text.replace(key, value));
        fs::write(at.join(name), text)?;
    }
    Ok(())
}

fn user_id(name: &str) -> std::io::Result<u32> {
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name));
    let id = line.and_then(|line| line.split(':').nth(2)?.parse().ok());
    id.ok_or_else(|| std::io::Error::other(format!("/etc/passwd has no user {name}")))
}
