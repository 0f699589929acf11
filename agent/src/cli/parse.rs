//! From what was typed to a command, or to one sentence about what is wrong with it.

use super::{
    args::{AlertCommand, Cli, Command, FailureCommand, NodeCommand, RaftCommand, WorkloadCommand},
    error::CliError,
};
use crate::config::nearest::nearest;
use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use std::ffi::OsString;

/// Commands that are documented and not built: refused by name.
const NOT_YET: &[&str] =
    &["backup", "ca", "token", "cert", "simulate", "drill", "doctor", "top", "check", "completions"];
const WORKLOAD_NOT_YET: &[&str] = &["restart", "migrate"];
const RAFT_NOT_YET: &[&str] = &["transfer", "recover"];

/// What came of the command line.
pub enum Parsed {
    Command(Box<Cli>),
    /// Help or version, asked for: to standard output.
    Told(String),
    /// Help that wasn't asked for: to standard error, as wrong usage.
    Untold(String),
}

pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, CliError> {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(e) => {
            return match e.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    Ok(Parsed::Told(e.render().to_string()))
                }
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                    Ok(Parsed::Untold(e.render().to_string()))
                }
                _ => Err(CliError::Usage(sentence(&e.render().to_string()))),
            };
        }
    };
    match &cli.command {
        Command::Other(words) => return Err(unknown(&[], words, NOT_YET)),
        Command::Workload(WorkloadCommand::Other(words)) => {
            return Err(unknown(&["workload"], words, WORKLOAD_NOT_YET));
        }
        Command::Alert(AlertCommand::Other(words)) => return Err(unknown(&["alert"], words, &[])),
        Command::Raft(RaftCommand::Other(words)) => return Err(unknown(&["raft"], words, RAFT_NOT_YET)),
        Command::Node(NodeCommand::Other(words)) => return Err(unknown(&["node"], words, &[])),
        Command::Failure(FailureCommand::Other(words)) => return Err(unknown(&["failure"], words, &[])),
        Command::Agent(_) | Command::Demo(_) => {
            if let Some(flag) = cli.client.given() {
                let what = format!("{flag} is for commands that ask an agent; leave it out here");
                return Err(CliError::Usage(what));
            }
        }
        _ => {}
    }
    Ok(Parsed::Command(Box::new(cli)))
}

/// A command of that noun that isn't there: not yet, or mistyped.
fn unknown(noun: &[&str], words: &[OsString], not_yet: &[&str]) -> CliError {
    let word = words.first().map(|w| w.to_string_lossy().into_owned()).unwrap_or_default();
    let word = word.escape_debug().to_string();
    let prefix: String =
        std::iter::once("holdfast").chain(noun.iter().copied()).collect::<Vec<_>>().join(" ");
    if not_yet.contains(&word.as_str()) {
        return CliError::Usage(format!("`{prefix} {word}` isn't supported by this version yet"));
    }
    let mut command = Cli::command();
    for n in noun {
        command = command.find_subcommand(n).cloned().expect("every noun is a command");
    }
    let known: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    CliError::Usage(match nearest(&word, known.iter().map(String::as_str)) {
        Some(near) => format!("`{prefix} {word}` is no command; did you mean `{prefix} {near}`?"),
        None => format!("`{prefix} {word}` is no command; see `{prefix} --help`"),
    })
}

