//! Rules that one machine keeps by itself, where the lab's hosts would make up for each other.

use super::{lab::*, *};
use crate::{ids::ViewEpoch, timing::LAN};
use edge::Edge;

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

/// Heartbeats that come at these gaps, then silence: after how long is it suspicious?
fn suspected_after(gaps: &[u64]) -> u64 {
    let mut now = 0;
    let mut edge = Edge::new(at(now), &LAN);
    for (seq, gap) in gaps.iter().cycle().take(200).enumerate() {
        now += gap;
        edge.heard(at(now), SessionId(1), seq as u64 + 1, &LAN);
    }
    edge.odd_at().since(at(now)).as_millis().try_into().unwrap()
}

#[test]
fn history_decides_between_floor_and_ceiling() {
    assert_eq!(suspected_after(&[400]), 650, "steady: the floor");
    let rough = suspected_after(&[300, 400, 500, 400]);
    assert!((700..800).contains(&rough), "{rough}");
    assert_eq!(suspected_after(&[100, 900]), 1_000, "never later than the ceiling");
    assert_eq!(suspected_after(&[20]), 650, "never sooner than the floor");
}

#[test]
fn a_repeated_heartbeat_is_no_sign_of_life() {
    let mut edge = Edge::new(at(0), &LAN);
    assert!(edge.heard(at(100), SessionId(1), 7, &LAN));
    assert!(!edge.heard(at(1_600), SessionId(1), 7, &LAN));
    assert!(edge.odd_at() <= at(1_600));
}

#[test]
fn a_stall_is_counted_once_and_noise_not_at_all() {
    let mut health = LocalHealth::new(&LAN, at(0));
    assert_eq!(health.observe(at(120)), Duration::ZERO);
    assert_eq!(health.observe(at(620)), Duration::from_millis(450));
    assert_eq!(health.late(at(620), Duration::from_millis(400)), Duration::ZERO);
    assert_eq!(health.late(at(670), Duration::from_millis(200)), Duration::from_millis(50));
    assert_eq!(health.score(), 2);
}

#[test]
fn news_is_told_a_few_times() {
    let mut table = Table::default();
    let mut gossip = Gossip::default();
    (0..20).for_each(|host| _ = table.merge(&record(host, 1, 1)));
    (0..20).for_each(|host| gossip.tell(id(host)));
    let told: Vec<usize> = (0..40).map(|_| gossip.round(&table).len()).collect();
    assert!(told.iter().all(|n| *n <= DELTAS_MAX));
    assert_eq!(told.iter().sum::<usize>(), 20 * 3);
}

fn heartbeat(seq: u64) -> Heartbeat {
    Heartbeat {
        from: id(1),
        session: SessionId(101),
        incarnation: Incarnation(1),
        seq,
        health: 0,
        view: ViewEpoch(0),
        exchange: Exchange::Deltas,
        deltas: Vec::new(),
        vitals: Vec::new(),
    }
}

/// When this agent tries a fresh connection to a peer whose stream never opens and whose agent answers each time.
fn asks_over_a_minute(mut after: impl FnMut(&mut Membership, Instant)) -> Vec<u64> {
    let mut me = Membership::new(record(0, 1, 100), LAN, at(0), 1);
    me.step(at(0), Event::Hello(Hello { record: record(1, 1, 101), members: Vec::new() }), &mut Vec::new());
    let mut asked = Vec::new();
    for ms in (50..60_000).step_by(50) {
        let mut effects = Vec::new();
        me.step(at(ms), Event::Tick, &mut effects);
        if effects.iter().any(|e| matches!(e, Effect::Dial { .. })) {
            asked.push(ms);
            let answered = Event::Dialled { peer: id(1), outcome: DialOutcome::Answered };
            me.step(at(ms), answered, &mut Vec::new());
        }
        after(&mut me, at(ms));
    }
    asked
}

#[test]
fn who_was_never_heard_is_asked_after_ever_more_seldom_and_who_was_as_often_as_ever() {
    let gaps = |asked: &[u64]| asked.windows(2).map(|w| w[1] - w[0]).collect::<Vec<_>>();
    let never = asks_over_a_minute(|_, _| {});
    assert_eq!(never[0], 3_000, "its stream is given time to come about");
    let never = gaps(&never);
    assert!(never[0] < 1_000 && never.windows(2).all(|w| w[0] <= w[1]), "{never:?}");
    assert!(never.last().is_some_and(|gap| (2_600..4_500).contains(gap)), "{never:?}");
    let once = gaps(&asks_over_a_minute(|me, now| {
        if now == at(50) {
            me.step(now, Event::StreamOpened { peer: id(1) }, &mut Vec::new());
            me.step(now, Event::Heartbeat(heartbeat(1)), &mut Vec::new());
        }
    }));
    assert!(once.len() > 40 && once.iter().all(|gap| *gap <= 1_100), "{once:?}");
}

