//! One gRPC server for agents and clients, with limits on every connection.

use super::socket;
use crate::limits::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use futures::StreamExt as _;
use std::{future::Future, time::Duration};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    service::Routes,
    transport::{Server, ServerTlsConfig},
};

/// Serves until `stop` is done. `limits`: streams a connection, keep-alive interval and time-out.
pub async fn serve(
    listener: TcpListener,
    tls: Option<ServerTlsConfig>,
    routes: Routes,
    limits: (u32, Duration, Duration),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), String> {
    let (streams, interval, timeout) = limits;
    let mut server = Server::builder()
        .max_concurrent_streams(streams)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(interval))
        .http2_keepalive_timeout(Some(timeout));
    if let Some(tls) = tls {
        server = server.tls_config(tls).map_err(|e| e.to_string())?;
    }
    let incoming = TcpListenerStream::new(listener).map(|accepted| {
        let socket = accepted?;
        if let Err(error) = socket::prepare(&socket) {
            // It is gone again, or works a little worse.
            tracing::debug!(%error, "an accepted socket takes no options");
        }
        Ok::<_, std::io::Error>(socket)
    });
    server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop).await.map_err(|e| e.to_string())
}
