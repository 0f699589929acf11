//! Scripts about founding: who pledges to what, when, and who is free again. The last one plays it over a bad network.

use super::*;
use crate::ledger::Role;
use proptest::prelude::*;

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn host(id: u64) -> Candidate {
    Candidate { address: format!("h{id}:7400"), zone: String::new(), role: Role::Member }
}

fn witness(id: u64) -> Candidate {
    Candidate { role: Role::Witness, ..host(id) }
}

fn agent(id: u64, expect: usize) -> Founding {
    Founding::new(NodeId(id), host(id), Some(expect), None)
}

fn set_of(set: u64, founder: u64, members: &[u64]) -> Pledge {
    let members = members.iter().map(|id| (NodeId(*id), host(*id))).collect();
    Pledge { set: SetId(set), founder: NodeId(founder), members }
}

fn step(f: &mut Founding, ms: u64, event: Event) -> Vec<Effect> {
    let mut effects = vec![];
    f.step(at(ms), event, &mut effects);
    effects
}

fn meet(f: &mut Founding, ids: &[u64], ms: u64) {
    for id in ids {
        step(f, ms, Event::Waiting { node: NodeId(*id), candidate: host(*id) });
    }
}

/// A tick; a set made in it gets the millisecond as its id.
fn tick(f: &mut Founding, ms: u64) -> Vec<Effect> {
    step(f, ms, Event::Tick { dice: SetId(ms) })
}

fn ask(f: &mut Founding, pledge: &Pledge) -> bool {
    let effects = step(f, 0, Event::Asked(pledge.clone()));
    matches!(effects.last(), Some(Effect::Answer { granted: true, .. }))
}

fn asked_for(effects: &[Effect]) -> Pledge {
    let asked =
        effects.iter().find_map(|e| if let Effect::Ask { pledge, .. } = e { Some(pledge) } else { None });
    asked.expect("it asks").clone()
}

fn answer(f: &mut Founding, ms: u64, from: u64, set: SetId, granted: bool) {
    step(f, ms, Event::Answered { from: NodeId(from), set, granted });
}

fn founds(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Found(_)))
}

fn released(effects: &[Effect], set: SetId) -> usize {
    effects.iter().filter(|e| matches!(e, Effect::Release { set: s, .. } if *s == set)).count()
}

fn enquires(effects: &[Effect]) -> Option<(NodeId, SetId)> {
    effects.iter().find_map(|e| match e {
        Effect::Enquire { founder, set, .. } => Some((*founder, *set)),
        _ => None,
    })
}

#[test]
fn an_agent_looks_for_those_whom_its_set_lacks_and_for_whoever_comes_before_all() {
    let seeks = |f: &Founding, ids: &[u64]| ids.iter().map(|id| f.seeks(NodeId(*id))).collect::<Vec<_>>();
    let companions = |f: &Founding| f.companions().map(|(node, _)| node.0).collect::<Vec<_>>();
    let mut five = agent(5, 3);
    assert_eq!(seeks(&five, &[1, 5, 9]), [true, false, true], "nobody was met: anyone but itself");
    meet(&mut five, &[9, 8], 0);
    assert_eq!(seeks(&five, &[1, 8, 7]), [true, false, false], "enough were; the first founds");
    meet(&mut five, &[7, 2], 0);
    assert_eq!(seeks(&five, &[1, 3]), [true, false]);
    assert_eq!(companions(&five), [2, 7, 8], "as many as found");
    five.unwilling.insert(NodeId(2));
    assert_eq!(companions(&five), [7, 8, 9, 2], "and whom it stands back for");
}

#[test]
fn one_who_refused_is_made_good_by_another() {
    let mut low = agent(1, 3);
    meet(&mut low, &[10, 20], 0);
    let pledge = asked_for(&tick(&mut low, 1));
    answer(&mut low, 2, 10, pledge.set, false);
    assert_eq!(released(&tick(&mut low, 3), pledge.set), 2);
    meet(&mut low, &[10, 20], 4);
    assert!(low.seeks(NodeId(30)), "10 is known, and no use");
    meet(&mut low, &[30], 5);
    assert_eq!(asked_for(&tick(&mut low, 6)).members.keys().map(|n| n.0).collect::<Vec<_>>(), [1, 20, 30]);
}

