//! What an agent sends and keeps doesn't grow with the cluster.

use super::{lab::record, *};
use crate::{ids::ViewEpoch, ledger::NodeState, timing::LAN};
use core::mem::size_of;

fn id(n: u64) -> NodeId {
    NodeId(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn member(n: u64) -> MemberRecord {
    MemberRecord { node: id(n), name: format!("web-{n:05}.example"), ..record(n as usize, 1, n + 1_000) }
}

fn roll(count: u64) -> Arc<Roll> {
    let member =
        |r: MemberRecord| ViewMember { zone: "zone-a".into(), ..ViewMember::of(&r, NodeState::Alive) };
    let members = (1..=count).map(super::flat_tests::member).map(member).collect();
    Arc::new(Roll::of(&View { epoch: ViewEpoch(1), members }))
}

/// About what the heartbeat takes in protobuf, with gRPC's frame and the names of cluster and sender.
fn size_bytes(h: &Heartbeat) -> usize {
    60 + h.deltas.iter().map(|r| r.size_bytes() + 2).sum::<usize>() + h.vitals.len() * 36
}

/// Bytes a second that one agent of so many sends, while all tell their vitals and `news` members a second refute.
fn spend(count: u64, news: u64) -> u64 {
    let roll = roll(count);
    let mut me = Membership::new(member(1), LAN, Instant::ZERO, 7);
    let mut effects = Vec::new();
    me.step(Instant::ZERO, Event::View(Arc::clone(&roll)), &mut effects);
    let peers: Vec<NodeId> = roll.watchers(id(1)).to_vec();
    peers.iter().for_each(|&peer| me.step(Instant::ZERO, Event::StreamOpened { peer }, &mut effects));
    effects.clear();
    let (mut bytes, seconds) = (0, 60);
    let mut dice = Rng::new(1);
    for tick in 0..seconds * 20 {
        let now = Instant::from_millis(tick * 50 + 50);
        if tick % 8 == 0 {
            me.step(
                now,
                Event::Vitals(Vitals { load: (tick % 1_000) as u16, ..Vitals::default() }),
                &mut effects,
            );
            for (i, &peer) in peers.iter().enumerate() {
                let vitals = VitalsOf {
                    node: id(2 + dice.next() % (count - 1)),
                    incarnation: Incarnation(1),
                    revision: tick,
                    vitals: Vitals::default(),
                };
                let refuted = (i == 0 && tick % 16 == 0).then(|| 2 + dice.next() % (count - 1));
                let refuted = refuted
                    .filter(|_| news > 0)
                    .map(|n| MemberRecord { incarnation: Incarnation(2 + tick), ..member(n) });
                let heartbeat = Heartbeat {
                    from: peer,
                    session: SessionId(1),
                    incarnation: Incarnation(1),
                    seq: tick + 1,
                    health: 0,
                    view: ViewEpoch(1),
                    exchange: if tick % 100 == 0 { Exchange::Ask } else { Exchange::Deltas },
                    deltas: refuted.into_iter().collect(),
                    vitals: vec![vitals; 2],
                };
                me.step(now, Event::Heartbeat(heartbeat), &mut effects);
            }
        }
        me.step(now, Event::Tick, &mut effects);
        for effect in effects.drain(..) {
            if let Effect::Send { heartbeat, .. } = effect {
                bytes += size_bytes(&heartbeat) as u64;
            }
        }
    }
    bytes / seconds
}

#[test]
fn an_agent_sends_less_than_four_kilobytes_a_second_at_any_size() {
    let (hundred, ten_thousand) = (spend(100, 0), spend(10_000, 0));
    assert!(hundred > 1_500, "heartbeats and vitals: {hundred}");
    assert!(hundred <= 4_000 && ten_thousand <= 4_000, "{hundred} and {ten_thousand} bytes a second");
    assert!(ten_thousand * 10 <= hundred * 13, "{hundred} and {ten_thousand} bytes a second");
}

#[test]
fn news_costs_the_same_at_any_size() {
    let (hundred, ten_thousand) = (spend(100, 1), spend(10_000, 1));
    assert!(ten_thousand * 10 <= hundred * 13, "{hundred} and {ten_thousand} bytes a second");
}

/// A table of ten thousand is the shared view and nothing else.
#[test]
fn ten_thousand_tables_share_one_view() {
    let roll = roll(10_000);
    let mut tables: Vec<Membership> = (1..=100)
        .map(|n| {
            let mut members = Membership::new(member(n), LAN, Instant::ZERO, n);
            members.step(Instant::ZERO, Event::View(Arc::clone(&roll)), &mut Vec::new());
            members
        })
        .collect();
    assert_eq!(Arc::strong_count(&roll), 101);
    assert!(size_of::<Membership>() < 2_048, "{}", size_of::<Membership>());
    let one = &mut tables[0];
    assert_eq!(one.members().count(), 10_000);
    assert_eq!(one.table.news().len(), 0, "nothing goes beyond the view, its own record neither");
    let suspect = MemberRecord { state: MemberState::Suspect, ..member(77) };
    one.merge(Instant::ZERO, id(1), &suspect, &mut Vec::new());
    one.merge(Instant::ZERO, id(1), &member(78), &mut Vec::new());
    assert_eq!(one.table.news().len(), 1);
    assert_eq!(one.members().count(), 10_000);
    assert_eq!(one.member(id(77)).map(|m| m.record.state), Some(MemberState::Suspect));
}

#[test]
fn a_quiet_exchange_is_empty_and_one_with_a_newcomer_is_not() {
    let roll = roll(1_000);
    let mut me = Membership::new(member(1), LAN, Instant::ZERO, 7);
    let mut effects = Vec::new();
    me.step(Instant::ZERO, Event::View(Arc::clone(&roll)), &mut effects);
    let mut answer = |view: u64| {
        let (peer, mut effects) = (roll.watchers(id(1))[0], Vec::new());
        let now = Instant::from_millis(view * 10_000 + 10);
        me.step(now, Event::StreamOpened { peer }, &mut effects);
        effects.clear();
        let heartbeat = Heartbeat {
            from: peer,
            session: SessionId(1),
            incarnation: Incarnation(1),
            seq: 10 - view,
            health: 0,
            view: ViewEpoch(view),
            exchange: Exchange::Ask,
            deltas: vec![],
            vitals: vec![],
        };
        // A fresh life each time, so that each is heard.
        me.step(now, Event::Heartbeat(Heartbeat { session: SessionId(view + 5), ..heartbeat }), &mut effects);
        (1..12).for_each(|i| me.step(now + Duration::from_millis(50 * i), Event::Tick, &mut effects));
        let to_it = |e: &Effect| match e {
            Effect::Send { to, heartbeat } if *to == peer => Some(heartbeat.deltas.len()),
            _ => None,
        };
        effects.iter().filter_map(to_it).max().unwrap_or(0)
    };
    assert_eq!(answer(0), FULL_MAX.min(1_000), "it has no view: it gets everything");
    assert_eq!(answer(1), 0, "it has the same view");
    assert_eq!(answer(2), EXCHANGE_MAX, "another view: a part, at random");
}

#[test]
fn a_sick_node_says_so_to_everyone() {
    let mut lab = super::lab::Lab::formed(30, 1);
    lab.run_to(5_000);
    lab.member(4, Event::Sick(Some("its disk is full".repeat(20))));
    lab.run_to(8_000);
    let seen = |lab: &super::lab::Lab, host: usize| {
        lab.hosts[host].members.member(super::lab::id(4)).and_then(|m| m.record.sick.clone())
    };
    assert!((0..30).all(|h| seen(&lab, h).is_some_and(|why| why.len() == SICK_BYTES)));
    lab.member(4, Event::Sick(None));
    lab.run_to(11_000);
    assert!((0..30).all(|h| seen(&lab, h).is_none()));
}

#[test]
fn vitals_reach_others_as_far_as_there_is_room() {
    let mut lab = super::lab::Lab::formed(20, 1);
    for host in 0..20 {
        lab.member(host, Event::Vitals(Vitals { load: host as u16, ..Vitals::default() }));
    }
    lab.run_to(20_000);
    let known = (1..20).filter(|h| {
        let load = lab.hosts[0].members.vitals(super::lab::id(*h)).map(|v| v.load);
        load == Some(*h as u16)
    });
    assert!(known.count() >= 15);
}

#[test]
fn vitals_of_an_earlier_life_are_nobodys() {
    let mut lab = super::lab::Lab::formed(3, 5);
    lab.member(2, Event::Vitals(Vitals { load: 7, ..Vitals::default() }));
    lab.run_to(12_000);
    let known =
        |lab: &super::lab::Lab| lab.hosts[0].members.all_vitals().any(|(node, _)| node == super::lab::id(2));
    assert!(known(&lab));
    lab.view.members.iter_mut().filter(|m| m.node == super::lab::id(2)).for_each(|m| m.incarnation.0 += 5);
    lab.publish();
    lab.run_to(12_010);
    assert!(!known(&lab), "it was told before it died, or began anew");
}
