//! Channels to other agents: one persistent connection each, made when first used, TLS where configured.

use super::socket;
use crate::{
    limits::{
        CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, PEER_CHANNELS,
        STREAM_WINDOW_BYTES,
    },
    security::Tls,
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};
use tonic::transport::Endpoint;

pub use tonic::transport::Channel;

/// The address isn't `HOST:PORT`, or TLS can't be set up for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{address}\" can't be dialled: {cause}; addresses are written HOST:PORT")]
pub struct BadAddress {
    pub address: String,
    pub cause: String,
}

/// All connections of one agent to others, by address. A channel reconnects by itself and resolves names anew.
pub struct Peers {
    tls: Option<Tls>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    channels: BTreeMap<String, KeptChannel>,
    /// Counts uses, to know which was used last.
    uses: u64,
}

struct KeptChannel {
    channel: Channel,
    made: Made,
    used: u64,
}

/// Which of the channels that were made one after the other; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made(u64);

#[cfg(test)]
impl Made {
    pub const fn numbered(number: u64) -> Self {
        Self(number)
    }
}

impl Peers {
    #[must_use]
    pub fn new(tls: Option<Tls>) -> Self {
        Self { tls, kept: Mutex::default() }
    }

    #[must_use]
    pub const fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no holder of this lock panics")
    }

    /// The channel to `HOST:PORT`; connects in the background when first used.
    pub fn channel(&self, address: &str) -> Result<Channel, BadAddress> {
        self.made_channel(address).map(|(channel, _)| channel)
    }

    /// The same, for who keeps a stream on it and must know when it was given up for another.
    pub fn made_channel(&self, address: &str) -> Result<(Channel, Made), BadAddress> {
        let mut kept = self.kept();
        kept.uses += 1;
        let used = kept.uses;
        if let Some(known) = kept.channels.get_mut(address) {
            known.used = used;
            return Ok((known.channel.clone(), known.made));
        }
        if kept.channels.len() >= PEER_CHANNELS {
            // A channel in use lives on with its users.
            let oldest = kept.channels.iter().min_by_key(|(_, known)| known.used).map(|(a, _)| a.clone());
            oldest.map(|oldest| kept.channels.remove(&oldest));
        }
        let endpoint = endpoint(address, self.tls.as_ref())?;
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(socket::connect));
        let made = Made(used);
        kept.channels.insert(address.to_owned(), KeptChannel { channel: channel.clone(), made, used });
        Ok((channel, made))
    }

    /// Which channel to this address is kept, if any.
    #[must_use]
    pub fn newest(&self, address: &str) -> Option<Made> {
        self.kept().channels.get(address).map(|known| known.made)
    }

    /// As `forget`, unless that channel was given up for another already.
    pub fn forget_made(&self, address: &str, made: Made) {
        let mut kept = self.kept();
        if kept.channels.get(address).is_some_and(|known| known.made == made) {
            kept.channels.remove(address);
        }
    }

    /// Drops the channel, so that the next use dials anew: its connection is stuck, or the address moved.
    pub fn forget(&self, address: &str) {
        self.kept().channels.remove(address);
    }
}

/// The settings of every connection that this project makes.
pub fn endpoint(address: &str, tls: Option<&Tls>) -> Result<Endpoint, BadAddress> {
    let bad = |cause: String| BadAddress { address: address.to_owned(), cause };
    let (host, _port) = address.rsplit_once(':').ok_or_else(|| bad("the port is missing".into()))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|e| bad(e.to_string()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    match tls {
        None => Ok(endpoint),
        Some(tls) => {
            endpoint.tls_config(tls.client(host.trim_matches(['[', ']']))).map_err(|e| bad(e.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_channel_unused_for_longest_makes_room() {
        let peers = Peers::new(None);
        let address = |n: usize| format!("127.0.0.1:{}", 10_000 + n);
        for n in 0..PEER_CHANNELS {
            peers.channel(&address(n)).unwrap();
        }
        peers.channel(&address(0)).unwrap();
        peers.channel(&address(PEER_CHANNELS)).unwrap();
        let kept = peers.kept();
        assert_eq!(kept.channels.len(), PEER_CHANNELS);
        assert!(kept.channels.contains_key(&address(0)) && !kept.channels.contains_key(&address(1)));
    }

    #[tokio::test]
    async fn only_the_channel_that_is_meant_is_forgotten() {
        let (peers, address) = (Peers::new(None), "127.0.0.1:10000");
        let (_, first) = peers.made_channel(address).unwrap();
        peers.forget(address);
        let (_, second) = peers.made_channel(address).unwrap();
        peers.forget_made(address, first);
        assert_eq!(peers.newest(address), Some(second));
        peers.forget_made(address, second);
        assert_eq!(peers.newest(address), None);
    }
}
