//! Channels that end on this host: its standard error, and a file.

use crate::notify::Refused;
use std::{
    fs::OpenOptions,
    io::{self, Write as _},
};

pub async fn console(line: String) -> Result<String, Refused> {
    let write = move || writeln!(io::stderr().lock(), "{line}");
    match blocking(write).await {
        Ok(()) => Ok("written".to_owned()),
        Err(cause) => Err(Refused::for_now(format!("the agent's standard error: {cause}"))),
    }
}

/// Appends one line and returns when it is on disk: this waits for that file's fsync.
pub async fn append(path: String, body: String) -> Result<String, Refused> {
    let target = path.clone();
    let write = move || {
        let mut file = OpenOptions::new().create(true).append(true).open(&target)?;
        // In one piece, so that lines of two senders never mix.
        file.write_all(format!("{body}\n").as_bytes())?;
        file.sync_data()
    };
    match blocking(write).await {
        Ok(()) => Ok(format!("appended to {path}")),
        Err(cause) => Err(Refused::for_now(format!(
            "can't append to {path}: {cause}; the agent's user must be able to write it"
        ))),
    }
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_gets_a_line_for_each_notice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alerts.jsonl").display().to_string();
        append(path.clone(), "{\"a\":1}".into()).await.unwrap();
        append(path.clone(), "{\"a\":2}".into()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"a\":2}\n");
        let refused = append("/no/such/folder/x".into(), String::new()).await.unwrap_err();
        assert!(refused.retry && refused.reason.contains("/no/such/folder/x"), "{refused}");
    }
}
