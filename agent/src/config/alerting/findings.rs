//! `alert check`: what an alerting file can be read with, and is surely not meant; what this host lacks for it.
//!
//! Not here: mistakes that keep the file from being read at all (each part's own file tells those), and asking an agent.

use super::super::document::{Document, FileError, Section};
use crate::notify::fields::{Shape, TYPES};
use cluster_core::{
    ledger::{AlertingConfig, Channel, SecretRef, Setting},
    time::WallTime,
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Where a channel's files, variables and programs must be.
const WHO: &str = "on every host that may lead";

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `alerts.toml:12`
    pub place: String,
    pub what: String,
    pub fix: String,
}

/// What is asked of the host on which the file is checked.
pub struct Host<'h> {
    pub now: WallTime,
    pub variable: &'h dyn Fn(&str) -> Option<String>,
}

/// In the order of the file. A file that can't be read has one: why.
pub fn findings(file: &str, text: &str, host: &Host<'_>) -> Vec<Finding> {
    let parsed = Document::parse(file, text);
    let read = parsed.and_then(|document| {
        let config = super::read(&document)?;
        let mut found = Found { file, lines: Vec::new() };
        found.unused_channels(&document.root(), &config)?;
        found.unreached_routes(&document.root(), &config)?;
        found.unused_schedules(&document.root(), &config)?;
        found.past_maintenances(&document.root(), &config, host.now)?;
        found.open_links(&document.root(), &config);
        if let (Some(section), Some(watchdog)) = (document.root().section("watchdog")?, &config.watchdog) {
            found.secret(section.line("url"), "watchdog, url", &watchdog.url, host);
        }
        if let Some(channels) = document.root().section("channel")? {
            for name in channels.names() {
                let section = channels.section(name)?.expect("a name that was just read");
                found.missing_here(&section, name, &config.channels[name], host)?;
            }
        }
        Ok(found.lines)
    });
    match read {
        Ok(mut lines) => {
            // Stable: what is found on one line stays in its order.
            lines.sort_by_key(|(line, _)| *line);
            lines.into_iter().map(|(_, finding)| finding).collect()
        }
        Err(FileError::At { file, line, what }) => {
            let (what, fix) = what.rsplit_once("; ").unwrap_or((&what, "mend it"));
            vec![Finding { place: format!("{file}:{line}"), what: what.to_owned(), fix: fix.to_owned() }]
        }
        Err(FileError::Unreadable { file, cause }) => {
            vec![Finding { place: file, what: cause, fix: "give the path of a readable file".to_owned() }]
        }
    }
}

struct Found<'f> {
    file: &'f str,
    lines: Vec<(usize, Finding)>,
}