/// Founders may know each other, and a joiner its cluster, by nobody else.
#[test]
fn one_that_only_joins_passes_founders_on_and_keeps_meeting_some() {
    let mut joiner = Founding::new(NodeId(5), host(5), None, None);
    assert!(joiner.seeks(NodeId(9)) && joiner.companions().count() == 0);
    meet(&mut joiner, &(10..10 + PASSED_ON as u64).collect::<Vec<_>>(), 0);
    assert!(!joiner.seeks(NodeId(9)), "enough");
    assert_eq!(joiner.companions().count(), JOINED_BY);
    assert_eq!(tick(&mut joiner, 1), []);
}

#[test]
fn the_first_of_many_is_never_without_room() {
    let mut last = agent(1_000, 3);
    meet(&mut last, &(100..300).collect::<Vec<_>>(), 0);
    assert_eq!(last.waiting().count(), WAITING_MAX);
    meet(&mut last, &[7], 0);
    assert_eq!(last.waiting().next().map(|(node, _)| node), Some(NodeId(7)));
    assert_eq!(last.waiting().count(), WAITING_MAX);
}

#[test]
fn one_alone_founds_at_once() {
    let effects = tick(&mut agent(1, 1), 0);
    assert!(matches!(&effects[..], [Effect::Persist(Some(_)), Effect::Found(p)] if p.members.len() == 1));
}

#[test]
fn the_lowest_of_enough_founds_once_all_pledged() {
    let (mut a, mut b) = (agent(1, 3), agent(2, 3));
    meet(&mut a, &[2], 0);
    assert!(tick(&mut a, 0).is_empty(), "two of three aren't enough");
    meet(&mut a, &[3], 10);
    meet(&mut b, &[1, 3], 10);
    assert!(tick(&mut b, 10).is_empty(), "it isn't the lowest");
    let pledge = asked_for(&tick(&mut a, 20));
    assert!(ask(&mut b, &pledge));
    answer(&mut a, 30, 2, pledge.set, true);
    assert!(!founds(&tick(&mut a, 40)), "the third hasn't pledged");
    answer(&mut a, 50, 3, pledge.set, true);
    assert_eq!(tick(&mut a, 60), vec![Effect::Found(pledge)]);
}

#[test]
fn nobody_pledges_twice_until_its_founder_gave_that_set_up() {
    let mut b = agent(3, 2);
    let (first, other) = (set_of(7, 1, &[1, 3]), set_of(8, 2, &[2, 3]));
    assert!(ask(&mut b, &first) && ask(&mut b, &first), "the same set again is granted again");
    assert!(!ask(&mut b, &other));
    assert!(!ask(&mut b, &set_of(9, 1, &[1, 3])), "a late question of the same founder for another set");
    for (founder, set) in [(2, 7), (1, 8)] {
        step(&mut b, 1, Event::Abandoned { founder: NodeId(founder), set: SetId(set) });
        assert!(!ask(&mut b, &other), "that wasn't its founder, or not its set");
    }
    let effects = step(&mut b, 2, Event::Abandoned { founder: NodeId(1), set: SetId(7) });
    assert_eq!(effects, [Effect::Persist(None)]);
    assert!(ask(&mut b, &other));
}

#[test]
fn every_grant_is_written_as_an_earlier_write_may_have_failed() {
    let mut b = agent(3, 2);
    for _ in 0..2 {
        let effects = step(&mut b, 0, Event::Asked(set_of(7, 1, &[1, 3])));
        assert!(matches!(effects[..], [Effect::Persist(Some(_)), Effect::Answer { granted: true, .. }]));
    }
}

#[test]
fn a_refused_founder_frees_its_members_and_its_pledge_survives_a_restart() {
    let mut a = agent(1, 3);
    meet(&mut a, &[2, 3], 0);
    let pledge = asked_for(&tick(&mut a, 0));
    let mut a = Founding::new(NodeId(1), host(1), Some(3), Some(pledge.clone()));
    assert_eq!(asked_for(&tick(&mut a, 1_000)), pledge);
    answer(&mut a, 1_001, 3, pledge.set, false);
    let effects = tick(&mut a, 1_002);
    assert_eq!(effects[0], Effect::Persist(None));
    assert_eq!(released(&effects, pledge.set), 2);
}

