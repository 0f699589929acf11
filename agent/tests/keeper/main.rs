//! Keepers as real processes: do they answer, outlive their agent, come back when they die, and end when they should?
//!
//! The binary is the real one. The agent's main loop is played by the test, which tells its keeper what it is to know, and
//! a peer by a UDP socket that has its key.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod node;
mod peer;

use cluster_core::{
    ids::NodeId,
    lease::{Renewal, Verdict},
    membership::AgentState,
    timing::LAN,
};
use holdfast::{
    clock,
    keeper::{
        datagram::{self, Kind, Message},
        handle::{Keeper, KeeperError, KeeperEvent, Setup},
        protocol::{Tell, ToAgent, ToKeeper},
        secret::Secret,
    },
    wire::convert::RenewalAnswer,
};
use node::*;
use peer::*;
use rustix::process::Signal;
use std::{
    fs,
    net::UdpSocket,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

#[tokio::test]
async fn it_says_how_its_agent_is() {
    let mut node = Node::start().await;
    // It has something to keep: it stays when the agent goes.
    node.grant_to_itself();
    node.asked_itself().await;
    let peer = Peer::of(&node);
    node.feed();
    peer.until_agent_is(AgentState::Up).await;
    // Not fed any more, and still there.
    peer.until_agent_is(AgentState::Stalled).await;
    node.lose_agent().await;
    peer.until_agent_is(AgentState::Gone).await;
    node.next_agent().await;
    node.feed();
    peer.until_agent_is(AgentState::Up).await;
}

#[tokio::test]
async fn it_answers_nobody_who_has_no_key_and_hints_at_unknown_ones() {
    let node = Node::start().await;
    let mut peer = Peer::of(&node);
    peer.socket.send_to(b"hello", peer.to).unwrap();
    // The right secret's id, and another key: no answer, and no hint either.
    let forged = datagram::seal(
        &node.setup.secret.key_for(NodeId(0x33), ME),
        node.setup.secret.id(),
        PEER,
        ME,
        &Message::Probe { nonce: 1 },
    );
    peer.socket.send_to(&forged, peer.to).unwrap();
    assert_eq!(peer.receive(), None);
    peer.keepers = Secret::new([1; 32]);
    let asked = peer.ask(&Message::Probe { nonce: 2 });
    let (hint, _) = peer.receive().unwrap();
    let hint = datagram::peek(&hint).unwrap();
    assert_eq!((hint.kind, hint.from, hint.key_id), (Kind::UnknownKey, ME, peer.keepers.id()));
    assert_eq!(datagram::peek(&asked).unwrap().key_id, hint.key_id);
    // A flood of them is answered with a few.
    (0..200).for_each(|nonce| drop(peer.ask(&Message::Probe { nonce })));
    let hints = std::iter::from_fn(|| peer.receive()).count();
    assert!(hints <= 60, "{hints} hints");
}

#[tokio::test]
async fn a_voter_puts_a_renewal_to_its_book_once() {
    let mut node = Node::start().await;
    let peer = Peer::of(&node);
    node.hear(|event| matches!(event, KeeperEvent::Said(ToAgent::Alive)).then_some(())).await;
    let datagram = peer.ask(&Message::Renewal { cluster: CLUSTER, renewal: renewal_of_peer(4) });
    let (from, renewal) = node.hear(asked_by_datagram).await;
    assert_eq!(renewal, renewal_of_peer(4));
    let answer = RenewalAnswer { voter: ME, session: renewal.session, nonce: 4, verdict: Verdict::Acked };
    node.keeper().send(&ToKeeper::Answered { to: from, node: PEER, answer });
    let (sealed, _) = peer.receive().unwrap();
    let opened = datagram::open(&peer.keepers.key_for(PEER, ME), &sealed).unwrap().1;
    assert_eq!(opened, Message::RenewalAnswer(answer));
    // Repeated as it was, an older one, one in another's name; then a newer one.
    peer.socket.send_to(&datagram, peer.to).unwrap();
    peer.ask(&Message::Renewal { cluster: CLUSTER, renewal: renewal_of_peer(3) });
    let others = Renewal { node: NodeId(0x33), ..renewal_of_peer(9) };
    peer.ask(&Message::Renewal { cluster: CLUSTER, renewal: others });
    peer.ask(&Message::Renewal { cluster: CLUSTER, renewal: renewal_of_peer(5) });
    assert_eq!(node.hear(asked_by_datagram).await.1, renewal_of_peer(5));
}

#[tokio::test]
async fn the_lease_outlives_the_agent_and_the_next_one_adopts_it() {
    let mut node = Node::start().await;
    let peer = Peer::of(&node);
    node.grant_with(vec![PEER]);
    node.tell.routes = vec![peer.route()];
    node.feed();
    let process = node.process();
    let session = peer.vote_for(Duration::from_millis(500)).unwrap();
    assert!(node.has_lease());
    node.lose_agent().await;
    // Longer than the lease.
    assert_eq!(peer.vote_for(Duration::from_millis(2_500)), Some(session));
    assert!(node.has_lease());
    node.next_agent().await;
    assert_eq!(node.process(), process, "it is adopted");
    // The agent knows nothing yet, and says so for a while.
    node.tell = Tell { profile: LAN.name.into(), ..Tell::default() };
    node.feed();
    assert_eq!(peer.vote_for(Duration::from_millis(2_500)), Some(session));
    assert!(node.has_lease());
    // Nobody acknowledges any more: the page says so by itself.
    until("the lease to run out", || !node.has_lease()).await;
}

#[tokio::test]
async fn a_voter_with_a_new_secret_is_told_of_to_the_agent_and_renewals_go_by_stream() {
    let mut node = Node::start().await;
    let peer = Peer::of(&node);
    node.grant_with(vec![PEER]);
    node.tell.routes = vec![peer.route()];
    node.feed();
    let (asked, from) = peer.receive().unwrap();
    let asked = datagram::peek(&asked).unwrap();
    // One about a key that isn't in use first: anybody can send that.
    let forged = datagram::Header { key_id: Secret::new([8; 32]).id(), ..asked };
    peer.socket.send_to(&datagram::unknown_key(&forged, PEER), from).unwrap();
    peer.socket.send_to(&datagram::unknown_key(&asked, PEER), from).unwrap();
    let unknown = node
        .hear(|event| match event {
            KeeperEvent::Said(ToAgent::UnknownKey { voter, key_id }) => Some((*voter, *key_id)),
            _ => None,
        })
        .await;
    assert_eq!(unknown, (PEER, asked.key_id));
    let relayed = node
        .hear(|event| match event {
            KeeperEvent::Said(ToAgent::Relay { voter, renewal, .. }) => Some((*voter, *renewal)),
            _ => None,
        })
        .await;
    assert_eq!(relayed.0, PEER);
    let Renewal { session, nonce, .. } = relayed.1;
    let answer = RenewalAnswer { voter: PEER, session, nonce, verdict: Verdict::Acked };
    node.keeper().send(&ToKeeper::Heard(answer));
    until("the lease by stream", || node.has_lease()).await;
}

#[tokio::test]
async fn a_killed_keeper_is_started_again_under_a_session_of_its_own() {
    let mut node = Node::start().await;
    node.grant_to_itself();
    let before = node.asked_itself().await;
    node.acknowledge(&before);
    until("a lease", || node.has_lease()).await;
    let first = node.process();
    signal(first, Signal::KILL);
    let again = Instant::now();
    let after = node
        .hear(|event| match event {
            KeeperEvent::Said(ToAgent::Asked { renewal, .. }) if renewal.session != before.session => {
                Some(*renewal)
            }
            _ => None,
        })
        .await;
    assert!(again.elapsed() < LAN.lease, "it took {:?}", again.elapsed());
    assert_ne!(node.process(), first);
    assert!(!is_alive(first));
    // What the first one asked for counts no more.
    node.acknowledge(&before);
    node.acknowledge(&after);
    until("the lease again", || node.has_lease()).await;
}

#[tokio::test]
async fn a_keeper_that_hangs_is_killed_and_started_again() {
    let mut node = Node::start().await;
    node.grant_to_itself();
    node.asked_itself().await;
    let stuck = node.process();
    signal(stuck, Signal::STOP);
    node.hear(|event| matches!(event, KeeperEvent::Connected).then_some(())).await;
    assert!(!is_alive(stuck));
    node.asked_itself().await;
    // An agent that finds it hanging replaces it, too.
    let stuck = node.process();
    node.lose_agent().await;
    signal(stuck, Signal::STOP);
    node.next_agent().await;
    assert!(!is_alive(stuck) && node.process() != stuck);
}

#[tokio::test]
async fn one_of_another_secret_or_address_makes_room() {
    let mut node = Node::start().await;
    node.grant_to_itself();
    node.asked_itself().await;
    let first = node.process();
    node.lose_agent().await;
    node.setup.listen = free_port();
    node.next_agent().await;
    let second = node.process();
    assert!(!is_alive(first) && second != first);
    node.asked_itself().await;
    node.lose_agent().await;
    fs::remove_file(node.setup.dir.join("keeper.secret")).unwrap();
    node.setup.secret = Secret::load_or_make(&node.setup.dir).unwrap();
    node.next_agent().await;
    assert!(!is_alive(second));
    assert_eq!(Peer::of(&node).probe(1), Some(AgentState::Stalled), "it has the new secret");
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup {
        exe: PathBuf::from(env!("CARGO_BIN_EXE_holdfast")),
        node: ME,
        boot: clock::boot_id().unwrap(),
        listen: taken.local_addr().unwrap(),
        secret: Secret::load_or_make(dir.path()).unwrap(),
        dir: dir.path().to_owned(),
    };
    let (told, _events) = mpsc::channel(16);
    let Err(error) = Keeper::start(setup.clone(), told).await else { panic!("the port is taken") };
    assert!(matches!(error, KeeperError::Udp { .. }));
    let text = error.to_string();
    assert!(text.contains(&setup.listen.to_string()) && text.contains("stop what uses"), "{text}");
}

#[tokio::test]
async fn it_ends_when_it_is_told_to_when_its_directory_is_gone_and_with_an_agent_that_never_had_a_lease() {
    let mut node = Node::start().await;
    node.grant_to_itself();
    node.asked_itself().await;
    let process = node.process();
    node.keeper().retire();
    until("the keeper to end", || !is_alive(process)).await;
    node.lose_agent().await;

    node.next_agent().await;
    let process = node.process();
    node.lose_agent().await;
    until("the keeper that held nothing to end", || !is_alive(process)).await;

    node.next_agent().await;
    node.asked_itself().await;
    let process = node.process();
    node.lose_agent().await;
    fs::remove_dir_all(&node.setup.dir).unwrap();
    until("the keeper without a directory to end", || !is_alive(process)).await;
}

#[test]
fn an_agent_that_ends_does_not_wait_for_the_keeper_that_stays() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut node = runtime.block_on(Node::start());
    node.grant_to_itself();
    runtime.block_on(node.asked_itself());
    // The main loop is gone, the hand on the keeper isn't yet, and the keeper asks on.
    node.events.close();
    runtime.block_on(async { tokio::time::sleep(2 * LAN.renew_every).await });
    let ends = Instant::now();
    drop(runtime);
    assert!(ends.elapsed() < Duration::from_secs(1), "it took {:?}", ends.elapsed());
    assert!(is_alive(node.process()));
}

#[tokio::test]
async fn with_dev_it_ends_with_its_agent() {
    let mut node = Node::start().await;
    node.grant_to_itself();
    node.tell.ends_with_agent = true;
    node.asked_itself().await;
    let process = node.process();
    node.lose_agent().await;
    until("the keeper to end", || !is_alive(process)).await;
}
