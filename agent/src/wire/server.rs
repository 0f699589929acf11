//! One gRPC server for agents and clients, with limits on every connection.

use std::{future::Future, time::Duration};
use tokio::net::TcpListener;
use tonic::{
    service::Routes,
    transport::{Server, ServerTlsConfig, server::TcpIncoming},
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
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(interval))
        .http2_keepalive_timeout(Some(timeout));
    if let Some(tls) = tls {
        server = server.tls_config(tls).map_err(|e| e.to_string())?;
    }
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop).await.map_err(|e| e.to_string())
}
