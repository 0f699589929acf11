//! Everything reads back, nothing cut short does, and another version is told apart.

use super::*;
use cluster_core::{
    ids::{BootId, LogId, SessionId},
    lease::Verdict,
};

fn renewal() -> Renewal {
    Renewal {
        node: NodeId(1),
        epoch: LeaseEpoch(2),
        boot: BootId(3),
        session: SessionId(4),
        nonce: 5,
        voter_config: LogId { term: 6, index: 7 },
        lease_ms: 8,
    }
}

fn answer() -> RenewalAnswer {
    RenewalAnswer { voter: NodeId(1), session: SessionId(2), nonce: 3, verdict: Verdict::Acked }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn full_tell() -> Tell {
    let grant = Grant {
        epoch: LeaseEpoch(1),
        voters: vec![[NodeId(1), NodeId(2)].into(), [NodeId(3)].into()],
        voter_config: LogId { term: 4, index: 5 },
        lease: Duration::from_millis(2_000),
    };
    let route = Route {
        voter: NodeId(2),
        key: Key([1; 32]),
        key_id: KeyId([2; 8]),
        addresses: vec![address("10.0.0.1:7400"), address("[::1]:7400")],
    };
    Tell {
        profile: "lan".into(),
        cluster: Some(ClusterId(9)),
        issued: Issued::Granted(grant),
        wanted: Some(true),
        routes: vec![route],
        ends_with_agent: true,
    }
}

fn all_to_keeper() -> Vec<ToKeeper> {
    let to = address("10.0.0.1:7400");
    let withdrawn = Tell { issued: Issued::Nothing, wanted: Some(false), ..Tell::default() };
    vec![
        ToKeeper::Hello,
        ToKeeper::Retire,
        ToKeeper::Tell(full_tell()),
        ToKeeper::Tell(Tell::default()),
        ToKeeper::Tell(withdrawn),
        ToKeeper::Answered { to, node: NodeId(1), answer: answer() },
        ToKeeper::Heard(answer()),
    ]
}

fn all_to_agent() -> Vec<ToAgent> {
    let (at, cluster) = (Instant::from_millis(7), ClusterId(1));
    let hello = Hello {
        version: VERSION,
        node: NodeId(1),
        key_id: KeyId([3; 8]),
        address: address("[::]:7400"),
        missing: vec!["memory not locked".into()],
    };
    vec![
        ToAgent::Hello(hello),
        ToAgent::Alive,
        ToAgent::Relay { voter: NodeId(2), at, renewal: renewal() },
        ToAgent::Asked { from: None, at, cluster, renewal: renewal() },
        ToAgent::Asked { from: Some(address("10.0.0.1:1")), at, cluster, renewal: renewal() },
        ToAgent::UnknownKey { voter: NodeId(2), key_id: KeyId([3; 8]) },
        ToAgent::Expired(LeaseEpoch(1)),
        ToAgent::Revoked(LeaseEpoch(1)),
    ]
}

#[test]
fn everything_reads_back_and_nothing_cut_short_does() {
    for message in all_to_keeper() {
        let packet = message.encode();
        assert!(ToKeeper::decode(&packet).is_ok_and(|read| read == message), "kind {}", packet[3]);
        for length in 0..packet.len() {
            assert!(ToKeeper::decode(&packet[..length]).is_err(), "kind {}, {length} bytes", packet[3]);
        }
    }
    for message in all_to_agent() {
        let packet = message.encode();
        assert_eq!(ToAgent::decode(&packet).as_ref(), Ok(&message));
        for length in 0..packet.len() {
            assert!(ToAgent::decode(&packet[..length]).is_err(), "{message:?}, {length} bytes");
        }
    }
}

#[test]
fn another_version_is_told_apart_and_can_still_be_greeted_and_retired() {
    for message in all_to_keeper() {
        let mut packet = message.encode();
        packet[2] = VERSION + 1;
        packet.push(0); // more than this version knows of
        match message {
            ToKeeper::Hello => assert!(ToKeeper::decode(&packet).is_ok_and(|m| m == ToKeeper::Hello)),
            ToKeeper::Retire => assert!(ToKeeper::decode(&packet).is_ok_and(|m| m == ToKeeper::Retire)),
            _ => assert!(matches!(ToKeeper::decode(&packet), Err(Unread::OtherVersion(2)))),
        }
    }
    for message in all_to_agent() {
        let mut packet = message.encode();
        packet[2] = VERSION + 1;
        assert_eq!(ToAgent::decode(&packet), Err(Unread::OtherVersion(2)));
    }
}

#[test]
fn the_largest_tell_fits_a_packet() {
    let mut tell = full_tell();
    tell.routes = vec![tell.routes[0].clone(); ROUTES_MAX + 1];
    tell.routes.iter_mut().for_each(|r| r.addresses = vec![address("[::1]:1"); ADDRESSES_MAX + 1]);
    assert!(ToKeeper::Tell(tell).encode().len() <= PACKET_MAX);
}
