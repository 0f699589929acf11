//! The sockets under gRPC: their options, and how a fresh one finds out whether an agent is there.

use super::{
    client::{BadAddress, endpoint},
    peer,
};
use crate::{
    limits::{DIAL_TIMEOUT, TCP_USER_TIMEOUT},
    security::Tls,
};
use cluster_core::{
    ids::{ClusterId, NodeId},
    membership::DialOutcome,
};
use hyper_util::rt::TokioIo;
use std::{
    io,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpStream, time::Instant};
use tonic::transport::Uri;

/// Small messages leave at once, and a connection that acknowledges nothing ends.
pub(super) fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let timeout = u32::try_from(TCP_USER_TIMEOUT.as_millis()).expect("it is seconds");
    rustix::net::sockopt::set_tcp_user_timeout(socket, timeout)?;
    Ok(())
}

/// What tonic calls to connect a channel.
pub(super) async fn connect(uri: Uri) -> io::Result<TokioIo<TcpStream>> {
    let authority = uri.authority().ok_or_else(|| io::Error::other("the address is empty"))?;
    let socket = TcpStream::connect(authority.as_str()).await?;
    prepare(&socket)?;
    Ok(TokioIo::new(socket))
}

/// Whether the agent of `node` answers at this address, over a connection of its own. Takes `DIAL_TIMEOUT` at most.
pub async fn dial(
    address: &str,
    tls: Option<&Tls>,
    cluster: ClusterId,
    node: NodeId,
) -> Result<DialOutcome, BadAddress> {
    let endpoint = endpoint(address, tls)?;
    let until = Instant::now() + DIAL_TIMEOUT;
    let socket = match tokio::time::timeout_at(until, TcpStream::connect(address)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Ok(DialOutcome::Refused);
        }
        Ok(Err(_)) | Err(_) => return Ok(DialOutcome::NoRoute),
    };
    // One attempt over this very socket: a second one would be another question.
    let socket = Arc::new(Mutex::new(Some(socket)));
    let once = tower::service_fn(move |_: Uri| {
        let socket = socket.lock().expect("no holder of this lock panics").take();
        std::future::ready(socket.map(TokioIo::new).ok_or_else(|| io::Error::other("used already")))
    });
    let asked = async {
        let channel = endpoint.connect_with_connector(once).await.ok()?;
        peer::ping(channel, cluster, DIAL_TIMEOUT).await.ok()
    };
    Ok(match tokio::time::timeout_at(until, asked).await {
        Ok(Some(answered)) if answered == node => DialOutcome::Answered,
        // Another node has this address now: nothing of the one that is looked for listens there.
        Ok(Some(_)) => DialOutcome::Refused,
        Ok(None) | Err(_) => DialOutcome::Silent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const CLUSTER: ClusterId = ClusterId(1);

    #[tokio::test]
    async fn a_closed_port_refuses_and_a_deaf_one_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(dial(&address, None, CLUSTER, NodeId(1)).await, Ok(DialOutcome::Silent));
        drop(listener);
        assert_eq!(dial(&address, None, CLUSTER, NodeId(1)).await, Ok(DialOutcome::Refused));
        assert!(dial("nowhere", None, CLUSTER, NodeId(1)).await.is_err());
    }
}
