//! `holdfast alert …`: what people were told, and through what. Not here: a file's mistakes (`check`), what would be sent
//! (`preview`), and what is kept back for a while (`silence`).

use super::{
    args::AlertCommand,
    check,
    error::CliError,
    preview,
    session::{Session, pages},
    silence,
    table::{Cell, Table},
    text::{NOTHING, Tone, View, ago, count, or_dash, word},
};
use crate::config;
use holdfast_proto::v1::{
    Alert, AlertStatus, ApplyAlertingResponse, ListAlertsRequest, Notification, NotificationState,
    TestChannelRequest,
};
use std::path::Path;

pub async fn run(session: &Session, command: AlertCommand) -> Result<u8, CliError> {
    match command {
        AlertCommand::List => {
            let client = session.connect().await?;
            let alerts = pages(|page_token| {
                let client = client.clone();
                async move {
                    let answer = client.list_alerts(ListAlertsRequest { page_size: 0, page_token }).await?;
                    Ok((answer.alerts, answer.next_page_token))
                }
            })
            .await?;
            session.answer_list("alerts", &alerts, |alerts| list(alerts, session.view))?;
        }
        AlertCommand::Apply { file } => apply(session, &file).await?,
        AlertCommand::Check { file } => return check::run(session, &file),
        AlertCommand::Preview { channel, failure } => preview::run(session, channel, failure).await?,
        AlertCommand::Silence { matchers, length, comment } => {
            silence::add(session, &matchers, length.as_deref(), comment).await?;
        }
        AlertCommand::Unsilence { id } => silence::end(session, id).await?,
        AlertCommand::Silences => silence::list(session).await?,
        AlertCommand::Test { channel } => {
            let request = TestChannelRequest { channel: channel.clone() };
            let answer = session.connect().await?.test_channel(request).await?;
            if answer.delivered || session.json() {
                session.answer(&answer, |a| {
                    format!(
                        "{} took the test from {}: {}\n",
                        or_dash(&channel),
                        or_dash(&a.by),
                        or_dash(&a.detail)
                    )
                })?;
            }
            if !answer.delivered {
                let what = format!(
                    "{channel} didn't take the test from {}: {}",
                    or_dash(&answer.by),
                    or_dash(&answer.detail)
                );
                return Err(CliError::Failed(what));
            }
        }
        AlertCommand::Other(_) => unreachable!("refused when it was parsed"),
    }
    Ok(0)
}

async fn apply(session: &Session, file: &Path) -> Result<(), CliError> {
    let mut request = config::alerting::parse(&file.display().to_string(), &config::read(file)?)?;
    request.request_id = super::request_id();
    let answer = session.connect().await?.apply_alerting(request).await?;
    session.answer(&answer, applied)
}

fn applied(answer: &ApplyAlertingResponse) -> String {
    let names: Vec<String> = answer.channels.iter().map(|c| or_dash(c)).collect();
    let channels = count(u64::try_from(names.len()).unwrap_or(u64::MAX), "channel");
    let mut out = match names.is_empty() {
        true => "No channel is left".to_owned(),
        false => format!("{channels} ({})", names.join(", ")),
    };
    out.push_str(&format!(", {}.\n", count(answer.routes, "route")));
    if answer.routes == 0 {
        out.push_str("Without a route nothing is sent: add [[route]] with channels = [\"NAME\"].\n");
    }
    out
}

fn list(alerts: &[Alert], view: View) -> String {
    if alerts.is_empty() {
        return "No alert so far.\n".into();
    }
    let mut table = Table::new(&["ALERT", "STATUS", "SEVERITY", "BEGAN", "ENDED", "SENT", "SUMMARY"]);
    for alert in alerts {
        let firing = alert.status() == AlertStatus::Firing;
        table.row([
            or_dash(&alert.alert).into(),
            Cell::toned(
                word(alert.status().as_str_name(), "ALERT_STATUS"),
                if firing { Tone::Bad } else { Tone::Good },
            ),
            word(alert.severity().as_str_name(), "SEVERITY").into(),
            ago(alert.starts_at.as_ref(), view).into(),
            ago(alert.ends_at.as_ref(), view).into(),
            sent(alert).into(),
            or_dash(&alert.summary).into(),
        ]);
    }
    let mut out = table.render(0, view.color);
    for line in alerts.iter().flat_map(troubles) {
        out.push_str(&format!("{line}\n"));
    }
    out
}

