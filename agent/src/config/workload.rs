//! Workload files: what the cluster is asked to run, as `workload apply` sends it.
//!
//! A key that is documented and not built yet is refused by name, so that nobody relies on what doesn't happen.
//! Not here: what the cluster makes of it.

use super::{
    document::{Document, FileError, Section},
    duration::{self, milliseconds},
    names::check_name,
};
use holdfast_proto::v1::{ExecSpec, RecoverySpec, WorkloadKind, WorkloadSpec};
use std::collections::BTreeMap;

const MOST_REPLICAS: u32 = 1_000;
const DEFAULT_PRIORITY: u32 = 50;
const DEFAULT_RECOVERY: RecoverySpec = RecoverySpec {
    restart_attempts: 3,
    restart_within_ms: 300_000,
    backoff_min_ms: 500,
    backoff_max_ms: 30_000,
    migrate: true,
    stop_timeout_ms: 10_000,
    isolation_grace_ms: 0,
    keep_on_isolation: false,
};
/// A shorter wait between restarts would only burn the host's processor.
const SHORTEST_BACKOFF_MS: u64 = 10;
const LONGEST_STOP_MS: u64 = 3_600_000;

/// All workloads of one file, in its order.
pub fn parse(file: &str, text: &str) -> Result<Vec<WorkloadSpec>, FileError> {
    let document = Document::parse(file, text)?;
    let root = document.root();
    root.only(&["workload"], &[])?;
    let Some(workloads) = root.section("workload")? else {
        return Err(root.wrong("the file has no workload; write [workload.NAME]"));
    };
    workloads
        .names()
        .into_iter()
        .map(|name| {
            check_name(name).map_err(|why| workloads.bad(name, why))?;
            let section = workloads.section(name)?.expect("a name that was just read");
            workload(name, &section)
        })
        .collect()
}

fn workload(name: &str, section: &Section<'_>) -> Result<WorkloadSpec, FileError> {
    section.only(
        &["kind", "replicas", "priority", "ports", "driver", "exec", "recovery"],
        &["resources", "health", "placement", "data", "address", "docker", "systemd", "schedule"],
    )?;
    let kind = one_of(
        section,
        "kind",
        &[("singleton", WorkloadKind::Singleton), ("replicas", WorkloadKind::Replicas)],
        &["daemon", "cron", "once"],
    )?
    .unwrap_or(WorkloadKind::Singleton);
    one_of(section, "driver", &[("exec", ())], &["docker", "systemd"])?;
    let Some(exec) = section.section("exec")? else {
        return Err(section.wrong("says nothing of what to run; add exec.command = [\"/path/of/program\"]"));
    };
    Ok(WorkloadSpec {
        name: name.to_owned(),
        kind: kind.into(),
        replicas: replicas(kind, section)?,
        priority: section.number_in("priority", 0..=100)?.unwrap_or(DEFAULT_PRIORITY),
        ports: ports(section)?,
        exec: Some(execution(&exec)?),
        recovery: Some(recovery(kind, section)?),
    })
}

fn replicas(kind: WorkloadKind, section: &Section<'_>) -> Result<u32, FileError> {
    match (kind, section.number_in("replicas", 1..=MOST_REPLICAS)?) {
        (WorkloadKind::Replicas, Some(n)) => Ok(n),
        (WorkloadKind::Replicas, None) => {
            Err(section.bad("kind", "\"replicas\" needs to know how many; add replicas = 3"))
        }
        (_, Some(_)) => Err(section.bad("replicas", "only kind = \"replicas\" has it; take it out")),
        (_, None) => Ok(1),
    }
}

fn ports(section: &Section<'_>) -> Result<std::collections::HashMap<String, u32>, FileError> {
    let Some(ports) = section.section("ports")? else { return Ok(Default::default()) };
    let mut numbers = BTreeMap::new();
    for name in ports.names() {
        let port = ports.number_in(name, 1..=65_535)?.expect("a name that was just read");
        if let Some(other) = numbers.insert(port, name) {
            return Err(ports.bad(name, format!("{port} is {other}'s, too; choose another port")));
        }
    }
    Ok(numbers.into_iter().map(|(port, name)| (name.to_owned(), port)).collect())
}

fn execution(exec: &Section<'_>) -> Result<ExecSpec, FileError> {
    exec.only(&["command", "user", "working_dir", "env"], &[])?;
    let command = exec.texts("command")?.unwrap_or_default();
    let shape = "write [\"/path/of/program\", \"argument\"]";
    if command.first().is_none_or(String::is_empty) {
        return Err(exec.bad("command", format!("the program is missing; {shape}")));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(exec.bad("command", format!("no argument can hold a zero byte; {shape}")));
    }
    let working_dir = exec.text("working_dir")?;
    if working_dir.as_deref().is_some_and(|dir| !dir.starts_with('/')) {
        return Err(exec.bad("working_dir", "the path is relative; begin it with \"/\""));
    }
    let user = exec.text("user")?;
    if user.as_deref() == Some("") {
        return Err(exec.bad("user", "it is empty; give a user's name, or take it out"));
    }
    let env = exec.pairs("env")?.unwrap_or_default();
    for (name, value) in &env {
        let wrong = |why: &str| exec.bad("env", format!("\"{}\" {why}", name.escape_debug()));
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(wrong(
                "can't be in an environment; names have no \"=\", and nothing has a zero byte",
            ));
        }
        if name.starts_with("HOLDFAST_") {
            return Err(wrong("is what the agent tells the instance; choose a name that doesn't begin so"));
        }
    }
    Ok(ExecSpec { command, user, working_dir, env: env.into_iter().collect() })
}

