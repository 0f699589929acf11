//! `holdfast workload …`: what the cluster keeps running.

use super::{
    args::WorkloadCommand,
    error::CliError,
    session::{Session, pages, print, print_bytes},
    table::{Cell, Table, facts},
    text::{NOTHING, Tone, View, ago, count, or_dash, span, word},
};
use crate::{config, json, wire::cli_client::CliClient};
use futures::StreamExt as _;
use holdfast_proto::v1::{
    ApplyWorkloadsRequest, ApplyWorkloadsResponse, DeleteWorkloadRequest, GetWorkloadRequest, Instance,
    InstanceState, ListWorkloadsRequest, PlanAction, PlannedChange, StartWorkloadRequest,
    StopWorkloadRequest, StreamLogsRequest, Workload, WorkloadKind, WorkloadSpec,
};
use std::path::PathBuf;

/// Instances in one cell of a list; the rest is counted.
const NAMED_INSTANCES: usize = 5;

pub async fn run(session: &Session, command: WorkloadCommand) -> Result<u8, CliError> {
    // The files first: a mistake in them needs no agent to be told.
    if let WorkloadCommand::Apply { files, dry_run, if_version } = command {
        return apply(session, &files, dry_run, if_version).await;
    }
    let client = session.connect().await?;
    match command {
        WorkloadCommand::List => list(session, &client).await?,
        WorkloadCommand::Show { workload } => {
            let answer = client.get_workload(GetWorkloadRequest { name: workload }).await?;
            session.answer(&answer.workload.unwrap_or_default(), |w| show(w, session.view))?;
        }
        WorkloadCommand::Logs { workload, follow, index } => {
            logs(session, &client, workload, follow, index).await?;
        }
        WorkloadCommand::Stop { workload } => {
            let answer = client.stop_workload(StopWorkloadRequest { name: workload }).await?;
            let told = |w: &Workload| format!("{} stops, and stays stopped.\n", or_dash(&w.name));
            session.answer(&answer.workload.unwrap_or_default(), told)?;
        }
        WorkloadCommand::Start { workload } => {
            let answer = client.start_workload(StartWorkloadRequest { name: workload }).await?;
            let told = |w: &Workload| format!("{} is to run.\n", or_dash(&w.name));
            session.answer(&answer.workload.unwrap_or_default(), told)?;
        }
        WorkloadCommand::Delete { workload } => {
            client.delete_workload(DeleteWorkloadRequest { name: workload.clone() }).await?;
            session.done(&format!("{} is deleted; what runs of it stops.", or_dash(&workload)))?;
        }
        WorkloadCommand::Apply { .. } | WorkloadCommand::Other(_) => unreachable!("handled before"),
    }
    Ok(0)
}

async fn apply(
    session: &Session,
    files: &[PathBuf],
    dry_run: bool,
    if_version: Option<u64>,
) -> Result<u8, CliError> {
    let specs = read_all(files)?;
    if if_version.is_some() && specs.len() != 1 {
        let what = format!("--if-version speaks of one workload, and the files have {}", specs.len());
        return Err(CliError::Usage(what));
    }
    let request = ApplyWorkloadsRequest { specs, if_version, dry_run, request_id: super::request_id() };
    let answer = session.connect().await?.apply_workloads(request).await?;
    session.answer(&answer, |answer| plan(answer, dry_run))?;
    Ok(0)
}

fn read_all(files: &[PathBuf]) -> Result<Vec<WorkloadSpec>, CliError> {
    let mut specs: Vec<WorkloadSpec> = Vec::new();
    for path in files {
        let file = path.display().to_string();
        for spec in config::workload::parse(&file, &config::read(path)?)? {
            if specs.iter().any(|s| s.name == spec.name) {
                let what =
                    format!("{file}: workload.{} is in an earlier file, too; keep one of them", spec.name);
                return Err(CliError::Failed(what));
            }
            specs.push(spec);
        }
    }
    Ok(specs)
}

