//! Where the demo's alerts arrive: a webhook receiver as anyone would write it, which believes only what is signed.

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode};
use rand::RngExt as _;
use serde::Deserialize;
use standardwebhooks::Webhook;
use std::{collections::BTreeMap, io, net::Ipv4Addr, sync::Arc};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

/// 32 letters of base64: 24 bytes.
const SECRET_LETTERS: usize = 32;

/// What arrived, once it was believed.
#[derive(Clone, Debug, Deserialize)]
pub struct Delivery {
    pub alert: String,
    /// `firing` or `resolved`.
    pub status: String,
    pub summary: String,
    pub labels: BTreeMap<String, String>,
}

/// A delivery, or why it isn't one.
pub type Delivered = Result<Delivery, String>;

#[must_use]
pub fn secret() -> String {
    let mut random = rand::rng();
    let letters = (0..SECRET_LETTERS).map(|_| char::from(b'a' + random.random_range(0..26_u8)));
    std::iter::once("whsec_".to_owned()).chain(letters.map(String::from)).collect()
}

struct Receiver {
    webhook: Webhook,
    tell: mpsc::Sender<Delivered>,
}

/// Receives until `tasks` ends. Returns the port.
pub async fn start(tasks: &mut JoinSet<()>, secret: &str, tell: mpsc::Sender<Delivered>) -> io::Result<u16> {
    let webhook = Webhook::new(secret).map_err(|e| io::Error::other(e.to_string()))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let router = Router::new().fallback(receive).with_state(Arc::new(Receiver { webhook, tell }));
    tasks.spawn(async move {
        // Without a receiver no alert arrives, and the story says so.
        let _ended = axum::serve(listener, router).await;
    });
    Ok(port)
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let delivered = match receiver.webhook.verify(&body, &headers) {
        Err(e) => Err(format!("an alert arrived whose signature can't be believed: {e}")),
        Ok(()) => {
            serde_json::from_slice(&body).map_err(|e| format!("an alert arrived that can't be read: {e}"))
        }
    };
    let status = if delivered.is_ok() { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED };
    let _ending = receiver.tell.send(delivered).await;
    status
}
