//! Channels to other agents: one persistent connection each, made when first used, TLS where configured.

use crate::{
    limits::{CONNECT_TIMEOUT, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, PEER_CHANNELS},
    security::Tls,
};
use std::{collections::BTreeMap, sync::Mutex};
use tonic::transport::{Channel, Endpoint};

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
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Peers {
    #[must_use]
    pub fn new(tls: Option<Tls>) -> Self {
        Self { tls, channels: Mutex::default() }
    }

    /// The channel to `HOST:PORT`; connects in the background when first used.
    pub fn channel(&self, address: &str) -> Result<Channel, BadAddress> {
        let mut channels = self.channels.lock().expect("no holder of this lock panics");
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        if channels.len() >= PEER_CHANNELS {
            // Rare enough that which one goes doesn't matter: a channel in use lives on with its users.
            channels.pop_first();
        }
        let channel = endpoint(address, self.tls.as_ref())?.connect_lazy();
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    /// Drops the channel, so that the next use dials anew: after an address moved to another host.
    pub fn forget(&self, address: &str) {
        self.channels.lock().expect("no holder of this lock panics").remove(address);
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
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    match tls {
        None => Ok(endpoint),
        Some(tls) => {
            endpoint.tls_config(tls.client(host.trim_matches(['[', ']']))).map_err(|e| bad(e.to_string()))
        }
    }
}