#[test]
fn a_member_asks_its_founder_now_and_then_and_only_the_answer_frees_it() {
    let mut b = agent(3, 2);
    assert!(ask(&mut b, &set_of(7, 1, &[1, 3])));
    assert_eq!(enquires(&tick(&mut b, 0)), Some((NodeId(1), SetId(7))));
    assert_eq!(enquires(&tick(&mut b, 1_900)), None, "not with each tick");
    assert_eq!(enquires(&tick(&mut b, 2_000)), Some((NodeId(1), SetId(7))));
    assert!(tick(&mut b, 3_600_000).iter().all(|e| !matches!(e, Effect::Persist(_))), "silence frees nobody");
    // The Release was lost; the founder's answer to the question does the same.
    step(&mut b, 3_600_001, Event::Abandoned { founder: NodeId(1), set: SetId(7) });
    assert_eq!(b.pledged_to(), None);
}

#[test]
fn a_founder_holds_its_own_newest_set_only() {
    let mut a = agent(1, 2);
    meet(&mut a, &[2], 5);
    tick(&mut a, 5);
    assert!(a.holds(SetId(5)) && !a.holds(SetId(4)));
    answer(&mut a, 6, 2, SetId(5), false);
    tick(&mut a, 7);
    assert!(!a.holds(SetId(5)));
    let mut b = agent(3, 2);
    ask(&mut b, &set_of(7, 1, &[1, 3]));
    assert!(!b.holds(SetId(7)), "a member isn't the founder");
}

#[test]
fn a_silent_member_is_left_out_of_the_next_set_and_old_grants_count_for_nothing() {
    let mut a = agent(1, 3);
    meet(&mut a, &[2, 3], 0);
    let first = asked_for(&tick(&mut a, 0));
    answer(&mut a, 10, 2, first.set, true);
    assert!(!tick(&mut a, 9_999).contains(&Effect::Persist(None)));
    let effects = tick(&mut a, 10_000);
    assert_eq!(effects[0], Effect::Persist(None), "ten seconds are enough");
    assert_eq!(released(&effects, first.set), 2);
    // 3 is still heard, yet 4 is taken before it.
    meet(&mut a, &[2, 3, 4], 10_100);
    let second = asked_for(&tick(&mut a, 10_100));
    assert_ne!(second.set, first.set);
    assert_eq!(second.members.keys().map(|n| n.0).collect::<Vec<_>>(), [1, 2, 4]);
    answer(&mut a, 10_200, 4, second.set, true);
    answer(&mut a, 10_200, 2, first.set, true);
    assert!(!founds(&tick(&mut a, 10_300)), "2 pledged to the set given up");
    answer(&mut a, 10_301, 2, first.set, false);
    assert!(!tick(&mut a, 10_302).contains(&Effect::Persist(None)), "nor does an old refusal");
    answer(&mut a, 10_400, 2, second.set, true);
    assert!(founds(&tick(&mut a, 10_500)));
}

#[test]
fn without_expect_it_never_founds() {
    let mut f = Founding::new(NodeId(1), host(1), None, None);
    meet(&mut f, &[2, 3, 4], 0);
    assert!(tick(&mut f, 1).is_empty());
}

/// One agent of the play below, and what its disk holds.
struct Player {
    machine: Founding,
    disk: Option<Pledge>,
    founded: bool,
}

/// A message under way. The network may lose it, or deliver it late and twice.
#[derive(Clone, Debug)]
enum Letter {
    Ask(Pledge),
    Answer { from: NodeId, set: SetId, granted: bool },
    Enquire { from: NodeId, set: SetId },
    Gone { founder: NodeId, set: SetId },
}

const PLAYERS: u64 = 5;
const EXPECT: usize = 3;

struct Play {
    players: Vec<Player>,
    post: Vec<(usize, Letter)>,
    foundings: BTreeSet<SetId>,
    drawn: u64,
    now: u64,
}

impl Play {
    fn new() -> Self {
        let player = |id| Player { machine: agent(id, EXPECT), disk: None, founded: false };
        let players = (0..PLAYERS).map(player).collect();
        Self { players, post: vec![], foundings: BTreeSet::new(), drawn: 0, now: 0 }
    }

