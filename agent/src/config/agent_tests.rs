//! What an agent's configuration may be, and the sentence for each thing that it may not be.

use super::*;
use std::io::Write as _;

fn with(file: &str, variables: &[(&str, &str)], flags: &[(&'static str, &'static str, &str)]) -> Given {
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    on_disk.write_all(file.as_bytes()).unwrap();
    let context = Context {
        file: Some(on_disk.path().into()),
        dev: false,
        flags: flags
            .iter()
            .map(|(key, flag, text)| FlagValue { key, flag, text: (*text).to_owned() })
            .collect(),
        variables: variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        host_name: "web-1".into(),
    };
    Given { file: on_disk, context }
}

struct Given {
    file: tempfile::NamedTempFile,
    context: Context,
}

impl Given {
    fn config(&self) -> AgentConfig {
        load_from(&self.context).unwrap()
    }

    /// The sentence, with the file's own name replaced by `F`.
    fn complaint(&self) -> String {
        let said = load_from(&self.context).unwrap_err().to_string();
        assert!(!said.contains('\n'), "{said}");
        said.replace(&self.file.path().display().to_string(), "F")
    }
}

fn complaint(file: &str) -> String {
    with(file, &[], &[]).complaint()
}

#[test]
fn nothing_set_is_a_cluster_of_one_on_loopback() {
    let config = with("", &[], &[]).config();
    assert_eq!(config.name, "web-1");
    assert_eq!(config.cluster, "default");
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/holdfast"));
    assert_eq!(config.listen.grpc.to_string(), "127.0.0.1:7400");
    assert_eq!(config.listen.advertise, "127.0.0.1:7400");
    assert_eq!(config.listen.http.to_string(), "127.0.0.1:7401");
    assert!(!config.listen.alerts);
    assert_eq!(config.join, Join { seeds: vec![], expect: Some(1) });
    assert_eq!(config.profile.name, "lan");
    assert_eq!((config.agent_timeout_ms, config.drain_when_sick), (60_000, false));
    assert!(!config.insecure && config.tls.is_none() && !config.dev);
}

#[test]
fn every_documented_key_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("x.pem");
    std::fs::write(&pem, "x").unwrap();
    let pem = pem.display();
    let config = with(
        &format!(
            r#"
            name = "web-1"
            cluster = "shop"
            data_dir = "/srv/holdfast"
            zone = "rack-a"
            role = "witness"
            labels = {{ disk = "ssd" }}
            profile = "wan"
            agent_timeout = "5m"
            drain_when_sick = true
            insecure = false
            [listen]
            grpc = "10.0.0.1:7400"
            advertise = "web-1.example:7400"
            http = "127.0.0.1:7501"
            alerts = true
            [join]
            seeds = ["10.0.0.1:7400", "web-2.example:7400"]
            expect = 3
            [tls]
            ca = "{pem}"
            cert = "{pem}"
            key = "{pem}"
            [last_resort]
            command = ["ring", "--loud"]
            file = "/var/log/holdfast-cut-off.jsonl"
            "#
        ),
        &[],
        &[],
    )
    .config();
    assert_eq!(config.role, Role::Witness);
    assert_eq!(config.labels["disk"], "ssd");
    assert_eq!(config.profile.name, "wan");
    assert_eq!((config.agent_timeout_ms, config.drain_when_sick), (300_000, true));
    assert_eq!(config.listen.advertise, "web-1.example:7400");
    assert!(config.listen.alerts);
    let command = vec!["ring".to_owned(), "--loud".to_owned()];
    let file = Some("/var/log/holdfast-cut-off.jsonl".to_owned());
    assert_eq!(config.last_resort, LastResort { command, file });
    assert_eq!(config.join.seeds.len(), 2);
    assert_eq!(config.join.expect, Some(3));
    assert!(config.tls.is_some());
}

#[test]
fn flags_override_variables_and_variables_the_file() {
    let given = with(
        "name = \"f\"\nzone = \"f\"\ncluster = \"f\"",
        &[("HOLDFAST_NAME", "v"), ("HOLDFAST_ZONE", "v"), ("HOLDFAST_JOIN_SEEDS", "a:1, b:2")],
        &[("name", "--name", "g")],
    );
    let config = given.config();
    assert_eq!((&*config.name, &*config.zone, &*config.cluster), ("g", "v", "f"));
    assert_eq!(config.join, Join { seeds: vec!["a:1".into(), "b:2".into()], expect: None });
}

