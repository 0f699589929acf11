//! `holdfast alert silence`, `unsilence` and `silences`: what isn't told for a while.
//!
//! Not here: whom a silence matches; the leader says.

use super::{
    error::CliError,
    session::{Session, pages},
    table::{Cell, Table},
    text::{Tone, View, absolute, ago, count, millis, or_dash, span, word},
};
use crate::config::duration::milliseconds;
use holdfast_proto::v1::{
    AddSilenceRequest, AddSilenceResponse, EndSilenceRequest, ListSilencesRequest, MatchOp, Matcher, Silence,
    SilenceState,
};
use prost_types::Timestamp;

/// Matched alerts that are named; the others are counted.
const NAMED: usize = 10;
/// The longer ones first: `!=` begins like `!~`, and `=~` like `=`.
const OPS: [(&str, MatchOp); 4] =
    [("!=", MatchOp::NotEqual), ("!~", MatchOp::MatchesNot), ("=~", MatchOp::Matches), ("=", MatchOp::Equal)];

pub async fn add(
    session: &Session,
    matchers: &[String],
    length: Option<&str>,
    comment: Option<String>,
) -> Result<(), CliError> {
    let request = request(matchers, length, comment)?;
    let answer = session.connect().await?.add_silence(request).await?;
    session.answer(&answer, |answer| added(answer, session.view))
}

pub async fn end(session: &Session, id: String) -> Result<(), CliError> {
    let answer = session.connect().await?.end_silence(EndSilenceRequest { id }).await?;
    session.answer(&answer.silence.unwrap_or_default(), |silence| {
        format!("Silence {} is over: what it kept back is told from now on.\n", or_dash(&silence.id))
    })
}

pub async fn list(session: &Session) -> Result<(), CliError> {
    let client = session.connect().await?;
    let silences = pages(|page_token| {
        let client = client.clone();
        async move {
            let answer = client.list_silences(ListSilencesRequest { page_size: 0, page_token }).await?;
            Ok((answer.silences, answer.next_page_token))
        }
    })
    .await?;
    session.answer_list("silences", &silences, |silences| listed(silences, session.view))
}

fn request(
    matchers: &[String],
    length: Option<&str>,
    comment: Option<String>,
) -> Result<AddSilenceRequest, CliError> {
    if matchers.is_empty() {
        let what = "a silence must say of what; give at least one matcher, like alert=NodeDead";
        return Err(CliError::Usage(what.to_owned()));
    }
    let Some(length) = length else {
        let what = "a silence must end by itself; say for how long, like --for 2h, at most 30d";
        return Err(CliError::Usage(what.to_owned()));
    };
    let for_ms = milliseconds(length).map_err(|why| CliError::Usage(format!("--for: {why}")))?;
    Ok(AddSilenceRequest {
        matchers: matchers.iter().map(|text| matcher(text)).collect::<Result<_, _>>()?,
        for_ms,
        comment: comment.unwrap_or_default(),
        request_id: super::request_id(),
    })
}

/// `LABEL=VALUE`, with one of the four ways to compare; the value may stand in quotes.
fn matcher(text: &str) -> Result<Matcher, CliError> {
    let wrong = || {
        let what = format!(
            "\"{}\" isn't a matcher; write one like alert=NodeDead, severity!=info or node=~\"web-.*\"",
            text.escape_debug()
        );
        CliError::Usage(what)
    };
    let at = text.find(['=', '!']).ok_or_else(wrong)?;
    let (label, rest) = text.split_at(at);
    let found = OPS.iter().find_map(|(sign, op)| Some((*op, rest.strip_prefix(sign)?)));
    let (op, value) = found.filter(|_| !label.trim().is_empty()).ok_or_else(wrong)?;
    let value = value.trim();
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Ok(Matcher { label: label.trim().to_owned(), op: op.into(), value: unquoted.unwrap_or(value).to_owned() })
}

fn shown(matcher: &Matcher) -> String {
    let sign = OPS.iter().find(|(_, op)| *op == matcher.op()).map_or("?", |(sign, _)| sign);
    format!("{}{sign}{}", or_dash(&matcher.label), super::text::clean(&matcher.value))
}

fn added(answer: &AddSilenceResponse, view: View) -> String {
    let silence = answer.silence.clone().unwrap_or_default();
    let until = silence.ends_at.as_ref().map(absolute).unwrap_or_default();
    let length = left(silence.ends_at.as_ref(), view);
    let alerts = &answer.alerts;
    let what = match alerts.len() {
        0 => "it matches nothing that fires now".to_owned(),
        n => format!("it matches {} now", count(u64::try_from(n).unwrap_or(u64::MAX), "alert")),
    };
    let mut out = format!("Silence {} until {until} ({length}); {what}.\n", or_dash(&silence.id));
    for alert in alerts.iter().take(NAMED) {
        out.push_str(&format!("  {}: {}\n", or_dash(&alert.alert), or_dash(&alert.summary)));
    }
    if alerts.len() > NAMED {
        out.push_str(&format!("  and {} more\n", alerts.len() - NAMED));
    }
    out
}

