//! The alerting file's channels and its example: every type and every key, and a sentence for each mistake.

use super::*;
use crate::{
    notify::fields::TYPES,
    wire::api::{alerting::from_wire, channels::CHANNEL_TIMEOUT_MS},
};
use cluster_core::ledger::{Route, SecretRef, Setting};
use std::collections::BTreeSet;

pub(super) fn complaint(text: &str) -> String {
    let said = parse("a.toml", text).unwrap_err().to_string();
    assert!(!said.contains('\n'), "{said}");
    said
}

/// The example that operators are given.
const EXAMPLE: &str = include_str!("../../../../deploy/examples/alerts-all.toml");

#[test]
fn channels_and_catch_all_routes_are_read() {
    let applied = parse(
        "a.toml",
        r#"
        [channel.oncall]
        type = "webhook"
        url = "http://127.0.0.1:9000/hook"
        secret = { file = "/etc/holdfast/secrets/hook" }
        headers = { X-Team = "ops" }
        timeout = "2s"
        [channel.inline]
        type = "webhook"
        url = "https://example.org"
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        [channel.screen]
        type = "console"
        [channel.log]
        type = "file"
        path = "/var/log/alerts"
        language = "zh"
        template = "{{ title }}"
        [[route]]
        channels = ["oncall", "screen"]
        [[route]]
        channels = ["log"]
        "#,
    )
    .unwrap();
    let applied = from_wire(applied).unwrap();
    let channel = |name: &str| &applied.channels[name];
    assert_eq!(applied.channels.len(), 4);
    assert_eq!((channel("oncall").timeout_ms, channel("inline").timeout_ms), (2_000, CHANNEL_TIMEOUT_MS));
    let file = SecretRef::File("/etc/holdfast/secrets/hook".into());
    assert_eq!(channel("oncall").settings["secret"], Setting::Secret(file));
    assert_eq!(channel("log").language.as_deref(), Some("zh"));
    assert_eq!(channel("log").template.as_deref(), Some("{{ title }}"));
    let to = |channels: &[&str]| Route::to(channels.iter().map(|c| (*c).to_owned()).collect());
    assert_eq!(applied.routes, [to(&["oncall", "screen"]), to(&["log"])]);
    assert_eq!(
        applied,
        AlertingConfig {
            channels: applied.channels.clone(),
            routes: applied.routes.clone(),
            ..AlertingConfig::default()
        }
    );
}

