//! `holdfast node …`: the members.

use super::{
    args::NodeCommand,
    error::CliError,
    session::{Session, pages},
    status::state_cell,
    table::{Table, facts},
    text::{View, ago, both, or_dash, span, word},
};
use crate::wire::cli_client::{CliClient, ClientError};
use holdfast_proto::v1::{
    AgentState, DrainNodeRequest, GetNodeRequest, ListNodesRequest, Node, RemoveNodeRequest, Role,
    Scheduling, UndrainNodeRequest,
};
use std::time::{Duration, Instant};

/// Between two looks at a node that drains.
const DRAIN_POLL: Duration = Duration::from_millis(500);
/// A drain that takes longer goes on by itself; the command stops waiting for it.
const DRAIN_LIMIT: Duration = Duration::from_secs(600);
/// Looks in a row that may fail while it drains: a leader that drains itself is replaced meanwhile.
const DRAIN_MISSES: u32 = 20;
/// Names of workloads in one cell; the rest is counted.
const NAMED_WORKLOADS: usize = 3;

pub async fn run(session: &Session, command: NodeCommand) -> Result<u8, CliError> {
    let client = session.connect().await?;
    match command {
        NodeCommand::List => {
            let nodes = pages(|page_token| {
                let client = client.clone();
                async move {
                    let answer = client.list_nodes(ListNodesRequest { page_size: 0, page_token }).await?;
                    Ok((answer.nodes, answer.next_page_token))
                }
            })
            .await?;
            session.answer_list("nodes", &nodes, |nodes| list(nodes, session.view))?;
        }
        NodeCommand::Show { node } => {
            let node = get(&client, &node).await?;
            session.answer(&node, |node| show(node, session.view))?;
        }
        NodeCommand::Drain { node, no_wait } => drain(session, &client, node, no_wait).await?,
        NodeCommand::Undrain { node } => {
            let answer = client.undrain_node(UndrainNodeRequest { node }).await?;
            let node = answer.node.unwrap_or_default();
            session.answer(&node, |n| format!("{} may be given work again.\n", or_dash(&n.name)))?;
        }
        NodeCommand::Remove { node } => {
            client.remove_node(RemoveNodeRequest { node: node.clone() }).await?;
            session.done(&format!("{} is out of the list.", or_dash(&node)))?;
        }
        NodeCommand::Other(_) => unreachable!("refused when it was parsed"),
    }
    Ok(0)
}

async fn get(client: &CliClient, node: &str) -> Result<Node, CliError> {
    let answer = client.get_node(GetNodeRequest { node: node.to_owned() }).await?;
    answer.node.ok_or_else(|| {
        CliError::Failed(format!("{} named no node; update the agent", or_dash(client.address())))
    })
}

