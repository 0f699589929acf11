//! Who may speak to this agent over a gossip stream, and where what it says goes: into the main loop's queue, in order.

use super::{identity::Membership, input::Input};
use crate::{
    clock,
    shared::{Identity, Live},
    wire::{
        convert::Beat,
        gossip::{Ear, Said, StreamEvent},
        peer_server::Refused,
    },
};
use cluster_core::ids::{ClusterId, NodeId};
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

pub struct Ears {
    pub identity: Identity,
    pub membership: Membership,
    pub live: watch::Receiver<Arc<Live>>,
    pub inputs: mpsc::Sender<Input>,
}

impl Ears {
    /// Whether this message is of this agent's own cluster.
    pub fn ours(&self, cluster: ClusterId) -> Result<(), Refused> {
        match self.membership.cluster() {
            Some(mine) if mine == cluster => Ok(()),
            Some(mine) => Err(Refused::No(format!("this agent belongs to cluster {mine}, not to {cluster}"))),
            None => Err(Refused::Unavailable("this agent belongs to no cluster yet".into())),
        }
    }

    /// A certificate speaks for the node whose name is in it. Who isn't known yet may speak: gossip only learns of it.
    fn names_it(&self, node: NodeId, names: &[String]) -> Result<(), Refused> {
        let live = self.live.borrow();
        match live.members.get(&node) {
            Some(member) if !names.contains(&member.name) => {
                Err(Refused::No(format!("the certificate shown doesn't name {}", member.name)))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a heartbeat counts here. While only one of the two belongs to the cluster already, it doesn't, and the stream
/// stays: a refusal would end it, and its end would be held against a peer that is about to belong to the cluster, too.
fn is_for_us(mine: Option<ClusterId>, theirs: Option<ClusterId>) -> Result<bool, Refused> {
    match (mine, theirs) {
        (Some(mine), Some(theirs)) if mine != theirs => {
            Err(Refused::No(format!("this agent belongs to cluster {mine}, not to {theirs}")))
        }
        (mine, theirs) => Ok(mine == theirs),
    }
}

impl Ear for Ears {
    fn admit(&self, beat: &Beat, names: Option<&[String]>) -> Result<bool, Refused> {
        if beat.cluster_name != self.identity.cluster_name {
            let mine = &self.identity.cluster_name;
            return Err(Refused::No(format!("this agent belongs to cluster \"{mine}\"")));
        }
        if beat.heartbeat.from == self.identity.node {
            return Err(Refused::No("this is this agent's own node".into()));
        }
        if let Some(names) = names {
            self.names_it(beat.heartbeat.from, names)?;
        }
        is_for_us(self.membership.cluster(), beat.cluster)
    }

    fn heard(&self, said: Said) -> BoxFuture<'_, ()> {
        let at = clock::raw();
        Box::pin(async move {
            let input = match said {
                Said::Beat(beat) => Input::Beat(beat, at),
                Said::Report(sent) => Input::Report(Box::new(sent)),
                Said::AskKey(asked) => Input::KeyAsked(asked),
                Said::Key(from, introduction) => Input::Key(from, Box::new(introduction)),
            };
            let _stopping = self.inputs.send(input).await;
        })
    }

    fn stream(&self, event: StreamEvent) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _stopping = self.inputs.send(Input::Stream(event)).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_of_an_agent_that_is_still_founding_are_dropped_and_those_of_another_cluster_refused() {
        let (ours, others) = (Some(ClusterId(1)), Some(ClusterId(2)));
        assert_eq!(is_for_us(ours, ours), Ok(true));
        assert_eq!(is_for_us(ours, None), Ok(false));
        assert_eq!(is_for_us(None, ours), Ok(false));
        assert!(matches!(is_for_us(ours, others), Err(Refused::No(_))));
    }
}
