//! Links by which people acknowledge a failure: each names one failure, the channel that was told, and its own end, all
//! of it signed with the cluster's key. Whoever has one may acknowledge that failure, and nothing else.
//!
//! A link ends with `/ack/` and a token: version, failure, end in milliseconds since 1970 (big endian, 1, 8 and 8 bytes),
//! the channel's name, and the 32 bytes of HMAC-SHA-256 over a label, the cluster's id and all of that; in base64url.
//! Not here: the page that it leads to (`http`), and making the key (the leader, when links are first wanted).

use super::kinds::is_url;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cluster_core::{
    alerting::Notice,
    ids::{ClusterId, FailureId},
    ledger::{Ledger, LinkKey, Phase},
    time::WallTime,
};
use hmac_sha256::HMAC;

/// Before the token.
pub const PATH: &str = "/ack/";
/// How many whole days a link lasts; it ends with the day (UTC) on which they are over, so that what is told again on
/// the same day says the same.
pub const LASTS_DAYS: u64 = 7;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

const VERSION: u8 = 1;
/// Nothing else is signed with this key, and this keeps it so.
const LABEL: &[u8] = b"holdfast acknowledge link, 1";
const MAC_BYTES: usize = 32;
/// Version, failure and end.
const NUMBERS_BYTES: usize = 1 + 8 + 8;
/// Stands for a token where what is sent is shown.
const HIDDEN: &str = "(hidden)";

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub failure: FailureId,
    /// Through which it was sent.
    pub channel: String,
    pub expires_at: WallTime,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    /// Cut, changed, another cluster's, or of a key that is gone.
    #[error("the link isn't one of this cluster's")]
    Forged,
    /// It was good once.
    #[error("the link is too old")]
    Expired(Link),
}

/// What a cluster's links are made and read with.
pub struct Links<'l> {
    cluster: ClusterId,
    base: &'l str,
    key: &'l LinkKey,
}

impl<'l> Links<'l> {
    /// `None` where the alerting configuration wants none.
    #[must_use]
    pub fn of(ledger: &'l Ledger) -> Option<Self> {
        Some(Self {
            cluster: ledger.cluster.as_ref()?.id,
            base: ledger.alerting.ack_url.as_deref()?,
            key: ledger.link_key.as_ref()?,
        })
    }

    /// For a message of that time.
    #[must_use]
    pub fn url(&self, failure: FailureId, channel: &str, told_at: WallTime) -> String {
        let expires_at = WallTime((told_at.0 / DAY_MS + LASTS_DAYS + 1) * DAY_MS);
        self.at(&self.token(&Link { failure, channel: channel.to_owned(), expires_at }))
    }

    /// # Errors
    /// It doesn't allow anything (any more).
    pub fn read(&self, token: &str, now: WallTime) -> Result<Link, BadLink> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| BadLink::Forged)?;
        let (said, mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or(BadLink::Forged)?;
        // Compares in constant time.
        if !self.mac(said).finalize_verify(mac) {
            return Err(BadLink::Forged);
        }
        let link = parse(said).ok_or(BadLink::Forged)?;
        if now >= link.expires_at { Err(BadLink::Expired(link)) } else { Ok(link) }
    }

    fn at(&self, token: &str) -> String {
        format!("{}{PATH}{token}", self.base.trim_end_matches('/'))
    }

    fn token(&self, link: &Link) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(link.failure.0.to_be_bytes());
        bytes.extend(link.expires_at.0.to_be_bytes());
        bytes.extend(link.channel.as_bytes());
        let mac = self.mac(&bytes).finalize();
        bytes.extend(mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// All before the channel has a fixed length, so no two links are the same bytes.
    fn mac(&self, said: &[u8]) -> HMAC {
        let mut mac = HMAC::new(self.key.0);
        mac.update(LABEL);
        mac.update(self.cluster.0.to_be_bytes());
        mac.update(said);
        mac
    }
}

/// `None` for another version.
fn parse(said: &[u8]) -> Option<Link> {
    let (numbers, channel) = said.split_first_chunk::<NUMBERS_BYTES>()?;
    let (version, numbers) = numbers.split_first()?;
    let (failure, rest) = numbers.split_first_chunk::<8>()?;
    let expires_at = rest.first_chunk::<8>()?;
    (*version == VERSION).then(|| Link {
        failure: FailureId(u64::from_be_bytes(*failure)),
        channel: String::from_utf8_lossy(channel).into_owned(),
        expires_at: WallTime(u64::from_be_bytes(*expires_at)),
    })
}

/// Gives its link to each notice that `channel` is told and that wants one.
pub fn add(ledger: &Ledger, channel: &str, told_at: WallTime, notices: &mut [Notice]) {
    let Some(links) = Links::of(ledger) else { return };
    fill(ledger, channel, notices, |failure| links.url(failure, channel, told_at));
}

/// As `add`, of links that allow nothing: for who only looks.
pub fn add_hidden(ledger: &Ledger, channel: &str, notices: &mut [Notice]) {
    let Some(links) = Links::of(ledger) else { return };
    fill(ledger, channel, notices, |_| links.at(HIDDEN));
}

/// Those that fire, of a failure that nobody acknowledged, where there is room for a link.
fn fill(ledger: &Ledger, channel: &str, notices: &mut [Notice], url: impl Fn(FailureId) -> String) {
    if !ledger.alerting.channels.get(channel).is_some_and(|channel| channel.takes_links()) {
        return;
    }
    for notice in notices.iter_mut().filter(|notice| notice.status == Phase::Firing) {
        notice.ack_url = notice.failure_id.filter(|id| !ledger.is_acknowledged(*id)).map(&url);
    }
}

/// Whether links can begin with this. Nothing in it may need an escape, wherever links are written.
///
/// # Errors
/// A clause that follows the key.
pub fn check_base(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":/.-_~[]".contains(c);
    match is_url(text) && text.chars().all(plain) {
        true => Ok(()),
        false => Err("it isn't an address that links can begin with; write one like \
                      \"https://holdfast.example.com\""
            .to_owned()),
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