fn listed(silences: &[Silence], view: View) -> String {
    if silences.is_empty() {
        return "No silence.\n".into();
    }
    let mut table = Table::new(&["ID", "STATE", "MATCHES", "BY", "ENDS", "COMMENT"]);
    for silence in silences {
        let matchers: Vec<String> = silence.matchers.iter().map(shown).collect();
        let (tone, ends) = match silence.state() {
            SilenceState::Ended => (Tone::Plain, ago(silence.ends_at.as_ref(), view)),
            _ => (Tone::Warn, format!("in {}", left(silence.ends_at.as_ref(), view))),
        };
        table.row([
            or_dash(&silence.id).into(),
            Cell::toned(word(silence.state().as_str_name(), "SILENCE_STATE"), tone),
            matchers.join(" ").into(),
            or_dash(&silence.author).into(),
            ends.into(),
            or_dash(&silence.comment).into(),
        ]);
    }
    table.render(0, view.color)
}

/// To the second: clocks of hosts differ by more than that matters.
fn left(until: Option<&Timestamp>, view: View) -> String {
    let ms = until.map_or(0, |until| millis(until).saturating_sub(view.now_ms));
    let ms = u64::try_from(ms).unwrap_or(0);
    span(ms.div_ceil(1_000) * 1_000).replace(".00", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::v1::Alert;

    const VIEW: View = View { now_ms: 60_000, color: false };

    fn silence(state: SilenceState, ends_s: i64) -> Silence {
        Silence {
            id: "42".into(),
            state: state.into(),
            matchers: vec![matcher("alert=NodeDead").unwrap(), matcher("node=~\"n.*\"").unwrap()],
            starts_at: Some(Timestamp { seconds: 50, nanos: 0 }),
            ends_at: Some(Timestamp { seconds: ends_s, nanos: 0 }),
            author: "anna".into(),
            comment: "new switches".into(),
        }
    }

    #[test]
    fn matchers_are_read_in_each_of_their_ways() {
        for (text, label, op, value) in [
            ("alert=NodeDead", "alert", MatchOp::Equal, "NodeDead"),
            ("node=~\"n.*\"", "node", MatchOp::Matches, "n.*"),
            ("severity!=info", "severity", MatchOp::NotEqual, "info"),
            ("zone !~ a|b", "zone", MatchOp::MatchesNot, "a|b"),
            ("zone=", "zone", MatchOp::Equal, ""),
            ("a==b", "a", MatchOp::Equal, "=b"),
        ] {
            let expected = Matcher { label: label.into(), op: op.into(), value: value.into() };
            assert_eq!(matcher(text).unwrap(), expected, "{text}");
        }
        for wrong in ["NodeDead", "=x", " =x", "a!b", ""] {
            let said = matcher(wrong).unwrap_err();
            assert_eq!(said.exit_code(), 64);
            assert!(said.to_string().contains("isn't a matcher"), "{said}");
        }
    }

    #[test]
    fn a_silence_says_of_what_and_for_how_long() {
        let some = ["alert=NodeDead".to_owned()];
        let asked = request(&some, Some("2h"), Some("c".into())).unwrap();
        assert_eq!((asked.for_ms, asked.comment.as_str(), asked.matchers.len()), (7_200_000, "c", 1));
        assert_eq!(asked.request_id.len(), 16);
        for (matchers, length, part) in [
            (&[][..], Some("2h"), "at least one matcher"),
            (&some, None, "--for 2h"),
            (&some, Some("soon"), "--for: \"soon\" isn't a duration"),
            (&["x".to_owned()], Some("2h"), "isn't a matcher"),
        ] {
            let said = request(matchers, length, None).unwrap_err();
            assert_eq!(said.exit_code(), 64);
            assert!(said.to_string().contains(part), "{said}");
        }
    }

    #[test]
    fn what_is_silenced_is_named() {
        let answer = AddSilenceResponse {
            silence: Some(silence(SilenceState::Active, 7_260)),
            alerts: vec![
                Alert { alert: "NodeDead".into(), summary: "n4 is dead".into(), ..Alert::default() };
                NAMED + 2
            ],
        };
        let said = added(&answer, VIEW);
        let first = "Silence 42 until 1970-01-01 02:01:00.000 UTC (2 h); it matches 12 alerts now.";
        assert_eq!(said.lines().next(), Some(first));
        assert_eq!(said.lines().nth(1), Some("  NodeDead: n4 is dead"));
        assert_eq!((said.lines().count(), said.lines().last()), (12, Some("  and 2 more")));
        let nothing = AddSilenceResponse { alerts: Vec::new(), ..answer };
        assert!(added(&nothing, VIEW).ends_with("; it matches nothing that fires now.\n"));
    }

    #[test]
    fn silences_are_listed_with_their_ends() {
        assert_eq!(
            listed(&[silence(SilenceState::Active, 7_260), silence(SilenceState::Ended, 48)], VIEW),
            "\
ID  STATE   MATCHES                   BY    ENDS      COMMENT
42  active  alert=NodeDead node=~n.*  anna  in 2 h    new switches
42  ended   alert=NodeDead node=~n.*  anna  12 s ago  new switches
"
        );
        assert_eq!(listed(&[], VIEW), "No silence.\n");
    }
}
