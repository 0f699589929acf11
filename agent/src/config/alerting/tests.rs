//! The alerting file: every type and every part from an example, and a sentence for each mistake.

use super::*;
use crate::{
    notify::fields::TYPES,
    wire::api::{alerting::from_wire, channels::CHANNEL_TIMEOUT_MS},
};
use cluster_core::{
    ledger::{
        Escalation, Inhibit, Maintenance, Over, Rate, Route, Rule, Schedule, SecretRef, Setting, Severity,
        Weekday,
    },
    time::WallTime,
};
use std::collections::BTreeSet;

fn complaint(text: &str) -> String {
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
}

#[test]
fn every_mistake_has_its_sentence() {
    let types = "webhook, smtp, dingtalk, feishu, wecom, slack, aliyun_sms, tencent_sms, twilio, alertmanager, \
                 opsgenie, victorops, pagerduty, zabbix, exec, console, file";
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

const PARTS: &str = r#"
    runbooks = "https://wiki.example/runbooks"
    [channel.chat]
    type = "console"
    rate_limit = "20/1m"
    failover = "screen"
    [channel.screen]
    type = "console"
    [[route]]
    match = "severity >= warning"
    channels = ["chat"]
    group_by = ["zone", "alert"]
    group_wait = "2s"
    group_interval = "30s"
    repeat = "4h"
    continue = true
    schedule = "office"
    [[route.escalate]]
    after = "15m"
    channels = ["screen"]
    schedule = "night"
    [[route.escalate]]
    after = "1h"
    channels = ["chat", "screen"]
    [[route]]
    channels = ["screen"]
    group_by = []
    [[inhibit]]
    source = "alert == 'NodeDead'"
    target = "alert == 'WorkloadDown'"
    equal = ["node"]
    [schedule.office]
    timezone = "Asia/Shanghai"
    days = ["sun", "mon-wed", "tue"]
    from = "09:00"
    to = "18:30"
    [schedule.night]
    timezone = "UTC"
    days = ["sat-mon"]
    from = "22:00"
    to = "06:00"
    [schedule.always]
    timezone = "UTC"
    [[maintenance]]
    match = "zone == 'a'"
    schedule = "night"
    from = "2026-01-31T20:00:00+08:00"
    until = 2026-01-31T12:00:00.250Z
    comment = "new switches"
    [[maintenance]]
    schedule = "night"
    [[rule]]
    name = "Hot"
    over = "nodes"
    when = "labels.disk == 'ssd'"
    for = "5m"
    severity = "critical"
    summary = "it is hot"
    description = "very"
    labels = { team = "ops" }
    runbook = "https://wiki.example/hot"
    [[rule]]
    name = "Plain"
    over = "workloads"
    when = "true"
"#;

#[test]
fn every_part_beside_the_channels_is_read() {
    let config = from_wire(parse("a.toml", PARTS).unwrap()).unwrap();
    let text = |text: &str| Some(text.to_owned());
    let chat = &config.channels["chat"];
    assert_eq!((chat.rate, &chat.failover), (Some(Rate { messages: 20, per_ms: 60_000 }), &text("screen")));
    assert_eq!(config.channels["screen"].rate, None);
    let escalations = vec![
        Escalation { after_ms: 900_000, channels: vec!["screen".into()], schedule: text("night") },
        Escalation { after_ms: 3_600_000, channels: vec!["chat".into(), "screen".into()], schedule: None },
    ];
    let first = Route {
        condition: text("severity >= warning"),
        channels: vec!["chat".into()],
        group_by: Some(vec!["zone".into(), "alert".into()]),
        group_wait_ms: Some(2_000),
        group_interval_ms: Some(30_000),
        repeat_ms: Some(14_400_000),
        go_on: true,
        schedule: text("office"),
        escalations,
    };
    let second = Route { group_by: Some(Vec::new()), ..Route::to(vec!["screen".into()]) };
    assert_eq!(config.routes, [first, second]);
    let inhibit = Inhibit {
        source: "alert == 'NodeDead'".into(),
        target: "alert == 'WorkloadDown'".into(),
        equal: vec!["node".into()],
    };
    assert_eq!(config.inhibits, [inhibit]);
    let hours = |zone: &str, days: &[Weekday], from_minute, to_minute| Schedule {
        timezone: zone.into(),
        days: days.to_vec(),
        from_minute,
        to_minute,
    };
    use Weekday::{Monday, Saturday, Sunday, Tuesday, Wednesday};
    assert_eq!(
        config.schedules["office"],
        hours("Asia/Shanghai", &[Monday, Tuesday, Wednesday, Sunday], 540, 1_110)
    );
    assert_eq!(config.schedules["night"], hours("UTC", &[Monday, Saturday, Sunday], 1_320, 360));
    assert_eq!(config.schedules["always"], hours("UTC", &[], 0, 1_440));
    let switches = Maintenance {
        condition: text("zone == 'a'"),
        schedule: text("night"),
        from: Some(WallTime(1_769_860_800_000)),
        until: Some(WallTime(1_769_860_800_250)),
        comment: "new switches".into(),
    };
    assert_eq!(
        config.maintenances,
        [switches, Maintenance { schedule: text("night"), ..Maintenance::default() }]
    );
    let hot = Rule {
        name: "Hot".into(),
        over: Over::Nodes,
        condition: "labels.disk == 'ssd'".into(),
        for_ms: 300_000,
        severity: Severity::Critical,
        summary: "it is hot".into(),
        description: "very".into(),
        labels: [("team".to_owned(), "ops".to_owned())].into(),
        runbook: text("https://wiki.example/hot"),
    };
    let plain = Rule {
        name: "Plain".into(),
        over: Over::Workloads,
        condition: "true".into(),
        for_ms: 0,
        severity: Severity::Warning,
        summary: "Plain".into(),
        description: String::new(),
        labels: [].into(),
        runbook: None,
    };
    assert_eq!(config.rules, [hot, plain]);
    assert_eq!(config.runbooks, text("https://wiki.example/runbooks"));
}

#[test]
fn a_channels_rate_and_failover_can_be_wrong() {
    let console = |name: &str, rest: &str| format!("[channel.{name}]\ntype = \"console\"\n{rest}\n");
    for (text, sentence) in [
        (
            console("a", "rate_limit = \"1/s\""),
            "a.toml:3: channel.a.rate_limit: \"1/s\" isn't a rate; write one like \"20/1m\"",
        ),
        (
            console("a", "rate_limit = \"0/1m\""),
            "a.toml:3: channel.a.rate_limit: \"0/1m\" is out of range; use 1 to 1000 in 1ms to 31d",
        ),
        (
            console("a", "rate_limit = \"5/32d\""),
            "a.toml:3: channel.a.rate_limit: \"5/32d\" is out of range; use 1 to 1000 in 1ms to 31d",
        ),
        (
            console("a", "failover = \"bb\"") + &console("bbb", ""),
            "a.toml:3: channel.a.failover: there is no channel \"bb\" in this file; did you mean \"bbb\"?",
        ),
        (
            console("a", "failover = \"a\""),
            "a.toml:3: channel.a.failover: it leads in a circle, a → a; let one of them end it without failover",
        ),
        (
            console("z", "failover = \"b\"")
                + &console("b", "failover = \"c\"")
                + &console("c", "failover = \"b\""),
            "a.toml:6: channel.b.failover: it leads in a circle, b → c → b; let one of them end it without failover",
        ),
        (
            console("a", "rate_limits = \"1/1s\""),
            "a.toml:3: unknown key channel.a.rate_limits; did you mean channel.a.rate_limit?",
        ),
    ] {
        assert_eq!(complaint(&text), sentence);
    }
    let chain = console("a", "failover = \"b\"") + &console("b", "failover = \"c\"") + &console("c", "");
    assert!(parse("a.toml", &chain).is_ok());
}

#[test]
fn a_route_or_an_inhibition_can_be_wrong() {
    let route =
        |rest: &str| format!("[channel.a]\ntype = \"console\"\n[[route]]\nchannels = [\"a\"]\n{rest}\n");
    let long = "x".repeat(2_049);
    for (text, sentence) in [
        (
            route("group_wiat = \"1s\""),
            "a.toml:5: unknown key route.group_wiat; did you mean route.group_wait?",
        ),
        (
            route("match = \" \""),
            "a.toml:5: route.match: the condition is empty; write one like \"severity >= warning\", or take it out",
        ),
        (
            route(&format!("match = \"{long}\"")),
            "a.toml:5: route.match: the condition has 2049 bytes; shorten it to at most 2048",
        ),
        (
            route("group_by = [\"\"]"),
            "a.toml:5: route.group_by: \"\" can't be a label; names have 1 to 63 bytes",
        ),
        (route("repeat = \"0s\""), "a.toml:5: route.repeat: \"0s\" is out of range; use 1000ms to 2678400s"),
        (route("continue = \"yes\""), "a.toml:5: route.continue: found string; write true or false"),
        (
            route("schedule = \"offce\"\n[schedule.office]\ntimezone = \"UTC\""),
            "a.toml:5: route.schedule: there is no schedule \"offce\" in this file; did you mean \"office\"?",
        ),
        (
            route("schedule = \"x\""),
            "a.toml:5: route.schedule: there is no schedule \"x\" in this file; add [schedule.x], or take it out",
        ),
        (
            route("[[route.escalate]]\nchannels = [\"a\"]"),
            "a.toml:5: [route.escalate] doesn't say when; add after = \"15m\"",
        ),
        (
            route("[[route.escalate]]\nafter = \"1m\""),
            "a.toml:5: [route.escalate] leads nowhere; add channels = [\"NAME\"]",
        ),
        (
            route("[[route.escalate]]\nafter = \"1m\"\nchannels = [\"b\"]"),
            "a.toml:7: route.escalate.channels: there is no channel \"b\" in this file; did you mean \"a\"?",
        ),
        (
            route("[[route.escalate]]\nafterr = \"1m\""),
            "a.toml:6: unknown key route.escalate.afterr; did you mean route.escalate.after?",
        ),
        (
            route(&"[[route.escalate]]\nafter = \"1m\"\nchannels = [\"a\"]\n".repeat(9)),
            "a.toml:5: route.escalate: there are 9 of them; at most 8 can be kept",
        ),
        (
            "[[inhibit]]\nsource = \"true\"".to_owned(),
            "a.toml:1: [inhibit] has no target; add target = \"alert == 'WorkloadDown'\"",
        ),
        (
            "[[inhibit]]\ntarget = \"true\"".to_owned(),
            "a.toml:1: [inhibit] has no source; add source = \"alert == 'NodeDead'\"",
        ),
        (
            "[[inhibit]]\nsources = \"true\"".to_owned(),
            "a.toml:2: unknown key inhibit.sources; did you mean inhibit.source?",
        ),
        (
            "inhibit = []\nrunbooks = \"wiki\"".to_owned(),
            "a.toml:2: runbooks: it isn't a URL; write one like \"https://example.org/runbooks\"",
        ),
        (
            "[[inhibit]]\nsource = \"a\"\ntarget = \"b\"\n".repeat(65),
            "a.toml:1: inhibit: there are 65 of them; at most 64 can be kept",
        ),
    ] {
        assert_eq!(complaint(&text), sentence);
    }
}

#[test]
fn hours_and_maintenances_can_be_wrong() {
    let hours = |rest: &str| format!("[schedule.s]\ntimezone = \"UTC\"\n{rest}");
    let no_day = |day: &str| {
        format!(
            "a.toml:3: schedule.s.days: \"{day}\" isn't a day; write \"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\" \
             or \"sun\", or days in a row like \"mon-fri\""
        )
    };
    let no_time = |time: &str| {
        format!("a.toml:3: schedule.s.from: \"{time}\" isn't a time of day; write one like \"09:00\"")
    };
    let no_moment = |time: &str| {
        format!(
            "a.toml:2: maintenance.until: \"{time}\" isn't a time with its zone; write one like \
             \"2026-01-31T12:00:00Z\" or \"2026-01-31T20:00:00+08:00\""
        )
    };
    for (text, sentence) in [
        (
            "[schedule.s]\nfrom = \"09:00\"".to_owned(),
            "a.toml:1: [schedule.s] doesn't say where; add timezone = \"Asia/Shanghai\", or \"UTC\"".to_owned(),
        ),
        (
            "[schedule.s]\ntimezone = \"Asia/Shangai\"".to_owned(),
            "a.toml:2: schedule.s.timezone: there is no time zone \"Asia/Shangai\"; name one like \"Asia/Shanghai\" or \
             \"UTC\""
            .to_owned(),
        ),
        (hours("days = [\"monday\"]"), no_day("monday")),
        (hours("days = [\"mon-\"]"), no_day("mon-")),
        (hours("days = [\"mon-fri-sat\"]"), no_day("mon-fri-sat")),
        (
            hours("days = []"),
            "a.toml:3: schedule.s.days: the list is empty; name days, or take it out for every day".to_owned(),
        ),
        (hours("from = \"9:00\""), no_time("9:00")),
        (hours("from = \"09:60\""), no_time("09:60")),
        (hours("from = \"24:01\""), no_time("24:01")),
        (hours("from = \"+9:00\""), no_time("+9:00")),
        (
            hours("from = \"24:00\""),
            "a.toml:3: schedule.s.from: no day begins at 24:00; write \"00:00\"".to_owned(),
        ),
        (
            hours("from = \"09:00\"\nto = \"09:00\""),
            "a.toml:4: schedule.s.to: it is the same as from; write a later time, or take both out for whole days"
                .to_owned(),
        ),
        (hours("day = 1"), "a.toml:3: unknown key schedule.s.day; did you mean schedule.s.days?".to_owned()),
        (
            "[schedule.\"a b\"]".to_owned(),
            "a.toml:1: schedule.a b: \"a b\" can't be a name; use letters, digits, \"-\", \"_\" and \".\", a letter or \
             digit first"
                .to_owned(),
        ),
        (
            "[[maintenance]]\nfrom = \"2026-01-31T12:00:00Z\"".to_owned(),
            "a.toml:1: [maintenance] never ends; add until = \"2026-01-31T12:00:00Z\", or schedule = \"NAME\"".to_owned(),
        ),
        ("[[maintenance]]\nuntil = \"tomorrow\"".to_owned(), no_moment("tomorrow")),
        ("[[maintenance]]\nuntil = 2026-01-31T12:00:00".to_owned(), no_moment("2026-01-31T12:00:00")),
        ("[[maintenance]]\nuntil = \"1969-01-31T12:00:00Z\"".to_owned(), no_moment("1969-01-31T12:00:00Z")),
        (
            "[[maintenance]]\nuntil = 5".to_owned(),
            "a.toml:2: maintenance.until: found integer; write a time like \"2026-01-31T12:00:00Z\"".to_owned(),
        ),
        (
            "[[maintenance]]\nfrom = \"2026-01-31T12:00:00Z\"\nuntil = \"2026-01-31T12:00:00Z\"".to_owned(),
            "a.toml:3: maintenance.until: it ends before it begins; write a time after from".to_owned(),
        ),
        (
            "[[maintenance]]\nschedule = \"s\"".to_owned(),
            "a.toml:2: maintenance.schedule: there is no schedule \"s\" in this file; add [schedule.s], or take it out"
                .to_owned(),
        ),
        (
            format!("[[maintenance]]\nuntil = \"2026-01-31T12:00:00Z\"\ncomment = \"{}\"", "x".repeat(1_025)),
            "a.toml:3: maintenance.comment: it has 1025 bytes; shorten it to at most 1024".to_owned(),
        ),
    ] {
        assert_eq!(complaint(&text), sentence);
    }
}

#[test]
fn a_rule_can_be_wrong() {
    let rule = |rest: &str| format!("[[rule]]\nname = \"Hot\"\nover = \"nodes\"\nwhen = \"true\"\n{rest}\n");
    for (text, sentence) in [
        ("[[rule]]\nover = \"nodes\"".to_owned(), "a.toml:1: [rule] has no name; add name = \"DiskFull\""),
        (
            "[[rule]]\nname = \"A\"".to_owned(),
            "a.toml:1: [rule] doesn't say of what; add over = \"nodes\", or over = \"workloads\"",
        ),
        (
            "[[rule]]\nname = \"A\"\nover = \"node\"".to_owned(),
            "a.toml:3: rule.over: \"node\" isn't known; did you mean \"nodes\"?",
        ),
        (
            "[[rule]]\nname = \"A\"\nover = \"nodes\"".to_owned(),
            "a.toml:1: [rule] has no when; add when = \"labels.disk == 'ssd'\"",
        ),
        (
            "[[rule]]\nname = \"A B\"".to_owned(),
            "a.toml:2: rule.name: \"A B\" can't be a name; use letters, digits, \"-\", \"_\" and \".\", a letter or digit \
             first",
        ),
        (rule("") + &rule(""), "a.toml:7: rule.name: there is a rule \"Hot\" above; choose another name"),
        (
            rule("severity = \"error\""),
            "a.toml:5: rule.severity: \"error\" isn't known; write \"info\" or \"warning\" or \"critical\"",
        ),
        (rule("for = \"32d\""), "a.toml:5: rule.for: \"32d\" is out of range; use 0ms to 2678400s"),
        (
            rule("runbook = \"wiki/hot\""),
            "a.toml:5: rule.runbook: it isn't a URL; write one like \"https://example.org/runbooks\"",
        ),
        (
            rule("labels = { \"\" = \"x\" }"),
            "a.toml:5: rule.labels: \"\" can't be kept; names have 1 to 63 bytes, values at most 4096",
        ),
        (rule("label = {}"), "a.toml:5: unknown key rule.label; did you mean rule.labels?"),
    ] {
        assert_eq!(complaint(&text), sentence);
    }
}