async fn drain(session: &Session, client: &CliClient, name: String, no_wait: bool) -> Result<(), CliError> {
    let answer = client.drain_node(DrainNodeRequest { node: name.clone() }).await?;
    let mut node = answer.node.unwrap_or_default();
    if no_wait {
        let told = |n: &Node| format!("{} drains; its state: holdfast node show {0}\n", or_dash(&n.name));
        return session.answer(&node, told);
    }
    let began = Instant::now();
    let mut told = usize::MAX;
    let mut misses = 0;
    while node.scheduling() != Scheduling::Drained {
        if node.scheduling() != Scheduling::Draining {
            let what = format!(
                "{name} no longer drains: somebody undrained it, or it left; see holdfast node show {name}"
            );
            return Err(CliError::Failed(what));
        }
        if began.elapsed() > DRAIN_LIMIT {
            let what = format!(
                "{name} still drains after {}: {} can't be moved; add room elsewhere, the drain goes on",
                span(DRAIN_LIMIT.as_secs() * 1_000),
                named(&node.workloads)
            );
            return Err(CliError::Failed(what));
        }
        if node.workloads.len() != told && !session.json() {
            told = node.workloads.len();
            eprintln!("{name} drains, still there: {}", named(&node.workloads));
        }
        tokio::time::sleep(DRAIN_POLL).await;
        match client.get_node(GetNodeRequest { node: name.clone() }).await {
            Ok(answer) => (node, misses) = (answer.node.unwrap_or_default(), 0),
            Err(e @ (ClientError::NoAnswer { .. } | ClientError::Refused { .. })) => {
                misses += 1;
                if misses >= DRAIN_MISSES {
                    return Err(e.into());
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
    session.answer(&node, |n| format!("{} is drained: nothing runs on it.\n", or_dash(&n.name)))
}

fn list(nodes: &[Node], view: View) -> String {
    if nodes.is_empty() {
        return "No node is known yet; start one with holdfast agent.\n".into();
    }
    let mut table = table();
    for node in nodes {
        node_row(&mut table, node, view);
    }
    table.render(0, view.color)
}

pub fn table() -> Table {
    Table::new(&["NAME", "STATE", "ROLE", "ZONE", "ADDRESS", "SINCE", "LEASE", "WORKLOADS"])
}

pub fn node_row(table: &mut Table, node: &Node, view: View) {
    table.row([
        or_dash(&node.name).into(),
        state_cell(node),
        role(node).into(),
        or_dash(&node.zone).into(),
        or_dash(&node.address).into(),
        ago(node.changed_at.as_ref(), view).into(),
        lease(node).into(),
        named(&node.workloads).into(),
    ]);
}

/// What it is to the cluster, in one word.
fn role(node: &Node) -> String {
    match (node.leader, node.role(), node.voter) {
        (true, ..) => "leader".into(),
        (_, Role::Witness, _) => "witness".into(),
        (_, _, true) => "voter".into(),
        _ => "member".into(),
    }
}

/// What is left of its permission to run things; for a lost node, how long until they may start elsewhere.
fn lease(node: &Node) -> String {
    match (node.safe_to_start_in_ms, node.lease_remaining_ms) {
        (0, Some(ms)) if ms > 0 => span(ms),
        (0, _) => super::text::NOTHING.into(),
        (ms, _) => format!("over in {}", span(ms)),
    }
}

fn named(workloads: &[String]) -> String {
    let shown: Vec<String> = workloads.iter().take(NAMED_WORKLOADS).map(|w| or_dash(w)).collect();
    match workloads.len() {
        0 => super::text::NOTHING.into(),
        n if n > NAMED_WORKLOADS => format!("{} and {} more", shown.join(" "), n - NAMED_WORKLOADS),
        _ => shown.join(" "),
    }
}

fn show(node: &Node, view: View) -> String {
    let mut labels: Vec<String> = node.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    labels.sort();
    let agent = word(node.agent().as_str_name(), "AGENT_STATE");
    let mut lines = vec![
        ("Name", or_dash(&node.name)),
        ("Id", or_dash(&node.id)),
        ("Address", or_dash(&node.address)),
        ("Zone", or_dash(&node.zone)),
        ("Labels", or_dash(&labels.join(" "))),
        ("Role", format!("{}{}", role(node), if node.voter { ", has a vote" } else { "" })),
        ("State", state_word(node)),
        ("Since", both(node.changed_at.as_ref(), view)),
        ("Scheduling", scheduling_word(node)),
        ("Agent", format!("{agent}, version {}", or_dash(&node.version))),
        ("Incarnation", node.incarnation.to_string()),
    ];
    lines.push((
        "Lease",
        match (node.lease_epoch, node.lease_remaining_ms) {
            (0, _) => "none".into(),
            (epoch, Some(ms)) => format!("epoch {epoch}, {} left", span(ms)),
            (epoch, None) => format!("epoch {epoch}"),
        },
    ));
    if node.safe_to_start_in_ms > 0 {
        lines.push((
            "Safe in",
            format!("{}: then its workloads may start elsewhere", span(node.safe_to_start_in_ms)),
        ));
    }
    lines.push(("Workloads", or_dash(&node.workloads.join(" "))));
    facts(&lines)
}

pub fn state_word(node: &Node) -> String {
    word(node.state().as_str_name(), "NODE_STATE")
}

pub fn scheduling_word(node: &Node) -> String {
    word(node.scheduling().as_str_name(), "SCHEDULING")
}

/// What is wrong with the agent of a node, apart from the node.
pub fn agent_trouble(node: &Node) -> Option<String> {
    match node.agent() {
        AgentState::Stalled => Some("agent stalled".into()),
        AgentState::Gone => Some("agent gone".into()),
        AgentState::Up | AgentState::Unspecified => None,
    }
}
