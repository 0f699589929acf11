//! What a workload file may say, and the sentence for each thing that it may not.

use super::*;

const EXEC: &str = "exec.command = [\"/bin/true\"]\n";

fn one(body: &str) -> WorkloadSpec {
    let mut specs = parse("w.toml", &format!("[workload.web]\n{body}")).unwrap();
    assert_eq!(specs.len(), 1);
    specs.remove(0)
}

/// The sentence about `body`, whose first line is line 2 of the file.
fn complaint(body: &str) -> String {
    let said = parse("w.toml", &format!("[workload.web]\n{body}")).unwrap_err().to_string();
    assert!(!said.contains('\n'), "{said}");
    said
}

#[test]
fn a_command_is_enough() {
    let spec = one(EXEC);
    assert_eq!(spec.name, "web");
    assert_eq!(spec.kind(), WorkloadKind::Singleton);
    assert_eq!((spec.replicas, spec.priority), (1, 50));
    assert_eq!(spec.exec.unwrap().command, ["/bin/true"]);
    assert_eq!(spec.recovery.unwrap(), DEFAULT_RECOVERY);
}

#[test]
fn every_built_key_is_read() {
    let spec = one(r#"
        kind = "replicas"
        replicas = 3
        priority = 90
        ports = { http = 8080 }
        driver = "exec"
        [workload.web.exec]
        command = ["/usr/bin/python3", "-m", "http.server"]
        user = "www-data"
        working_dir = "/srv"
        env = { MODE = "prod" }
        [workload.web.recovery]
        restart = { attempts = 5, within = "10m", backoff = "1s..1m" }
        then = []
        on_isolation = "stop"
        stop_timeout = "30s"
        isolation_grace = "500ms"
        "#);
    assert_eq!((spec.kind(), spec.replicas, spec.priority), (WorkloadKind::Replicas, 3, 90));
    assert_eq!(spec.ports["http"], 8080);
    let exec = spec.exec.unwrap();
    assert_eq!((exec.user.as_deref(), exec.working_dir.as_deref()), (Some("www-data"), Some("/srv")));
    assert_eq!(exec.env["MODE"], "prod");
    assert_eq!(
        spec.recovery.unwrap(),
        RecoverySpec {
            restart_attempts: 5,
            restart_within_ms: 600_000,
            backoff_min_ms: 1_000,
            backoff_max_ms: 60_000,
            migrate: false,
            stop_timeout_ms: 30_000,
            isolation_grace_ms: 500,
            keep_on_isolation: false,
        }
    );
}

#[test]
fn replicas_may_run_twice_unless_told_otherwise() {
    let spec = one(&format!("kind = \"replicas\"\nreplicas = 2\n{EXEC}"));
    assert!(spec.recovery.unwrap().keep_on_isolation);
}

#[test]
fn several_workloads_keep_the_files_order() {
    let text = "[workload.z]\nexec.command = [\"a\"]\n[workload.a]\nexec.command = [\"a\"]";
    let names: Vec<String> = parse("w.toml", text).unwrap().into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["z", "a"]);
}

#[test]
fn every_mistake_has_its_sentence() {
    for (body, sentence) in [
        (
            "kind = \"singelton\"",
            "w.toml:2: workload.web.kind: \"singelton\" isn't known; did you mean \"singleton\"?",
        ),
        (
            "kind = \"cron\"",
            "w.toml:2: workload.web.kind: \"cron\" isn't supported by this version yet; write \"singleton\" or \"replicas\"",
        ),
        (
            "driver = \"docker\"",
            "w.toml:2: workload.web.driver: \"docker\" isn't supported by this version yet; write \"exec\"",
        ),
        (
            "kind = \"replicas\"\nexec = {}",
            "w.toml:2: workload.web.kind: \"replicas\" needs to know how many; add replicas = 3",
        ),
        (
            "replicas = 2\nexec = {}",
            "w.toml:2: workload.web.replicas: only kind = \"replicas\" has it; take it out",
        ),
        ("priority = 101\nexec = {}", "w.toml:2: workload.web.priority: 101 is out of range; use 0 to 100"),
        ("ports = { a = 0 }\nexec = {}", "w.toml:2: workload.web.ports.a: 0 is out of range; use 1 to 65535"),
        (
            "ports = { a = 1, b = 1 }\nexec = {}",
            "w.toml:2: workload.web.ports.b: 1 is a's, too; choose another port",
        ),
        (
            "",
            "w.toml:1: [workload.web] says nothing of what to run; add exec.command = [\"/path/of/program\"]",
        ),
        (
            "exec.command = []",
            "w.toml:2: workload.web.exec.command: the program is missing; write [\"/path/of/program\", \"argument\"]",
        ),
        (
            "exec.comand = [\"a\"]",
            "w.toml:2: unknown key workload.web.exec.comand; did you mean workload.web.exec.command?",
        ),
        (
            "\n[workload.web.health]\ntcp = \"x\"",
            "w.toml:3: workload.web.health isn't supported by this version yet; take it out",
        ),
        (
            "resources.cpu = 1",
            "w.toml:2: workload.web.resources isn't supported by this version yet; take it out",
        ),
        (
            "exec = { command = [\"a\"], working_dir = \"srv\" }",
            "w.toml:2: workload.web.exec.working_dir: the path is relative; begin it with \"/\"",
        ),
        (
            "exec = { command = [\"a\"], env = { HOLDFAST_NODE = \"x\" } }",
            "w.toml:2: workload.web.exec.env: \"HOLDFAST_NODE\" is what the agent tells the instance; choose a name that doesn't begin so",
        ),
    ] {
        assert_eq!(complaint(body), sentence);
    }
    for (recovery, sentence) in [
        (
            "then = [\"restore\", \"migrate\"]",
            "recovery.then: \"restore\" isn't supported by this version yet; write [\"migrate\"] or []",
        ),
        ("then = [\"move\"]", "recovery.then: \"move\" is no step; write [\"migrate\"] or []"),
        (
            "on_isolation = \"keep\"",
            "recovery.on_isolation: a singleton that is kept could run twice; write \"stop\", or kind = \"replicas\" above",
        ),
        (
            "stop_timeout = \"10\"",
            "recovery.stop_timeout: \"10\" isn't a duration; write one like \"500ms\", \"10s\", \"5m\", \"2h\" or \"30d\"",
        ),
        ("stop_timeout = \"2d\"", "recovery.stop_timeout: \"2d\" is out of range; use 0ms to 3600s"),
        (
            "restart.backoff = \"1s\"",
            "recovery.restart.backoff: \"1s\" isn't a range of durations; write one like \"500ms..30s\"",
        ),
        (
            "restart.backoff = \"0s..1s\"",
            "recovery.restart.backoff: \"0s..1s\" begins too short; wait at least 10ms",
        ),
        ("restart.attempts = -1", "recovery.restart.attempts: -1 is out of range; use 0 to 100"),
    ] {
        let said = complaint(&format!("{EXEC}[workload.web.recovery]\n{recovery}"));
        assert_eq!(said, format!("w.toml:4: workload.web.{sentence}"));
    }
    assert_eq!(
        parse("w.toml", "").unwrap_err().to_string(),
        "w.toml:1: the file has no workload; write [workload.NAME]"
    );
    assert!(parse("w.toml", "[workload.\"a b\"]").unwrap_err().to_string().contains("can't be a name"));
    assert!(parse("w.toml", "workload.a = 1").unwrap_err().to_string().contains("[workload.a]"));
}
