//! `alert preview`: what a channel would be sent, made by the code that sends. No secret is read, and none is shown.
//!
//! Not here: sending, and which alerts are shown.

use super::{
    Refused, body,
    channel::{
        alertmanager, dingtalk, exec, feishu, opsgenie, pagerduty, slack, smpp, tencent_sms, victorops,
        wecom, zabbix,
    },
    dispatch::Kind,
    kinds,
    message::Message,
    phrases, words,
};
use cluster_core::{
    alerting::Notice,
    ledger::{Channel, Phase},
    time::WallTime,
};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    pub status: Phase,
    pub title: String,
    pub text: String,
    /// As it goes out, of channels that get JSON.
    pub body: Option<String>,
}

/// Of these notices, what fires first. People get them together, programs one by one.
///
/// # Errors
/// A sentence: the channel's settings, or a template of its, can't be used.
pub fn of(channel: &Channel, notices: Vec<Notice>, now: WallTime) -> Result<Vec<Preview>, String> {
    let kind = kinds::without_secrets(channel).map_err(|wrong| wrong.to_string())?;
    let style = kinds::style(channel);
    let (firing, resolved): (Vec<_>, Vec<_>) =
        notices.into_iter().partition(|notice| notice.status == Phase::Firing);
    let mut previews = Vec::new();
    for notices in [firing, resolved] {
        let groups: Vec<Vec<Notice>> = match channel.is_grouped() {
            true if notices.is_empty() => Vec::new(),
            true => vec![notices],
            false => notices.into_iter().map(|notice| vec![notice]).collect(),
        };
        for notices in groups {
            let key = notices[0].dedup_key.clone();
            let message =
                Message::new("preview".to_owned(), key, notices, &style, kind.room_bytes(), false, false);
            previews.push(preview(&kind, message, now).map_err(|refused| refused.reason)?);
        }
    }
    Ok(previews)
}

/// One that fires and is over, for whoever has no failure at hand.
#[must_use]
pub fn sample() -> Vec<Notice> {
    [Phase::Firing, Phase::Resolved].into_iter().flat_map(|status| phrases::sample(status).notices).collect()
}

fn preview(kind: &Kind, message: Message, now: WallTime) -> Result<Preview, Refused> {
    let body = body(kind, &message, now)?;
    let text = match kind {
        Kind::Console => message.notices.iter().map(body::line).collect::<Vec<_>>().join("\n"),
        Kind::Smpp(_) => smpp::short_text(&message).joined(),
        _ => message.words.text,
    };
    Ok(Preview { status: message.status, title: message.words.title, text, body })
}