fn sends(effects: &[Effect], peer: NodeId) -> Vec<&Heartbeat> {
    let to_peer = |e| match e {
        &Effect::Send { to, ref heartbeat } if to == peer => Some(heartbeat),
        _ => None,
    };
    effects.iter().filter_map(to_peer).collect()
}

#[test]
fn the_accused_is_told_until_it_refutes() {
    let mut lab = Lab::formed(3, 1);
    lab.run_to(5_000);
    lab.power_off(2);
    lab.run_to(60_000);
    let (now, mut effects) = (lab.now, Vec::new());
    lab.hosts[0].members.step(now, Event::StreamOpened { peer: id(2) }, &mut effects);
    assert_eq!(sends(&effects, id(2))[0].exchange, Exchange::Ask, "a new stream begins with a full exchange");
    let told = |h: &&Heartbeat| h.deltas.iter().any(|r| r.node == id(2) && r.state == MemberState::Dead);
    effects.clear();
    for ms in (50..30_000).step_by(50) {
        lab.hosts[0].members.step(now + Duration::from_millis(ms), Event::Tick, &mut effects);
    }
    let to_it: Vec<&Heartbeat> = sends(&effects, id(2));
    assert!(to_it.len() > 70 && to_it.iter().all(told), "each of {} says so", to_it.len());
}

#[test]
fn a_stream_that_ended_and_stands_again_is_forgotten() {
    let mut lab = Lab::formed(3, 1);
    lab.run_to(5_000);
    lab.break_streams(2, true);
    lab.run_to(8_000);
    assert_eq!(lab.findings(0), "");
}

#[test]
fn halves_without_seeds_find_each_other_by_their_dead() {
    let mut lab = Lab::formed(4, 1);
    (0..4).for_each(|host| lab.member(host, Event::Seeds(vec![])));
    lab.run_to(5_000);
    lab.lower_dials = true;
    lab.split(&[3]);
    lab.run_to(30_000);
    assert_eq!(lab.list(0), "n1 alive, n2 alive, n3 alive, n4 dead");
    lab.cuts.clear();
    lab.run_to(45_000);
    assert_eq!(lab.list(0), "n1 alive, n2 alive, n3 alive, n4 alive");
}

/// Its own machine's stalls are not held against whom only others hear.
#[test]
fn a_leader_that_was_paused_waits_for_its_observers() {
    let mut lab = Lab::formed(5, 1);
    lab.run_to(10_000);
    lab.cuts.extend([(3, 0), (0, 3)]);
    for round in 1..6 {
        lab.run_to(10_100 + round * 6_000);
        lab.pause(0, 3_000);
    }
    lab.run_to(50_000);
    assert_eq!(lab.declarations(), []);
}

#[test]
fn nobody_is_called_silent_whom_this_agent_does_not_watch() {
    // A joiner is greeted, gets its edges elsewhere, and the stream that it dialled stays.
    let mut members = Membership::new(record(0, 1, 1), LAN, at(0), 1);
    let mut effects = Vec::new();
    let member = |host| ViewMember::of(&record(host, 1, 1), crate::ledger::NodeState::Alive);
    let view = View { epoch: ViewEpoch(1), members: (0..40).map(member).collect() };
    members.step(at(0), Event::View(Arc::new(Roll::of(&view))), &mut effects);
    let stranger =
        (1..40).map(id).find(|n| members.silence(at(0), *n).is_none()).expect("not all are watched");
    members.step(at(10), Event::StreamOpened { peer: stranger }, &mut effects);
    assert_eq!(members.silence(at(60_000), stranger), None);
}

#[test]
fn a_stream_that_one_end_gave_up_and_makes_anew_goes_on_counting() {
    let mut members = Membership::new(record(0, 1, 1), LAN, at(0), 1);
    let mut effects = Vec::new();
    for ms in 0..10 {
        members.step(at(ms), Event::StreamOpened { peer: id(1) }, &mut effects);
        members.step(at(ms), Event::StreamEnded { peer: id(1) }, &mut effects);
    }
    let numbers: Vec<u64> = sends(&effects, id(1)).iter().map(|h| h.seq).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
}

