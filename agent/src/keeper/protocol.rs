//! What agent and keeper of one node say to each other over their local socket, a message a packet.
//!
//! Either may be of another version: an agent is upgraded while its keeper lives on. `Hello` and `Retire` keep their
//! form for ever, and each packet names its version; whoever reads another version of anything else ends the
//! connection. An agent replaces a keeper of another version.
//!
//! The agent tells everything at once, again and again (`Tell`): a packet that was dropped is made good by the next one,
//! a new agent needs no other beginning, and that it comes at all is the agent's sign of life.

use super::{
    bytes::{Put, Reader},
    secret::{Key, KeyId},
};
use crate::wire::convert::RenewalAnswer;
use cluster_core::{
    ids::{ClusterId, LeaseEpoch, NodeId},
    lease::{Grant, Groups, Renewal},
    time::Instant,
};
use std::{net::SocketAddr, time::Duration};

pub const VERSION: u8 = 1;
const MAGIC: [u8; 2] = *b"hk";
/// The largest packet: a `Tell` with every route.
pub const PACKET_MAX: usize = 16 * 1024;
/// Voters are at most seven, fourteen while they change.
pub const ROUTES_MAX: usize = 32;
/// Addresses of one voter that are kept; the first that fits the keeper's socket is used.
pub const ADDRESSES_MAX: usize = 4;

/// How a voter's keeper is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct Route {
    pub voter: NodeId,
    pub key: Key,
    pub key_id: KeyId,
    pub addresses: Vec<SocketAddr>,
}

/// What the ledger issued to this node, as far as its agent knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Issued {
    /// The agent hasn't caught up with the ledger: what was told last stands.
    #[default]
    Unknown,
    /// Nothing, any more.
    Nothing,
    Granted(Grant),
}

/// All that a keeper needs to know. `None`: what was told last stands.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tell {
    /// The name of the timing profile; part of every packet, as it never changes in a cluster.
    pub profile: String,
    pub cluster: Option<ClusterId>,
    pub issued: Issued,
    pub wanted: Option<bool>,
    /// Those that are known; others stay as they were while their voter votes.
    pub routes: Vec<Route>,
    /// `--dev`: nothing outlives the agent.
    pub ends_with_agent: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub enum ToKeeper {
    Hello,
    /// End at once: the node left, or another keeper takes over.
    Retire,
    Tell(Tell),
    /// What this node's book says to a renewal that came by datagram.
    Answered {
        to: SocketAddr,
        node: NodeId,
        answer: RenewalAnswer,
    },
    /// A voter's answer that came by the agent's stream, or from the agent's own book.
    Heard(RenewalAnswer),
}

/// A keeper, as it introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub version: u8,
    pub node: NodeId,
    pub key_id: KeyId,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it couldn't do to harden itself, in sentences.
    pub missing: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToAgent {
    Hello(Hello),
    /// The answer to each `Tell`.
    Alive,
    /// For the agent's stream to this voter. `at`: when, on CLOCK_MONOTONIC_RAW; late ones are dropped.
    Relay {
        voter: NodeId,
        at: Instant,
        renewal: Renewal,
    },
    /// A renewal for this node's book, by datagram from `from`, or (none) of this node itself.
    Asked {
        from: Option<SocketAddr>,
        at: Instant,
        cluster: ClusterId,
        renewal: Renewal,
    },
    /// This voter's keeper doesn't know the key any more.
    UnknownKey {
        voter: NodeId,
        key_id: KeyId,
    },
    Expired(LeaseEpoch),
    Revoked(LeaseEpoch),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    #[error("it speaks version {0}, this is {VERSION}")]
    OtherVersion(u8),
    #[error("the packet makes no sense")]
    Damaged,
}

fn packet(kind: u8) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.u8(VERSION);
    bytes.u8(kind);
    bytes
}

/// Version, kind and what follows.
fn unpack(packet: &[u8]) -> Result<(u8, u8, Reader<'_>), Unread> {
    let mut r = Reader(packet);
    let head = || Some((r.array()? == MAGIC, r.u8()?, r.u8()?));
    match { head }() {
        Some((true, version, kind)) => Ok((version, kind, r)),
        _ => Err(Unread::Damaged),
    }
}

impl ToKeeper {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello => packet(0),
            Self::Retire => packet(1),
            Self::Tell(tell) => {
                let mut p = packet(2);
                put_tell(&mut p, tell);
                p
            }
            Self::Answered { to, node, answer } => {
                let mut p = packet(3);
                p.address(*to);
                p.u64(node.0);
                p.answer(answer);
                p
            }
            Self::Heard(answer) => {
                let mut p = packet(4);
                p.answer(answer);
                p
            }
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Unread> {
        let (version, kind, mut r) = unpack(bytes)?;
        match kind {
            // These two are understood whatever the version, and whatever follows.
            0 => return Ok(Self::Hello),
            1 => return Ok(Self::Retire),
            _ if version != VERSION => return Err(Unread::OtherVersion(version)),
            _ => {}
        }
        let mut read = || {
            Some(match kind {
                2 => Self::Tell(read_tell(&mut r)?),
                3 => Self::Answered { to: r.address()?, node: r.node()?, answer: r.answer()? },
                4 => Self::Heard(r.answer()?),
                _ => return None,
            })
        };
        let message = read();
        message.filter(|_| r.end().is_some()).ok_or(Unread::Damaged)
    }
}