fn recovery(kind: WorkloadKind, section: &Section<'_>) -> Result<RecoverySpec, FileError> {
    let replicas = kind == WorkloadKind::Replicas;
    // What may run twice needn't stop when its node is cut off, and nothing waits for it.
    let mut spec = RecoverySpec { keep_on_isolation: replicas, ..DEFAULT_RECOVERY };
    let Some(recovery) = section.section("recovery")? else { return Ok(spec) };
    recovery.only(&["restart", "then", "on_isolation", "stop_timeout", "isolation_grace"], &[])?;
    if let Some(restart) = recovery.section("restart")? {
        restarts(&restart, &mut spec)?;
    }
    if let Some(ladder) = recovery.texts("then")? {
        spec.migrate = false;
        for step in &ladder {
            match step.as_str() {
                "migrate" => spec.migrate = true,
                "restore" => {
                    let what = "\"restore\" isn't supported by this version yet; write [\"migrate\"] or []";
                    return Err(recovery.bad("then", what));
                }
                other => {
                    let what = format!("\"{}\" is no step; write [\"migrate\"] or []", other.escape_debug());
                    return Err(recovery.bad("then", what));
                }
            }
        }
    }
    if let Some(keep) = one_of(&recovery, "on_isolation", &[("stop", false), ("keep", true)], &[])? {
        if keep && !replicas {
            let what =
                "a singleton that is kept could run twice; write \"stop\", or kind = \"replicas\" above";
            return Err(recovery.bad("on_isolation", what));
        }
        spec.keep_on_isolation = keep;
    }
    if let Some(ms) = time(&recovery, "stop_timeout", 0..=LONGEST_STOP_MS)? {
        spec.stop_timeout_ms = ms;
    }
    if let Some(ms) = time(&recovery, "isolation_grace", 0..=LONGEST_STOP_MS)? {
        spec.isolation_grace_ms = ms;
    }
    Ok(spec)
}

fn restarts(restart: &Section<'_>, spec: &mut RecoverySpec) -> Result<(), FileError> {
    restart.only(&["attempts", "within", "backoff"], &[])?;
    if let Some(attempts) = restart.number_in("attempts", 0..=100)? {
        spec.restart_attempts = attempts;
    }
    if let Some(ms) = time(restart, "within", 1_000..=30 * 86_400_000)? {
        spec.restart_within_ms = ms;
    }
    if let Some(text) = restart.text("backoff")? {
        let (min, max) = duration::range(&text).map_err(|why| restart.bad("backoff", why))?;
        if min < SHORTEST_BACKOFF_MS {
            let what = format!("\"{text}\" begins too short; wait at least {SHORTEST_BACKOFF_MS}ms");
            return Err(restart.bad("backoff", what));
        }
        (spec.backoff_min_ms, spec.backoff_max_ms) = (min, max);
    }
    Ok(())
}

/// A duration of a range, in milliseconds.
pub(super) fn time(
    section: &Section<'_>,
    key: &str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, FileError> {
    let Some(text) = section.text(key)? else { return Ok(None) };
    let ms = milliseconds(&text).map_err(|e| section.bad(key, e))?;
    if !range.contains(&ms) {
        let what = format!("\"{text}\" is out of range; use {}ms to {}s", range.start(), range.end() / 1_000);
        return Err(section.bad(key, what));
    }
    Ok(Some(ms))
}

/// One of a few words; `unbuilt` ones are documented and refused.
pub(super) fn one_of<T: Copy>(
    section: &Section<'_>,
    key: &str,
    known: &[(&str, T)],
    unbuilt: &[&str],
) -> Result<Option<T>, FileError> {
    let Some(word) = section.text(key)? else { return Ok(None) };
    if let Some((_, value)) = known.iter().find(|(k, _)| *k == word) {
        return Ok(Some(*value));
    }
    let words = || known.iter().map(|(k, _)| format!("\"{k}\"")).collect::<Vec<_>>().join(" or ");
    let quoted = word.escape_debug();
    if unbuilt.contains(&word.as_str()) {
        let what = format!("\"{quoted}\" isn't supported by this version yet; write {}", words());
        return Err(section.bad(key, what));
    }
    let hint = match super::nearest::nearest(&word, known.iter().map(|(k, _)| *k)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("write {}", words()),
    };
    Err(section.bad(key, format!("\"{quoted}\" isn't known; {hint}")))
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
