//! `/ack/TOKEN`: the page behind a link in a message. It says which failure that is, and its button acknowledges it.
//!
//! Mail scanners and chats open links by themselves, so GET changes nothing; POST to the same address does. Nobody is
//! asked who they are, nor where from: what is allowed is signed in the link.
//! Not here: what a link says and when it is good (`notify::link`).

use super::Agent;
use crate::{
    clock,
    limits::{LINK_APPLY_TIMEOUT, LINK_WRITE_TIMEOUT},
    notify::{
        body::rfc3339,
        link::{BadLink, LASTS_DAYS, Link, Links},
        sign,
    },
};
use axum::{
    extract::{Path, State},
    http::{
        StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use cluster_core::{
    ids::{FailureId, RequestId},
    ledger::{Body, Failure, FailureState, Ledger, Reply, Subject},
};
use minijinja::{Environment, context};

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "body{font:1.1rem/1.5 sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem;\
                     overflow-wrap:anywhere}button{font:inherit;padding:.6rem 1.5rem}";

/// What is shown; all of it is text.
struct Page {
    status: StatusCode,
    title: String,
    lines: Vec<String>,
    button: bool,
}

pub async fn show(State(agent): State<Agent>, Path(token): Path<String>) -> Response {
    match read(&agent, &token) {
        Ok(link) => found(&agent, &link, false).into_response(),
        Err(page) => page.into_response(),
    }
}

/// As `holdfast failure ack` does, through whoever leads.
pub async fn acknowledge(State(agent): State<Agent>, Path(token): Path<String>) -> Response {
    let link = match read(&agent, &token) {
        Ok(link) => link,
        Err(page) => return page.into_response(),
    };
    // Whoever has the link may open it again and again: only what changes something is written.
    if agent.shared.read(|ledger| ledger.is_acknowledged(link.failure)) {
        return found(&agent, &link, true).into_response();
    }
    let (actor, body) =
        (format!("link to {}", link.channel), Body::FailureAcknowledged { failure: link.failure });
    // No request id: a repetition changes nothing.
    let writing = agent.shared.raft.propose(actor, RequestId(0), body);
    let page = match tokio::time::timeout(LINK_WRITE_TIMEOUT, writing).await {
        Ok(Ok((_, Reply::Rejected(_)))) => gone(link.failure),
        Ok(Ok((at, _))) => {
            let mut applied = agent.shared.applied.clone();
            // If it takes longer, the page just doesn't say by whom.
            let here = applied.wait_for(|index| *index >= at.index);
            let _ = tokio::time::timeout(LINK_APPLY_TIMEOUT, here).await;
            found(&agent, &link, true)
        }
        Ok(Err(why)) => unavailable(link.failure, &why.to_string()),
        Err(_) => Page::says(
            StatusCode::SERVICE_UNAVAILABLE,
            "Not known yet",
            ["The leader hasn't answered in time.".to_owned(), "Open the link again to see.".to_owned()],
        ),
    };
    page.into_response()
}

/// What the link allows, or the page that says why it allows nothing.
fn read(agent: &Agent, token: &str) -> Result<Link, Page> {
    agent.shared.read(|ledger| match Links::of(ledger) {
        Some(links) => links.read(token, clock::wall()).map_err(refused),
        None if ledger.cluster.is_some() => Err(without_links()),
        None => Err(Page::says(
            StatusCode::SERVICE_UNAVAILABLE,
            "Not now",
            [
                "This agent waits for the ledger from the leader.".to_owned(),
                "Try again in a moment.".to_owned(),
            ],
        )),
    })
}

/// The failure as this agent knows it. `written`: that it is acknowledged is in the ledger by now, if not yet here.
fn found(agent: &Agent, link: &Link, written: bool) -> Page {
    let known =
        |ledger: &Ledger| ledger.failures.get(&link.failure).map(|f| of(ledger, link.failure, f, written));
    match agent.shared.read(known) {
        Some(page) => page,
        None if written => {
            let title = format!("Failure {}", link.failure);
            Page::says(StatusCode::OK, &title, ["It is acknowledged.".to_owned()])
        }
        None if agent.shared.live.borrow().leader.is_none() => {
            unavailable(link.failure, "this agent doesn't know that failure, nor a leader to ask")
        }
        None => gone(link.failure),
    }
}

fn of(ledger: &Ledger, id: FailureId, failure: &Failure, written: bool) -> Page {
    let alerts = failure.alerts.iter().filter_map(|alert| ledger.alerts.get(alert));
    let mut lines: Vec<String> = alerts.map(|alert| format!("{}: {}", alert.name, alert.summary)).collect();
    lines.push(standing(ledger, failure));
    let by = failure.acknowledged_by.as_deref().unwrap_or("somebody");
    let button = failure.acknowledged_at.is_none() && !written;
    lines.push(match failure.acknowledged_at {
        Some(at) => format!("Acknowledged by {by} at {}.", rfc3339(at)),
        None if written => "It is acknowledged.".to_owned(),
        None => "Nobody has acknowledged it. If you do, nobody is told of it again or called in later, until it is over. \
                 It changes nothing else."
            .to_owned(),
    });
    Page { status: StatusCode::OK, title: format!("Failure {id}: {}", failure.name), lines, button }
}

/// Of what, since when, and how it is.
fn standing(ledger: &Ledger, failure: &Failure) -> String {
    let kind = match failure.subject {
        Subject::Node(_) => "node",
        Subject::Workload(..) => "workload",
    };
    let cluster = ledger.cluster.as_ref().map_or("", |cluster| &cluster.name);
    let state = match (failure.state, failure.recovered_at) {
        (_, Some(at)) => format!("recovered at {}", rfc3339(at)),
        (FailureState::Open, _) => "open".to_owned(),
        (FailureState::Recovering, _) => "recovering".to_owned(),
        (FailureState::Recovered, _) => "recovered".to_owned(),
        (FailureState::Unrecoverable, _) => "could not be recovered".to_owned(),
    };
    format!(
        "The {kind} {} of cluster {cluster}, since {}: {state}.",
        failure.name,
        rfc3339(failure.detected_at)
    )
}

fn refused(why: BadLink) -> Page {
    match why {
        BadLink::Expired(link) => Page::says(
            StatusCode::GONE,
            "This link is too old",
            [format!("A link is good for {LASTS_DAYS} days."), by_command(link.failure)],
        ),
        BadLink::Forged => Page::says(
            StatusCode::FORBIDDEN,
            "This link can't be used",
            [
                "It isn't one of this cluster's, or isn't any more, or it was cut on its way.".to_owned(),
                instead(),
            ],
        ),
    }
}

fn without_links() -> Page {
    let line = "The alerting file of this cluster has no ack_url.".to_owned();
    Page::says(StatusCode::FORBIDDEN, "Nothing is acknowledged by links here", [line, instead()])
}

fn gone(failure: FailureId) -> Page {
    let line = "It is over, and so long ago that it isn't kept.".to_owned();
    Page::says(StatusCode::GONE, &format!("There is no failure {failure} any more"), [line])
}

fn unavailable(failure: FailureId, why: &str) -> Page {
    Page::says(
        StatusCode::SERVICE_UNAVAILABLE,
        "Not acknowledged",
        [format!("What happened: {why}."), "Try again in a moment.".to_owned(), by_command(failure)],
    )
}

fn by_command(failure: FailureId) -> String {
    format!("On a host of the cluster, this acknowledges it: holdfast failure ack {failure}")
}

fn instead() -> String {
    "On a host of the cluster, \"holdfast failure list --open\" shows what is wrong, and \"holdfast failure ack ID\" \
     acknowledges it."
        .to_owned()
}

impl Page {
    fn says(status: StatusCode, title: &str, lines: impl Into<Vec<String>>) -> Self {
        Self { status, title: title.to_owned(), lines: lines.into(), button: false }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let Self { status, title, lines, button } = self;
        // By its name it is HTML, and all but the style is escaped.
        let html = Environment::new().render_named_str(
            "acknowledge.html",
            include_str!("acknowledge.html"),
            context! { title, lines, button, style => STYLE },
        );
        let html = html.expect("our own template renders every page");
        let headers = [
            (CONTENT_TYPE, HTML.to_owned()),
            (CACHE_CONTROL, "no-store".to_owned()),
            (REFERRER_POLICY, "no-referrer".to_owned()),
            (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (CONTENT_SECURITY_POLICY, policy()),
        ];
        (status, headers, html).into_response()
    }
}

/// Nothing is loaded or run, and the page stands in no frame; the one style is named by its hash.
fn policy() -> String {
    let style = sign::base64(hmac_sha256::Hash::hash(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
#[path = "acknowledge_tests.rs"]
mod tests;