/// What became of each notification, shortest first: `oncall`, `oncall failed`.
fn sent(alert: &Alert) -> String {
    // The newest phase of each channel says how things stand.
    let mut newest: Vec<&Notification> = Vec::new();
    for notification in &alert.notifications {
        newest.retain(|n| n.channel != notification.channel);
        newest.push(notification);
    }
    if newest.is_empty() {
        return NOTHING.into();
    }
    let said = newest.iter().map(|n| match n.state() {
        NotificationState::Sent => or_dash(&n.channel),
        state => format!("{} {}", or_dash(&n.channel), word(state.as_str_name(), "NOTIFICATION_STATE")),
    });
    said.collect::<Vec<_>>().join(", ")
}

/// A sentence for each notification that isn't simply sent.
fn troubles(alert: &Alert) -> impl Iterator<Item = String> + '_ {
    alert.notifications.iter().filter_map(|n| {
        let what = format!("{} {}", or_dash(&alert.alert), word(n.status().as_str_name(), "ALERT_STATUS"));
        let reason = n.reason.as_deref().filter(|r| !r.is_empty()).map(|r| format!(": {}", or_dash(r)));
        let reason = reason.unwrap_or_default();
        match n.state() {
            NotificationState::Failed => Some(format!(
                "{what} was not sent through {} after {}{reason}",
                or_dash(&n.channel),
                count(n.attempts, "attempt")
            )),
            NotificationState::Pending if n.attempts > 0 && !reason.is_empty() => Some(format!(
                "{what} is tried again through {} after {}{reason}",
                or_dash(&n.channel),
                count(n.attempts, "attempt")
            )),
            NotificationState::Suppressed => {
                Some(format!("{what} was held back from {}{reason}", or_dash(&n.channel)))
            }
            _ if n.maybe_repeated => {
                Some(format!("{what} may have reached {} twice{reason}", or_dash(&n.channel)))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Timestamp;

    const VIEW: View = View { now_ms: 60_000, color: false };

    #[test]
    fn a_notification_that_failed_is_told_with_its_reason() {
        let alert = Alert {
            alert: "NodeDead".into(),
            severity: holdfast_proto::v1::Severity::Critical.into(),
            status: AlertStatus::Firing.into(),
            summary: "n4: counter moved to n1".into(),
            starts_at: Some(Timestamp { seconds: 48, nanos: 0 }),
            notifications: vec![
                Notification {
                    channel: "oncall".into(),
                    status: AlertStatus::Firing.into(),
                    state: NotificationState::Failed.into(),
                    attempts: 3,
                    reason: Some("it answered 503".into()),
                    ..Notification::default()
                },
                Notification {
                    channel: "team".into(),
                    status: AlertStatus::Firing.into(),
                    state: NotificationState::Pending.into(),
                    attempts: 1,
                    reason: Some("no answer".into()),
                    ..Notification::default()
                },
                Notification {
                    channel: "new".into(),
                    state: NotificationState::Pending.into(),
                    ..Notification::default()
                },
                Notification {
                    channel: "screen".into(),
                    status: AlertStatus::Firing.into(),
                    state: NotificationState::Sent.into(),
                    ..Notification::default()
                },
            ],
            ..Alert::default()
        };
        assert_eq!(
            list(&[alert], VIEW),
            "\
ALERT     STATUS  SEVERITY  BEGAN     ENDED  SENT                                              SUMMARY
NodeDead  firing  critical  12 s ago  -      oncall failed, team pending, new pending, screen  n4: counter moved to n1
NodeDead firing was not sent through oncall after 3 attempts: it answered 503
NodeDead firing is tried again through team after 1 attempt: no answer
"
        );
        assert_eq!(list(&[], VIEW), "No alert so far.\n");
    }

    #[test]
    fn channels_without_a_route_are_warned_of() {
        let answer = ApplyAlertingResponse { channels: vec!["oncall".into()], routes: 0 };
        assert!(applied(&answer).contains("nothing is sent"));
        let answer = ApplyAlertingResponse { channels: vec!["a".into(), "b".into()], routes: 1 };
        assert_eq!(applied(&answer), "2 channels (a, b), 1 route.\n");
    }
}
