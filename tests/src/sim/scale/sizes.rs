//! How many bytes a message costs, as computed from its fields the way protobuf would encode them, and what carries it.
//!
//! Ids are random 64-bit numbers in a real cluster, so each counts as a varint of ten bytes with its tag. On top of the
//! encoded message come 5 bytes of gRPC's prefix ("message bytes"); on the wire also 9 of an HTTP/2 frame, 22 of a TLS 1.3
//! record, and 66 of TCP with timestamps, IPv4 and Ethernet for every segment and for every acknowledgement, none of which
//! is taken to ride on data. Left out: HTTP/2's pings and window updates (one each some ten messages), ARP, connecting.

use cluster_core::membership::{Finding, Heartbeat, Hello, MemberRecord, Report};

const ID: u64 = 11;
const SMALL: u64 = 2;
const GRPC: u64 = 5;
/// Beyond a message's bytes: the frame, the record, and one segment's headers.
pub const OVERHEAD: u64 = 9 + 22 + SEGMENT;
/// TCP with timestamps, IPv4, Ethernet.
pub const SEGMENT: u64 = 32 + 20 + 14;
/// A sealed probe: header, nonce, two numbers, tag; and UDP, IPv4, Ethernet.
pub const PROBE: u64 = 32 + 24 + 9 + 16;
pub const DATAGRAM: u64 = 8 + 20 + 14;
/// A request for help, a poll, an answer to one: a few ids.
pub const NOTE: u64 = GRPC + 3 * ID + 2 * SMALL;
/// A change of the view as followers get it: a few numbers for each node that changed, and evidence.
pub const VIEW: u64 = GRPC + 200;

fn text(text: &str) -> u64 {
    2 + text.len() as u64
}

fn record(r: &MemberRecord) -> u64 {
    let texts = [&r.name, &r.address, &r.zone, &r.version];
    let texts: u64 = texts.into_iter().filter(|t| !t.is_empty()).map(|t| text(t)).sum();
    // Its own tag and length, node, session; incarnation, state, agent, role.
    2 + 2 * ID + 4 * SMALL + texts + r.http.as_deref().map_or(0, text)
}

#[must_use]
pub fn heartbeat(h: &Heartbeat) -> u64 {
    // Cluster, sender, session; incarnation, count (up to three bytes more), health, exchange, view; the cluster's name.
    let fixed = 3 * ID + 5 * SMALL + 4 + 8;
    let vitals = 2 + ID + 2 * SMALL + 2 + 7 * 3;
    GRPC + fixed + h.deltas.iter().map(record).sum::<u64>() + vitals * h.vitals.len() as u64
}

#[must_use]
pub fn hello(h: &Hello) -> u64 {
    GRPC + ID + record(&h.record) + h.members.iter().map(record).sum::<u64>()
}

fn finding(f: &Finding) -> u64 {
    2 + ID + 8 * SMALL + 3 * 3 + u64::from(f.ended.is_some()) * 4
}

#[must_use]
pub fn report(r: &Report) -> u64 {
    GRPC + 2 * ID + 3 * SMALL + r.findings.iter().map(finding).sum::<u64>() + ID * r.asking.len() as u64
}
