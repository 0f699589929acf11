//! Another node of the cluster, as far as its datagrams tell.

use super::node::*;
use cluster_core::{
    ids::{BootId, LeaseEpoch, LogId, SessionId},
    lease::{Renewal, Verdict},
    membership::AgentState,
};
use holdfast::{
    keeper::{
        datagram::{self, DATAGRAM_MAX, Message},
        handle::KeeperEvent,
        protocol::{Route, ToAgent},
        secret::Secret,
    },
    wire::convert::RenewalAnswer,
};
use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

/// Another node, as far as datagrams tell.
pub struct Peer {
    pub socket: UdpSocket,
    pub to: SocketAddr,
    pub secret: Secret,
    /// Under which it seals.
    pub keepers: Secret,
}

impl Peer {
    pub fn of(node: &Node) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let keepers = node.setup.secret.clone();
        Self { socket, to: node.setup.listen, secret: Secret::new([9; 32]), keepers }
    }

    pub fn ask(&self, message: &Message) -> Vec<u8> {
        let key = self.keepers.key_for(PEER, ME);
        let datagram = datagram::seal(&key, self.keepers.id(), PEER, ME, message);
        self.socket.send_to(&datagram, self.to).unwrap();
        datagram
    }

    pub fn receive(&self) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; DATAGRAM_MAX];
        let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
        Some((buffer[..length].to_vec(), from))
    }

    /// The keeper's answer to one probe.
    pub fn probe(&self, nonce: u64) -> Option<AgentState> {
        self.ask(&Message::Probe { nonce });
        let (answer, _) = self.receive()?;
        match datagram::open(&self.keepers.key_for(PEER, ME), &answer).unwrap().1 {
            Message::ProbeAnswer { nonce: of, agent } if of == nonce => Some(agent),
            other => panic!("{other:?}"),
        }
    }

    pub async fn until_agent_is(&self, state: AgentState) {
        let mut nonce = 100;
        until(&format!("a probe to be answered with {state:?}"), || {
            nonce += 1;
            self.probe(nonce) == Some(state)
        })
        .await;
    }

    /// How its own keeper is reached, as the node's agent would have learnt it.
    pub fn route(&self) -> Route {
        let (key, key_id) = (self.secret.key_for(ME, PEER), self.secret.id());
        Route { voter: PEER, key, key_id, addresses: vec![self.socket.local_addr().unwrap()] }
    }

    /// The next renewal that comes here, and where its answer goes.
    pub fn renewal(&self) -> Option<(Renewal, SocketAddr)> {
        let (datagram, from) = self.receive()?;
        match datagram::open(&self.secret.key_for(ME, PEER), &datagram).unwrap().1 {
            Message::Renewal { cluster, renewal } if cluster == CLUSTER => Some((renewal, from)),
            other => panic!("{other:?}"),
        }
    }

    pub fn acknowledge(&self, r: &Renewal, to: SocketAddr) {
        let (session, nonce) = (r.session, r.nonce);
        let answer =
            Message::RenewalAnswer(RenewalAnswer { voter: PEER, session, nonce, verdict: Verdict::Acked });
        let datagram = datagram::seal(&self.secret.key_for(ME, PEER), self.secret.id(), PEER, ME, &answer);
        self.socket.send_to(&datagram, to).unwrap();
    }

    /// Votes, alone, for so long; returns the session that renewed.
    pub fn vote_for(&self, time: Duration) -> Option<SessionId> {
        let (end, mut session) = (Instant::now() + time, None);
        while Instant::now() < end {
            if let Some((renewal, from)) = self.renewal() {
                session = Some(renewal.session);
                self.acknowledge(&renewal, from);
            }
        }
        session
    }
}

pub fn renewal_of_peer(nonce: u64) -> Renewal {
    Renewal {
        node: PEER,
        epoch: LeaseEpoch(3),
        boot: BootId(4),
        session: SessionId(5),
        nonce,
        voter_config: LogId { term: 1, index: 2 },
        lease_ms: 2_000,
    }
}

pub fn asked_by_datagram(event: &KeeperEvent) -> Option<(SocketAddr, Renewal)> {
    match event {
        KeeperEvent::Said(ToAgent::Asked { from: Some(from), renewal, .. }) => Some((*from, *renewal)),
        _ => None,
    }
}
