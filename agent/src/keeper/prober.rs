//! Asks other nodes' keepers whether they are there, and how their agents are: a burst of sealed probes by UDP.
//!
//! One socket of the agent's own for each family of addresses; the first answer of a burst is told, and ends it. A burst
//! needs a key, and a host that is gone hands out none: neighbours hand it out over their streams while all is well. Not
//! here: when to ask, and what an answer means (`cluster_core::membership`).

use super::{
    contacts::{Contact, Contacts, Introduction},
    datagram::{self, DATAGRAM_MAX, Kind, Message},
};
use cluster_core::{ids::NodeId, membership::AgentState};
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{net::UdpSocket, sync::mpsc};
use tokio_util::task::AbortOnDropHandle;

/// Bursts under way; more are refused.
const BURSTS_MAX: usize = 512;
/// Probes in one burst, at most.
const PROBES_MAX: u32 = 64;
/// After its last probe a burst is listened for so long.
const LISTEN_FOR: Duration = Duration::from_millis(1_000);

/// A keeper's answer: its host is there, and this is how its agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    pub peer: NodeId,
    /// As given to `probe`.
    pub nonce: u64,
    pub agent: AgentState,
}

struct Burst {
    peer: NodeId,
    contact: Contact,
}

struct Core {
    me: NodeId,
    contacts: Arc<Contacts>,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    bursts: Mutex<BTreeMap<(NodeId, u64), Burst>>,
    answers: mpsc::Sender<Probed>,
}

pub struct Prober {
    core: Arc<Core>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Prober {
    /// Answers go to `answers`. Fails when no UDP socket can be made at all.
    pub async fn new(me: NodeId, contacts: Arc<Contacts>, answers: mpsc::Sender<Probed>) -> io::Result<Self> {
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await;
        let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await.ok();
        let v4 = if v6.is_some() { v4.ok() } else { Some(v4?) };
        let core = Arc::new(Core { me, contacts, v4, v6, bursts: Mutex::default(), answers });
        let hear = |v6: bool| AbortOnDropHandle::new(tokio::spawn(core.clone().hear(v6)));
        let tasks = vec![hear(false), hear(true)];
        Ok(Self { core, _tasks: tasks })
    }

    /// Whether there is a key for `peer`, whose agent is at `address` (`HOST:PORT`).
    #[must_use]
    pub fn knows(&self, peer: NodeId, address: &str) -> bool {
        self.core.contacts.cached(peer, address).is_some()
    }

    /// The agent of `peer` handed out its keeper's key. Returns at once.
    pub fn introduced(&self, peer: NodeId, address: String, introduction: Introduction) {
        if self.knows(peer, &address) {
            return;
        }
        let core = self.core.clone();
        tokio::spawn(async move {
            if let Err(error) = core.contacts.introduced(peer, &address, introduction).await {
                tracing::debug!(%peer, %error, "no key for probes of a peer yet");
            }
        });
    }

    /// Sends `count` probes to `peer`'s keeper, `every` so often, until one is answered. Returns at once; the first answer
    /// comes as `Probed` with the same nonce, which must be unlike any before it. No answer: nothing comes.
    pub fn probe(&self, peer: NodeId, address: &str, nonce: u64, count: u32, every: Duration) {
        let core = self.core.clone();
        let address = address.to_owned();
        tokio::spawn(async move { core.burst(peer, &address, nonce, count.min(PROBES_MAX), every).await });
    }
}

impl Core {
    fn bursts(&self) -> MutexGuard<'_, BTreeMap<(NodeId, u64), Burst>> {
        self.bursts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn burst(&self, peer: NodeId, address: &str, nonce: u64, count: u32, every: Duration) {
        let mut begun = false;
        for sent in 0..count {
            // Looked up anew each time: a keeper may say that it doesn't know the key.
            let contact = match self.contacts.cached(peer, address) {
                Some(contact) => Some(contact),
                None => self.contacts.contact(peer, address).await.ok(),
            };
            let Some(contact) = contact else {
                tracing::debug!(%peer, "a peer can't be probed: its agent hands out no key");
                break;
            };
            if !self.keep(peer, nonce, &contact, begun) {
                return;
            }
            begun = true;
            self.send(peer, nonce, &contact).await;
            if sent + 1 < count {
                tokio::time::sleep(every).await;
            }
        }
        tokio::time::sleep(LISTEN_FOR).await;
        self.bursts().remove(&(peer, nonce));
    }

    /// False when the burst is over: it was answered.
    fn keep(&self, peer: NodeId, nonce: u64, contact: &Contact, begun: bool) -> bool {
        let mut bursts = self.bursts();
        if begun != bursts.contains_key(&(peer, nonce)) || (!begun && bursts.len() >= BURSTS_MAX) {
            return false;
        }
        bursts.insert((peer, nonce), Burst { peer, contact: contact.clone() });
        true
    }

    async fn send(&self, peer: NodeId, nonce: u64, contact: &Contact) {
        let probe = datagram::seal(&contact.key, contact.key_id, self.me, peer, &Message::Probe { nonce });
        for to in &contact.addresses {
            let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
            if let Some(socket) = socket
                && socket.send_to(&probe, to).await.is_ok()
            {
                return;
            }
        }
    }

    async fn hear(self: Arc<Self>, v6: bool) {
        let Some(socket) = (if v6 { &self.v6 } else { &self.v4 }) else { return };
        let mut buffer = [0; DATAGRAM_MAX + 1];
        loop {
            // An error is what an earlier datagram met elsewhere; the next read goes on.
            if let Ok((length, from)) = socket.recv_from(&mut buffer).await
                && let Some(probed) = self.answered(&buffer[..length], from)
            {
                let _full = self.answers.try_send(probed);
            }
        }
    }

    fn answered(&self, datagram: &[u8], _from: SocketAddr) -> Option<Probed> {
        let header = datagram::peek(datagram).ok().filter(|header| header.to == self.me)?;
        if header.kind == Kind::UnknownKey {
            self.contacts.forget(header.from, header.key_id);
            return None;
        }
        let mut bursts = self.bursts();
        let of_peer = bursts.range((header.from, 0)..=(header.from, u64::MAX));
        let mut keys = of_peer.map(|(_, burst)| burst).filter(|burst| burst.contact.key_id == header.key_id);
        let Message::ProbeAnswer { nonce, agent } =
            datagram::open(&keys.next()?.contact.key, datagram).ok()?.1
        else {
            return None;
        };
        // The first answer to what was asked, and nothing else.
        let burst = bursts.remove(&(header.from, nonce))?;
        Some(Probed { peer: burst.peer, nonce, agent })
    }
}

#[cfg(test)]
#[path = "prober_tests.rs"]
mod tests;
