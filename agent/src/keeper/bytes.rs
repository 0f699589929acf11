//! Numbers, addresses and text as bytes, for datagrams and for the local protocol: little-endian, no gaps, total.
//!
//! What doesn't read back exactly is refused; nothing here allocates more than it was sent.

use cluster_core::{
    ids::{BootId, LeaseEpoch, LogId, NodeId, SessionId},
    lease::{Refusal, Renewal, Verdict},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::wire::convert::RenewalAnswer;

/// Text longer than this isn't sent; the rest of it is cut off.
const TEXT_MAX: usize = 512;

/// Reads from the front; `None` once something is missing.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn node(&mut self) -> Option<NodeId> {
        self.u64().map(NodeId)
    }

    pub fn log_id(&mut self) -> Option<LogId> {
        Some(LogId { term: self.u64()?, index: self.u64()? })
    }

    pub fn text(&mut self) -> Option<String> {
        let length = usize::from(self.u16()?);
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(head.to_vec()).ok()
    }

    /// So many items, none of which is shorter than a byte.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::from(self.u16()?);
        let mut items = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }

    pub fn address(&mut self) -> Option<SocketAddr> {
        let ip = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, self.u16()?))
    }

    pub fn renewal(&mut self) -> Option<Renewal> {
        Some(Renewal {
            node: self.node()?,
            epoch: LeaseEpoch(self.u64()?),
            boot: BootId(self.u64()?),
            session: SessionId(self.u64()?),
            nonce: self.u64()?,
            voter_config: self.log_id()?,
            lease_ms: self.u64()?,
        })
    }

    pub fn answer(&mut self) -> Option<RenewalAnswer> {
        let (voter, session, nonce) = (self.node()?, SessionId(self.u64()?), self.u64()?);
        let (verdict, newer) = (self.u8()?, self.log_id()?);
        let verdict = match verdict {
            0 => Verdict::Acked,
            1 => Verdict::Refused(Refusal::Revoked),
            2 => Verdict::Refused(Refusal::NotCurrent),
            3 => Verdict::Refused(Refusal::OldVoterConfig { newer }),
            4 => Verdict::Refused(Refusal::Recovering),
            _ => return None,
        };
        Some(RenewalAnswer { voter, session, nonce, verdict })
    }

    /// Nothing is left.
    pub fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Appends what `Reader` reads.
pub trait Put {
    fn bytes(&mut self, bytes: &[u8]);

    fn u8(&mut self, n: u8) {
        self.bytes(&[n]);
    }

    fn u16(&mut self, n: u16) {
        self.bytes(&n.to_le_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.bytes(&n.to_le_bytes());
    }

    fn log_id(&mut self, id: LogId) {
        self.u64(id.term);
        self.u64(id.index);
    }

    fn text(&mut self, text: &str) {
        let length = text.floor_char_boundary(TEXT_MAX);
        self.u16(u16::try_from(length).expect("text is cut to its limit"));
        self.bytes(&text.as_bytes()[..length]);
    }

    /// # Panics
    /// With more than 65,535 items: every list that is sent has a far lower limit.
    fn count(&mut self, count: usize) {
        self.u16(u16::try_from(count).expect("lists are bounded far below"));
    }

    fn address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(ip) => {
                self.u8(4);
                self.bytes(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.u8(6);
                self.bytes(&ip.octets());
            }
        }
        self.u16(address.port());
    }

    fn renewal(&mut self, r: &Renewal) {
        for number in [r.node.0, r.epoch.0, r.boot.0, r.session.0, r.nonce] {
            self.u64(number);
        }
        self.log_id(r.voter_config);
        self.u64(r.lease_ms);
    }

    fn answer(&mut self, a: &RenewalAnswer) {
        let (verdict, newer) = match a.verdict {
            Verdict::Acked => (0, LogId::default()),
            Verdict::Refused(Refusal::Revoked) => (1, LogId::default()),
            Verdict::Refused(Refusal::NotCurrent) => (2, LogId::default()),
            Verdict::Refused(Refusal::OldVoterConfig { newer }) => (3, newer),
            Verdict::Refused(Refusal::Recovering) => (4, LogId::default()),
        };
        for number in [a.voter.0, a.session.0, a.nonce] {
            self.u64(number);
        }
        self.u8(verdict);
        self.log_id(newer);
    }
}

impl Put for Vec<u8> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
