//! `RaftService`: consensus as this agent sees it. Never passed on: each agent is asked for its own part.

use super::{errors, leader::Api};
use crate::shared::LiveState;
use holdfast_proto::v1::{self, raft_service_server::RaftService};
use tokio::time;
use tonic::{Code, Request, Response, Status};

pub struct Consensus(pub Api);

#[tonic::async_trait]
impl RaftService for Consensus {
    async fn get_raft_status(
        &self,
        _: Request<v1::GetRaftStatusRequest>,
    ) -> Result<Response<v1::GetRaftStatusResponse>, Status> {
        let raft = self.0.shared.raft.view();
        let live = self.0.live();
        let me = &self.0.shared.identity;
        let online = |id| id == me.node || live.members.get(&id).is_some_and(|m| m.state == LiveState::Alive);
        let voters = self.0.with_view(|view| {
            let voter = |(id, address): (&cluster_core::ids::NodeId, &String)| v1::RaftVoter {
                id: id.to_string(),
                name: view.name(*id),
                address: address.clone(),
                online: online(*id),
                leader: live.leader == Some(*id),
            };
            live.voters.iter().map(voter).collect()
        });
        Ok(Response::new(v1::GetRaftStatusResponse {
            role: raft.role.to_owned(),
            leader: live.leader.map(|id| self.0.with_view(|view| view.name(id))),
            term: raft.term,
            last_log_index: raft.last_log,
            committed_index: raft.committed,
            applied_index: raft.applied,
            snapshot_index: raft.snapshot,
            log_entries: raft.log_entries,
            voters,
            observed_by: me.name.clone(),
        }))
    }

    async fn take_snapshot(
        &self,
        request: Request<v1::TakeSnapshotRequest>,
    ) -> Result<Response<v1::TakeSnapshotResponse>, Status> {
        let call = super::call::Call::of(&request, &self.0.shared);
        if !self.0.live().is_voter {
            let text = format!(
                "{} has no vote, so it keeps no log; ask a voter (`holdfast raft status` names them)",
                self.0.shared.identity.name
            );
            return Err(errors::status(Code::FailedPrecondition, "NOT_A_VOTER", text));
        }
        match time::timeout(call.remaining(), self.0.shared.raft.take_snapshot()).await {
            Ok(Ok(snapshot_index)) => Ok(Response::new(v1::TakeSnapshotResponse { snapshot_index })),
            Ok(Err(e)) => Err(errors::propose(&e)),
            Err(_) => {
                let text = "the snapshot isn't ready yet and goes on being made; see `holdfast raft status`";
                Err(errors::status(Code::DeadlineExceeded, "TIMEOUT", text))
            }
        }
    }
}
