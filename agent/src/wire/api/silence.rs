//! Silences of `AlertService`: added, ended and listed by people. Checks what must be understood before it is kept.
//!
//! Not here: what a silence does to alerts that are about to be told.

use super::{
    alert::at,
    call::Call,
    errors,
    errors::invalid,
    leader::{Api, now, request_id},
    page,
};
use crate::view::{View, timestamp};
use cluster_core::{
    alerting::{BadExpression, Matching},
    ledger::{Body, MatchOp, Matcher, Reply, Silence},
    limits::{MATCHERS_MAX, SILENCE_LISTED_MS},
    time::WallTime,
};
use holdfast_proto::v1;
use tonic::{Code, Request, Response, Status};

/// What lasts longer is a route's or a maintenance's to say.
const LONGEST_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

pub async fn add(
    api: &Api,
    request: Request<v1::AddSilenceRequest>,
) -> Result<Response<v1::AddSilenceResponse>, Status> {
    let here = async |call: Call, message: v1::AddSilenceRequest| {
        let id = request_id(&message.request_id)?;
        // The ledger's clock may be ahead, by an earlier leader's: what begins before it would be over sooner.
        let silence = from_wire(message, api.with_view(|view| view.ledger.clock).max(now()))?;
        let Reply::Silence(id) = api.write(&call, id, Body::SilenceAdded { silence }).await? else {
            let text = "the ledger took the silence and gave it no number; see `holdfast alert silences`";
            return Err(errors::status(Code::Internal, "NO_SILENCE", text));
        };
        api.with_view(|view| {
            let silence = view.ledger.silences.get(&id).ok_or_else(|| not_found(&id.to_string()))?;
            let matching = Matching::of(&silence.matchers).map_err(bad_expression)?;
            let firing = view.ledger.alerts.iter().rev().filter(|(_, alert)| alert.ends_at.is_none());
            let matched = firing.filter(|(_, alert)| matching.takes(alert));
            Ok(v1::AddSilenceResponse {
                silence: Some(to_wire(view, id, silence)),
                alerts: matched.map(|(id, alert)| view.alert(*id, alert)).collect(),
            })
        })
    };
    let there = |channel, request| async move { at(channel).add_silence(request).await };
    api.through_leader(request, there, here).await
}

pub async fn end(
    api: &Api,
    request: Request<v1::EndSilenceRequest>,
) -> Result<Response<v1::EndSilenceResponse>, Status> {
    let here = async |call: Call, message: v1::EndSilenceRequest| {
        api.barrier().await?;
        let id = message.id.parse().map_err(|_| not_found(&message.id))?;
        if !api.with_view(|view| view.ledger.silences.contains_key(&id)) {
            return Err(not_found(&message.id));
        }
        api.write(&call, request_id("")?, Body::SilenceEnded { id }).await?;
        let silence = api.with_view(|view| Some(to_wire(view, id, view.ledger.silences.get(&id)?)));
        Ok(v1::EndSilenceResponse { silence })
    };
    let there = |channel, request| async move { at(channel).end_silence(request).await };
    api.through_leader(request, there, here).await
}

pub async fn list(
    api: &Api,
    request: Request<v1::ListSilencesRequest>,
) -> Result<Response<v1::ListSilencesResponse>, Status> {
    let here = async |_: Call, message: v1::ListSilencesRequest| {
        api.barrier().await?;
        api.with_view(|view| {
            let silences = &view.ledger.silences;
            let listed = |s: &Silence| s.ends_at.0.saturating_add(SILENCE_LISTED_MS) > view.now.0;
            let ids = silences.iter().filter(|(_, s)| listed(s)).map(|(id, _)| *id).collect();
            let key = |id: &u64| page::newest_first(*id);
            let page = page::cut(ids, key, message.page_size, &message.page_token)?;
            let silences = page.items.iter().map(|id| to_wire(view, *id, &silences[id])).collect();
            Ok(v1::ListSilencesResponse { silences, next_page_token: page.next })
        })
    };
    let there = |channel, request| async move { at(channel).list_silences(request).await };
    api.through_leader(request, there, here).await
}

