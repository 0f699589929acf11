//! Sealed datagrams: what goes between a peer and a keeper by UDP, where anybody may read, change, repeat or invent.
//!
//! ```text
//! header   magic "HFK", version, kind, direction, 2 zeroes, from, to, id of the keeper's secret      32 bytes
//! nonce    random                                                                                      24
//! body     sealed, with its tag                                                                  n + 16
//! ```
//! XChaCha20-Poly1305; random nonces of 24 bytes never meet. The header is authenticated with the body: a datagram that
//! is turned around, sent to somebody else or called another kind doesn't open. One key serves a peer and a keeper both
//! ways; the direction in the header keeps an answer from passing for a question. A repeated datagram does open:
//! nonces in the bodies make it worthless (`replay`, and the asker's memory of what it asked).
//!
//! The one unsealed message is the hint that a key is unknown; it is worth no more than a try to be introduced anew.

use super::{
    bytes::{Put, Reader},
    secret::{Key, KeyId},
};
use crate::wire::convert::RenewalAnswer;
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};
use cluster_core::{
    ids::{ClusterId, NodeId},
    lease::Renewal,
    membership::AgentState,
};

const MAGIC: [u8; 3] = *b"HFK";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Nothing longer is one of ours.
pub const DATAGRAM_MAX: usize = 256;

/// What is said, without who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// "Are you there, and is your agent?" Whoever asks knows the answer by its nonce.
    Probe {
        nonce: u64,
    },
    ProbeAnswer {
        nonce: u64,
        agent: AgentState,
    },
    Renewal {
        cluster: ClusterId,
        renewal: Renewal,
    },
    RenewalAnswer(RenewalAnswer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Probe,
    ProbeAnswer,
    Renewal,
    RenewalAnswer,
    /// Unsealed: the keeper has no secret of this id.
    UnknownKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub from: NodeId,
    pub to: NodeId,
    /// Of the secret of the keeper that is asked, in its answers too.
    pub key_id: KeyId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    #[error("it isn't a datagram of version {VERSION}")]
    Foreign,
    #[error("it wasn't sealed with this key, or was changed on its way")]
    Forged,
    #[error("its content makes no sense; its sender is of another build")]
    Unknown,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Probe => 1,
            Self::ProbeAnswer => 2,
            Self::Renewal => 3,
            Self::RenewalAnswer => 4,
            Self::UnknownKey => 5,
        }
    }

    /// To the keeper, or from it.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        match self {
            Self::Probe | Self::Renewal => false,
            Self::ProbeAnswer | Self::RenewalAnswer | Self::UnknownKey => true,
        }
    }

    fn of(number: u8) -> Option<Self> {
        let all = [Self::Probe, Self::ProbeAnswer, Self::Renewal, Self::RenewalAnswer, Self::UnknownKey];
        all.into_iter().find(|kind| kind.number() == number)
    }
}

impl Message {
    const fn kind(&self) -> Kind {
        match self {
            Self::Probe { .. } => Kind::Probe,
            Self::ProbeAnswer { .. } => Kind::ProbeAnswer,
            Self::Renewal { .. } => Kind::Renewal,
            Self::RenewalAnswer(_) => Kind::RenewalAnswer,
        }
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(DATAGRAM_MAX);
        match self {
            Self::Probe { nonce } => body.u64(*nonce),
            Self::ProbeAnswer { nonce, agent } => {
                body.u64(*nonce);
                body.u8(match agent {
                    AgentState::Up => 0,
                    AgentState::Stalled => 1,
                    AgentState::Gone => 2,
                });
            }
            Self::Renewal { cluster, renewal } => {
                body.u64(cluster.0);
                body.renewal(renewal);
            }
            Self::RenewalAnswer(answer) => body.answer(answer),
        }
        body
    }

