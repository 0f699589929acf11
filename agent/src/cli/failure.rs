//! `holdfast failure …`: what failed, what it rests on, and how it was mended.

use super::{
    args::FailureCommand,
    error::CliError,
    session::{Session, pages},
    table::{Cell, Table},
    text::{Tone, View, absolute, ago, both, millis, or_dash, since, span, word},
};
use holdfast_proto::v1::{
    AcknowledgeFailureRequest, Failure, FailureState, GetFailureRequest, ListFailuresRequest, Step,
};
use prost_types::Timestamp;

/// Lines of evidence that are shown; a cut of a big cluster has one an observer.
const EVIDENCE: usize = 20;

pub async fn run(session: &Session, command: FailureCommand) -> Result<u8, CliError> {
    match command {
        FailureCommand::List { open, node, workload, since: from } => {
            let from = from.map(|text| since(&text, session.view.now_ms)).transpose()?;
            let client = session.connect().await?;
            let failures = pages(|page_token| {
                let request = ListFailuresRequest {
                    open,
                    node: node.clone().unwrap_or_default(),
                    workload: workload.clone().unwrap_or_default(),
                    since: from,
                    page_size: 0,
                    page_token,
                };
                let client = client.clone();
                async move {
                    let answer = client.list_failures(request).await?;
                    Ok((answer.failures, answer.next_page_token))
                }
            })
            .await?;
            let narrowed = open || node.is_some() || workload.is_some() || from.is_some();
            session.answer_list("failures", &failures, |failures| match failures {
                [] if narrowed => "No failure matches.\n".into(),
                [] => "No failure so far.\n".into(),
                failures => table(failures, session.view).render(0, session.view.color),
            })?;
        }
        FailureCommand::Show { id } => {
            let answer = session.connect().await?.get_failure(GetFailureRequest { id }).await?;
            session.answer(&answer.failure.unwrap_or_default(), |f| story(f, session.view))?;
        }
        FailureCommand::Ack { id } => {
            let request = AcknowledgeFailureRequest { id };
            let answer = session.connect().await?.acknowledge_failure(request).await?;
            session.answer(&answer.failure.unwrap_or_default(), |f| {
                let by = f.acknowledged_by.as_deref().unwrap_or_default();
                format!("Failure {} is acknowledged by {}.\n", f.id, or_dash(by))
            })?;
        }
        FailureCommand::Other(_) => unreachable!("refused when it was parsed"),
    }
    Ok(0)
}

pub fn table(failures: &[Failure], view: View) -> Table {
    let mut table = Table::new(&["ID", "WHAT", "STATE", "DETECTED", "RECOVERED IN", "CAUSE"]);
    for failure in failures {
        table.row([
            failure.id.to_string().into(),
            subject(failure).into(),
            state_cell(failure),
            ago(failure.detected_at.as_ref().or(failure.declared_at.as_ref()), view).into(),
            failure.time_to_recover_ms.map_or_else(|| super::text::NOTHING.into(), span).into(),
            cause(failure).into(),
        ]);
    }
    table
}

fn subject(failure: &Failure) -> String {
    let Some(subject) = &failure.subject else { return super::text::NOTHING.into() };
    match failure.index {
        Some(index) if index > 0 => {
            format!("{} {} ({index})", or_dash(&subject.kind), or_dash(&subject.name))
        }
        _ => format!("{} {}", or_dash(&subject.kind), or_dash(&subject.name)),
    }
}

fn state_word(failure: &Failure) -> String {
    word(failure.state().as_str_name(), "FAILURE_STATE")
}

fn state_cell(failure: &Failure) -> Cell {
    let tone = match failure.state() {
        FailureState::Recovered => Tone::Good,
        FailureState::Unrecoverable => Tone::Bad,
        _ => Tone::Warn,
    };
    let seen = if failure.acknowledged_at.is_some() { ", seen" } else { "" };
    Cell::toned(format!("{}{seen}", state_word(failure)), tone)
}

fn cause(failure: &Failure) -> String {
    let said = failure.diagnosis.as_ref().map(|d| if d.summary.is_empty() { &d.cause } else { &d.summary });
    let evidence = failure.detection.as_ref().and_then(|d| d.evidence.first());
    match (said, failure.caused_by) {
        (Some(said), _) if !said.is_empty() && said != "unknown" => or_dash(said),
        (_, Some(id)) => format!("follows from failure {id}"),
        _ => or_dash(evidence.map(String::as_str).unwrap_or_default()),
    }
}