fn body(kind: &Kind, message: &Message, now: WallTime) -> Result<Option<String>, Refused> {
    Ok(Some(match kind {
        Kind::Console | Kind::Smtp(_) | Kind::Twilio(_) | Kind::Smpp(_) => return Ok(None),
        Kind::Webhook(_) | Kind::File { .. } => body::of(message),
        Kind::Exec(_) => exec::request(message).trim_end().to_owned(),
        Kind::DingTalk(config) => dingtalk::request(config, message, now).body,
        // What it is signed with isn't known here.
        Kind::Feishu(config) => {
            feishu::request(&feishu::Config { secret: None, ..config.clone() }, message, now).body
        }
        Kind::WeCom(config) => wecom::request(config, message).body,
        Kind::Slack(config) => slack::request(config, message).body,
        Kind::AliyunSms(config) => {
            let filled = config
                .template_params
                .iter()
                .map(|(name, template)| Ok((name, words::variable(template, message, config.language)?)));
            serde_json::json!(filled.collect::<Result<BTreeMap<_, _>, Refused>>()?).to_string()
        }
        Kind::TencentSms(config) => tencent_sms::request(config, message, now)?.body,
        Kind::Alertmanager(config) => alertmanager::request(config, message, now).body,
        Kind::Opsgenie(config) => opsgenie::request(config, message).body,
        Kind::VictorOps(config) => victorops::request(config, message).body,
        Kind::PagerDuty(config) => pagerduty::request(config, message).body,
        Kind::Zabbix(config) => {
            let frame = zabbix::request(config, message, now);
            String::from_utf8_lossy(&frame[zabbix::HEADER_BYTES..]).into_owned()
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{
        fields::{Shape, TYPES},
        message::tests::{notice, resolved},
    };
    use cluster_core::ledger::{SecretRef, Setting};

    const NOW: WallTime = WallTime(1_700_000_100_000);
    /// Stands wherever a secret may, written out.
    const SECRET: &str = "whsec_aHVudGVyMmh1bnRlcjI=";
    const SECRET_URL: &str = "https://example.org/hook?access_token=whsec_aHVudGVyMmh1bnRlcjI=";

    /// With every setting that its type has.
    fn channel(kind: &str) -> Channel {
        let spec = TYPES.iter().find(|spec| spec.name == kind).unwrap();
        let mut channel = Channel::new(kind, 1_000);
        for field in spec.fields {
            let text = match field.name {
                "url" => "https://example.org/x",
                "from" if kind == "smtp" => "a@example.org",
                "tls" => "none",
                "template_id" => "7",
                _ => "/plain",
            };
            let setting = match field.shape {
                Shape::Text => Setting::Text(text.to_owned()),
                Shape::Texts => Setting::Texts(vec![match (kind, field.name) {
                    ("smtp", "to") => "b@example.org".to_owned(),
                    ("exec", _) => "/bin/true".to_owned(),
                    _ => "+8613800000000".to_owned(),
                }]),
                Shape::Pairs if field.name == "headers" => {
                    Setting::Pairs([("X-Token".to_owned(), SECRET.to_owned())].into())
                }
                Shape::Pairs => {
                    Setting::Pairs([("1".to_owned(), "{{ alerts[0].labels.node }}".to_owned())].into())
                }
                // No more fits into it.
                Shape::Secret if kind == "smpp" => Setting::Secret(SecretRef::Inline("hunter2".to_owned())),
                Shape::Secret if field.name == "url" => {
                    Setting::Secret(SecretRef::Inline(SECRET_URL.to_owned()))
                }
                Shape::Secret => Setting::Secret(SecretRef::Inline(SECRET.to_owned())),
                Shape::Flag => Setting::Flag(true),
                Shape::Number => Setting::Number(25),
            };
            channel.settings.insert(field.name.to_owned(), setting);
        }
        channel
    }

    #[test]
    fn every_type_shows_what_it_would_say_and_none_its_secrets() {
        for spec in TYPES {
            let channel = channel(spec.name);
            kinds::check(&channel).unwrap_or_else(|wrong| panic!("{}: {wrong}", spec.name));
            let previews = of(&channel, vec![resolved(1), notice(1)], NOW).unwrap();
            let statuses: Vec<Phase> = previews.iter().map(|preview| preview.status).collect();
            assert_eq!(statuses, [Phase::Firing, Phase::Resolved], "{}", spec.name);
            assert!(
                previews.iter().all(|p| p.text.contains("n1") && p.title.contains("n1")),
                "{}",
                spec.name
            );
            let all = format!("{previews:?}");
            assert!(!all.contains("aHVudGVyMmh1bnRlcjI") && !all.contains("hunter2"), "{}: {all}", spec.name);
            let json = !["smtp", "twilio", "smpp", "console"].contains(&spec.name);
            for preview in &previews {
                assert_eq!(preview.body.is_some(), json, "{}", spec.name);
                let Some(body) = &preview.body else { continue };
                assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{}: {body}", spec.name);
                assert!(body.contains("n1"), "{}: {body}", spec.name);
            }
        }
    }

    #[test]
    fn people_get_alerts_together_and_programs_one_by_one() {
        let notices = || vec![notice(1), notice(2), resolved(2)];
        let chat = of(&channel("slack"), notices(), NOW).unwrap();
        assert_eq!(chat.len(), 2);
        assert!(
            chat[0].text.contains("n1 is dead") && chat[0].text.contains("n2 is dead"),
            "{}",
            chat[0].text
        );
        assert_eq!(of(&channel("webhook"), notices(), NOW).unwrap().len(), 3);
        assert_eq!(of(&channel("slack"), Vec::new(), NOW), Ok(Vec::new()));
    }

    #[test]
    fn the_users_words_are_shown() {
        let own = Channel { template: Some("ours: {{ title }}".to_owned()), ..channel("slack") };
        let previews = of(&own, sample(), NOW).unwrap();
        assert!(previews.iter().all(|p| p.text.starts_with("ours: ")), "{previews:?}");
        assert!(previews[0].body.as_ref().unwrap().contains("ours: "));
        let zh = Channel { language: Some("zh".to_owned()), ..channel("slack") };
        assert!(of(&zh, sample(), NOW).unwrap()[1].title.contains("恢复"));
    }

    #[test]
    fn a_channel_that_cannot_be_used_says_why() {
        let newer = Channel::new("telepathy", 1_000);
        assert!(of(&newer, sample(), NOW).unwrap_err().contains("telepathy"));
    }
}
