//! `holdfast availability`, `holdfast events` and `holdfast raft …`: the account of what was, and consensus.

use super::{
    args::{AvailabilityArgs, By, EventsArgs, RaftCommand},
    error::CliError,
    session::{Session, print},
    table::{Table, facts},
    text::{NOTHING, Tone, View, clean, count, or_dash, percent, since, span, word},
};
use crate::{json, wire::cli_client::ClientError};
use futures::StreamExt as _;
use holdfast_proto::v1::{
    Availability, AvailabilityBy, Event, GetRaftStatusRequest, GetRaftStatusResponse,
    ListAvailabilityRequest, TakeSnapshotRequest, WatchEventsRequest,
};
use std::time::Duration;

/// The widest event type, so that a stream has columns too.
const EVENT_TYPE_WIDTH: usize = "failure_recovered".len();
/// How often a followed stream that broke is taken up again before the command gives up.
const FOLLOW_ATTEMPTS: u32 = 30;
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

pub async fn availability(session: &Session, args: AvailabilityArgs) -> Result<u8, CliError> {
    let from = args.since.map(|text| since(&text, session.view.now_ms)).transpose()?;
    let by = match args.by {
        None => AvailabilityBy::Unspecified,
        Some(By::Node) => AvailabilityBy::Node,
        Some(By::Workload) => AvailabilityBy::Workload,
        Some(By::Zone) => AvailabilityBy::Zone,
    };
    let request = ListAvailabilityRequest { by: by.into(), since: from };
    let answer = session.connect().await?.list_availability(request).await?;
    session.answer_list("availability", &answer.availability, |list| accounts(list, session.view))?;
    Ok(0)
}

fn accounts(list: &[Availability], view: View) -> String {
    if list.is_empty() {
        return "Nothing was observed yet.\n".into();
    }
    let mut table =
        Table::new(&["WHAT", "NAME", "FAILURES", "MTBF", "MTTR", "AVAILABILITY", "UP", "OBSERVED"]);
    for one in list {
        let subject = one.subject.clone().unwrap_or_default();
        let time = |ms: Option<u64>| ms.map_or_else(|| NOTHING.to_owned(), span);
        table.row([
            or_dash(&subject.kind).into(),
            or_dash(&subject.name).into(),
            one.failures.to_string().into(),
            time(one.mtbf_ms).into(),
            time(one.mttr_ms).into(),
            percent(one.availability).into(),
            percent(one.uptime_ratio).into(),
            span(one.observed_ms).into(),
        ]);
    }
    table.render(0, view.color)
}

pub async fn events(session: &Session, args: EventsArgs) -> Result<u8, CliError> {
    let from = args.since.map(|text| since(&text, session.view.now_ms)).transpose()?;
    let mut request = WatchEventsRequest { after_index: 0, since: from, follow: args.follow };
    let mut attempts = 0;
    loop {
        let seen = request.after_index;
        match watch(session, &mut request).await {
            Err(CliError::Client(ClientError::NoAnswer { address, cause }))
                if args.follow && request.after_index > 0 && attempts < FOLLOW_ATTEMPTS =>
            {
                attempts = if request.after_index > seen { 1 } else { attempts + 1 };
                if attempts == 1 {
                    eprintln!("holdfast: {} doesn't answer ({cause}); trying again", clean(&address));
                }
                tokio::time::sleep(FOLLOW_PAUSE).await;
            }
            outcome => return outcome.map(|()| 0),
        }
    }
}

/// Prints events until the stream ends, and keeps in `request` how far it came.
async fn watch(session: &Session, request: &mut WatchEventsRequest) -> Result<(), CliError> {
    let client = session.connect().await?;
    let mut stream = std::pin::pin!(client.watch_events(*request).await?);
    while let Some(answer) = stream.next().await {
        let Some(event) = answer?.event else { continue };
        print(&if session.json() {
            format!("{}\n", json::line(&event))
        } else {
            line(&event, session.view)
        })?;
        request.after_index = request.after_index.max(event.index);
    }
    Ok(())
}