fn plan(answer: &ApplyWorkloadsResponse, dry_run: bool) -> String {
    let mut out: String = answer.changes.iter().map(|change| planned(change, dry_run)).collect();
    if dry_run {
        out.push_str("Nothing was changed: this is a dry run.\n");
    }
    out
}

fn planned(change: &PlannedChange, dry_run: bool) -> String {
    let name = or_dash(&change.workload);
    let done = match (change.action(), dry_run) {
        (PlanAction::Create, true) => format!("{name} would be created"),
        (PlanAction::Create, false) => format!("{name} created, version {}", change.version),
        (PlanAction::Update, true) => format!("{name} would be updated, now version {}", change.version),
        (PlanAction::Update, false) => format!("{name} updated, version {}", change.version),
        (PlanAction::Unchanged, _) => format!("{name} unchanged, version {}", change.version),
        (PlanAction::Unspecified, _) => {
            format!("{name}: the agent didn't say what it did; update this command")
        }
    };
    let places: Vec<String> = change
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| !node.is_empty())
        .map(|(index, node)| format!("{index} on {}", or_dash(node)))
        .collect();
    let mut out = match places.is_empty() {
        true => format!("{done}\n"),
        false => format!("{done}; {}: {}\n", if dry_run { "would go" } else { "goes" }, places.join(", ")),
    };
    for note in &change.notes {
        out.push_str(&format!("  {}\n", or_dash(note)));
    }
    out
}

async fn list(session: &Session, client: &CliClient) -> Result<(), CliError> {
    let workloads = pages(|page_token| {
        let client = client.clone();
        async move {
            let answer = client.list_workloads(ListWorkloadsRequest { page_size: 0, page_token }).await?;
            Ok((answer.workloads, answer.next_page_token))
        }
    })
    .await?;
    session.answer_list("workloads", &workloads, |workloads| {
        if workloads.is_empty() {
            return "No workload yet; add some with holdfast workload apply FILE.\n".into();
        }
        let mut table = table();
        for workload in workloads {
            workload_row(&mut table, workload);
        }
        table.render(0, session.view.color)
    })
}

async fn logs(
    session: &Session,
    client: &CliClient,
    name: String,
    follow: bool,
    index: u32,
) -> Result<(), CliError> {
    let request = StreamLogsRequest { name: name.clone(), index, tail_bytes: 0, follow };
    let mut stream = client.stream_logs(request).await?;
    let mut node = String::new();
    let mut empty = true;
    while let Some(answer) = stream.next().await {
        let answer = answer?;
        if session.json() {
            print(&format!("{}\n", json::line(&answer)))?;
            continue;
        }
        if !node.is_empty() && node != answer.node {
            eprintln!("-- {name} now writes from {} --", or_dash(&answer.node));
        }
        node = answer.node;
        empty &= answer.chunk.is_empty();
        print_bytes(&answer.chunk)?;
    }
    if empty && !session.json() {
        eprintln!("holdfast: instance {index} of {name} has written nothing yet");
    }
    Ok(())
}

pub fn table() -> Table {
    Table::new(&["NAME", "KIND", "RUNNING", "INSTANCES"])
}

pub fn workload_row(table: &mut Table, workload: &Workload) {
    let running = format!("{}/{}", workload.running, workload.desired);
    let tone = match workload.running {
        _ if workload.stopped => Tone::Plain,
        n if n >= workload.desired => Tone::Good,
        0 => Tone::Bad,
        _ => Tone::Warn,
    };
    table.row([
        or_dash(&workload.name).into(),
        word(workload.kind().as_str_name(), "WORKLOAD_KIND").into(),
        Cell::toned(running, tone),
        instances(workload).into(),
    ]);
}

/// Where each instance is: what runs as it should is its node's name alone.
fn instances(workload: &Workload) -> String {
    if workload.stopped && workload.running == 0 {
        return "stopped by an operator".into();
    }
    let single = workload.kind() == WorkloadKind::Singleton;
    let mut shown: Vec<String> =
        workload.instances.iter().take(NAMED_INSTANCES).map(|i| instance(i, single)).collect();
    if workload.instances.len() > NAMED_INSTANCES {
        shown.push(format!("and {} more", workload.instances.len() - NAMED_INSTANCES));
    }
    or_dash(&shown.join(", "))
}

