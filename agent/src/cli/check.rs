//! `holdfast alert check`: what is wrong with an alerting file, told without an agent.
//!
//! Not here: what is looked for (`config::alerting::findings`).

use super::{
    error::CliError,
    session::{Session, print},
    text::{clean, count},
};
use crate::config::{
    self,
    alerting::findings::{Finding, Host, findings},
};
use cluster_core::time::WallTime;
use serde::Serialize;
use std::path::Path;

const EXIT_FOUND: u8 = 1;
/// There is no such file, or it isn't this user's to read.
const EXIT_UNREADABLE: u8 = 2;

#[derive(Serialize)]
struct Answer<'a> {
    findings: &'a [Finding],
}

pub fn run(session: &Session, file: &Path) -> Result<u8, CliError> {
    let text = match config::read(file) {
        Ok(text) => text,
        Err(e) => {
            eprintln!("holdfast: {e}");
            return Ok(EXIT_UNREADABLE);
        }
    };
    let now = WallTime(u64::try_from(session.view.now_ms).unwrap_or(0));
    let variable = |name: &str| std::env::var(name).ok();
    let found = findings(&file.display().to_string(), &text, &Host { now, variable: &variable });
    print(&if session.json() { json(&found) } else { told(&found) })?;
    Ok(if found.is_empty() { 0 } else { EXIT_FOUND })
}

fn json(findings: &[Finding]) -> String {
    let text = serde_json::to_string_pretty(&Answer { findings }).expect("texts are always JSON");
    format!("{text}\n")
}

fn told(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "Nothing wrong.\n".to_owned();
    }
    let line = |f: &Finding| format!("{}: {}; {}\n", clean(&f.place), clean(&f.what), clean(&f.fix));
    let all: String = findings.iter().map(line).collect();
    format!("{all}{} in all.\n", count(u64::try_from(findings.len()).unwrap_or(u64::MAX), "finding"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::ClientArgs;

    fn finding() -> Finding {
        Finding { place: "a.toml:3".into(), what: "it is odd".into(), fix: "mend it".into() }
    }

    #[test]
    fn findings_are_told_a_line_each_and_as_json() {
        assert_eq!(told(&[]), "Nothing wrong.\n");
        assert_eq!(
            told(&[finding(), finding()]),
            "a.toml:3: it is odd; mend it\na.toml:3: it is odd; mend it\n2 findings in all.\n"
        );
        let expected = serde_json::json!({
            "findings": [{"place": "a.toml:3", "what": "it is odd", "fix": "mend it"}]
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json(&[finding()])).unwrap(), expected);
        let none = serde_json::from_str::<serde_json::Value>(&json(&[])).unwrap();
        assert_eq!(none, serde_json::json!({"findings": []}));
    }

    #[test]
    fn the_exit_code_tells_found_from_unreadable() {
        let session = Session::new(ClientArgs { json: true, ..ClientArgs::default() });
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.toml");
        assert_eq!(run(&session, &file).unwrap(), 2);
        std::fs::write(&file, "").unwrap();
        assert_eq!(run(&session, &file).unwrap(), 0);
        std::fs::write(&file, "[channel.a]\ntype = \"console\"").unwrap();
        assert_eq!(run(&session, &file).unwrap(), 1);
        std::fs::write(&file, "[chanel.a]").unwrap();
        assert_eq!(run(&session, &file).unwrap(), 1, "what apply would refuse");
    }
}
