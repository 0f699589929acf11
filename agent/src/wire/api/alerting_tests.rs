//! A configuration with everything in it comes back as it went; what the wire alone can say is refused by name.

use super::*;
use cluster_core::{
    ledger::{Rate, SecretRef, Setting},
    time::WallTime,
};

const FIRST_HOOK: &str = "http://127.0.0.1:9/hook";

fn hook(url: &str) -> Channel {
    let mut hook = Channel::new("webhook", 0);
    hook.settings.insert("url".into(), Setting::Text(url.into()));
    hook.settings.insert("secret".into(), Setting::Secret(SecretRef::File("/no/such/file".into())));
    hook
}

/// Every field differs from its default.
fn everything() -> AlertingConfig {
    let text = |text: &str| Some(text.to_owned());
    let backup = Channel { timeout_ms: 2_000, ..hook("http://127.0.0.1:9/backup") };
    let rate = Some(Rate { messages: 20, per_ms: 60_000 });
    let oncall = Channel { rate, failover: text("backup"), timeout_ms: 1_000, ..hook(FIRST_HOOK) };
    let full = Route {
        condition: text("severity >= warning"),
        channels: vec!["oncall".into()],
        group_by: Some(vec!["zone".into(), "alert".into()]),
        group_wait_ms: Some(0),
        group_interval_ms: Some(7),
        repeat_ms: Some(9),
        go_on: true,
        schedule: text("office"),
        escalations: vec![
            Escalation { after_ms: 5, channels: vec!["backup".into()], schedule: text("office") },
            Escalation { after_ms: 6, channels: vec!["backup".into()], schedule: None },
        ],
    };
    let office = Schedule {
        timezone: "Asia/Shanghai".into(),
        days: vec![
            Weekday::Monday,
            Weekday::Tuesday,
            Weekday::Wednesday,
            Weekday::Thursday,
            Weekday::Friday,
            Weekday::Saturday,
            Weekday::Sunday,
        ],
        from_minute: 540,
        to_minute: 1_440,
    };
    let night = Schedule { timezone: "UTC".into(), days: Vec::new(), from_minute: 1_320, to_minute: 0 };
    let rule = |name: &str, over, severity| Rule {
        name: name.into(),
        over,
        condition: "true".into(),
        for_ms: 60_000,
        severity,
        summary: "s".into(),
        description: "d".into(),
        labels: [("team".to_owned(), "ops".to_owned())].into(),
        runbook: text("https://example.org/hot"),
    };
    AlertingConfig {
        channels: [("oncall".to_owned(), oncall), ("backup".to_owned(), backup)].into(),
        routes: vec![
            full,
            Route { group_by: Some(Vec::new()), ..Route::to(vec!["oncall".into()]) },
            Route::to(vec!["backup".into()]),
        ],
        inhibits: vec![Inhibit { source: "true".into(), target: "false".into(), equal: vec!["node".into()] }],
        schedules: [("office".to_owned(), office), ("night".to_owned(), night)].into(),
        maintenances: vec![
            Maintenance {
                condition: text("zone == 'a'"),
                schedule: text("night"),
                from: Some(WallTime(1_700_000_000_001)),
                until: Some(WallTime(1_700_000_000_999)),
                comment: "new switches".into(),
            },
            Maintenance { schedule: text("night"), ..Maintenance::default() },
        ],
        rules: vec![
            rule("Hot", Over::Nodes, Severity::Info),
            rule("Slow", Over::Workloads, Severity::Critical),
            Rule { runbook: None, ..rule("Warm", Over::Nodes, Severity::Warning) },
        ],
        runbooks: text("https://example.org/runbooks"),
        ack_url: text("https://holdfast.example.com"),
        watchdog: Some(Watchdog { url: SecretRef::File("/etc/ping".into()), every_ms: 60_000 }),
    }
}

fn refused(change: impl FnOnce(&mut v1::ApplyAlertingRequest)) -> String {
    let mut request = to_wire(everything());
    change(&mut request);
    from_wire(request).unwrap_err().message().to_owned()
}

#[test]
fn a_configuration_comes_back_as_it_went() {
    assert_eq!(from_wire(to_wire(everything())).unwrap(), everything());
    assert_eq!(from_wire(to_wire(AlertingConfig::default())).unwrap(), AlertingConfig::default());
}

#[test]
fn a_channel_is_read_with_its_secret_unread() {
    let mut config = AlertingConfig::default();
    config.channels.insert("oncall".into(), hook(FIRST_HOOK));
    let read = from_wire(to_wire(config)).unwrap();
    let read = &read.channels["oncall"];
    assert_eq!((&read.settings["secret"], read.timeout_ms), (&hook(FIRST_HOOK).settings["secret"], 5_000));
    assert!(
        refused(|r| r.channels[1] = channels::to_wire("oncall", hook("ftp://x/")))
            .contains("channel oncall url: it isn't a URL")
    );
    assert!(refused(|r| r.channels[1] = r.channels[0].clone()).contains("channel backup is given twice"));
    let bare = v1::Channel { name: "x".into(), ..Default::default() };
    assert!(refused(|r| r.channels.push(bare)).contains("type"));
    assert!(refused(|r| r.channels[0].timeout_ms = 60_001).contains("60 s"));
}

#[test]
fn what_the_wire_alone_can_say_is_refused_by_name() {
    assert!(refused(|r| r.watchdog.as_mut().unwrap().url = None).contains("watchdog: it has no url"));
    let ftp = v1::Secret { source: Some(v1::secret::Source::Inline("ftp://x".into())) };
    assert!(refused(|r| r.watchdog.as_mut().unwrap().url = Some(ftp)).contains("watchdog: its url isn't"));
    let odd = || Some("https://x/?a".into());
    assert!(refused(|r| r.ack_url = odd()).starts_with("ack_url: it isn't an address"));
    assert!(refused(|r| r.schedules[1] = r.schedules[0].clone()).contains("schedule night is given twice"));
    assert!(refused(|r| r.schedules[0].days = vec![0]).contains("schedule night: a day is none of"));
    assert!(refused(|r| r.schedules[0].from_minute = 70_000).contains("minute 70000"));
    assert!(
        refused(|r| r.schedules[0].timezone = "Mars/Base".into()).contains("schedule night: there is no")
    );
    assert!(refused(|r| r.rules[0].over = 0).contains("rule Hot: over is missing"));
    assert!(refused(|r| r.rules[0].severity = 9).contains("rule Hot: severity is missing"));
}

#[test]
fn a_condition_is_looked_at_wherever_one_stands() {
    assert!(refused(|r| r.routes[0].condition = Some(" ".into())).starts_with("route 1: "));
    assert!(refused(|r| r.inhibits[0].source = String::new()).starts_with("inhibition 1, source: "));
    assert!(refused(|r| r.inhibits[0].target = String::new()).starts_with("inhibition 1, target: "));
    assert!(refused(|r| r.maintenances[0].condition = Some(String::new())).starts_with("maintenance 1: "));
    assert!(refused(|r| r.rules[1].condition = String::new()).starts_with("rule Slow: "));
    let asked_wrongly = refused(|r| r.rules[1].condition = "severity >= warning".into());
    assert!(asked_wrongly.contains("\"severity\" isn't known; there are name, kind"), "{asked_wrongly}");
    assert!(refused(|r| r.rules[0].name = "NodeDead".into()).contains("the name of a built-in alert"));
}
