//! `POST /api/v2/alerts`: alerts of other systems, taken as an Alertmanager takes them. Any agent does; the leader's
//! ledger makes one alert of what three of them are told.
//!
//! HTTP asks nobody who they are: processes of this host may, and others only where the agent's file says so. Not here:
//! what a post says, and what is news (`posted`).

use super::{Agent, posted, text};
use crate::{
    clock,
    limits::{ALERT_BODY_BYTES, ALERT_ENTRIES_IN_FLIGHT},
    notify::body::rfc3339,
    shared::ProposeError,
};
use axum::{
    body::Bytes,
    extract::{ConnectInfo, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use cluster_core::{
    ids::RequestId,
    ledger::{Body, Reply},
    time::WallTime,
};
use futures::{StreamExt as _, stream};
use serde_json::json;
use std::net::SocketAddr;

const JSON: &str = "application/json";

/// Why a post isn't taken, as HTTP says it.
type Refused = (StatusCode, String);

pub async fn post(
    State(agent): State<Agent>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match take(&agent, peer, &headers, body).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err((status, sentence)) => text(status, sentence + "\n"),
    }
}

async fn take(
    agent: &Agent,
    peer: SocketAddr,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(), Refused> {
    if !agent.alerts_from_anywhere && !peer.ip().to_canonical().is_loopback() {
        let sentence = "alerts are taken from this host alone, as anybody could post them; to take them from other \
                        hosts, set alerts = true in [listen] of this agent's file";
        return Err((StatusCode::FORBIDDEN, sentence.to_owned()));
    }
    // A page in a browser on this host can post, but not as JSON.
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some(JSON) {
        let sentence = format!("post with the header Content-Type: {JSON}");
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence));
    }
    let body = body.map_err(|why| match why.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("post at most {ALERT_BODY_BYTES} bytes at once"))
        }
        status => (status, "the body couldn't be read to its end; post it again".to_owned()),
    })?;
    let now = clock::wall();
    let posted = posted::parse(&body, now).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    let entries = agent.shared.read(|ledger| posted::news(ledger, now, posted));
    write(agent, entries).await
}

/// All of them, whatever becomes of one; the first that isn't taken is told.
async fn write(agent: &Agent, entries: Vec<Body>) -> Result<(), Refused> {
    let actor = format!("node:{}", agent.shared.identity.name);
    // No request id: a repetition finds its alert there, or gone.
    let writing = stream::iter(entries)
        .map(|entry| agent.shared.raft.propose(actor.clone(), RequestId(0), entry))
        .buffer_unordered(ALERT_ENTRIES_IN_FLIGHT)
        .map(|outcome| taken(outcome.map(|(_, reply)| reply)));
    let outcomes: Vec<Result<(), Refused>> = writing.collect().await;
    outcomes.into_iter().collect()
}

fn taken(outcome: Result<Reply, ProposeError>) -> Result<(), Refused> {
    match outcome {
        Ok(Reply::Rejected(why)) => match why.reason.as_str() {
            // Another agent was told the same, and was faster.
            "DUPLICATE" | "NOT_FOUND" | "OVER" => Ok(()),
            "TOO_MANY_ALERTS" => Err((StatusCode::TOO_MANY_REQUESTS, why.message)),
            _ => Err((StatusCode::BAD_REQUEST, why.message)),
        },
        Ok(_) => Ok(()),
        Err(why) => Err((StatusCode::SERVICE_UNAVAILABLE, why.to_string())),
    }
}

/// `GET /api/v2/status`, with what Alertmanager's clients insist on.
pub async fn status(State(agent): State<Agent>) -> Response {
    let live = agent.shared.live.borrow().clone();
    let peers: Vec<_> =
        live.members.values().map(|m| json!({"name": m.name, "address": m.address})).collect();
    let up_ms = u64::try_from(agent.pulse.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let since = WallTime(clock::wall().0.saturating_sub(up_ms));
    let status = json!({
        "cluster": {
            "name": agent.shared.identity.name,
            "status": if live.leader.is_some() { "ready" } else { "settling" },
            "peers": peers,
        },
        "config": {"original": ""},
        "uptime": rfc3339(since),
        "versionInfo": {
            "version": env!("CARGO_PKG_VERSION"),
            "branch": "", "buildDate": "", "buildUser": "", "goVersion": "", "revision": "",
        },
    });
    ([(CONTENT_TYPE, JSON)], status.to_string()).into_response()
}

#[cfg(test)]
#[path = "alerts_tests.rs"]
mod tests;
