//! Scripts: what a keeper sends, to whom, and what stands on the page, told by an agent that comes and goes.

use super::*;
use crate::{
    keeper::{
        datagram,
        secret::{Key, KeyId},
    },
    workload::page::PageReader,
};
use cluster_core::{ids::LogId, lease::Refusal, timing::LAN};

const ME: NodeId = NodeId(1);
const BOOT: BootId = BootId(9);
const CLUSTER: ClusterId = ClusterId(5);
const EPOCH: LeaseEpoch = LeaseEpoch(7);

fn at(ms: u64) -> Clocks {
    let at = Instant::from_millis(1_000_000 + ms);
    Clocks { boot: at, raw: at }
}

fn address(voter: NodeId) -> SocketAddr {
    format!("10.0.0.{}:7400", voter.0).parse().unwrap()
}

fn key(voter: NodeId) -> Key {
    Key([voter.0 as u8; 32])
}

fn route(voter: u64) -> Route {
    let voter = NodeId(voter);
    // A name that means an address of IPv6, too, which this keeper's socket can't reach.
    let addresses = vec!["[2001:db8::1]:7400".parse().unwrap(), address(voter)];
    Route { voter, key: key(voter), key_id: KeyId([1; 8]), addresses }
}

fn grant(epoch: LeaseEpoch) -> Grant {
    Grant {
        epoch,
        voters: vec![[NodeId(1), NodeId(2), NodeId(3)].into()],
        voter_config: LogId { term: 1, index: 2 },
        lease: LAN.lease,
    }
}

fn tell(epoch: LeaseEpoch) -> Tell {
    Tell {
        profile: LAN.name.into(),
        cluster: Some(CLUSTER),
        issued: Issued::Granted(grant(epoch)),
        wanted: Some(true),
        routes: vec![route(2), route(3)],
        ends_with_agent: false,
    }
}

/// What a restarted agent says before it has caught up.
fn knows_nothing() -> Tell {
    Tell { profile: LAN.name.into(), ..Tell::default() }
}

struct Rig {
    dir: tempfile::TempDir,
    renewing: Renewing,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { renewing: Renewing::new(ME, BOOT, dir.path().to_owned(), address(ME)), dir }
    }

    /// The next keeper of the same directory.
    fn restart(self) -> Self {
        Self { renewing: Renewing::new(ME, BOOT, self.dir.path().to_owned(), address(ME)), dir: self.dir }
    }

    fn told(&mut self, ms: u64, tell: Tell) -> Sent {
        let mut out = Vec::new();
        self.renewing.told(at(ms), tell, &mut out);
        Sent::of(out)
    }

    fn tick(&mut self, ms: u64) -> Sent {
        let mut out = Vec::new();
        self.renewing.tick(at(ms), &mut out);
        Sent::of(out)
    }

    fn answer(&mut self, ms: u64, voter: u64, to: &Renewal, verdict: Verdict, by_datagram: bool) -> Sent {
        let (voter, session, nonce) = (NodeId(voter), to.session, to.nonce);
        let answer = RenewalAnswer { voter, session, nonce, verdict };
        let mut out = Vec::new();
        self.renewing.answered(at(ms), answer, by_datagram, &mut out);
        Sent::of(out)
    }

    fn deadline(&self, epoch: LeaseEpoch) -> Clocks {
        PageReader::open(self.dir.path(), epoch).unwrap().read().unwrap().deadline
    }

    fn due_in(&self, ms: u64, agent_up: bool) -> Option<Duration> {
        self.renewing.due(at(ms), agent_up).map(|due| due.since(at(ms).boot))
    }
}

/// One look's messages, opened.
#[derive(Default, Debug, PartialEq, Eq)]
struct Sent {
    /// By datagram, to these voters.
    datagrams: BTreeMap<NodeId, Renewal>,
    relays: BTreeMap<NodeId, Renewal>,
    asked_here: Option<Renewal>,
    notices: Vec<ToAgent>,
}