#[test]
fn the_example_has_every_type_and_every_setting() {
    let applied = parse("alerts-all.toml", EXAMPLE).unwrap();
    for spec in TYPES {
        let of_type = applied.channels.iter().filter(|channel| channel.r#type == spec.name);
        let mut keys: Vec<&String> = of_type.flat_map(|channel| channel.settings.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut fields: Vec<&str> = spec.fields.iter().map(|field| field.name).collect();
        fields.sort_unstable();
        assert_eq!(keys, fields, "{}", spec.name);
        assert!(applied.channels.iter().any(|channel| channel.r#type == spec.name), "{}", spec.name);
    }
}

#[test]
fn the_example_has_every_key_of_every_other_part() {
    let file: toml::Table = EXAMPLE.parse().unwrap();
    let items = |key: &str| match &file[key] {
        toml::Value::Array(items) => items.clone(),
        toml::Value::Table(named) => named.values().cloned().collect(),
        other => panic!("{other:?}"),
    };
    let keys = |items: &[toml::Value]| -> BTreeSet<String> {
        items.iter().flat_map(|item| item.as_table().unwrap().keys().cloned()).collect()
    };
    let known = |keys: &[&str]| -> BTreeSet<String> { keys.iter().map(|key| (*key).to_owned()).collect() };
    assert_eq!(keys(&[toml::Value::Table(file.clone())]), known(&KEYS));
    assert!(keys(&items("channel")).is_superset(&known(&channel::COMMON)));
    assert_eq!(keys(&items("route")), known(&route::KEYS));
    let escalations =
        items("route").iter().filter_map(|r| r.get("escalate")?.as_array().cloned()).collect::<Vec<_>>();
    assert_eq!(keys(&escalations.concat()), known(&route::ESCALATION_KEYS));
    assert_eq!(keys(&items("inhibit")), known(&route::INHIBIT_KEYS));
    assert_eq!(keys(&items("schedule")), known(&schedule::KEYS));
    assert_eq!(keys(&items("maintenance")), known(&schedule::MAINTENANCE_KEYS));
    assert_eq!(keys(&items("rule")), known(&rule::KEYS));
    assert_eq!(keys(&[file["watchdog"].clone()]), known(&watchdog::KEYS));
}

#[test]
fn every_mistake_has_its_sentence() {
    let types = "webhook, smtp, dingtalk, feishu, wecom, slack, aliyun_sms, tencent_sms, twilio, smpp, \
                 alertmanager, opsgenie, victorops, pagerduty, zabbix, exec, console, file";
    let no_type =
        format!("a.toml:1: [channel.a] has no type; add type = \"webhook\", or another of: {types}");
    for (text, sentence) in [
        ("[channel.a]\n", no_type.as_str()),
        (
            "[channel.a]\ntype = \"webhok\"",
            "a.toml:2: channel.a.type: \"webhok\" isn't known; did you mean \"webhook\"?",
        ),
        ("[channel.a]\ntype = \"webhook\"", "a.toml:1: [channel.a] has no url; add url = \"https://…\""),
        (
            "[channel.a]\ntype = \"webhook\"\nurl = \"ftp://x\"",
            "a.toml:3: channel.a.url: it isn't a URL; write one like \"https://example.org/hook\"",
        ),
        (
            "[channel.a]\ntype = \"webhook\"\nurl = \"http://x\"\nsecret = \"hunter2\"",
            "a.toml:4: channel.a.secret: it isn't \"whsec_\" and base64; take the receiver's signing secret as it is",
        ),
        (
            "[channel.a]\ntype = \"webhook\"\nurl = \"http://x\"\nsecret = \"whsec_***\"",
            "a.toml:4: channel.a.secret: it isn't \"whsec_\" and base64; take the receiver's signing secret as it is",
        ),
        (
            "[channel.a]\ntype = \"webhook\"\nurl = \"http://x\"\nsecret = {}",
            "a.toml:4: channel.a.secret: write { file = \"/path\" } or { env = \"NAME\" }, one of them",
        ),
        (
            "[channel.a]\ntype = \"file\"",
            "a.toml:1: channel.a.path: give the file's path, beginning with \"/\"",
        ),
        ("[[route]]\n", "a.toml:1: [route] leads nowhere; add channels = [\"NAME\"]"),
        (
            "[channel.oncall]\ntype = \"console\"\n[[route]]\nchannels = [\"onccall\"]",
            "a.toml:4: route.channels: there is no channel \"onccall\" in this file; did you mean \"oncall\"?",
        ),
        ("[chanel.a]", "a.toml:1: unknown key chanel; did you mean channel?"),
    ] {
        assert_eq!(complaint(text), sentence);
    }
}

#[test]
fn what_a_type_has_not_lacks_or_cannot_use_is_told() {
    const MAIL: &str = "[channel.a]\ntype = \"smtp\"\nhost = \"m\"\nfrom = \"a@example.org\"\n";
    let mail = |rest: &str| format!("{MAIL}{rest}");
    for (text, sentence) in [
        (
            "[channel.a]\ntype = \"dingtalk\"\nurl = \"https://x\"\nat_mobile = [\"1\"]".to_owned(),
            "a.toml:4: unknown key channel.a.at_mobile; did you mean channel.a.at_mobiles?",
        ),
        (
            "[channel.a]\ntype = \"wecom\"\nurl = \"https://x\"\nsecret = \"x\"".to_owned(),
            "a.toml:4: unknown key channel.a.secret; known here: type, timeout, language, template, rate_limit, failover, url",
        ),
        (
            "[channel.a]\ntype = \"slack\"".to_owned(),
            "a.toml:1: [channel.a] has no url; add url = \"https://…\"",
        ),
        (
            "[channel.a]\ntype = \"pagerduty\"".to_owned(),
            "a.toml:1: [channel.a] has no routing_key; add routing_key = { file = \"/…\" }",
        ),
        (
            "[channel.a]\ntype = \"slack\"\nurl = \"hunter2\"".to_owned(),
            "a.toml:3: channel.a.url: it isn't a URL; write one like \"https://example.org/hook\"",
        ),
        (mail(""), "a.toml:1: [channel.a] has no to; add to = [\"ops@example.org\"]"),
        (
            mail("to = \"x\""),
            "a.toml:5: channel.a.to: found string; write a list of texts, like [\"a\", \"b\"]",
        ),
        (mail("to = []"), "a.toml:1: [channel.a] can't be used: `to` must have 1 to 100 addresses, not 0"),
        (mail("to = [\"nobody\"]"), "a.toml:1: [channel.a] can't be used: \"nobody\" isn't a mail address"),
        (
            mail("to = [\"b@example.org\"]\nport = 70000"),
            "a.toml:6: channel.a.port: 70000 is out of range; use 1 to 65535",
        ),
        (
            mail("to = [\"b@example.org\"]\ntls = \"ssl\""),
            "a.toml:6: channel.a.tls: \"ssl\" isn't known; write \"starttls\" or \"implicit\" or \"none\"",
        ),
        (
            mail("to = [\"b@example.org\"]\npassword = { file = \"/p\" }"),
            "a.toml:1: [channel.a] can't be used: an smtp channel has both `username` and `password`, or neither",
        ),
        (
            "[channel.a]\ntype = \"console\"\nlanguage = \"fr\"".to_owned(),
            "a.toml:3: channel.a.language: \"fr\" isn't known; write \"en\" or \"zh\"",
        ),
        (
            "[channel.a]\ntype = \"opsgenie\"\napi_key = \"\"".to_owned(),
            "a.toml:3: channel.a.api_key: it is empty; write something or take it out",
        ),
        (
            "[channel.a]\ntype = \"console\"\ntemplate = \" \"".to_owned(),
            "a.toml:3: channel.a.template: it is empty; write something or take it out",
        ),
        (
            "[channel.a]\ntype = \"alertmanager\"\nurl = \"http://x\"\nusername = \"a\"".to_owned(),
            "a.toml:1: [channel.a] can't be used: an alertmanager channel has both `username` and `password`, or neither",
        ),
        (
            "[channel.a]\ntype = \"exec\"\ncommand = [\"\"]".to_owned(),
            "a.toml:1: [channel.a] can't be used: the channel's command is empty",
        ),
        (
            "[channel.a]\ntype = \"exec\"\ncommand = []".to_owned(),
            "a.toml:1: [channel.a] can't be used: the channel's command is empty",
        ),
        (
            "[channel.a]\ntype = \"webhook\"\nurl = \"http://x\"\nheaders = { \"a b\" = \"c\" }".to_owned(),
            "a.toml:4: channel.a.headers: \"a b\" can't be a header; names are like X-Team",
        ),
    ] {
        assert_eq!(complaint(&text), sentence);
    }
}

#[test]
fn templates_and_numbers_are_tried_before_they_are_applied() {
    let said = complaint("[channel.a]\ntype = \"console\"\ntemplate = \"{{ title\"");
    assert!(said.starts_with("a.toml:3: channel.a.template: line 1 "), "{said}");
    let sms = |rest: &str| {
        complaint(&format!(
            "[channel.a]\ntype = \"tencent_sms\"\nsecret_id = \"i\"\nsecret_key = {{ env = \"K\" }}\napp_id = \"1\"\n\
             sign_name = \"s\"\ntemplate_id = \"2\"\n{rest}"
        ))
    };
    let numbered = sms("to = [\"+8613800000000\"]\ntemplate_params = { name = \"x\" }");
    assert!(numbered.contains("are numbered as in its template"), "{numbered}");
    let broken = sms("to = [\"+8613800000000\"]\ntemplate_params = { 1 = \"{{ title\" }");
    assert!(broken.contains("template can't be used"), "{broken}");
    assert!(sms("to = [\"ops\"]").contains("isn't a telephone number"));
}