fn story(failure: &Failure, view: View) -> String {
    let heading = |text: &str| format!("\n{}\n", Tone::Heading.paint(text, view.color));
    let mut out = format!("Failure {}: {}, {}", failure.id, subject(failure), state_word(failure));
    if let Some(ms) = failure.time_to_recover_ms {
        out.push_str(&format!(", {} after it was last seen", span(ms)));
    }
    out.push('\n');
    for line in opening(failure, view) {
        out.push_str(&format!("  {line}\n"));
    }
    if let Some(detection) = &failure.detection {
        out.push_str(&heading(&format!(
            "Evidence, by {}",
            word(detection.method().as_str_name(), "DETECTION_METHOD").replace('_', " ")
        )));
        out.push_str(&bullets(&detection.evidence));
    }
    if let Some(diagnosis) = failure.diagnosis.as_ref().filter(|d| !d.cause.is_empty()) {
        let sure = (diagnosis.confidence.clamp(0.0, 1.0) * 100.0).round();
        out.push_str(&heading(&format!("Diagnosis: {}, {sure} % sure", or_dash(&diagnosis.cause))));
        let summary = Some(diagnosis.summary.clone()).filter(|s| !s.is_empty());
        out.push_str(&bullets(&summary.into_iter().chain(diagnosis.evidence.clone()).collect::<Vec<_>>()));
    }
    out.push_str(&heading("What happened when"));
    out.push_str(&timeline(failure, view));
    if !failure.steps.is_empty() {
        out.push_str(&heading("Recovery steps"));
        out.push_str(&steps(&failure.steps, failure, view));
    }
    out.push_str(&heading("Alerts"));
    match failure.alerts.as_slice() {
        [] => out.push_str("  none\n"),
        ids => {
            let ids: Vec<String> = ids.iter().map(|id| or_dash(id)).collect();
            out.push_str(&format!("  {}: holdfast alert list says what was sent\n", ids.join(", ")));
        }
    }
    out
}

fn opening(failure: &Failure, view: View) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(id) = failure.caused_by {
        lines.push(format!("It only followed from failure {id}: holdfast failure show {id}"));
    }
    match (&failure.acknowledged_at, failure.state()) {
        (Some(_), _) => lines.push(format!(
            "Acknowledged by {} {}",
            or_dash(failure.acknowledged_by.as_deref().unwrap_or_default()),
            ago(failure.acknowledged_at.as_ref(), view)
        )),
        (None, FailureState::Recovered) => {}
        (None, FailureState::Unrecoverable) => lines.push(format!(
            "Nothing more is tried by itself: a person must mend it; say that you are at it with holdfast failure ack {}",
            failure.id
        )),
        (None, _) => lines.push(format!("Nobody has acknowledged it: holdfast failure ack {}", failure.id)),
    }
    lines
}

fn bullets(lines: &[String]) -> String {
    if lines.is_empty() {
        return "  none was written down\n".into();
    }
    let mut out: String =
        lines.iter().take(EVIDENCE).map(|line| format!("  - {}\n", or_dash(line))).collect();
    if lines.len() > EVIDENCE {
        out.push_str(&format!("  - and {} more: add --json\n", lines.len() - EVIDENCE));
    }
    out
}

fn timeline(failure: &Failure, view: View) -> String {
    let is_node = failure.subject.as_ref().is_some_and(|s| s.kind == "node");
    let back = if is_node { "back" } else { "serving again" };
    let moments: [(&str, Option<&Timestamp>); 7] = [
        ("last seen", failure.last_seen_at.as_ref()),
        ("suspected", failure.detected_at.as_ref()),
        ("declared", failure.declared_at.as_ref()),
        ("lease revoked", failure.revoked_at.as_ref()),
        ("safe to start elsewhere", failure.safe_at.as_ref()),
        ("started", failure.started_at.as_ref()),
        (back, failure.recovered_at.as_ref()),
    ];
    let Some(origin) = moments.iter().find_map(|(_, at)| at.map(millis)) else {
        return "  no time was written down\n".into();
    };
    let mut table = Table::new(&["", "", ""]);
    for (what, at) in moments {
        let Some(at) = at else { continue };
        table.row([offset(at, origin).into(), what.into(), absolute(at).into()]);
    }
    if failure.recovered_at.is_none() {
        table.row(["".into(), Cell::toned(format!("not {back} yet"), Tone::Warn), "".into()]);
    }
    // The heading above says what the columns are.
    let rendered = table.render(2, view.color);
    rendered.split_once('\n').map_or(String::new(), |(_, rows)| rows.to_owned())
}

fn offset(at: &Timestamp, origin_ms: i64) -> String {
    let ms = millis(at).saturating_sub(origin_ms);
    if ms < 0 { format!("{ms} ms") } else { format!("+{ms} ms") }
}

fn steps(steps: &[Step], failure: &Failure, view: View) -> String {
    let origin = failure.last_seen_at.as_ref().or(failure.declared_at.as_ref()).map_or(0, millis);
    let mut out = String::new();
    for step in steps {
        let at = match &step.started_at {
            Some(at) if origin != 0 => offset(at, origin),
            at => both(at.as_ref(), view),
        };
        let mut line = format!("  {at}  {}", word(step.action().as_str_name(), "STEP_ACTION"));
        match (&step.from, &step.to) {
            (Some(from), Some(to)) => line.push_str(&format!(" from {} to {}", or_dash(from), or_dash(to))),
            (Some(from), None) => line.push_str(&format!(" from {}", or_dash(from))),
            (None, Some(to)) => line.push_str(&format!(" on {}", or_dash(to))),
            (None, None) => {}
        }
        if let Some(generation) = step.generation {
            line.push_str(&format!(", generation {generation}"));
        }
        match (&step.outcome, &step.started_at, &step.finished_at) {
            (Some(outcome), Some(from), Some(to)) => {
                let took = u64::try_from(millis(to).saturating_sub(millis(from))).unwrap_or(0);
                line.push_str(&format!(": {} after {}", or_dash(outcome), span(took)));
            }
            (Some(outcome), ..) => line.push_str(&format!(": {}", or_dash(outcome))),
            (None, _, None) => line.push_str(": under way"),
            (None, ..) => {}
        }
        if let Some(detail) = step.detail.as_deref().filter(|d| !d.is_empty()) {
            line.push_str(&format!(" ({})", or_dash(detail)));
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
