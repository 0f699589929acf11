//! tmp
pub async fn serve(
    listener: tokio::net::TcpListener,
    _shared: std::sync::Arc<crate::shared::Shared>,
) -> std::io::Result<()> {
    loop {
        let _ = listener.accept().await?;
    }
}
