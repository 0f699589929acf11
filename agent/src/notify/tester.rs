//! `alert test`: one notice named Test through one channel, whatever the routes say.

use super::{Telling, send};
use crate::{
    clock,
    shared::{ChannelTester, Identity, Live},
};
use cluster_core::{
    alerting::{NOTICE_VERSION, Notice},
    ledger::{Ledger, Phase, Severity},
};
use futures::future::BoxFuture;
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    time::Duration,
};
use tokio::sync::watch;

/// A person waits for the answer.
const TEST_WITHIN: Duration = Duration::from_secs(8);

pub struct Tester {
    name: String,
    ledger: Arc<RwLock<Ledger>>,
    live: watch::Receiver<Arc<Live>>,
}

impl Tester {
    #[must_use]
    pub fn new(me: &Identity, ledger: Arc<RwLock<Ledger>>, live: watch::Receiver<Arc<Live>>) -> Self {
        Self { name: me.name.clone(), ledger, live }
    }

    fn notice(&self, channel: &str) -> Notice {
        let now = clock::wall();
        let cluster = self.ledger.read().expect("no reader or writer of the ledger panics").cluster.clone();
        Notice {
            id: format!("test-{}", now.0),
            version: NOTICE_VERSION,
            status: Phase::Firing,
            alert: "Test".to_owned(),
            severity: Severity::Info,
            dedup_key: format!("Test/{channel}"),
            cluster: cluster.as_ref().map(|c| c.name.clone()).unwrap_or_default(),
            cluster_id: cluster.map(|c| c.id).unwrap_or_default(),
            leader: self.name.clone(),
            term: self.live.borrow().term,
            labels: BTreeMap::from([("channel".to_owned(), channel.to_owned())]),
            summary: format!("Test of channel {channel}"),
            description: "An operator asked for this; nothing is wrong.".to_owned(),
            failure_id: None,
            starts_at: now,
            ends_at: None,
            runbook: None,
            ack_url: None,
        }
    }
}

impl ChannelTester for Tester {
    fn test(&self, channel: String) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            let found = {
                let ledger = self.ledger.read().expect("no reader or writer of the ledger panics");
                ledger.alerting.channels.get(&channel).cloned()
            };
            let Some(found) = found else {
                return Err(format!("there is no channel \"{channel}\""));
            };
            send(&found, Telling::alone(self.notice(&channel)), TEST_WITHIN)
                .await
                .map_err(|refused| refused.reason)
        })
    }
}
