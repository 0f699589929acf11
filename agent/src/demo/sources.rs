//! Where the story comes from: survivors' event streams, the alerts' receiver, and the service asked again and again.

use super::{
    error::DemoError,
    receiver::Delivered,
    story::{Answer, Told},
    timeline::now_ms,
};
use crate::wire::cli_client::CliClient;
use futures::StreamExt as _;
use holdfast_proto::v1::WatchEventsRequest;
use std::time::Duration;
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

/// What was learned and not taken yet; whoever learns more waits.
pub const TOLD_QUEUE: usize = 4_096;
/// Between two requests to the service.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// A request is given up after this; on one machine an answer takes a millisecond.
const ASK_LIMIT: Duration = Duration::from_millis(300);
/// Between two attempts to follow an agent's events.
const FOLLOW_AGAIN: Duration = Duration::from_millis(100);

/// Follows one agent's events until `tasks` ends.
pub fn follow(tasks: &mut JoinSet<()>, client: CliClient, tell: mpsc::Sender<Told>) {
    tasks.spawn(async move {
        loop {
            let request = WatchEventsRequest { after_index: 0, since: None, follow: true };
            if let Ok(stream) = client.watch_events(request).await {
                let mut stream = std::pin::pin!(stream);
                while let Some(Ok(item)) = stream.next().await {
                    let Some(event) = item.event else { continue };
                    if tell.send(Told::Event(Box::new(event))).await.is_err() {
                        return;
                    }
                }
            }
            sleep(FOLLOW_AGAIN).await;
        }
    });
}

/// Passes on what the receiver believes, with the time of its arrival.
pub fn relay(tasks: &mut JoinSet<()>, mut alerts: mpsc::Receiver<Delivered>, tell: mpsc::Sender<Told>) {
    tasks.spawn(async move {
        while let Some(delivered) = alerts.recv().await {
            if tell.send(Told::Delivered { at_ms: now_ms(), delivered }).await.is_err() {
                return;
            }
        }
    });
}

/// Asks the singleton who it is, until `tasks` ends.
pub fn ask_again_and_again(tasks: &mut JoinSet<()>, asker: Asker, port: u16, tell: mpsc::Sender<Told>) {
    tasks.spawn(async move {
        loop {
            if let Some(answer) = asker.ask(port).await
                && tell.send(Told::Answered { at_ms: now_ms(), answer }).await.is_err()
            {
                return;
            }
            sleep(ASK_EVERY).await;
        }
    });
}

/// A client of the sample services.
#[derive(Clone)]
pub struct Asker(reqwest::Client);

impl Asker {
    pub fn new() -> Result<Self, DemoError> {
        // Whoever installed one before has installed the same. It isn't used: nothing here speaks TLS.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(ASK_LIMIT)
            .pool_max_idle_per_host(0)
            .build();
        let failed = |e| DemoError::Machine { what: "make an HTTP client", cause: std::io::Error::other(e) };
        client.map(Self).map_err(failed)
    }

    /// `None` when nobody answers.
    pub async fn ask(&self, port: u16) -> Option<Answer> {
        let response = self.0.get(format!("http://127.0.0.1:{port}/")).send().await.ok()?;
        response.json().await.ok()
    }
}