    fn read(kind: Kind, body: &[u8]) -> Option<Self> {
        let mut r = Reader(body);
        let message = match kind {
            Kind::Probe => Self::Probe { nonce: r.u64()? },
            Kind::ProbeAnswer => {
                let nonce = r.u64()?;
                let agent = match r.u8()? {
                    0 => AgentState::Up,
                    1 => AgentState::Stalled,
                    2 => AgentState::Gone,
                    _ => return None,
                };
                Self::ProbeAnswer { nonce, agent }
            }
            Kind::Renewal => Self::Renewal { cluster: ClusterId(r.u64()?), renewal: r.renewal()? },
            Kind::RenewalAnswer => Self::RenewalAnswer(r.answer()?),
            Kind::UnknownKey => return None,
        };
        r.end()?;
        Some(message)
    }
}

fn header(h: &Header) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DATAGRAM_MAX);
    bytes.bytes(&MAGIC);
    bytes.u8(VERSION);
    bytes.u8(h.kind.number());
    bytes.u8(u8::from(h.kind.is_answer()));
    bytes.u16(0);
    bytes.u64(h.from.0);
    bytes.u64(h.to.0);
    bytes.bytes(&h.key_id.0);
    debug_assert_eq!(bytes.len(), HEADER_BYTES);
    bytes
}

/// Who sent it to whom under which key, by its own word: nothing is proven before it opens.
pub fn peek(datagram: &[u8]) -> Result<Header, Unopened> {
    let read = || {
        let mut r = Reader(datagram);
        if r.array()? != MAGIC || r.u8()? != VERSION {
            return None;
        }
        let (kind, direction) = (Kind::of(r.u8()?)?, r.flag()?);
        if direction != kind.is_answer() || r.u16()? != 0 {
            return None;
        }
        Some(Header { kind, from: r.node()?, to: r.node()?, key_id: KeyId(r.array()?) })
    };
    read().filter(|_| datagram.len() <= DATAGRAM_MAX).ok_or(Unopened::Foreign)
}

/// A datagram, ready to be sent.
#[must_use]
pub fn seal(key: &Key, key_id: KeyId, from: NodeId, to: NodeId, message: &Message) -> Vec<u8> {
    let mut datagram = header(&Header { kind: message.kind(), from, to, key_id });
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let sealed = cipher(key).encrypt(&nonce.into(), Payload { msg: &message.body(), aad: &datagram });
    datagram.bytes(&nonce);
    datagram.bytes(&sealed.expect("a body of a few bytes can be sealed"));
    datagram
}

/// What it says, once it is proven who said it.
pub fn open(key: &Key, datagram: &[u8]) -> Result<(Header, Message), Unopened> {
    let header = peek(datagram)?;
    let (aad, rest) = datagram.split_at_checked(HEADER_BYTES).ok_or(Unopened::Foreign)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Unopened::Foreign)?;
    let body = cipher(key).decrypt(&(*nonce).into(), Payload { msg: sealed, aad });
    let body = body.map_err(|_| Unopened::Forged)?;
    Message::read(header.kind, &body).map(|message| (header, message)).ok_or(Unopened::Unknown)
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&key.0.into())
}