impl Sent {
    fn of(out: Vec<Out>) -> Self {
        let mut sent = Self::default();
        for out in out {
            match out {
                Out::Datagram { to, bytes } => {
                    let voter = datagram::peek(&bytes).unwrap().to;
                    assert_eq!(to, address(voter));
                    let opened = datagram::open(&key(voter), &bytes).unwrap().1;
                    let Message::Renewal { cluster, renewal } = opened else { panic!("{opened:?}") };
                    assert_eq!(cluster, CLUSTER);
                    sent.datagrams.insert(voter, renewal);
                }
                Out::Agent(ToAgent::Relay { voter, renewal, .. }) => {
                    sent.relays.insert(voter, renewal);
                }
                Out::Agent(ToAgent::Asked { from: None, renewal, .. }) => sent.asked_here = Some(renewal),
                Out::Agent(notice) => sent.notices.push(notice),
            }
        }
        sent
    }
}

#[test]
fn the_first_round_goes_both_ways_and_either_answer_counts() {
    for by_datagram in [true, false] {
        let mut rig = Rig::new();
        let sent = rig.told(0, tell(EPOCH));
        let renewal = sent.asked_here.unwrap();
        assert_eq!(sent.datagrams.len(), 2);
        assert_eq!(sent.relays, sent.datagrams, "nobody knows yet whether datagrams get through");
        assert_eq!(rig.deadline(EPOCH), Clocks::default());
        rig.answer(10, 2, &renewal, Verdict::Acked, by_datagram);
        assert_eq!(rig.deadline(EPOCH), Clocks::default(), "one of three is no majority");
        rig.answer(20, 1, &renewal, Verdict::Acked, false);
        assert_eq!(rig.deadline(EPOCH), at(0).after(LAN.lease), "it counts from the sending");
    }
}

#[test]
fn the_stream_rests_while_datagrams_get_through_and_helps_once_they_do_not() {
    let mut rig = Rig::new();
    let first = rig.told(0, tell(EPOCH)).asked_here.unwrap();
    rig.answer(5, 2, &first, Verdict::Acked, true);
    rig.answer(5, 3, &first, Verdict::Acked, false);
    let sent = rig.tick(400);
    assert_eq!(sent.datagrams.keys().copied().collect::<Vec<_>>(), [NodeId(2), NodeId(3)]);
    assert_eq!(sent.relays.keys().copied().collect::<Vec<_>>(), [NodeId(3)], "its answer came by stream");
    // The second round's answers are lost, and somebody repeats one of an earlier keeper's.
    let repeated = Renewal { session: SessionId(1), nonce: 1_000, ..first };
    rig.answer(450, 2, &repeated, Verdict::Acked, true);
    let sent = rig.tick(650);
    assert_eq!(sent.relays.len(), 2);
}

#[test]
fn an_agent_that_knows_nothing_yet_takes_nothing_away() {
    let mut rig = Rig::new();
    let first = rig.told(0, tell(EPOCH)).asked_here.unwrap();
    rig.answer(5, 2, &first, Verdict::Acked, true);
    rig.answer(5, 3, &first, Verdict::Acked, true);
    // It is killed; another one comes, and reads its log.
    let sent = rig.told(410, knows_nothing());
    assert_eq!(sent.datagrams.len(), 2, "renewals go on");
    assert!(sent.relays.is_empty() && sent.datagrams[&NodeId(2)].session == first.session);
    let again = rig.told(450, tell(EPOCH));
    assert_eq!(again, Sent::default(), "and when it knows the same, nothing changes");
    assert_eq!(rig.deadline(EPOCH), at(0).after(LAN.lease));
}

#[test]
fn nothing_is_sent_while_nothing_is_held_or_granted() {
    let mut rig = Rig::new();
    assert_eq!(rig.told(0, Tell { wanted: Some(false), ..tell(EPOCH) }), Sent::default());
    assert_eq!(rig.due_in(0, true), None);
    assert_eq!(rig.told(10, Tell { issued: Issued::Nothing, ..tell(EPOCH) }), Sent::default());
    assert_eq!(rig.due_in(0, true), None);
}