    fn step(&mut self, who: usize, event: Event) {
        let asked = if let Event::Asked(pledge) = &event { Some(pledge.clone()) } else { None };
        let me = NodeId(who as u64);
        let mut effects = vec![];
        self.players[who].machine.step(at(self.now), event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Persist(pledge) => self.players[who].disk = pledge,
                Effect::Answer { granted, .. } => {
                    let asked = asked.clone().expect("only a question is answered");
                    let letter = Letter::Answer { from: me, set: asked.set, granted };
                    self.post.push((asked.founder.0 as usize, letter));
                }
                Effect::Ask { to, pledge, .. } => self.post.push((to.0 as usize, Letter::Ask(pledge))),
                Effect::Enquire { founder, set, .. } => {
                    self.post.push((founder.0 as usize, Letter::Enquire { from: me, set }));
                }
                Effect::Release { to, set, .. } => {
                    self.post.push((to.0 as usize, Letter::Gone { founder: me, set }));
                }
                Effect::Found(pledge) => {
                    self.players[who].founded = true;
                    self.foundings.insert(pledge.set);
                }
            }
        }
    }

    fn deliver(&mut self, to: usize, letter: Letter) {
        if self.players[to].founded {
            return;
        }
        match letter {
            Letter::Ask(pledge) => self.step(to, Event::Asked(pledge)),
            Letter::Answer { from, set, granted } => self.step(to, Event::Answered { from, set, granted }),
            Letter::Gone { founder, set } => self.step(to, Event::Abandoned { founder, set }),
            Letter::Enquire { from, set } if !self.players[to].machine.holds(set) => {
                self.post.push((from.0 as usize, Letter::Gone { founder: NodeId(to as u64), set }));
            }
            Letter::Enquire { .. } => {}
        }
    }

    /// One thing happens; `dice` says what.
    fn act(&mut self, dice: u64) {
        let who = (dice >> 8) as usize % PLAYERS as usize;
        let other = (dice >> 16) % PLAYERS;
        match dice % 16 {
            0..=5 if !self.post.is_empty() => {
                let at = (dice >> 24) as usize % self.post.len();
                let (to, letter) = self.post[at].clone();
                // Half of them are delivered again later.
                if dice & 128 == 0 {
                    self.post.swap_remove(at);
                }
                self.deliver(to, letter);
            }
            6 if !self.post.is_empty() => {
                let at = (dice >> 24) as usize % self.post.len();
                self.post.swap_remove(at);
            }
            7 if !self.players[who].founded => {
                let disk = self.players[who].disk.clone();
                self.players[who].machine =
                    Founding::new(NodeId(who as u64), host(who as u64), Some(EXPECT), disk);
            }
            8 => self.now += (dice >> 32) % 12_000,
            9..=12 => {
                let event = Event::Waiting { node: NodeId(other), candidate: host(other) };
                self.step(who, event);
            }
            _ if !self.players[who].founded => {
                self.drawn += 1;
                let dice = SetId(self.drawn);
                self.step(who, Event::Tick { dice });
            }
            _ => {}
        }
        self.now += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Whatever the network does, and whoever restarts: one founding at most.
    #[test]
    fn at_most_one_set_is_ever_founded(dice in prop::collection::vec(any::<u64>(), 2_000)) {
        let mut play = Play::new();
        for dice in dice {
            play.act(dice);
        }
        prop_assert!(play.foundings.len() <= 1, "founded: {:?}", play.foundings);
    }
}

#[test]
fn over_a_good_network_the_play_founds() {
    let mut play = Play::new();
    for ms in 0..200 {
        play.now = ms * 100;
        for who in 0..PLAYERS as usize {
            for other in 0..PLAYERS {
                play.step(who, Event::Waiting { node: NodeId(other), candidate: host(other) });
            }
            if !play.players[who].founded {
                play.step(who, Event::Tick { dice: SetId(ms * PLAYERS + who as u64 + 1) });
            }
        }
        for (to, letter) in std::mem::take(&mut play.post) {
            play.deliver(to, letter);
        }
    }
    assert_eq!(play.foundings.len(), 1);
}

#[test]
fn a_witness_founds_before_a_lower_id() {
    let (mut low, mut w) = (agent(1, 2), Founding::new(NodeId(9), witness(9), Some(2), None));
    step(&mut low, 0, Event::Waiting { node: NodeId(9), candidate: witness(9) });
    meet(&mut w, &[1], 0);
    assert!(tick(&mut low, 1).is_empty());
    assert_eq!(asked_for(&tick(&mut w, 1)).founder, NodeId(9));
}