/// The unsealed answer to `asked`: the keeper of node `own` has no such key.
#[must_use]
pub fn unknown_key(asked: &Header, own: NodeId) -> Vec<u8> {
    header(&Header { kind: Kind::UnknownKey, from: own, to: asked.from, key_id: asked.key_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::secret::Secret;
    use cluster_core::{
        ids::{BootId, LeaseEpoch, LogId, SessionId},
        lease::{Refusal, Verdict},
    };

    const ASKER: NodeId = NodeId(1);
    const KEEPER: NodeId = NodeId(2);

    fn secret() -> Secret {
        Secret::new([7; 32])
    }

    fn renewal() -> Renewal {
        Renewal {
            node: ASKER,
            epoch: LeaseEpoch(2),
            boot: BootId(3),
            session: SessionId(4),
            nonce: 5,
            voter_config: LogId { term: 6, index: 7 },
            lease_ms: 8,
        }
    }

    fn every_message() -> Vec<Message> {
        let answer = |verdict| {
            let (session, nonce) = (SessionId(4), 5);
            Message::RenewalAnswer(RenewalAnswer { voter: KEEPER, session, nonce, verdict })
        };
        vec![
            Message::Probe { nonce: 9 },
            Message::ProbeAnswer { nonce: 9, agent: AgentState::Up },
            Message::ProbeAnswer { nonce: 9, agent: AgentState::Stalled },
            Message::ProbeAnswer { nonce: 9, agent: AgentState::Gone },
            Message::Renewal { cluster: ClusterId(1), renewal: renewal() },
            answer(Verdict::Acked),
            answer(Verdict::Refused(Refusal::Revoked)),
            answer(Verdict::Refused(Refusal::NotCurrent)),
            answer(Verdict::Refused(Refusal::OldVoterConfig { newer: LogId { term: 8, index: 9 } })),
            answer(Verdict::Refused(Refusal::Recovering)),
        ]
    }

    fn sealed(message: &Message) -> (Key, Vec<u8>) {
        let key = secret().key_for(ASKER, KEEPER);
        let datagram = seal(&key, secret().id(), ASKER, KEEPER, message);
        (key, datagram)
    }

    #[test]
    fn every_message_opens_as_it_was_sealed() {
        for message in every_message() {
            let (key, datagram) = sealed(&message);
            assert!(datagram.len() <= DATAGRAM_MAX);
            let (header, opened) = open(&key, &datagram).unwrap();
            assert_eq!((header.from, header.to, header.key_id), (ASKER, KEEPER, secret().id()));
            assert_eq!(opened, message);
        }
    }

    #[test]
    fn every_changed_bit_and_every_lost_byte_is_noticed() {
        let (key, datagram) = sealed(&Message::Renewal { cluster: ClusterId(1), renewal: renewal() });
        for bit in 0..datagram.len() * 8 {
            let mut changed = datagram.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, &changed).is_err(), "bit {bit}");
        }
        for length in 0..datagram.len() {
            assert!(open(&key, &datagram[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_question_turned_around_is_no_answer() {
        // A probe and its answer would read alike but for the direction and the kind, which the tag covers.
        let (key, mut datagram) = sealed(&Message::Probe { nonce: 9 });
        datagram[4] = Kind::ProbeAnswer.number();
        datagram[5] = 1;
        assert_eq!(peek(&datagram).unwrap().kind, Kind::ProbeAnswer);
        assert_eq!(open(&key, &datagram), Err(Unopened::Forged));
        // A direction that doesn't belong to the kind isn't even looked at.
        let (key, mut datagram) = sealed(&Message::Probe { nonce: 9 });
        datagram[5] = 1;
        assert_eq!(open(&key, &datagram), Err(Unopened::Foreign));
    }

    #[test]
    fn neither_another_peers_key_nor_another_secrets_opens_it() {
        let (_, datagram) = sealed(&Message::Probe { nonce: 9 });
        for other in [
            secret().key_for(NodeId(3), KEEPER),
            secret().key_for(KEEPER, ASKER),
            Secret::new([8; 32]).key_for(ASKER, KEEPER),
        ] {
            assert_eq!(open(&other, &datagram), Err(Unopened::Forged));
        }
    }

    #[test]
    fn the_hint_names_the_key_and_can_be_opened_as_nothing() {
        let (key, datagram) = sealed(&Message::Probe { nonce: 9 });
        let asked = peek(&datagram).unwrap();
        let hint = unknown_key(&asked, KEEPER);
        assert!(hint.len() < datagram.len(), "a hint must not make a flood larger");
        let header = peek(&hint).unwrap();
        assert_eq!(header, Header { kind: Kind::UnknownKey, from: KEEPER, to: ASKER, key_id: asked.key_id });
        assert!(open(&key, &hint).is_err());
    }
}