fn not_found(id: &str) -> Status {
    let id = crate::notify::words::cut(id, 40).escape_debug().to_string();
    let text = format!("there is no silence {id}; `holdfast alert silences` shows all that are kept");
    errors::status(Code::NotFound, "SILENCE_NOT_FOUND", text)
}

/// Whoever asks becomes its author when it is written.
fn from_wire(message: v1::AddSilenceRequest, now: WallTime) -> Result<Silence, Status> {
    let count = message.matchers.len();
    if count == 0 {
        let text = "a silence must say of what; give at least one matcher, like alert=NodeDead";
        return Err(invalid("NO_MATCHER", text));
    }
    if count > MATCHERS_MAX {
        let text = format!("{count} matchers are too many; give at most {MATCHERS_MAX}");
        return Err(invalid("TOO_MANY_MATCHERS", text));
    }
    if !(1..=LONGEST_MS).contains(&message.for_ms) {
        let text = match message.for_ms {
            0 => "a silence must end by itself; say for how long, like 2h, at most 30d".to_owned(),
            ms => format!(
                "{} days are too long for a silence; give at most 30d, or write a [[maintenance]] into the alerting file",
                ms / 86_400_000
            ),
        };
        return Err(invalid("INVALID_LENGTH", text));
    }
    let matchers = message.matchers.into_iter().map(matcher).collect::<Result<Vec<_>, _>>()?;
    Matching::of(&matchers).map_err(bad_expression)?;
    Ok(Silence {
        matchers,
        starts_at: now,
        ends_at: WallTime(now.0.saturating_add(message.for_ms)),
        author: String::new(),
        comment: message.comment,
    })
}

fn matcher(matcher: v1::Matcher) -> Result<Matcher, Status> {
    let op = match matcher.op() {
        v1::MatchOp::Equal => MatchOp::Equal,
        v1::MatchOp::NotEqual => MatchOp::NotEqual,
        v1::MatchOp::Matches => MatchOp::Matches,
        v1::MatchOp::MatchesNot => MatchOp::MatchesNot,
        v1::MatchOp::Unspecified => {
            let text =
                format!("the matcher of {} doesn't say how to compare; use =, !=, =~ or !~", matcher.label);
            return Err(invalid("INVALID_MATCHER", text));
        }
    };
    Ok(Matcher { label: matcher.label, op, value: matcher.value })
}

fn to_wire(view: &View<'_>, id: u64, silence: &Silence) -> v1::Silence {
    let matcher = |m: &Matcher| v1::Matcher {
        label: m.label.clone(),
        op: match m.op {
            MatchOp::Equal => v1::MatchOp::Equal,
            MatchOp::NotEqual => v1::MatchOp::NotEqual,
            MatchOp::Matches => v1::MatchOp::Matches,
            MatchOp::MatchesNot => v1::MatchOp::MatchesNot,
        }
        .into(),
        value: m.value.clone(),
    };
    v1::Silence {
        id: id.to_string(),
        state: match () {
            () if silence.ends_at <= view.now => v1::SilenceState::Ended,
            () if silence.starts_at > view.now => v1::SilenceState::Pending,
            () => v1::SilenceState::Active,
        }
        .into(),
        matchers: silence.matchers.iter().map(matcher).collect(),
        starts_at: Some(timestamp(silence.starts_at)),
        ends_at: Some(timestamp(silence.ends_at)),
        author: silence.author.clone(),
        comment: silence.comment.clone(),
    }
}

fn bad_expression(BadExpression { value, why }: BadExpression) -> Status {
    let shown = crate::notify::words::cut(&value, 80).escape_debug().to_string();
    let text =
        format!("\"{shown}\" isn't a regular expression that can be used: {why}; write one like \"web-.*\"");
    invalid("INVALID_MATCHER", text)
}

#[cfg(test)]
#[path = "silence_tests.rs"]
mod tests;
