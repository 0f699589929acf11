//! `holdfast alert preview`: what a channel would be sent. Not here: how it is made; the leader does.

use super::{
    error::CliError,
    session::Session,
    text::{Tone, View, clean, or_dash, word},
};
use holdfast_proto::v1::{Preview, PreviewChannelRequest, PreviewChannelResponse};

pub async fn run(session: &Session, channel: String, failure_id: Option<u64>) -> Result<(), CliError> {
    let request = PreviewChannelRequest { channel, failure_id };
    let answer = session.connect().await?.preview_channel(request).await?;
    session.answer(&answer, |answer| told(answer, failure_id, session.view))
}

fn told(answer: &PreviewChannelResponse, failure_id: Option<u64>, view: View) -> String {
    let of = failure_id.map_or_else(|| "a sample".to_owned(), |id| format!("failure {id}"));
    let mut out =
        format!("{} ({}) would be sent of {of}:\n", or_dash(&answer.channel), or_dash(&answer.r#type));
    for message in &answer.messages {
        out.push_str(&one(message, view));
    }
    out
}

fn one(message: &Preview, view: View) -> String {
    let status = word(message.status().as_str_name(), "ALERT_STATUS");
    let heading = Tone::Heading.paint(&format!("{status}: {}", clean(&message.title)), view.color);
    let body = message.body.as_deref().map(|body| format!("  body: {}\n", clean(body)));
    format!("\n{heading}\n{}{}", indented(&message.text), body.unwrap_or_default())
}

/// Line by line: only the line's end stays as it is.
fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {}", clean(line)).trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::v1::AlertStatus;

    #[test]
    fn each_message_is_shown_with_its_text_and_its_body() {
        let message = |status: AlertStatus, body: Option<&str>| Preview {
            status: status.into(),
            title: "FIRING NodeDead".into(),
            text: "n4 is dead\n\nby n1 \x1b[2J".into(),
            body: body.map(str::to_owned),
        };
        let answer = PreviewChannelResponse {
            channel: "team".into(),
            r#type: "slack".into(),
            messages: vec![
                message(AlertStatus::Firing, Some("{\"a\":1}")),
                message(AlertStatus::Resolved, None),
            ],
        };
        let view = View { now_ms: 0, color: false };
        let text = "FIRING NodeDead\n  n4 is dead\n\n  by n1 \u{fffd}[2J\n";
        assert_eq!(
            told(&answer, Some(12), view),
            format!(
                "team (slack) would be sent of failure 12:\n\nfiring: {text}  body: {{\"a\":1}}\n\nresolved: {text}"
            )
        );
        assert!(told(&answer, None, view).starts_with("team (slack) would be sent of a sample:\n"));
    }
}