fn line(event: &Event, view: View) -> String {
    let time = event.time.as_ref().and_then(|t| json::time(t.seconds, t.nanos));
    let kind = word(event.r#type().as_str_name(), "EVENT_TYPE");
    let kind = Tone::Heading.paint(&format!("{kind:<EVENT_TYPE_WIDTH$}"), view.color);
    let time = time.unwrap_or_else(|| NOTHING.into());
    format!("{time}  {kind}  {}: {}\n", or_dash(&event.subject), or_dash(&event.summary))
}

pub async fn raft(session: &Session, command: RaftCommand) -> Result<u8, CliError> {
    match command {
        RaftCommand::Status => {
            let answer = session.connect().await?.get_raft_status(GetRaftStatusRequest {}).await?;
            session.answer(&answer, |answer| raft_status(answer, session.view))?;
        }
        RaftCommand::Snapshot => {
            let answer = session.connect().await?.take_snapshot(TakeSnapshotRequest {}).await?;
            session.answer(&answer, |a| format!("Snapshot taken up to entry {}.\n", a.snapshot_index))?;
        }
        RaftCommand::Other(_) => unreachable!("refused when it was parsed"),
    }
    Ok(0)
}

fn raft_status(status: &GetRaftStatusResponse, view: View) -> String {
    let leader = status.leader.as_deref().map_or_else(|| "none".into(), or_dash);
    let mut out = facts(&[
        ("Answered by", format!("{}, {}", or_dash(&status.observed_by), or_dash(&status.role))),
        ("Leader", format!("{leader}, term {}", status.term)),
        ("Committed", format!("entry {} of {}", status.committed_index, status.last_log_index)),
        ("Applied", format!("entry {}", status.applied_index)),
        (
            "Log",
            format!(
                "{}, snapshot up to entry {}",
                match status.log_entries {
                    1 => "1 entry".into(),
                    n => format!("{n} entries"),
                },
                status.snapshot_index
            ),
        ),
    ]);
    let mut table = Table::new(&["VOTER", "ID", "ADDRESS", "STATE"]);
    for voter in &status.voters {
        let state = match (voter.leader, voter.online) {
            (true, _) => "leader",
            (false, true) => "online",
            (false, false) => "offline",
        };
        table.row([
            or_dash(&voter.name).into(),
            or_dash(&voter.id).into(),
            or_dash(&voter.address).into(),
            state.into(),
        ]);
    }
    let online = status.voters.iter().filter(|v| v.online).count();
    let all = u64::try_from(status.voters.len()).unwrap_or(u64::MAX);
    out.push_str(&format!("\n{online} of {} online\n", count(all, "voter")));
    out.push_str(&table.render(0, view.color));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::v1::{EventType, RaftVoter, Subject};
    use prost_types::Timestamp;

    const VIEW: View = View { now_ms: 0, color: false };

    #[test]
    fn an_event_is_a_line_with_columns() {
        let event = Event {
            index: 7,
            time: Some(Timestamp { seconds: 1, nanos: 500_000_000 }),
            r#type: EventType::NodeDead.into(),
            subject: "n4".into(),
            summary: "declared dead\nby n1".into(),
            ..Event::default()
        };
        assert_eq!(
            line(&event, VIEW),
            "1970-01-01T00:00:01.500Z  node_dead          n4: declared dead\u{fffd}by n1\n"
        );
    }

    #[test]
    fn an_account_without_failures_has_no_means() {
        let one = Availability {
            subject: Some(Subject { kind: "node".into(), name: "n1".into() }),
            availability: 1.0,
            uptime_ratio: 1.0,
            observed_ms: 3_600_000,
            ..Availability::default()
        };
        let two = Availability {
            subject: Some(Subject { kind: "workload".into(), name: "web".into() }),
            failures: 2,
            mtbf_ms: Some(1_800_000),
            mttr_ms: Some(2_010),
            availability: 0.998_884,
            uptime_ratio: 0.998_9,
            observed_ms: 3_600_000,
        };
        assert_eq!(
            accounts(&[one, two], VIEW),
            "\
WHAT      NAME  FAILURES  MTBF    MTTR    AVAILABILITY  UP         OBSERVED
node      n1    0         -       -       100.000 %     100.000 %  1 h
workload  web   2         30 min  2.01 s  99.888 %      99.890 %   1 h
"
        );
    }

    #[test]
    fn consensus_reads_in_one_look() {
        let voter = |name: &str, online, leader| RaftVoter {
            id: "00abcdef01234567".into(),
            name: name.into(),
            address: "a:1".into(),
            online,
            leader,
        };
        let status = GetRaftStatusResponse {
            role: "follower".into(),
            leader: Some("n1".into()),
            term: 3,
            last_log_index: 90,
            committed_index: 88,
            applied_index: 88,
            snapshot_index: 50,
            log_entries: 40,
            voters: vec![voter("n1", true, true), voter("n2", false, false)],
            observed_by: "n3".into(),
        };
        assert_eq!(
            raft_status(&status, VIEW),
            "\
Answered by  n3, follower
Leader       n1, term 3
Committed    entry 88 of 90
Applied      entry 88
Log          40 entries, snapshot up to entry 50

1 of 2 voters online
VOTER  ID                ADDRESS  STATE
n1     00abcdef01234567  a:1      leader
n2     00abcdef01234567  a:1      offline
"
        );
    }
}
