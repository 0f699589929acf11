//! Each finding from a file that has it, and none from one that hasn't.

use super::*;

const NOW: WallTime = WallTime(1_769_860_800_000);

fn found(text: &str) -> Vec<(String, String)> {
    let variable = |name: &str| match name {
        "PATH" => Some("/nowhere:/usr/bin:/bin".to_owned()),
        "SET" => Some("x".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let findings = findings("a.toml", text, &Host { now: NOW, variable: &variable });
    assert!(findings.iter().all(|finding| !finding.fix.is_empty()), "{findings:?}");
    findings.into_iter().map(|finding| (finding.place, finding.what)).collect()
}

fn is(found: &[(String, String)], expected: &[(&str, &str)]) {
    let found: Vec<(&str, &str)> =
        found.iter().map(|(place, what)| (place.as_str(), what.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_good_file_has_nothing_to_be_found() {
    is(
        &found(
            r#"
            [channel.a]
            type = "console"
            failover = "b"
            [channel.b]
            type = "exec"
            command = ["sh", "-c", "cat"]
            [channel.c]
            type = "exec"
            command = ["/bin/sh"]
            [channel.d]
            type = "slack"
            url = { env = "SET" }
            [[route]]
            match = "severity >= warning"
            channels = ["a"]
            [[route.escalate]]
            after = "1m"
            channels = ["c"]
            [[route]]
            channels = ["d"]
            continue = true
            schedule = "s"
            [[route]]
            channels = ["d"]
            [schedule.s]
            timezone = "UTC"
            [[maintenance]]
            until = "2026-01-31T12:00:00.001Z"
            "#,
        ),
        &[],
    );
}

#[test]
fn what_leads_nowhere_is_found_in_the_files_order() {
    is(
        &found(
            "[schedule.idle]\ntimezone = \"UTC\"\n\
             [channel.used]\ntype = \"console\"\n\
             [channel.lost]\ntype = \"console\"\nfailover = \"lost_too\"\n\
             [channel.lost_too]\ntype = \"console\"\n\
             [[route]]\nchannels = [\"used\"]\n\
             [[route]]\nmatch = \"severity >= warning\"\nchannels = [\"used\"]\n\
             [[route]]\nchannels = [\"used\"]\n\
             [[maintenance]]\ncomment = \"c\"\nuntil = \"2026-01-31T12:00:00Z\"\n",
        ),
        &[
            ("a.toml:1", "schedule idle is used nowhere"),
            ("a.toml:5", "channel lost is never told anything: no route leads to it"),
            ("a.toml:8", "channel lost_too is never told anything: no route leads to it"),
            ("a.toml:12", "this route is never reached: the one in line 10 takes every alert"),
            ("a.toml:15", "this route is never reached: the one in line 10 takes every alert"),
            ("a.toml:19", "this maintenance is over: nothing is kept back by it any more"),
        ],
    );
    let always = "[channel.a]\ntype = \"console\"\n[[route]]\nmatch = \" true \"\nchannels = [\"a\"]\n[[route]]\nchannels = [\"a\"]\n";
    assert_eq!(found(always).len(), 1);
}

#[test]
fn what_this_host_lacks_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    for (name, mode) in [("open", 0o644), ("shut", 0o600), ("program", 0o755)] {
        fs::write(at(name), "x").unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let text = |channel: &str| format!("{channel}\n[[route]]\nchannels = [\"a\"]\n");
    let secret = |place: &str| text(&format!("[channel.a]\ntype = \"slack\"\nurl = {place}"));
    let file = |name: &str| secret(&format!("{{ file = \"{}\" }}", at(name)));
    let what = |said: &str| format!("channel a, url: {said}");
    let only = |text: &str| match found(text).as_slice() {
        [(place, what)] => (place.clone(), what.clone()),
        other => panic!("{other:?}"),
    };
    let third = |what: String| ("a.toml:3".to_owned(), what);
    let missing = at("none");
    assert_eq!(only(&file("none")), third(what(&format!("there is no file {missing} on this host"))));
    let open = at("open");
    let readable = format!("every user of this host can read the secret's file {open}");
    assert_eq!(only(&file("open")), third(what(&readable)));
    is(&found(&file("shut")), &[]);
    let here = directory.path().display().to_string();
    assert_eq!(only(&file("")).1, what(&format!("{here}/ isn't a file")));
    for name in ["UNSET", "EMPTY"] {
        let unset = what(&format!("the variable {name} isn't set on this host, for you"));
        assert_eq!(only(&secret(&format!("{{ env = \"{name}\" }}"))), third(unset));
    }
    let exec = |program: &str| text(&format!("[channel.a]\ntype = \"exec\"\ncommand = [\"{program}\"]"));
    is(&found(&exec(&at("program"))), &[]);
    for (program, said) in [
        (at("none"), format!("there is no program {missing} on this host")),
        (at("shut"), format!("{} can't be run: it isn't an executable file", at("shut"))),
        (here.clone(), format!("{here} can't be run: it isn't an executable file")),
        (
            "no-such-program".into(),
            "there is no program no-such-program in this environment's PATH".to_owned(),
        ),
    ] {
        assert_eq!(only(&exec(&program)), third(format!("channel a, command: {said}")));
    }
    let hook = format!("[channel.a]\ntype = \"webhook\"\nurl = \"http://x\"\nca = \"{missing}\"");
    let said = format!("channel a, ca: there is no file {missing} on this host");
    assert_eq!(only(&text(&hook)), ("a.toml:4".to_owned(), said));
    let shown = format!("[channel.a]\ntype = \"webhook\"\nurl = \"http://x\"\nca = \"{open}\"");
    is(&found(&text(&shown)), &[]);
}

#[test]
fn a_mistake_that_apply_would_refuse_is_a_finding() {
    let variable = |_: &str| None;
    let host = Host { now: NOW, variable: &variable };
    let finding = Finding {
        place: "a.toml:1".into(),
        what: "unknown key chanel".into(),
        fix: "did you mean channel?".into(),
    };
    assert_eq!(findings("a.toml", "[chanel.a]", &host), [finding]);
    let broken = findings("a.toml", "x = = 1", &host);
    assert_eq!((broken.len(), broken[0].fix.as_str()), (1, "the file must be TOML"));
}

#[test]
fn the_watchdog_s_secret_is_looked_for_too() {
    let found = found("[watchdog]\nevery = \"1m\"\nurl = { env = \"EMPTY\" }\n");
    is(&found, &[("a.toml:3", "watchdog, url: the variable EMPTY isn't set on this host, for you")]);
}

#[test]
fn links_in_the_clear_are_found() {
    let clear = "ack_url: who acknowledges does so in the clear, and whoever listens can do the same";
    is(&found("\nack_url = \"http://holdfast.example.com\"\n"), &[("a.toml:2", clear)]);
    for fine in
        ["https://holdfast.example.com", "http://127.0.0.1:7401", "http://[::1]:7401", "http://localhost"]
    {
        is(&found(&format!("ack_url = \"{fine}\"\n")), &[]);
    }
}
