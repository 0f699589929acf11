//! Every type becomes its `Kind`, wherever its secrets lie, and two new ones are told end to end.

use super::*;
use crate::notify::{
    Telling,
    message::tests::notice,
    send,
    stand_in::{self, reply},
};
use std::time::Duration;

/// The shortest that a value of this shape can be and pass every check.
fn least(spec: &TypeSpec, key: &str, shape: Shape) -> Setting {
    match (spec.name, key, shape) {
        (_, "url", Shape::Text) => Setting::Text("https://example.org/".into()),
        ("smtp", "from", _) => Setting::Text("a@example.org".into()),
        ("smtp", "to", _) => Setting::Texts(vec!["b@example.org".into()]),
        (_, "path", _) => Setting::Text("/tmp/alerts".into()),
        (_, _, Shape::Texts) => Setting::Texts(vec!["+8613800000000".into()]),
        (_, _, Shape::Secret) => Setting::Secret(SecretRef::Inline("https://example.org/key".into())),
        (_, _, Shape::Text) => Setting::Text("x".into()),
        (name, key, shape) => panic!("{name}.{key} is required and of {shape:?}"),
    }
}

fn minimal(spec: &TypeSpec) -> Channel {
    let mut channel = Channel::new(spec.name, 5_000);
    for field in spec.fields.iter().filter(|field| field.like.is_some()) {
        channel.settings.insert(field.name.to_owned(), least(spec, field.name, field.shape));
    }
    channel
}

#[tokio::test]
async fn every_type_is_built_from_what_it_needs_wherever_its_secrets_lie() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, "https://example.org/key\n").unwrap();
    let places = [
        SecretRef::Inline("https://example.org/key".into()),
        SecretRef::File(path.display().to_string()),
        // Every process has it, and nothing is sent anywhere.
        SecretRef::Env("PATH".into()),
    ];
    for spec in TYPES {
        for place in &places {
            let mut channel = minimal(spec);
            let short = SecretRef::Inline("secret".into());
            let fits = spec.name != "smpp" || !matches!(place, SecretRef::Inline(_));
            let place = if fits { place } else { &short };
            for setting in channel.settings.values_mut().filter(|s| matches!(s, Setting::Secret(_))) {
                *setting = Setting::Secret(place.clone());
            }
            assert_eq!(check(&channel), Ok(()), "{}", spec.name);
            let kind = kind(&channel).await.unwrap();
            assert!(!format!("{kind:?}").contains("example.org/key"), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn secrets_and_settings_arrive_where_they_belong() {
    let mut robot = minimal(TYPES.iter().find(|spec| spec.name == "dingtalk").unwrap());
    robot.settings.insert("secret".into(), Setting::Secret(SecretRef::Inline("SECx".into())));
    robot.settings.insert("at_all".into(), Setting::Flag(true));
    robot.settings.insert("at_mobiles".into(), Setting::Texts(vec!["13800000000".into()]));
    let Kind::DingTalk(config) = kind(&robot).await.unwrap() else { panic!() };
    assert_eq!(config.url.expose(), "https://example.org/key");
    assert_eq!(config.secret.unwrap().expose(), "SECx");
    assert_eq!((config.at_all, config.at_mobiles), (true, vec!["13800000000".to_owned()]));

    let mut mail = minimal(TYPES.iter().find(|spec| spec.name == "smtp").unwrap());
    mail.settings.insert("port".into(), Setting::Number(2525));
    mail.settings.insert("tls".into(), Setting::Text("none".into()));
    let Kind::Smtp(config) = kind(&mail).await.unwrap() else { panic!() };
    assert_eq!((config.port, config.tls), (Some(2525), smtp::Tls::None));
}

#[tokio::test]
async fn what_came_past_the_file_is_refused_too() {
    let slack = minimal(TYPES.iter().find(|spec| spec.name == "slack").unwrap());
    let refused = |change: fn(&mut Channel)| {
        let mut channel = slack.clone();
        change(&mut channel);
        check(&channel).unwrap_err().to_string()
    };
    assert!(refused(|c| c.kind = "pigeon".into()).contains("\"pigeon\""));
    assert!(refused(|c| c.settings.clear()).contains("has no url"));
    let shape = refused(|c| drop(c.settings.insert("url".into(), Setting::Number(1))));
    assert_eq!(shape, "url: it must be a secret");
    let odd = refused(|c| drop(c.settings.insert("odd".into(), Setting::Flag(true))));
    assert!(odd.contains("\"odd\""), "{odd}");
    let mut later = slack.clone();
    later.kind = "pigeon".into();
    let at_last = kind(&later).await.unwrap_err();
    assert!(!at_last.retry && at_last.reason.contains("pigeon"), "{at_last}");
}

#[tokio::test]
async fn slack_is_told_in_the_channel_s_own_words() {
    let server = stand_in::start(|_| reply(200, "ok")).await;
    let mut channel = Channel::new("slack", 5_000);
    let url = SecretRef::Inline(format!("{}/services/T/B/X", server.url));
    channel.settings.insert("url".into(), Setting::Secret(url));
    channel.template = Some("told: {{ title }}".into());
    assert_eq!(check(&channel), Ok(()));
    assert_eq!(
        send(&channel, Telling::alone(notice(1)), Duration::from_secs(5)).await.unwrap(),
        "200 OK: ok"
    );
    let got = server.received().remove(0);
    assert_eq!(got.path, "/services/T/B/X");
    assert!(got.json()["attachments"][0]["text"].as_str().unwrap().starts_with("told: "), "{}", got.body);
}

#[tokio::test]
async fn wecom_is_told_in_chinese_within_the_channel_s_time_out() {
    let server = stand_in::start(|_| reply(200, r#"{"errcode":0,"errmsg":"ok"}"#)).await;
    let mut channel = Channel::new("wecom", 5_000);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("url");
    std::fs::write(&path, format!("{}/cgi-bin/webhook/send?key=k\n", server.url)).unwrap();
    let url = SecretRef::File(path.display().to_string());
    channel.settings.insert("url".into(), Setting::Secret(url));
    channel.language = Some("zh".into());
    send(&channel, Telling::alone(notice(1)), Duration::from_secs(5)).await.unwrap();
    let got = server.received().remove(0);
    assert_eq!((got.path.as_str(), got.query["key"].as_str()), ("/cgi-bin/webhook/send", "k"));
    let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
    assert!(chinese(&got.body), "{}", got.body);

    channel.timeout_ms = 50;
    let silent = stand_in::tcp(|_| std::thread::sleep(Duration::from_secs(1)));
    let url = SecretRef::Inline(format!("http://{silent}/"));
    channel.settings.insert("url".into(), Setting::Secret(url));
    let refused = send(&channel, Telling::alone(notice(1)), Duration::from_secs(5)).await.unwrap_err();
    assert!(refused.retry && refused.reason.contains("no answer from"), "{refused}");
}