impl Found<'_> {
    fn add(&mut self, line: usize, what: impl Into<String>, fix: impl Into<String>) {
        let place = format!("{}:{line}", self.file);
        self.lines.push((line, Finding { place, what: what.into(), fix: fix.into() }));
    }

    fn unused_channels(&mut self, root: &Section<'_>, config: &AlertingConfig) -> Result<(), FileError> {
        let routed = config.routes.iter().flat_map(|route| &route.channels);
        let escalated = config
            .routes
            .iter()
            .flat_map(|route| &route.escalations)
            .flat_map(|escalation| &escalation.channels);
        // One that only an unused channel fails over to is unused, too.
        let mut used: BTreeSet<&String> = routed.chain(escalated).collect();
        let mut rest: Vec<&String> = used.iter().copied().collect();
        while let Some(name) = rest.pop() {
            if let Some(to) = &config.channels[name].failover
                && used.insert(to)
            {
                rest.push(to);
            }
        }
        let Some(channels) = root.section("channel")? else { return Ok(()) };
        for name in channels.names().into_iter().filter(|name| !used.iter().any(|used| used == name)) {
            let what = format!("channel {name} is never told anything: no route leads to it");
            self.add(channels.line(name), what, "name it in a route's channels, or take it out");
        }
        Ok(())
    }

    fn unreached_routes(&mut self, root: &Section<'_>, config: &AlertingConfig) -> Result<(), FileError> {
        let takes_all = |route: &cluster_core::ledger::Route| {
            !route.go_on && route.condition.as_deref().is_none_or(|condition| condition.trim() == "true")
        };
        let sections = root.sections("route")?;
        let line = |i: usize| sections[i].line("");
        let Some(last) = config.routes.iter().position(takes_all) else { return Ok(()) };
        for i in last + 1..sections.len() {
            let what =
                format!("this route is never reached: the one in line {} takes every alert", line(last));
            self.add(line(i), what, "put it before that one, or give that one `match` or continue = true");
        }
        Ok(())
    }

    fn unused_schedules(&mut self, root: &Section<'_>, config: &AlertingConfig) -> Result<(), FileError> {
        let routed = config.routes.iter().map(|route| &route.schedule);
        let escalated = config.routes.iter().flat_map(|route| &route.escalations).map(|e| &e.schedule);
        let maintained = config.maintenances.iter().map(|maintenance| &maintenance.schedule);
        let used: BTreeSet<&str> =
            routed.chain(escalated).chain(maintained).flatten().map(String::as_str).collect();
        let Some(schedules) = root.section("schedule")? else { return Ok(()) };
        for name in schedules.names().into_iter().filter(|name| !used.contains(name)) {
            let what = format!("schedule {name} is used nowhere");
            let fix = "name it in a route, an escalation or a maintenance, or take it out";
            self.add(schedules.line(name), what, fix);
        }
        Ok(())
    }

    fn past_maintenances(
        &mut self,
        root: &Section<'_>,
        config: &AlertingConfig,
        now: WallTime,
    ) -> Result<(), FileError> {
        for (section, maintenance) in root.sections("maintenance")?.iter().zip(&config.maintenances) {
            if maintenance.until.is_some_and(|until| until <= now) {
                let what = "this maintenance is over: nothing is kept back by it any more";
                self.add(section.line("until"), what, "take it out, or give it a later end");
            }
        }
        Ok(())
    }

    /// Whoever sees a link can use it.
    fn open_links(&mut self, root: &Section<'_>, config: &AlertingConfig) {
        let Some(base) = &config.ack_url else { return };
        let here = ["http://127.", "http://localhost", "http://[::1]"];
        if base.starts_with("http://") && !here.iter().any(|here| base.starts_with(here)) {
            let what = "ack_url: who acknowledges does so in the clear, and whoever listens can do the same";
            self.add(
                root.line("ack_url"),
                what,
                "put a proxy that speaks TLS before the agents, and write https://",
            );
        }
    }

    /// Files, variables and programs that the channel wants of the host that sends.
    fn missing_here(
        &mut self,
        section: &Section<'_>,
        name: &str,
        channel: &Channel,
        host: &Host<'_>,
    ) -> Result<(), FileError> {
        let Some(spec) = TYPES.iter().find(|spec| spec.name == channel.kind) else { return Ok(()) };
        for field in spec.fields {
            let line = section.line(field.name);
            let of = format!("channel {name}, {}", field.name);
            match channel.settings.get(field.name) {
                Some(Setting::Secret(secret)) => self.secret(line, &of, secret, host),
                Some(Setting::Text(path)) if field.name == "ca" => self.file(line, &of, path),
                Some(Setting::Texts(command)) if field.name == "command" && field.shape == Shape::Texts => {
                    let program = command.first().map(String::as_str).unwrap_or_default();
                    if let Err(why) = find_program(program, (host.variable)("PATH")) {
                        let what = format!("{of}: {why}");
                        self.add(
                            line,
                            what,
                            format!("put it there, {WHO}, or give the path of one that is there"),
                        );
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn secret(&mut self, line: usize, of: &str, secret: &SecretRef, host: &Host<'_>) {
        match secret {
            SecretRef::File(path) => {
                self.file(line, of, path);
                if readable_by_all(path) {
                    let what = format!("{of}: every user of this host can read the secret's file {path}");
                    self.add(line, what, format!("chmod 600 {path}, owned by the agent's user"));
                }
            }
            SecretRef::Env(variable) if (host.variable)(variable).is_none_or(|value| value.is_empty()) => {
                let what = format!("{of}: the variable {variable} isn't set on this host, for you");
                self.add(line, what, format!("set it for the agent, {WHO}"));
            }
            SecretRef::Env(_) | SecretRef::Inline(_) => {}
        }
    }

    fn file(&mut self, line: usize, of: &str, path: &str) {
        let opened = File::open(path).and_then(|file| file.metadata());
        let why = match opened {
            Ok(found) if found.is_file() => return,
            Ok(_) => format!("{path} isn't a file"),
            Err(e) if e.kind() == io::ErrorKind::NotFound => format!("there is no file {path} on this host"),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                format!("you may not read {path}")
            }
            Err(e) => format!("{path} can't be read: {e}"),
        };
        let fix = format!("put it there, readable by the agent alone, {WHO}");
        self.add(line, format!("{of}: {why}"), fix);
    }
}

fn readable_by_all(path: &str) -> bool {
    const OTHERS_READ: u32 = 0o004;
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & OTHERS_READ != 0)
}

/// As starting it would: a path as it is, a bare name along PATH.
fn find_program(program: &str, path: Option<String>) -> Result<(), String> {
    const ANYBODY_RUNS: u32 = 0o111;
    let state = |candidate: &Path| match fs::metadata(candidate) {
        Ok(found) if !found.is_file() => Some(false),
        Ok(found) => Some(found.permissions().mode() & ANYBODY_RUNS != 0),
        Err(_) => None,
    };
    if program.contains('/') {
        return match state(Path::new(program)) {
            Some(true) => Ok(()),
            Some(false) => Err(format!("{program} can't be run: it isn't an executable file")),
            None => Err(format!("there is no program {program} on this host")),
        };
    }
    let path = path.unwrap_or_default();
    let found = |directory: &str| state(&PathBuf::from(directory).join(program)) == Some(true);
    match path.split(':').filter(|directory| !directory.is_empty()).any(found) {
        true => Ok(()),
        false => Err(format!("there is no program {program} in this environment's PATH")),
    }
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
