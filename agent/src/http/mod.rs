//! HTTP for probes and scrapers: is the process alive, can it answer, how is the cluster. And for systems that post
//! their alerts, as to an Alertmanager; and for people who acknowledge by a link.
//!
//! Not here: the API (gRPC), and anything else that changes something.

mod acknowledge;
mod alerts;
mod metrics;
mod posted;
mod process;
#[cfg(test)]
mod tests;

use crate::{
    limits::{
        ALERT_BODY_BYTES, HTTP_BODY_BYTES, HTTP_REQUEST_TIMEOUT, HTTP_REQUESTS, LEDGER_BEHIND,
        LOOP_STALLED_AFTER,
    },
    shared::Shared,
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::Semaphore};

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const POINTER: &str = "Holdfast. Here: /healthz /readyz /metrics /api/v2/alerts. The rest: `holdfast status`, `holdfast --help`.\n";

/// The agent's loop says here that it still turns.
#[derive(Debug)]
pub struct Pulse {
    started: Instant,
    /// Milliseconds after `started`.
    last: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { started: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Pulse {
    pub fn beat(&self) {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(ms, Ordering::Relaxed);
    }

    /// How long ago the last beat was.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

#[derive(Clone)]
struct Agent {
    shared: Arc<Shared>,
    pulse: Arc<Pulse>,
    room: Arc<Semaphore>,
    alerts_from_anywhere: bool,
}

/// `alerts_from_anywhere`: whether other hosts may post alerts, too.
pub fn router(shared: Arc<Shared>, pulse: Arc<Pulse>, alerts_from_anywhere: bool) -> Router {
    let room = Arc::new(Semaphore::new(HTTP_REQUESTS));
    let agent = Agent { shared, pulse, room, alerts_from_anywhere };
    let posting = post(alerts::post).layer(DefaultBodyLimit::max(ALERT_BODY_BYTES));
    Router::new()
        .route("/", get(async || text(StatusCode::OK, POINTER)))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v2/alerts", posting)
        .route("/api/v2/status", get(alerts::status))
        .route("/ack/{token}", get(acknowledge::show).post(acknowledge::acknowledge))
        .route("/-/healthy", get(healthz))
        .route("/-/ready", get(readyz))
        .layer(middleware::from_fn_with_state(agent.clone(), bounded))
        .layer(DefaultBodyLimit::max(HTTP_BODY_BYTES))
        .with_state(agent)
}

/// Serves until `stop` resolves, and lets what is under way finish.
///
/// # Errors
/// The listener fails for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await
}

/// So many requests at once, and each so long, and no longer.
async fn bounded(State(agent): State<Agent>, request: Request, next: Next) -> Response {
    let Ok(_room) = agent.room.try_acquire() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once; ask less often\n");
    };
    match tokio::time::timeout(HTTP_REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "this took too long; try again\n"),
    }
}

async fn healthz(State(agent): State<Agent>) -> Response {
    let age = agent.pulse.age();
    if age < LOOP_STALLED_AFTER {
        return text(StatusCode::OK, "ok\n");
    }
    let sentence = format!("the agent's loop has not turned for {} ms; restart the agent\n", age.as_millis());
    text(StatusCode::SERVICE_UNAVAILABLE, sentence)
}

async fn readyz(State(agent): State<Agent>) -> Response {
    match not_ready(&agent.shared) {
        None => text(StatusCode::OK, "ready\n"),
        Some(sentence) => text(StatusCode::SERVICE_UNAVAILABLE, sentence),
    }
}

fn not_ready(shared: &Shared) -> Option<String> {
    let me = &shared.identity.name;
    if shared.live.borrow().leader.is_none() {
        return Some(format!("{me} knows no leader; see `holdfast status`\n"));
    }
    if shared.read(|ledger| ledger.cluster.is_none()) {
        return Some(format!("{me} waits for the ledger from the leader\n"));
    }
    let raft = shared.raft.view();
    let behind = raft.committed.saturating_sub(raft.applied);
    (behind > LEDGER_BEHIND).then(|| format!("{me} is {behind} entries behind the ledger and catches up\n"))
}

async fn metrics(State(agent): State<Agent>) -> Response {
    match metrics::render(&agent.shared).await {
        Ok(body) => ([(CONTENT_TYPE, OPEN_METRICS)], body).into_response(),
        Err(cause) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("no metrics now: {cause}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], body.into()).into_response()
}