#[test]
fn every_mistake_in_the_file_has_its_sentence() {
    for (file, sentence) in [
        ("nmae = \"a\"", "F:1: unknown key nmae; did you mean name?"),
        ("\n[listen]\ngrcp = \"a\"", "F:3: unknown key listen.grcp; did you mean listen.grpc?"),
        ("name = 3", "F:1: name: found integer; write a text in quotes"),
        (
            "name = \"a b\"",
            "F:1: name: \"a b\" can't be a name; use letters, digits, \"-\", \"_\" and \".\", a letter or digit first",
        ),
        ("cluster = \"\"", "F:1: cluster: a name can't be empty"),
        ("data_dir = \"x/y\"", "F:1: data_dir: \"x/y\" is relative; give a path that begins with \"/\""),
        ("role = \"witnes\"", "F:1: role: \"witnes\" isn't known; did you mean \"witness\"?"),
        (
            "agent_timeout = \"1m30\"",
            "F:1: agent_timeout: \"1m30\" isn't a duration; write one like \"500ms\", \"10s\", \"5m\", \"2h\" or \"30d\"",
        ),
        (
            "agent_timeout = \"2s\"",
            "F:1: agent_timeout: \"2s\" is out of range; an agent's restart takes some seconds, and people are told after \
             ten: give 10s to 1d",
        ),
        ("profile = \"moon\"", "F:1: profile: \"moon\" isn't known; use one of local, lan, wan"),
        (
            "listen.grpc = \"web-1:7400\"",
            "F:1: listen.grpc: \"web-1:7400\" isn't IP:PORT; write one like 127.0.0.1:7400",
        ),
        (
            "listen.http = \"127.0.0.1:0\"",
            "F:1: listen.http: 127.0.0.1:0 has port 0; give the port that clients are told",
        ),
        (
            "listen.grpc = \"10.0.0.1:7400\"",
            "F:1: listen.grpc: 10.0.0.1:7400 can be reached from other hosts, and there is no [tls]; \
             set tls.ca, tls.cert and tls.key, or insecure = true",
        ),
        (
            "insecure = true\nlisten.grpc = \"0.0.0.0:7400\"",
            "F:2: listen.grpc: 0.0.0.0:7400 is every address of this host; set listen.advertise to the one that others reach",
        ),
        ("join.seeds = [\"web-2\"]", "F:1: join.seeds: \"web-2\" has no port; write it as HOST:PORT"),
        (
            "join.expect = 0",
            "F:1: join.expect: 0 is out of range; say how many agents found the cluster, 1 to 10000",
        ),
        ("tls.ca = \"/x\"", "F:1: tls.ca: tls.cert is missing; tls.ca, tls.cert and tls.key go together"),
        (
            "tls.ca = \"/none\"\ntls.cert = \"/none\"\ntls.key = \"/none\"",
            "F:1: tls.ca: \"/none\" can't be read (No such file or directory (os error 2)); give the path of a readable PEM file",
        ),
        (
            "labels = { \"a b\" = \"c\" }",
            "F:1: labels: \"a b\" can't be a name; use letters, digits, \"-\", \"_\" and \".\", a letter or digit first",
        ),
        (
            "listen.http = \"127.0.0.1:7400\"",
            "F:1: listen.http: 127.0.0.1:7400 is listen.grpc's, too; choose another port",
        ),
    ] {
        assert_eq!(complaint(file), sentence);
    }
}

#[test]
fn a_mistake_is_blamed_on_the_variable_or_flag_that_made_it() {
    let variable = with("", &[("HOLDFAST_JOIN_EXPECT", "many")], &[]);
    assert_eq!(
        variable.complaint(),
        "HOLDFAST_JOIN_EXPECT: \"many\" isn't a whole number; write digits alone"
    );
    let slip = with("", &[("HOLDFAST_LISTEN_GRCP", "x")], &[]);
    assert_eq!(
        slip.complaint(),
        "HOLDFAST_LISTEN_GRCP: unknown variable; did you mean HOLDFAST_LISTEN_GRPC?"
    );
    let flag = with("", &[], &[("labels", "--label", "disk")]);
    assert_eq!(flag.complaint(), "--label: \"disk\" isn't a label; write key=value");
    assert!(load_from(&flag.context).unwrap_err().is_usage());
    assert!(!load_from(&variable.context).unwrap_err().is_usage());
}

#[test]
fn variables_of_others_are_left_alone() {
    with("", &[("HOLDFAST_NODE", "n"), ("HOLDFAST_PORT_7400_TCP", "x"), ("HOME", "/")], &[]).config();
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let context =
        Context { file: Some("/none/agent.toml".into()), host_name: "a".into(), ..Context::default() };
    assert_eq!(
        load_from(&context).unwrap_err().to_string(),
        "/none/agent.toml: there is no such file; give the path of a readable file"
    );
}

#[test]
fn a_host_name_that_is_no_name_asks_for_one() {
    let mut given = with("", &[], &[]);
    given.context.host_name = "my host".into();
    assert!(given.complaint().ends_with("or set name"), "{}", given.complaint());
}

#[test]
fn dev_is_alone_and_in_a_directory_of_its_own() {
    let mut given = with("[join]\nseeds = [\"a:1\"]", &[], &[]);
    given.context.dev = true;
    let config = given.config();
    assert_eq!(config.join, Join { seeds: vec![], expect: Some(1) });
    assert_eq!(config.profile.name, "local");
    assert!(config.data_dir.is_absolute());
}

#[test]
fn a_last_resort_that_leads_nowhere_is_refused() {
    assert_eq!(with("", &[], &[]).config().last_resort, LastResort::default());
    assert_eq!(
        complaint("[last_resort]\ncommand = []"),
        "F:2: last_resort.command: it names no program; write one like [\"/usr/local/bin/ring\"]"
    );
    assert_eq!(
        complaint("[last_resort]\nfile = \"said.jsonl\""),
        "F:2: last_resort.file: \"said.jsonl\" is relative; give a path that begins with \"/\""
    );
}