/// Several lines of explanation as one sentence.
fn sentence(rendered: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut usage = "";
    for line in rendered.lines().map(str::trim).filter(|l| !l.is_empty()) {
        match line.strip_prefix("Usage: ") {
            Some(found) => usage = found,
            None if line.starts_with("For more information") => {}
            None => parts.push(line.trim_start_matches("error: ").trim_start_matches("tip: ")),
        }
    }
    let said = parts.join("; ").replace(":; ", ": ");
    if usage.is_empty() { said } else { format!("{said}; usage: {usage}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{AgentArgs, ClientArgs, DemoArgs};

    fn command(line: &str) -> Cli {
        match parse(line.split_whitespace().map(OsString::from)) {
            Ok(Parsed::Command(cli)) => *cli,
            Ok(Parsed::Told(text) | Parsed::Untold(text)) => panic!("{text}"),
            Err(e) => panic!("{e}"),
        }
    }

    fn refused(line: &str) -> String {
        match parse(line.split_whitespace().map(OsString::from)) {
            Err(e) => {
                assert_eq!(e.exit_code(), 64);
                let said = e.to_string();
                assert!(!said.contains('\n'), "{said}");
                said
            }
            Ok(_) => panic!("{line} was taken"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn client_flags_stand_before_or_after_the_command() {
        for line in ["holdfast --addr a:1 --json status", "holdfast status --json --addr a:1"] {
            let cli = command(line);
            assert_eq!(
                cli.client,
                ClientArgs { addr: Some("a:1".into()), json: true, ..ClientArgs::default() }
            );
        }
    }

    #[test]
    fn documented_commands_are_taken() {
        for line in [
            "status",
            "leave",
            "node list",
            "node show n1",
            "node undrain n1",
            "node remove n1",
            "workload apply a.toml b.toml --dry-run",
            "workload apply a.toml --if-version 7",
            "workload list",
            "workload show w",
            "workload logs w -f --index 2",
            "workload stop w",
            "workload start w",
            "workload delete w",
            "failure list --open --node n1 --workload w --since 24h",
            "failure show 12",
            "failure ack 12",
            "availability --by workload --since 30d",
            "alert list",
            "alert apply a.toml",
            "alert test oncall",
            "alert check a.toml",
            "alert preview oncall",
            "alert preview oncall --failure 12",
            "alert silence alert=NodeDead node=~n.* --for 2h --comment switches",
            "alert silence",
            "alert unsilence 42",
            "alert silences",
            "events -f --since 1h",
            "raft status",
            "raft snapshot",
        ] {
            command(&format!("holdfast {line} --json"));
        }
        let Command::Node(node) = command("holdfast node drain n1 --no-wait").command else { panic!() };
        assert_eq!(node, NodeCommand::Drain { node: "n1".into(), no_wait: true });
        let Command::Demo(demo) = command("holdfast demo --nodes 7 --once").command else { panic!() };
        assert_eq!(demo, DemoArgs { nodes: 7, once: true });
    }

    #[test]
    fn the_agents_flags_become_settings() {
        let Command::Agent(agent) =
            command("holdfast agent --listen 127.0.0.1:1 --join a:1,b:2 --label x=1 --label y=2").command
        else {
            panic!()
        };
        let flags: Vec<_> = agent.flags().into_iter().map(|f| (f.key, f.flag, f.text)).collect();
        assert_eq!(
            flags,
            [
                ("listen.grpc", "--listen", "127.0.0.1:1".to_owned()),
                ("join.seeds", "--join", "a:1,b:2".to_owned()),
                ("labels", "--label", "x=1,y=2".to_owned()),
            ]
        );
        assert_eq!(AgentArgs::default().flags(), []);
    }

    #[test]
    fn wrong_usage_is_one_sentence_with_a_way_out() {
        assert_eq!(
            refused("holdfast stats"),
            "`holdfast stats` is no command; did you mean `holdfast status`?"
        );
        assert_eq!(
            refused("holdfast workload migrate web"),
            "`holdfast workload migrate` isn't supported by this version yet"
        );
        assert_eq!(
            refused("holdfast backup list w"),
            "`holdfast backup` isn't supported by this version yet"
        );
        assert_eq!(
            refused("holdfast alert aply x"),
            "`holdfast alert aply` is no command; did you mean `holdfast alert apply`?"
        );
        assert!(refused("holdfast status --jsn").contains("--json"));
        assert!(refused("holdfast failure show x").contains("invalid value 'x'"));
        assert!(refused("holdfast workload apply").contains("FILE"));
        assert!(refused("holdfast agent --dev --join a:1").contains("cannot be used with"));
        assert_eq!(
            refused("holdfast agent --json"),
            "--json is for commands that ask an agent; leave it out here"
        );
    }

    #[test]
    fn help_and_version_are_told() {
        for line in ["holdfast --help", "holdfast --version", "holdfast node --help"] {
            assert!(matches!(parse(line.split_whitespace().map(OsString::from)), Ok(Parsed::Told(_))));
        }
        for line in ["holdfast", "holdfast node"] {
            assert!(matches!(parse(line.split_whitespace().map(OsString::from)), Ok(Parsed::Untold(_))));
        }
    }
}
