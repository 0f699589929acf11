//! Gives way to another process that speaks as this node: a copied data directory.

use super::join::introduction;
use crate::{
    shared::Identity,
    wire::{
        client::Peers,
        peer::{self, Meeting, PeerError},
    },
};
use cluster_core::ids::{ClusterId, Incarnation};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// One question whether this node runs elsewhere; a seed that is down costs a start so much.
const ASK_TIMEOUT: Duration = Duration::from_millis(300);
/// An agent whose identity another one uses for so long gives way.
const GIVE_WAY_AFTER: Duration = Duration::from_secs(3);
/// Between two rounds of questions.
const ASK_AGAIN: Duration = Duration::from_millis(150);
/// Seeds asked in one round.
const ASKED_MAX: usize = 32;

/// A copied data directory must not speak as the node that it was copied from: not in gossip, and above all not in
/// consensus, where it would vote and lead with another's promises. So before a process that belongs to a cluster takes
/// part in anything it asks its seeds whether they hear its node already. Returns once nobody does, or nobody answers;
/// otherwise it asks again for a while, as an earlier life's last words look the same, and then says why it gives way.
pub async fn nobody_else(
    identity: &Identity,
    incarnation: Incarnation,
    cluster: ClusterId,
    seeds: &[String],
    peers: &Peers,
) -> Result<(), String> {
    let mine = Arc::new(Meeting {
        cluster_name: identity.cluster_name.clone(),
        cluster: Some(cluster),
        sender: introduction(identity, incarnation),
        founds: false,
        members: Vec::new(),
        waiting: Vec::new(),
        voters: Vec::new(),
    });
    let until = tokio::time::Instant::now() + GIVE_WAY_AFTER;
    loop {
        let mut calls = JoinSet::new();
        for address in seeds.iter().filter(|a| **a != identity.address).take(ASKED_MAX) {
            let Ok(channel) = peers.channel(address) else { continue };
            let mine = mine.clone();
            calls.spawn(async move { peer::meet(channel, &mine, ASK_TIMEOUT).await });
        }
        let taken = calls.join_all().await.into_iter().find_map(|answer| match answer {
            Err(PeerError::Taken(why)) => Some(why),
            _ => None,
        });
        match taken {
            None => return Ok(()),
            Some(why) if tokio::time::Instant::now() >= until => return Err(why),
            Some(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}
