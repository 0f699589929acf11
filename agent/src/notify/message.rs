//! Message: one or more notices that a channel tells in one go, with the words for people already chosen.
//!
//! Not here: which notices belong together and when they are sent; how the words are made (`words`).

use super::{
    sign,
    words::{self, Style, Words},
};
use cluster_core::{
    alerting::Notice,
    ledger::{Phase, Severity},
    time::WallTime,
};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The same for each attempt; every message has its own.
    pub id: String,
    /// Names the incident: shared by all that is told of it.
    pub key: String,
    pub status: Phase,
    pub severity: Severity,
    pub cluster: String,
    /// Never empty.
    pub notices: Vec<Notice>,
    pub words: Words,
    /// An attempt before this one may have got through.
    pub maybe_repeated: bool,
    /// Ids of messages that told of these alerts before.
    pub answers: Vec<String>,
}

impl Message {
    /// Fires while one of `notices` does, or when something else of the incident still does (`open`); is as severe as the worst of them. `room_bytes` bounds each of its texts.
    ///
    /// # Panics
    /// Without a notice.
    #[must_use]
    pub fn new(
        id: String,
        key: String,
        notices: Vec<Notice>,
        style: &Style,
        room_bytes: usize,
        open: bool,
        maybe_repeated: bool,
    ) -> Self {
        let first = notices.first().expect("a message tells at least one notice");
        let firing = notices.iter().any(|notice| notice.status == Phase::Firing);
        let mut message = Self {
            id,
            key,
            status: if firing { Phase::Firing } else { Phase::Resolved },
            severity: notices.iter().map(|notice| notice.severity).max().unwrap_or(first.severity),
            cluster: first.cluster.clone(),
            notices,
            words: Words::default(),
            maybe_repeated,
            answers: Vec::new(),
        };
        // The words say what is told; the state is the incident's.
        message.words = words::render(&message, style, room_bytes);
        if open {
            message.status = Phase::Firing;
        }
        message
    }

    /// The notice that speaks for all: the incident's own, if it is told, or the first.
    #[must_use]
    pub fn lead(&self) -> &Notice {
        self.notices.iter().find(|notice| notice.dedup_key == self.key).unwrap_or(&self.notices[0])
    }

    /// `key` where other clusters share the receiver: 64 hexadecimal digits, which fit every provider's limit and url.
    #[must_use]
    pub fn identity(&self) -> String {
        sign::sha256_hex(format!("{}\n{}", self.notices[0].cluster_id, self.key))
    }

    /// The earliest start.
    #[must_use]
    pub fn starts_at(&self) -> WallTime {
        self.notices.iter().map(|notice| notice.starts_at).min().unwrap_or_default()
    }

    /// What all notices have in common.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<&str, &str> {
        let common = |(name, value): &(&String, &String)| {
            self.notices.iter().all(|notice| notice.labels.get(*name) == Some(value))
        };
        let first = self.notices[0].labels.iter();
        first.filter(common).map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use cluster_core::ids::{ClusterId, FailureId};

    pub fn notice(node: u32) -> Notice {
        Notice {
            id: (16 + node).to_string(),
            version: 1,
            status: Phase::Firing,
            alert: "NodeDead".into(),
            severity: Severity::Critical,
            dedup_key: format!("NodeDead/n{node}"),
            cluster: "shop".into(),
            cluster_id: ClusterId(5),
            leader: "n2".into(),
            term: 3,
            labels: BTreeMap::from([("node".into(), format!("n{node}")), ("zone".into(), "rack-a".into())]),
            summary: format!("n{node} is dead: checkout moved to n2"),
            description: "n was last seen 1.13 s before it was declared.\nby n1 <n2> & n3".into(),
            failure_id: Some(FailureId(12)),
            starts_at: WallTime(1_700_000_000_123),
            ends_at: None,
            runbook: None,
            ack_url: None,
        }
    }

    pub fn resolved(node: u32) -> Notice {
        let ends_at = Some(WallTime(1_700_000_009_000));
        Notice { status: Phase::Resolved, summary: format!("n{node} is back"), ends_at, ..notice(node) }
    }

    /// Of these notices, in English, with plenty of room.
    pub fn message(notices: Vec<Notice>) -> Message {
        let (id, key) = (notices[0].message_id(), notices[0].dedup_key.clone());
        Message::new(id, key, notices, &Style::default(), 16_000, false, false)
    }

    #[test]
    fn a_group_is_as_bad_as_its_worst_and_lasts_as_long_as_its_last() {
        let mild = Notice { severity: Severity::Info, starts_at: WallTime(5), ..resolved(2) };
        let mixed = message(vec![mild.clone(), notice(1)]);
        assert_eq!((mixed.status, mixed.severity), (Phase::Firing, Severity::Critical));
        assert_eq!(mixed.starts_at(), WallTime(5));
        assert_eq!(mixed.labels(), BTreeMap::from([("zone", "rack-a")]));
        assert_eq!(message(vec![mild]).status, Phase::Resolved);
    }

    #[test]
    fn an_incident_that_goes_on_fires_though_what_is_told_is_over() {
        let (id, key, notices) = ("m".to_owned(), "k".to_owned(), vec![resolved(1)]);
        let open = Message::new(id, key, notices, &Style::default(), 16_000, true, false);
        assert_eq!(open.status, Phase::Firing);
        assert!(open.words.title.to_lowercase().contains("resolved"), "{}", open.words.title);
    }

    #[test]
    fn the_identity_is_shared_by_firing_and_resolved_and_is_the_clusters_own() {
        // printf '0000000000000005\nNodeDead/n1' | sha256sum
        let expected = "b936d8e689085c4efad53a15dd281f6406c01120a3f9f34ae50b6188d33282d4";
        assert_eq!(message(vec![notice(1)]).identity(), expected);
        let later = Notice { leader: "n3".into(), term: 9, ..resolved(1) };
        assert_eq!(message(vec![later]).identity(), expected);
        let elsewhere = Notice { cluster_id: ClusterId(6), ..notice(1) };
        assert_ne!(message(vec![elsewhere]).identity(), expected);
    }
}