impl ToAgent {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => {
                let mut p = packet(0);
                p.u64(hello.node.0);
                p.bytes(&hello.key_id.0);
                p.address(hello.address);
                p.count(hello.missing.len());
                hello.missing.iter().for_each(|m| p.text(m));
                p
            }
            Self::Alive => packet(2),
            Self::Relay { voter, at, renewal } => {
                let mut p = packet(3);
                p.u64(voter.0);
                p.u64(at.as_nanos());
                p.renewal(renewal);
                p
            }
            Self::Asked { from, at, cluster, renewal } => {
                let mut p = packet(4);
                p.u8(u8::from(from.is_some()));
                if let Some(from) = from {
                    p.address(*from);
                }
                p.u64(at.as_nanos());
                p.u64(cluster.0);
                p.renewal(renewal);
                p
            }
            Self::UnknownKey { voter, key_id } => {
                let mut p = packet(5);
                p.u64(voter.0);
                p.bytes(&key_id.0);
                p
            }
            Self::Expired(epoch) => {
                let mut p = packet(6);
                p.u64(epoch.0);
                p
            }
            Self::Revoked(epoch) => {
                let mut p = packet(7);
                p.u64(epoch.0);
                p
            }
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Unread> {
        let (version, kind, mut r) = unpack(bytes)?;
        if version != VERSION {
            return Err(Unread::OtherVersion(version));
        }
        let mut read = || {
            Some(match kind {
                0 => Self::Hello(Hello {
                    version,
                    node: r.node()?,
                    key_id: KeyId(r.array()?),
                    address: r.address()?,
                    missing: r.list(Reader::text)?,
                }),
                2 => Self::Alive,
                3 => Self::Relay { voter: r.node()?, at: instant(&mut r)?, renewal: r.renewal()? },
                4 => {
                    let from = if r.flag()? { Some(r.address()?) } else { None };
                    let (at, cluster) = (instant(&mut r)?, ClusterId(r.u64()?));
                    Self::Asked { from, at, cluster, renewal: r.renewal()? }
                }
                5 => Self::UnknownKey { voter: r.node()?, key_id: KeyId(r.array()?) },
                6 => Self::Expired(LeaseEpoch(r.u64()?)),
                7 => Self::Revoked(LeaseEpoch(r.u64()?)),
                _ => return None,
            })
        };
        let message = read();
        message.filter(|_| r.end().is_some()).ok_or(Unread::Damaged)
    }
}

fn instant(r: &mut Reader<'_>) -> Option<Instant> {
    r.u64().map(Instant::from_nanos)
}

fn put_tell(p: &mut Vec<u8>, tell: &Tell) {
    p.text(&tell.profile);
    p.u64(tell.cluster.map_or(0, |c| c.0));
    match &tell.issued {
        Issued::Unknown => p.u8(0),
        Issued::Nothing => p.u8(1),
        Issued::Granted(grant) => {
            p.u8(2);
            p.u64(grant.epoch.0);
            p.log_id(grant.voter_config);
            p.u64(u64::try_from(grant.lease.as_nanos()).unwrap_or(u64::MAX));
            p.count(grant.voters.len());
            for group in &grant.voters {
                p.count(group.len());
                group.iter().for_each(|voter| p.u64(voter.0));
            }
        }
    }
    p.u8(tell.wanted.map_or(2, u8::from));
    p.count(tell.routes.len().min(ROUTES_MAX));
    for route in tell.routes.iter().take(ROUTES_MAX) {
        p.u64(route.voter.0);
        p.bytes(&route.key.0);
        p.bytes(&route.key_id.0);
        p.count(route.addresses.len().min(ADDRESSES_MAX));
        route.addresses.iter().take(ADDRESSES_MAX).for_each(|a| p.address(*a));
    }
    p.u8(u8::from(tell.ends_with_agent));
}

fn read_tell(r: &mut Reader<'_>) -> Option<Tell> {
    let profile = r.text()?;
    let cluster = Some(ClusterId(r.u64()?)).filter(|c| c.0 != 0);
    let issued = match r.u8()? {
        0 => Issued::Unknown,
        1 => Issued::Nothing,
        2 => Issued::Granted(Grant {
            epoch: LeaseEpoch(r.u64()?),
            voter_config: r.log_id()?,
            lease: Duration::from_nanos(r.u64()?),
            voters: groups(r)?,
        }),
        _ => return None,
    };
    let wanted = match r.u8()? {
        2 => None,
        flag => Some(flag == 1),
    };
    let route = |r: &mut Reader<'_>| {
        let (voter, key, key_id) = (r.node()?, Key(r.array()?), KeyId(r.array()?));
        Some(Route { voter, key, key_id, addresses: r.list(Reader::address)? })
    };
    let routes = r.list(route)?;
    Some(Tell { profile, cluster, issued, wanted, routes, ends_with_agent: r.flag()? })
}

fn groups(r: &mut Reader<'_>) -> Option<Groups> {
    let group = |r: &mut Reader<'_>| Some(r.list(Reader::node)?.into_iter().collect());
    Some(r.list(group)?.into_iter().collect())
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
