//! `holdfast status`: what a person who was woken up needs first.
//!
//! Not here: judging health; the answering agent did.

use super::{
    error::{CliError, EXIT_NO_AGENT, EXIT_USAGE},
    failure,
    node::{self, node_row},
    session::Session,
    table::Cell,
    text::{Tone, View, clean, count},
    workload::{self, workload_row},
};
use crate::wire::cli_client::{CliClient, STATUS_LIMIT};
use holdfast_proto::v1::{
    Failure, GetStatusRequest, GetStatusResponse, Health, ListFailuresRequest, Node, NodeState, Scheduling,
};

/// Rows of one table; what needs attention comes first, the rest is counted.
const ROWS: usize = 50;

pub async fn run(session: &Session) -> Result<u8, CliError> {
    let (status, failures) = match ask(session).await {
        Ok(answer) => answer,
        // An error is no health: scripts must not take it for "degraded".
        Err(e) if e.exit_code() == EXIT_USAGE => return Err(e),
        Err(e) => {
            eprintln!("holdfast: {e}");
            return Ok(EXIT_NO_AGENT);
        }
    };
    session.answer(&status, |status| render(status, &failures, session.view))?;
    Ok(exit_code(&status))
}

async fn ask(session: &Session) -> Result<(GetStatusResponse, Vec<Failure>), CliError> {
    let client = session.connect().await?;
    let status = client.get_status(GetStatusRequest {}).await?;
    let failures = match status.open_failures > 0 && status.consistent && !session.json() {
        true => open_failures(&client).await,
        false => Vec::new(),
    };
    Ok((status, failures))
}

/// The first page is plenty here; without it the number alone is told.
async fn open_failures(client: &CliClient) -> Vec<Failure> {
    let request = ListFailuresRequest { open: true, ..ListFailuresRequest::default() };
    match tokio::time::timeout(STATUS_LIMIT, client.list_failures(request)).await {
        Ok(Ok(answer)) => answer.failures,
        _ => Vec::new(),
    }
}

fn exit_code(status: &GetStatusResponse) -> u8 {
    match (status.health(), &status.leader) {
        (_, None) => 2,
        (Health::Healthy, _) => 0,
        (Health::Degraded, _) => 1,
        (Health::Critical | Health::Unspecified, _) => 2,
    }
}

fn render(status: &GetStatusResponse, failures: &[Failure], view: View) -> String {
    let mut out = headline(status, view);
    let sentences = sentences(status);
    if !sentences.is_empty() {
        out.push('\n');
        for sentence in sentences {
            out.push_str(&format!("  {}\n", clean(&sentence)));
        }
    }
    out.push_str(&nodes(status, view));
    out.push_str(&workloads(status, view));
    if !failures.is_empty() {
        out.push_str(&format!("\n{}\n", Tone::Heading.paint("Open failures", view.color)));
        let shown = &failures[..failures.len().min(ROWS)];
        out.push_str(&failure::table(shown, view).render(2, view.color));
        let all = usize::try_from(status.open_failures).unwrap_or(usize::MAX).max(failures.len());
        out.push_str(&rest(all - shown.len(), "holdfast failure list --open"));
        out.push_str(&format!("  The story of one: holdfast failure show {}\n", failures[0].id));
    }
    out
}

fn headline(status: &GetStatusResponse, view: View) -> String {
    let (word, tone) = match status.health() {
        Health::Healthy => ("HEALTHY", Tone::Good),
        Health::Degraded => ("DEGRADED", Tone::Warn),
        Health::Critical => ("CRITICAL", Tone::Bad),
        Health::Unspecified => ("UNKNOWN", Tone::Bad),
    };
    let leader = match &status.leader {
        Some(leader) => format!("leader {}", clean(leader)),
        None => "no leader".into(),
    };
    let voters = format!("{} of {} online", status.voters_online, count(status.voters, "voter"));
    format!("{}  cluster {}, {leader}, {voters}\n", tone.paint(word, view.color), clean(&status.cluster))
}

fn sentences(status: &GetStatusResponse) -> Vec<String> {
    let mut sentences = status.reasons.clone();
    if status.open_failures > 0 && !status.consistent {
        sentences.push(format!("{} known here.", count(status.open_failures, "open failure")));
    }
    if status.alerts_firing > 0 {
        let verb = if status.alerts_firing == 1 { "is" } else { "are" };
        sentences.push(format!(
            "{} {verb} firing: see holdfast alert list.",
            count(status.alerts_firing, "alert")
        ));
    }
    sentences
}

fn nodes(status: &GetStatusResponse, view: View) -> String {
    let mut out = format!("\n{}\n", Tone::Heading.paint("Nodes", view.color));
    if status.nodes.is_empty() {
        return out + "  None is known yet.\n";
    }
    let mut nodes: Vec<&Node> = status.nodes.iter().collect();
    if nodes.len() > ROWS {
        nodes.sort_by_key(|n| (well(n), !n.leader, !n.voter));
    }
    let mut table = node::table();
    for node in nodes.iter().take(ROWS) {
        node_row(&mut table, node, view);
    }
    out.push_str(&table.render(2, view.color));
    out + &rest(nodes.len().saturating_sub(ROWS), "holdfast node list")
}

fn well(node: &Node) -> bool {
    node.state() == NodeState::Alive && node.scheduling() == Scheduling::Eligible
}

fn workloads(status: &GetStatusResponse, view: View) -> String {
    let mut out = format!("\n{}\n", Tone::Heading.paint("Workloads", view.color));
    if status.workloads.is_empty() {
        return out + "  None yet; add some with holdfast workload apply FILE.\n";
    }
    let mut workloads: Vec<_> = status.workloads.iter().collect();
    if workloads.len() > ROWS {
        workloads.sort_by_key(|w| w.running >= w.desired);
    }
    let mut table = workload::table();
    for workload in workloads.iter().take(ROWS) {
        workload_row(&mut table, workload);
    }
    out.push_str(&table.render(2, view.color));
    out + &rest(workloads.len().saturating_sub(ROWS), "holdfast workload list")
}

fn rest(n: usize, command: &str) -> String {
    if n == 0 { String::new() } else { format!("  … and {n} more: {command}\n") }
}

/// The state of a node as one cell: what is unusual is named, and only that.
pub fn state_cell(node: &Node) -> Cell {
    let mut words = vec![node::state_word(node)];
    if node.scheduling() != Scheduling::Eligible && node.scheduling() != Scheduling::Unspecified {
        words.push(node::scheduling_word(node));
    }
    // Of a dead or left node nobody expects an agent.
    if matches!(node.state(), NodeState::Alive | NodeState::Suspect) {
        words.extend(node::agent_trouble(node));
    }
    let tone = match node.state() {
        NodeState::Alive if words.len() == 1 => Tone::Good,
        NodeState::Dead => Tone::Bad,
        NodeState::Left => Tone::Plain,
        _ => Tone::Warn,
    };
    Cell::toned(words.join(", "), tone)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