#[test]
fn a_restarted_keeper_has_a_session_of_its_own_and_goes_on_with_the_page() {
    let mut rig = Rig::new();
    let before = rig.told(0, tell(EPOCH)).asked_here.unwrap();
    rig.answer(5, 2, &before, Verdict::Acked, true);
    rig.answer(5, 3, &before, Verdict::Acked, true);
    let mut rig = rig.restart();
    let after = rig.told(400, tell(EPOCH)).asked_here.unwrap();
    assert_eq!((before.nonce, after.nonce), (1, 1));
    assert_ne!(before.session, after.session);
    // Late answers to what the first one sent name the same nonce, and mean nothing.
    rig.answer(410, 2, &before, Verdict::Acked, true);
    rig.answer(410, 3, &before, Verdict::Acked, true);
    assert_eq!(rig.deadline(EPOCH), at(0).after(LAN.lease));
    rig.answer(420, 2, &after, Verdict::Acked, true);
    rig.answer(420, 3, &after, Verdict::Acked, true);
    assert_eq!(rig.deadline(EPOCH), at(400).after(LAN.lease));
}

#[test]
fn a_new_epoch_gets_a_page_of_its_own_and_the_old_one_stays() {
    let mut rig = Rig::new();
    let first = rig.told(0, tell(EPOCH)).asked_here.unwrap();
    rig.answer(5, 2, &first, Verdict::Acked, true);
    rig.answer(5, 3, &first, Verdict::Acked, true);
    let next = LeaseEpoch(8);
    let renewal = rig.told(100, tell(next)).asked_here.unwrap();
    assert_eq!(renewal.epoch, next);
    rig.answer(110, 2, &renewal, Verdict::Acked, true);
    rig.answer(110, 3, &renewal, Verdict::Acked, true);
    assert_eq!(rig.deadline(EPOCH), at(0).after(LAN.lease));
    assert_eq!(rig.deadline(next), at(100).after(LAN.lease));
}

#[test]
fn an_epoch_that_is_lost_is_asked_for_in_haste_and_then_seldom() {
    let mut rig = Rig::new();
    let renewal = rig.told(0, tell(EPOCH)).asked_here.unwrap();
    let revoked = Verdict::Refused(Refusal::Revoked);
    rig.answer(5, 2, &renewal, revoked, true);
    let sent = rig.answer(5, 3, &renewal, revoked, true);
    assert_eq!(sent.notices, [ToAgent::Revoked(EPOCH)]);
    assert_eq!(rig.due_in(5, true), Some(LAN.renew_hurry - Duration::from_millis(5)));
    rig.tick(6_000);
    assert_eq!(rig.due_in(6_000, true), Some(RETRY_EVERY));
    // The entry was cut off the voters' logs: one acknowledged round, and all is as before.
    let renewal = rig.tick(7_000).asked_here.unwrap();
    rig.answer(7_005, 2, &renewal, Verdict::Acked, true);
    rig.answer(7_005, 3, &renewal, Verdict::Acked, true);
    assert_eq!(rig.due_in(7_005, true), Some(LAN.renew_every - Duration::from_millis(5)));
}

#[test]
fn without_an_agent_an_epoch_that_nobody_acknowledges_is_asked_for_seldom() {
    let mut rig = Rig::new();
    rig.told(0, tell(EPOCH));
    rig.tick(6_000);
    assert_eq!(rig.due_in(6_000, false), Some(RETRY_EVERY));
    assert_eq!(rig.due_in(6_000, true), Some(LAN.renew_hurry));
}

#[test]
fn a_lease_that_runs_out_is_told() {
    let mut rig = Rig::new();
    let renewal = rig.told(0, tell(EPOCH)).asked_here.unwrap();
    rig.answer(5, 2, &renewal, Verdict::Acked, true);
    rig.answer(5, 3, &renewal, Verdict::Acked, true);
    assert_eq!(rig.tick(2_000).notices, [ToAgent::Expired(EPOCH)]);
}