fn instance(instance: &Instance, single: bool) -> String {
    let mut out = if single { String::new() } else { format!("{} ", instance.index) };
    match &instance.node {
        Some(node) => out.push_str(&format!("on {}", or_dash(node))),
        None => out.push_str("nowhere"),
    }
    if instance.state() != InstanceState::Running {
        out.push_str(&format!(" ({})", state(instance)));
        if let Some(detail) = instance.detail.as_deref().filter(|d| !d.is_empty()) {
            out.push_str(&format!(": {detail}"));
        }
    }
    out
}

fn state(instance: &Instance) -> String {
    word(instance.state().as_str_name(), "INSTANCE_STATE")
}

fn show(workload: &Workload, view: View) -> String {
    let running = format!("{} of {}, {} healthy", workload.running, workload.desired, workload.healthy);
    let mut lines = vec![
        ("Name", or_dash(&workload.name)),
        ("Kind", word(workload.kind().as_str_name(), "WORKLOAD_KIND")),
        ("Running", if workload.stopped { format!("{running}; stopped by an operator") } else { running }),
        ("Version", format!("{} (for --if-version)", workload.version)),
    ];
    if let Some(spec) = &workload.spec {
        describe(spec, &mut lines);
    }
    let mut out = facts(&lines);
    let mut table =
        Table::new(&["INDEX", "NODE", "STATE", "PID", "GENERATION", "STARTED", "RESTARTS", "NOTE"]);
    for instance in &workload.instances {
        let number = |n: Option<u64>| n.map_or_else(|| NOTHING.to_owned(), |n| n.to_string());
        let running = instance.state() == InstanceState::Running;
        let mut notes: Vec<&str> = instance.detail.as_deref().into_iter().filter(|d| !d.is_empty()).collect();
        if running && !instance.confined {
            notes.push("not confined: the host has no PID namespace for it");
        }
        table.row([
            instance.index.to_string().into(),
            or_dash(instance.node.as_deref().unwrap_or_default()).into(),
            Cell::toned(state(instance), if running { Tone::Good } else { Tone::Warn }),
            number(instance.pid.map(u64::from)).into(),
            number(instance.generation).into(),
            ago(instance.started_at.as_ref(), view).into(),
            instance.restarts.to_string().into(),
            notes.join("; ").into(),
        ]);
    }
    if !workload.instances.is_empty() {
        out.push('\n');
        out.push_str(&table.render(0, view.color));
    }
    out
}

fn describe(spec: &WorkloadSpec, lines: &mut Vec<(&str, String)>) {
    lines.push(("Priority", spec.priority.to_string()));
    let mut ports: Vec<String> = spec.ports.iter().map(|(name, port)| format!("{name} {port}")).collect();
    ports.sort();
    lines.push(("Ports", or_dash(&ports.join(", "))));
    if let Some(exec) = &spec.exec {
        lines.push(("Command", or_dash(&exec.command.join(" "))));
        let mut env: Vec<&str> = exec.env.keys().map(String::as_str).collect();
        env.sort_unstable();
        // Values may be secrets.
        lines.push(("Environment", or_dash(&env.join(" "))));
        if let Some(user) = &exec.user {
            lines.push(("User", or_dash(user)));
        }
    }
    if let Some(recovery) = &spec.recovery {
        let restarts = format!(
            "{} within {}, {} to {} apart",
            count(recovery.restart_attempts, "restart"),
            span(recovery.restart_within_ms),
            span(recovery.backoff_min_ms),
            span(recovery.backoff_max_ms)
        );
        let then = if recovery.migrate { "then elsewhere" } else { "then a person" };
        lines.push(("Recovery", format!("{restarts}, {then}")));
        let isolated = if recovery.keep_on_isolation { "goes on" } else { "stops" };
        lines.push(("Cut off", format!("{isolated} when its node loses the cluster")));
    }
}
