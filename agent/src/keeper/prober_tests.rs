//! Bursts against a keeper made of a socket and a secret.

use super::*;
use crate::{
    keeper::{contacts::Contact, secret::Secret},
    wire::client::Peers,
};

const ME: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);
const PATIENCE: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_millis(10);

struct Rig {
    prober: Prober,
    answers: mpsc::Receiver<Probed>,
    keeper: UdpSocket,
    secret: Secret,
}

impl Rig {
    async fn new() -> Self {
        let keeper = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let secret = Secret::new([3; 32]);
        let contacts = Arc::new(Contacts::new(ME, || None, Arc::new(Peers::new(None))));
        let addresses = vec![keeper.local_addr().unwrap()];
        contacts.know(
            PEER,
            "peer:1",
            Contact { key: secret.key_for(ME, PEER), key_id: secret.id(), addresses },
        );
        let (told, answers) = mpsc::channel(16);
        let prober = Prober::new(ME, contacts, told).await.unwrap();
        Self { prober, answers, keeper, secret }
    }

    /// The next probe's nonce, and where its answer goes.
    async fn probed(&self) -> (u64, SocketAddr) {
        let mut buffer = [0; DATAGRAM_MAX];
        let received = tokio::time::timeout(PATIENCE, self.keeper.recv_from(&mut buffer)).await;
        let (length, from) = received.unwrap().unwrap();
        let key = self.secret.key_for(ME, PEER);
        let opened = datagram::open(&key, &buffer[..length]).unwrap().1;
        let Message::Probe { nonce } = opened else { panic!("{opened:?}") };
        (nonce, from)
    }

    async fn answer(&self, secret: &Secret, nonce: u64, to: SocketAddr) {
        let message = Message::ProbeAnswer { nonce, agent: AgentState::Stalled };
        let key = secret.key_for(ME, PEER);
        let datagram = datagram::seal(&key, self.secret.id(), PEER, ME, &message);
        self.keeper.send_to(&datagram, to).await.unwrap();
    }
}

#[tokio::test]
async fn the_first_answer_is_told_once_and_ends_the_burst() {
    let mut rig = Rig::new().await;
    rig.prober.probe(PEER, "peer:1", 77, 10, EVERY);
    let (nonce, from) = rig.probed().await;
    assert_eq!(nonce, 77);
    rig.answer(&rig.secret, nonce, from).await;
    rig.answer(&rig.secret, nonce, from).await;
    let told = tokio::time::timeout(PATIENCE, rig.answers.recv()).await.unwrap();
    assert_eq!(told, Some(Probed { peer: PEER, nonce: 77, agent: AgentState::Stalled }));
    // A second burst's answer comes next: the repeated one of the first told nothing.
    rig.prober.probe(PEER, "peer:1", 78, 1, EVERY);
    let from = loop {
        let (nonce, from) = rig.probed().await;
        if nonce == 78 {
            break from;
        }
    };
    rig.answer(&rig.secret, 78, from).await;
    let told = tokio::time::timeout(PATIENCE, rig.answers.recv()).await.unwrap().unwrap();
    assert_eq!(told.nonce, 78);
}

#[tokio::test]
async fn an_unanswered_burst_is_so_many_probes() {
    let rig = Rig::new().await;
    rig.prober.probe(PEER, "peer:1", 5, 3, EVERY);
    for _ in 0..3 {
        assert_eq!(rig.probed().await.0, 5);
    }
    let mut buffer = [0; DATAGRAM_MAX];
    assert!(tokio::time::timeout(10 * EVERY, rig.keeper.recv_from(&mut buffer)).await.is_err());
}

#[tokio::test]
async fn what_was_not_asked_or_is_sealed_otherwise_tells_nothing() {
    let mut rig = Rig::new().await;
    rig.prober.probe(PEER, "peer:1", 5, 1, EVERY);
    let (_, from) = rig.probed().await;
    rig.answer(&rig.secret, 6, from).await;
    rig.answer(&Secret::new([4; 32]), 5, from).await;
    rig.answer(&rig.secret, 5, from).await;
    let told = tokio::time::timeout(PATIENCE, rig.answers.recv()).await.unwrap().unwrap();
    assert_eq!(told.nonce, 5);
    assert!(rig.answers.try_recv().is_err(), "and nothing came before it");
}
