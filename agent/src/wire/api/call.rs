//! What comes with a request apart from its message: who asks, how long there is, how often it was passed on.

use crate::{limits::REQUEST_TIMEOUT, shared::Shared, wire::certificate::shown_names};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;
use tonic::{Request, metadata::MetadataMap};

/// How often a request was passed on by agents, in its metadata.
pub const HOPS_METADATA: &str = "holdfast-hops";
/// Who asked the agent that passed the request on.
pub const ACTOR_METADATA: &str = "holdfast-actor";
/// A request that was passed on so often isn't again: leaders change faster than it travels.
pub const MAX_HOPS: u32 = 2;
/// The actor of whoever shows no certificate.
const LOCAL_ACTOR: &str = "local";
/// Names longer than this are cut where they come in.
const ACTOR_BYTES: usize = 256;

#[derive(Clone, Debug)]
pub struct Call {
    pub hops: u32,
    pub deadline: Instant,
    /// The name on the client's certificate, or `local`.
    pub actor: String,
}

impl Call {
    pub fn of<Q>(request: &Request<Q>, shared: &Shared) -> Self {
        let metadata = request.metadata();
        let time = timeout(metadata).map_or(REQUEST_TIMEOUT, |asked| asked.min(REQUEST_TIMEOUT));
        let shown = shown_names(request);
        let mut actor = match (shown, text(metadata, ACTOR_METADATA)) {
            (None, passed_on) => passed_on.unwrap_or_else(|| LOCAL_ACTOR.to_owned()),
            // Only another member may say on whose behalf it asks.
            (Some(names), Some(passed_on)) if is_member(shared, &names) => passed_on,
            (Some(names), _) => names.into_iter().next().unwrap_or_else(|| "unnamed".to_owned()),
        };
        let end = actor.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= ACTOR_BYTES);
        actor.truncate(end.last().unwrap_or(0));
        Self {
            hops: text(metadata, HOPS_METADATA).and_then(|n| n.parse().ok()).unwrap_or(0),
            deadline: Instant::now() + time,
            actor,
        }
    }

    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The same message, one hop further, with what is left of its time.
    #[must_use]
    pub fn pass_on<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        request.set_timeout(self.remaining());
        self.mark(&mut request);
        request
    }

    /// As [`Call::pass_on`], for a stream that lasts as long as somebody reads it.
    #[must_use]
    pub fn pass_on_stream<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        self.mark(&mut request);
        request
    }

    fn mark<Q>(&self, request: &mut Request<Q>) {
        let metadata = request.metadata_mut();
        metadata.insert(HOPS_METADATA, (self.hops + 1).into());
        // A name that doesn't fit a header is left out: the next agent then says `local`, or names this agent.
        if let Ok(actor) = self.actor.parse() {
            metadata.insert(ACTOR_METADATA, actor);
        }
    }
}

fn text(metadata: &MetadataMap, key: &str) -> Option<String> {
    Some(metadata.get(key)?.to_str().ok()?.to_owned())
}

/// `grpc-timeout` as its specification has it: at most 8 digits and a unit.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let value = text(metadata, "grpc-timeout")?;
    let unit = value.chars().last().filter(char::is_ascii)?;
    let number: u64 = value[..value.len() - 1].parse().ok().filter(|n| *n <= 99_999_999)?;
    match unit {
        'H' => Some(Duration::from_secs(number * 3_600)),
        'M' => Some(Duration::from_secs(number * 60)),
        'S' => Some(Duration::from_secs(number)),
        'm' => Some(Duration::from_millis(number)),
        'u' => Some(Duration::from_micros(number)),
        'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

fn is_member(shared: &Shared, names: &[String]) -> bool {
    let heard = shared.live.borrow().clone();
    let mut members: BTreeSet<String> = heard.members.values().map(|m| m.name.clone()).collect();
    members.insert(shared.identity.name.clone());
    names.iter().any(|name| members.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_as_grpc_writes_it() {
        let read = |value: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", value.parse().unwrap());
            timeout(&metadata)
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!((read("S"), read("5"), read("-1S"), read("100000000S")), (None, None, None, None));
    }

    #[test]
    fn a_request_passed_on_counts_its_hops_and_keeps_its_actor() {
        let deadline = Instant::now() + Duration::from_secs(2);
        let call = Call { hops: 1, deadline, actor: "anna".to_owned() };
        let request = call.pass_on(());
        assert_eq!(text(request.metadata(), HOPS_METADATA).as_deref(), Some("2"));
        assert_eq!(text(request.metadata(), ACTOR_METADATA).as_deref(), Some("anna"));
        let left = timeout(request.metadata()).unwrap();
        assert!(left <= Duration::from_secs(2) && left > Duration::from_secs(1), "{left:?}");
    }
}
