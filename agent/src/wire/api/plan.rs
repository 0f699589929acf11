//! What an apply changes: told after it was done, or tried on a copy of the ledger that is then thrown away.

use super::{errors, leader::now};
use crate::shared::{Live, LiveState};
use cluster_core::{
    ids::{LogId, RequestId},
    ledger::{Body, Command, FEATURE_LEVEL, Ledger, Reply},
    recovery::{
        Heard, LiveView, View,
        placement::{Board, choose},
    },
};
use holdfast_proto::v1;
use std::collections::BTreeMap;
use tonic::{Code, Status};

/// Versions of all workloads that exist.
pub fn versions(ledger: &Ledger) -> BTreeMap<String, u64> {
    let kept = ledger.workloads.iter().filter(|(_, w)| !w.deleted);
    kept.map(|(name, w)| (name.clone(), w.version)).collect()
}

pub fn changes(before: &BTreeMap<String, u64>, after: &[(String, u64)]) -> Vec<v1::PlannedChange> {
    let change = |(name, version): &(String, u64)| v1::PlannedChange {
        workload: name.clone(),
        action: match before.get(name) {
            None => v1::PlanAction::Create,
            Some(old) if old == version => v1::PlanAction::Unchanged,
            Some(_) => v1::PlanAction::Update,
        }
        .into(),
        version: *version,
        nodes: Vec::new(),
        notes: Vec::new(),
    };
    after.iter().map(change).collect()
}

/// Applies to a copy, and says where what would have to be placed would go now.
pub fn dry_run(
    ledger: &Ledger,
    live: &Live,
    actor: &str,
    body: Body,
) -> Result<Vec<v1::PlannedChange>, Status> {
    let before = versions(ledger);
    let mut copy = ledger.clone();
    let at = LogId { index: copy.applied.index + 1, ..copy.applied };
    let command = Command {
        level: FEATURE_LEVEL,
        actor: actor.to_owned(),
        request: RequestId::default(),
        proposed_at: now(),
        body,
    };
    let after = match copy.apply(at, &command) {
        Ok(Reply::Versions(after)) => after,
        Ok(Reply::Rejected(rejection)) => return Err(errors::rejection(&rejection)),
        Ok(other) => unreachable!("the ledger answers an apply with versions, not {other:?}"),
        Err(e) => return Err(errors::status(Code::Internal, "UNSUPPORTED_LEVEL", e.to_string())),
    };
    let mut planned = changes(&before, &after);
    let heard = heard(live);
    let view = View { ledger: &copy, live: &heard };
    let mut board = Board::of(&copy);
    for change in &mut planned {
        place(&view, &mut board, change);
        // The number that the real entry will get isn't known yet.
        if change.action() != v1::PlanAction::Unchanged {
            change.version = before.get(&change.workload).copied().unwrap_or(0);
        }
    }
    Ok(planned)
}

fn place(view: &View<'_>, board: &mut Board, change: &mut v1::PlannedChange) {
    let Some(workload) = view.ledger.workloads.get(&change.workload) else {
        return;
    };
    for index in 0..workload.desired() {
        let placed = workload.slots.get(&index).and_then(|slot| slot.placement.as_ref());
        if placed.is_some() {
            change.nodes.push(String::new());
            continue;
        }
        match choose(view, board, &change.workload, index) {
            Ok(node) => {
                board.add(&change.workload, node);
                change.nodes.push(view.ledger.node_name(node));
            }
            Err(why) => {
                change.nodes.push(String::new());
                change.notes.push(format!("index {index} would wait: {why}"));
            }
        }
    }
    let surplus = workload.slots.range(workload.desired()..).filter(|(_, s)| s.placement.is_some()).count();
    if surplus > 0 {
        change.notes.push(format!("{surplus} of its instances would be stopped"));
    }
}

fn heard(live: &Live) -> LiveView {
    let heard = live.members.iter().filter_map(|(id, member)| match member.state {
        LiveState::Alive => Some((*id, Heard::Alive)),
        LiveState::Suspect => Some((*id, Heard::Suspect)),
        LiveState::Dead | LiveState::Left => None,
    });
    LiveView { heard: heard.collect(), ..LiveView::default() }
}
