//! `[watchdog]`: whom the leader gives a sign of life, and how often.

use super::{
    super::{
        document::{FileError, Section},
        workload::time,
    },
    channel::secret,
};
use crate::notify::kinds;
use cluster_core::{
    ledger::{SecretRef, Watchdog},
    limits::WATCHDOG_EVERY_MS,
};

const EVERY_MS: u64 = 60_000;
pub(super) const KEYS: [&str; 2] = ["url", "every"];

pub(super) fn read(section: &Section<'_>) -> Result<Watchdog, FileError> {
    section.only(&KEYS, &[])?;
    let Some(url) = secret(section, "url")? else {
        return Err(section.wrong("has no url; add url = { file = \"/path\" }"));
    };
    if matches!(&url, SecretRef::Inline(url) if !kinds::is_url(url)) {
        return Err(section.bad("url", "it isn't a URL; write one like \"https://hc-ping.com/…\""));
    }
    let every_ms = time(section, "every", WATCHDOG_EVERY_MS)?.unwrap_or(EVERY_MS);
    Ok(Watchdog { url, every_ms })
}
