//! How commands, replies and the whole ledger become bytes: in the log, in snapshots, and between agents.
//!
//! One format byte, then MessagePack with field names: compact, and a field may be added without breaking older
//! readers. A format that this build doesn't know is an error, never a guess.

use cluster_core::ledger::{Command, Ledger, Reply};
use serde::{Serialize, de::DeserializeOwned};

/// The format that this build writes. Readers accept this one and those before it.
pub const FORMAT: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("{what} is empty; its writer is broken or the data is damaged")]
    Empty { what: &'static str },
    #[error("{what} has format {found}, this build reads up to {FORMAT}; run a newer holdfast on this host")]
    TooNew { what: &'static str, found: u8 },
    #[error("{what} can't be decoded: {cause}; the data is damaged")]
    Damaged { what: &'static str, cause: String },
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
    value
        .serialize(&mut serializer)
        .expect("these types hold nothing that MessagePack can't, and memory doesn't fail");
    bytes
}

fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        None => Err(CodecError::Empty { what }),
        Some((&format, _)) if format > FORMAT || format == 0 => {
            Err(CodecError::TooNew { what, found: format })
        }
        Some((_, rest)) => {
            rmp_serde::from_slice(rest).map_err(|e| CodecError::Damaged { what, cause: e.to_string() })
        }
    }
}

#[must_use]
pub fn encode_command(command: &Command) -> Vec<u8> {
    encode(command)
}

pub fn decode_command(bytes: &[u8]) -> Result<Command, CodecError> {
    decode("a log entry's command", bytes)
}

#[must_use]
pub fn encode_reply(reply: &Reply) -> Vec<u8> {
    encode(reply)
}

pub fn decode_reply(bytes: &[u8]) -> Result<Reply, CodecError> {
    decode("a command's reply", bytes)
}

#[must_use]
pub fn encode_ledger(ledger: &Ledger) -> Vec<u8> {
    encode(ledger)
}

pub fn decode_ledger(bytes: &[u8]) -> Result<Ledger, CodecError> {
    decode("a ledger snapshot", bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::{
        ids::{FailureId, LeaseEpoch, LogId, NodeId, RequestId},
        ledger::{Body, Death, FEATURE_LEVEL, Folded, LinkKey, Settings, Subject},
        time::WallTime,
    };

    fn command() -> Command {
        Command {
            level: FEATURE_LEVEL,
            actor: "node:n1".into(),
            request: RequestId(u64::MAX),
            proposed_at: WallTime(1_700_000_000_000),
            body: Body::NodesDead {
                deaths: vec![Death {
                    node: NodeId(7),
                    epoch: LeaseEpoch(12),
                    incarnation: cluster_core::ids::Incarnation(1),
                    last_seen_at: WallTime(1),
                    suspected_at: WallTime(2),
                    observers: vec![NodeId(1)],
                    evidence: vec!["silent".into()],
                }],
            },
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(decode_command(&encode_command(&command())), Ok(command()));
        let mut ledger = Ledger { applied: LogId { term: 3, index: 9 }, ..Ledger::default() };
        ledger.folded.insert(Subject::Workload("web".into(), 2), Folded { failures: 1, down_ms: 5 });
        ledger.requests.insert(RequestId(4), (WallTime(5), Reply::Epoch(LeaseEpoch(6))));
        ledger.link_key = Some(LinkKey([200; 32]));
        assert_eq!(decode_ledger(&encode_ledger(&ledger)), Ok(ledger));
        let _ = FailureId(1);
    }

    /// A log that was written before a setting existed is read with what was built in then.
    #[test]
    fn settings_that_an_older_log_lacks_have_their_defaults() {
        #[derive(serde::Serialize)]
        struct Before {
            profile: &'static str,
            lease_ms: u64,
            voters: u32,
        }
        let bytes = encode(&Before { profile: "wan", lease_ms: 8_000, voters: 5 });
        let settings: Settings = decode("settings", &bytes).expect("it is readable");
        assert_eq!((settings.profile.as_str(), settings.voters), ("wan", 5));
        assert_eq!((settings.agent_timeout_ms, settings.drain_when_sick), (60_000, false));
    }

    /// A configuration that was applied before there were links is read as one that wants none.
    #[test]
    fn an_older_logs_alerting_has_no_links() {
        #[derive(serde::Serialize)]
        enum Before {
            AlertingApplied { config: Config },
        }
        #[derive(serde::Serialize)]
        struct Config {
            channels: std::collections::BTreeMap<String, ()>,
            routes: [(); 0],
        }
        let config = Config { channels: [].into(), routes: [] };
        let bytes = encode(&Before::AlertingApplied { config });
        let expected = Body::AlertingApplied { config: Box::default(), link_key: None };
        assert_eq!(decode::<Body>("body", &bytes), Ok(expected));
    }

    #[test]
    fn a_newer_format_and_damage_are_named() {
        let mut bytes = encode_command(&command());
        bytes[0] = FORMAT + 1;
        assert_eq!(
            decode_command(&bytes),
            Err(CodecError::TooNew { what: "a log entry's command", found: 2 })
        );
        bytes[0] = FORMAT;
        bytes.truncate(bytes.len() - 3);
        assert!(matches!(decode_command(&bytes), Err(CodecError::Damaged { .. })));
        assert!(matches!(decode_command(&[]), Err(CodecError::Empty { .. })));
    }
}