#[test]
fn an_outage_makes_nobody_patient() {
    let mut edge = Edge::new(at(0), &LAN);
    let hear = |edge: &mut Edge, ms: u64, seq| {
        edge.heard(at(ms), SessionId(1), seq, &LAN);
        edge.odd_at().since(at(ms)).as_millis()
    };
    hear(&mut edge, 0, 1);
    assert_eq!(hear(&mut edge, 20_000, 2), 650);
    assert_eq!(hear(&mut edge, 20_900, 3), 1_000, "one that came late does");
}

/// Ten seconds with a peer that says something each 400 ms, by one who comes only when it must. How many heartbeats it
/// sent, and how healthy it finds itself.
fn ten_seconds(tells: bool) -> (usize, u8) {
    let mut me = Membership::new(record(0, 1, 100), LAN, at(0), 1);
    let mut effects = Vec::new();
    me.step(at(0), Event::Hello(Hello { record: record(1, 1, 101), members: Vec::new() }), &mut effects);
    me.step(at(0), Event::StreamOpened { peer: id(1) }, &mut effects);
    let (mut now, mut heard) = (at(0), 0);
    while now < at(10_000) {
        let next = me.next_tick().max(now + Duration::from_millis(50)).min(now + Duration::from_millis(250));
        if tells {
            me.step(now, Event::Rest(next), &mut effects);
        }
        let beat = at(heard * 400 + 400);
        now = next.min(beat);
        if now == beat {
            heard += 1;
            me.step(now, Event::Heartbeat(heartbeat(heard)), &mut effects);
        }
        me.step(now, Event::Tick, &mut effects);
    }
    assert!(me.report(now).findings.is_empty());
    let Some(Effect::Send { heartbeat, .. }) = effects.iter().rfind(|e| matches!(e, Effect::Send { .. }))
    else {
        panic!("it sends heartbeats")
    };
    (sends(&effects, id(1)).len(), heartbeat.health)
}

#[test]
fn to_rest_until_something_is_due_costs_no_heartbeat_and_is_no_stall_once_it_is_told() {
    let (sent, health) = ten_seconds(true);
    assert!((24..=28).contains(&sent) && health == 0, "{sent} sent, {health}");
    assert!(ten_seconds(false).1 > 0, "who doesn't tell was to come each tick");
}

#[test]
fn an_edge_is_given_the_time_that_its_stream_takes() {
    let mut edge = Edge::new(at(0), &LAN);
    assert!(!edge.wanted(at(0), &LAN) && !edge.stood());
    assert_eq!(edge.odd_at(), at(3_000), "both ends dialled, and a ceiling went by");
    assert!(!edge.is_long_silent(at(3_950), &LAN) && edge.is_long_silent(at(4_000), &LAN));
    edge.opened(at(500), &LAN);
    assert_eq!(edge.odd_at(), at(1_500), "it stands and says nothing");
    edge.heard(at(600), SessionId(1), 1, &LAN);
    assert!(edge.stood() && edge.is_long_silent(at(2_600), &LAN));
    edge.reborn(at(5_000), &LAN);
    assert_eq!((edge.odd_at(), edge.stood()), (at(6_000), true), "a new life of whom it heard");
    edge.closed(at(5_100));
    edge.wanted(at(9_000), &LAN);
    assert_eq!((edge.odd_at(), edge.stood()), (at(12_000), false), "wanted anew");
}

#[test]
fn whom_another_calls_suspect_is_looked_into_though_no_stream_stands_yet() {
    let looked_into = |told: bool| {
        let (mut me, mut effects) = (Membership::new(record(0, 1, 100), LAN, at(0), 1), Vec::new());
        for host in [1, 2] {
            let hello = Hello { record: record(host, 1, 100 + host as u64), members: Vec::new() };
            me.step(at(0), Event::Hello(hello), &mut effects);
        }
        me.step(at(0), Event::StreamOpened { peer: id(2) }, &mut effects);
        let suspect = MemberRecord { state: MemberState::Suspect, ..record(1, 1, 101) };
        let deltas = told.then_some(suspect).into_iter().collect();
        let word = Heartbeat { from: id(2), session: SessionId(102), deltas, ..heartbeat(1) };
        me.step(at(300), Event::Heartbeat(word), &mut effects);
        effects.clear();
        for ms in (350..700).step_by(50) {
            me.step(at(ms), Event::Tick, &mut effects);
        }
        effects.iter().any(|e| matches!(e, Effect::ProbeBurst { peer, .. } if *peer == id(1)))
    };
    assert!(looked_into(true) && !looked_into(false));
}
