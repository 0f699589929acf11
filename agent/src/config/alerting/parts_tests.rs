//! The alerting file beside its channels' settings: every part is read, and a sentence for each mistake.

use super::{tests::complaint, *};
use crate::wire::api::alerting::from_wire;
use cluster_core::{
    ledger::{
        Escalation, Inhibit, Maintenance, Over, Rate, Route, Rule, Schedule, SecretRef, Severity, Watchdog,
        Weekday,
    },
    time::WallTime,
};

const PARTS: &str = r#"
    runbooks = "https://wiki.example/runbooks"
    ack_url = "https://holdfast.example.com"
    watchdog = { url = { env = "PING" }, every = "5m" }
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
    assert_eq!(config.ack_url, text("https://holdfast.example.com"));
    let url = SecretRef::Env("PING".into());
    assert_eq!(config.watchdog, Some(Watchdog { url, every_ms: 300_000 }));
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
            "inhibit = []\nack_url = \"https://x/?a\"".to_owned(),
            "a.toml:2: ack_url: it isn't an address that links can begin with; write one like \"https://holdfast.example.com\"",
        ),
        (
            format!("ack_url = \"https://{}\"", "x".repeat(249)),
            "a.toml:1: ack_url: it has 257 bytes; shorten it to at most 256",
        ),
        ("ack_ulr = \"https://x\"".to_owned(), "a.toml:1: unknown key ack_ulr; did you mean ack_url?"),
        (
            "[watchdog]\nevery = \"1m\"".to_owned(),
            "a.toml:1: [watchdog] has no url; add url = { file = \"/path\" }",
        ),
        (
            "[watchdog]\nurl = \"hc\"".to_owned(),
            "a.toml:2: watchdog.url: it isn't a URL; write one like \"https://hc-ping.com/…\"",
        ),
        (
            "[watchdog]\nurl = \"http://x\"\nevery = \"9s\"".to_owned(),
            "a.toml:3: watchdog.every: \"9s\" is out of range; use 10000ms to 3600s",
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
        (
            "[[rule]]\nname = \"NodeDead\"".to_owned(),
            "a.toml:2: rule.name: \"NodeDead\" is the name of a built-in alert; choose another name",
        ),
        (
            "[[rule]]\nname = \"A\"\nover = \"workloads\"\nwhen = \"zone == 'a'\"".to_owned(),
            "a.toml:4: rule.when: the condition is wrong: \"zone\" isn't known; there are name, kind, desired, \
             running, healthy, restarts, stopped",
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

#[test]
fn each_built_in_alert_has_its_runbook() {
    let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbooks");
    for alert in cluster_core::alerting::rules::BUILT_IN {
        let page = std::fs::read_to_string(format!("{pages}/{alert}.md")).unwrap_or_default();
        assert!(page.starts_with(&format!("# {alert} (")), "{alert}.md: {page:.40}");
    }
}
