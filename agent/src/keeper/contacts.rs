//! The keys by which this node speaks to other nodes' keepers, each handed out by the agent there.
//!
//! Asked for over the agents' mutually authenticated connection, so that a key is known to its two ends alone; kept by
//! node and address, as long as the keeper there knows it. Not here: what is sealed with them.

use super::secret::{Key, KeyId};
use crate::wire::{
    client::Peers,
    peer::{self, PeerError},
};
use cluster_core::ids::{ClusterId, NodeId};
use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Contacts kept; beyond it the one that was asked for longest ago goes.
const CONTACTS_MAX: usize = 1_024;
const INTRODUCE_TIMEOUT: Duration = Duration::from_millis(1_000);
/// A name is resolved anew after this.
const RESOLVED_FOR: Duration = Duration::from_secs(30);
/// Between two introductions to one node: a flood of forged hints costs no more than this.
const INTRODUCE_AGAIN: Duration = Duration::from_secs(1);

/// How a keeper is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub struct Contact {
    pub key: Key,
    pub key_id: KeyId,
    /// Of its UDP socket; never empty.
    pub addresses: Vec<SocketAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum ContactError {
    #[error("this agent belongs to no cluster yet")]
    NoCluster,
    #[error("\"{address}\" can't be resolved: {cause}; check the name")]
    Unresolved { address: String, cause: String },
    #[error("the agent at {address} can't be asked: {cause}")]
    Unasked { address: String, cause: String },
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// What another agent hands out: the key of its keeper for the asker.
#[derive(Clone, PartialEq, Eq)]
pub struct Introduction {
    pub key: Key,
    pub key_id: KeyId,
    /// Of its keeper, when it isn't the agent's own.
    pub udp_address: Option<String>,
}

/// Without the key, which belongs into no log.
impl fmt::Debug for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introduction").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

struct Known {
    contact: Option<Contact>,
    resolved_at: Instant,
    introduced_at: Instant,
    used_at: Instant,
}

pub struct Contacts {
    me: NodeId,
    cluster: Box<dyn Fn() -> Option<ClusterId> + Send + Sync>,
    peers: Arc<Peers>,
    known: Mutex<BTreeMap<(NodeId, String), Known>>,
}

impl Contacts {
    #[must_use]
    pub fn new(
        me: NodeId,
        cluster: impl Fn() -> Option<ClusterId> + Send + Sync + 'static,
        peers: Arc<Peers>,
    ) -> Self {
        Self { me, cluster: Box::new(cluster), peers, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(NodeId, String), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Without asking anybody; the addresses may be stale.
    #[must_use]
    pub fn cached(&self, node: NodeId, address: &str) -> Option<Contact> {
        let mut known = self.known();
        let known = known.get_mut(&(node, address.to_owned()))?;
        known.used_at = Instant::now();
        known.contact.clone()
    }

    /// The contact of `node`'s keeper, whose agent is at `address` (`HOST:PORT`). Asks the agent there unless it is
    /// known, and resolves names anew now and then. Waits for a second at most.
    pub async fn contact(&self, node: NodeId, address: &str) -> Result<Contact, ContactError> {
        let now = Instant::now();
        let (kept, fresh) = {
            let known = self.known();
            let known = known.get(&(node, address.to_owned()));
            let fresh = known.is_some_and(|k| now.duration_since(k.resolved_at) < RESOLVED_FOR);
            (known.and_then(|k| k.contact.clone()), fresh)
        };
        match kept {
            Some(contact) if fresh => Ok(contact),
            Some(contact) => {
                let addresses = resolve(address).await?;
                let contact = Contact { addresses, ..contact };
                self.keep(node, address, contact.clone(), false);
                Ok(contact)
            }
            None => self.introduce(node, address).await,
        }
    }

    /// Asks the agent at `address` for a key, whatever is known.
    async fn introduce(&self, node: NodeId, address: &str) -> Result<Contact, ContactError> {
        let cluster = (self.cluster)().ok_or(ContactError::NoCluster)?;
        let channel = self.peers.channel(address);
        let channel = channel
            .map_err(|e| ContactError::Unasked { address: address.to_owned(), cause: e.to_string() })?;
        let introduction = peer::introduce(channel, cluster, self.me, node, INTRODUCE_TIMEOUT).await?;
        self.introduced(node, address, introduction).await
    }

    /// The agent of `node` at `address` handed out this.
    pub async fn introduced(
        &self,
        node: NodeId,
        address: &str,
        introduction: Introduction,
    ) -> Result<Contact, ContactError> {
        let udp = introduction.udp_address.as_deref().unwrap_or(address);
        let contact =
            Contact { key: introduction.key, key_id: introduction.key_id, addresses: resolve(udp).await? };
        self.keep(node, address, contact.clone(), true);
        Ok(contact)
    }

    fn keep(&self, node: NodeId, address: &str, contact: Contact, introduced: bool) {
        let now = Instant::now();
        let mut known = self.known();
        let key = (node, address.to_owned());
        if !known.contains_key(&key) && known.len() >= CONTACTS_MAX {
            let oldest = known.iter().min_by_key(|(_, k)| k.used_at).map(|(key, _)| key.clone());
            oldest.map(|oldest| known.remove(&oldest));
        }
        let before = known.get(&key).map_or(now, |k| k.introduced_at);
        let introduced_at = if introduced { now } else { before };
        let kept = Known { contact: Some(contact), resolved_at: now, introduced_at, used_at: now };
        known.insert(key, kept);
    }

    /// As if it had been introduced.
    #[cfg(test)]
    pub fn know(&self, node: NodeId, address: &str, contact: Contact) {
        self.keep(node, address, contact, true);
    }

    /// The keeper there says that it doesn't know the key with this id: the next `contact` asks anew. The hint may be
    /// forged, so it counts only now and then. Returns whether it did.
    pub fn forget(&self, node: NodeId, key_id: KeyId) -> bool {
        let now = Instant::now();
        let mut known = self.known();
        let mut forgot = false;
        for ((of, _), known) in known.iter_mut() {
            let named = *of == node && known.contact.as_ref().is_some_and(|c| c.key_id == key_id);
            if named && now.duration_since(known.introduced_at) >= INTRODUCE_AGAIN {
                known.contact = None;
                forgot = true;
            }
        }
        forgot
    }
}

async fn resolve(address: &str) -> Result<Vec<SocketAddr>, ContactError> {
    let failed = |cause: String| ContactError::Unresolved { address: address.to_owned(), cause };
    let found = tokio::net::lookup_host(address).await.map_err(|e| failed(e.to_string()))?;
    let found: Vec<SocketAddr> = found.collect();
    if found.is_empty() { Err(failed("it has no address".into())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contacts() -> Contacts {
        Contacts::new(NodeId(1), || Some(ClusterId(1)), Arc::new(Peers::new(None)))
    }

    fn contact(id: u8) -> Contact {
        let addresses = vec!["127.0.0.1:1".parse().unwrap()];
        Contact { key: Key([id; 32]), key_id: KeyId([id; 8]), addresses }
    }

    #[tokio::test]
    async fn a_known_contact_is_used_until_its_own_key_is_called_unknown() {
        let contacts = contacts();
        contacts.keep(NodeId(2), "127.0.0.1:1", contact(7), true);
        assert!(contacts.contact(NodeId(2), "127.0.0.1:1").await.is_ok_and(|c| c == contact(7)));
        assert!(contacts.cached(NodeId(2), "127.0.0.1:1").is_some());
        assert!(contacts.cached(NodeId(2), "127.0.0.1:2").is_none(), "another address");
        assert!(!contacts.forget(NodeId(2), KeyId([7; 8])), "just introduced: the hint is late, or forged");
        contacts.known().values_mut().for_each(|k| k.introduced_at -= INTRODUCE_AGAIN);
        assert!(!contacts.forget(NodeId(2), KeyId([8; 8])), "another key");
        assert!(!contacts.forget(NodeId(3), KeyId([7; 8])), "another node");
        assert!(contacts.forget(NodeId(2), KeyId([7; 8])));
        assert!(contacts.cached(NodeId(2), "127.0.0.1:1").is_none());
    }

    #[test]
    fn the_one_unused_for_longest_makes_room() {
        let contacts = contacts();
        for node in 0..CONTACTS_MAX as u64 {
            contacts.keep(NodeId(node), "a:1", contact(1), true);
        }
        assert!(contacts.cached(NodeId(0), "a:1").is_some(), "and used just now");
        contacts.keep(NodeId(u64::MAX), "a:1", contact(1), true);
        assert_eq!(contacts.known().len(), CONTACTS_MAX);
        assert!(contacts.cached(NodeId(0), "a:1").is_some());
        assert!(contacts.cached(NodeId(1), "a:1").is_none());
    }
}
