//! A leader's cut on a bench: observers that say what they are told to and repeat it with each heartbeat, and scripts
//! that a person can read.

mod agents;
mod half_dead;
mod outages;
mod quorum;
mod twin;
mod unsure;

use super::*;
use crate::{
    ids::{SessionId, ViewEpoch},
    ledger::{NodeState, Role},
    membership::{DialOutcome, Finding as Found, Trouble, ViewMember, overlay::Overlay, tick_every},
    timing::LAN,
};
use std::collections::BTreeSet;

pub const TICK_MS: u64 = 50;
/// How long a finding's subject had been silent when it was first reported.
const SILENCE_MS: u64 = 1_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn name(node: NodeId) -> String {
    format!("n{}", node.0)
}

fn node(text: &str) -> NodeId {
    NodeId(text.trim_start_matches('n').parse().expect("a node is n and a number"))
}

/// `n2 n3` or `n2-n9`.
fn nodes(text: &str) -> Vec<NodeId> {
    let range = |word: &str| match word.split_once('-') {
        Some((first, last)) => (node(first).0..=node(last).0).map(NodeId).collect(),
        None => vec![node(word)],
    };
    text.split_whitespace().flat_map(range).collect()
}

/// What one observer goes on saying.
#[derive(Default)]
struct Speaker {
    found: BTreeMap<NodeId, (Trouble, u64)>,
    asking: BTreeSet<NodeId>,
    mute: bool,
    said_at: u64,
}

pub struct Bench {
    pub cut: Cut,
    pub now: u64,
    members: BTreeMap<NodeId, ViewMember>,
    epoch: u64,
    speakers: BTreeMap<NodeId, Speaker>,
    /// What came out, a line each.
    pub said: Vec<String>,
    pub deaths: Vec<Vec<Verdict>>,
    /// Whether who is asked answers at once, by what it finds.
    pub answering: bool,
}

impl Bench {
    /// n1 of so many members judges; it doesn't lead yet. The first three vote; of two, only n1.
    pub fn of(count: u64) -> Self {
        let mut bench = Self {
            cut: Cut::new(NodeId(1), LAN, Instant::ZERO),
            now: 0,
            members: (1..=count).map(|n| (NodeId(n), member(NodeId(n)))).collect(),
            epoch: 1,
            speakers: (1..=count).map(|n| (NodeId(n), Speaker::default())).collect(),
            said: Vec::new(),
            deaths: Vec::new(),
            answering: false,
        };
        bench.view();
        let voters = if count > 2 { "n1 n2 n3" } else { "n1" };
        bench.act(&format!("voters {voters}"));
        bench
    }

    pub fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.cut.step(Instant::from_millis(self.now), event, &mut effects);
        for effect in effects {
            self.said.push(format!("{} => {}", self.now, line(&effect)));
            match effect {
                Effect::Declare(verdicts) => self.deaths.push(verdicts),
                Effect::Poll { subject, observers } if self.answering => self.answer(subject, &observers),
                _ => {}
            }
        }
    }

    fn answer(&mut self, subject: NodeId, observers: &[NodeId]) {
        for &observer in observers {
            let speaker = &self.speakers[&observer];
            let hears = !speaker.found.contains_key(&subject);
            if !speaker.mute {
                self.step(Event::PollAnswer { observer, subject, hears });
            }
        }
    }

    pub fn watchers(&self, subject: u64) -> Vec<NodeId> {
        let living = self.members.values().filter(|m| m.state == NodeState::Alive);
        Overlay::of(&living.map(|m| m.node).collect()).watchers(NodeId(subject)).to_vec()
    }

    fn view(&mut self) {
        let members = self.members.values().cloned().collect();
        self.step(Event::View(View { epoch: ViewEpoch(self.epoch), members }));
    }

    /// From now on the observer finds this of the subject; None: nothing any more.
    pub fn find(&mut self, observer: NodeId, subject: NodeId, trouble: Option<Trouble>) {
        let now = self.now;
        let speaker = self.speakers.get_mut(&observer).expect("members speak");
        speaker.asking.remove(&subject);
        match trouble {
            Some(trouble) => _ = speaker.found.insert(subject, (trouble, now)),
            None => _ = speaker.found.remove(&subject),
        }
        self.report(observer);
    }

    /// From now on the observer asks others about the subject, until it finds something or nothing.
    fn ask(&mut self, observer: NodeId, subject: NodeId) {
        self.speakers.get_mut(&observer).expect("members speak").asking.insert(subject);
        self.report(observer);
    }

    fn report(&mut self, observer: NodeId) {
        let now = self.now;
        let speaker = self.speakers.get_mut(&observer).expect("members speak");
        speaker.said_at = now;
        if speaker.mute {
            return;
        }
        let findings = speaker.found.iter().map(|(&subject, &(trouble, since))| Found {
            node: subject,
            incarnation: self.members[&subject].incarnation,
            trouble,
            silence: ms(SILENCE_MS + now - since),
            suspected: ms(350 + now - since),
            ended: None,
            helpers_asked: 3,
            helpers_answered: 2,
            dial: Some(DialOutcome::NoRoute),
        });
        let findings = findings.collect();
        let (view, asking) = (ViewEpoch(self.epoch), speaker.asking.iter().copied().collect());
        self.step(Event::Report(Report { observer, view, health: 0, findings, asking }));
    }

    /// Goes on until this millisecond, with a tick every 50 ms and the observers' repetitions.
    pub fn until(&mut self, end: u64) {
        assert_eq!(ms(TICK_MS), tick_every(&LAN));
        while self.now < end {
            self.now = (self.now / TICK_MS + 1) * TICK_MS;
            if self.now > end {
                self.now = end;
                return;
            }
            let heartbeat = u64::try_from(LAN.heartbeat.as_millis()).expect("short");
            let speaks = |s: &Speaker| !s.found.is_empty() || !s.asking.is_empty();
            let due = |(_, s): &(&NodeId, &Speaker)| speaks(s) && self.now - s.said_at >= heartbeat;
            for observer in self.speakers.iter().filter(due).map(|(&o, _)| o).collect::<Vec<_>>() {
                self.report(observer);
            }
            self.step(Event::Tick);
        }
    }

    /// One line of a script, without its time.
    fn act(&mut self, text: &str) {
        if let Some((who, rest)) = text.split_once(':') {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let (subjects, what) = words.split_at(words.len() - 1);
            let subjects = nodes(&subjects.join(" "));
            for observer in nodes(who) {
                for &subject in &subjects {
                    self.say(observer, subject, what[0]);
                }
            }
            return;
        }
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "lead" => self.step(Event::Leading(true)),
            "answering" => self.answering = true,
            // One group, or the two of a joint configuration.
            "voters" => {
                let groups = rest.split('|').map(|group| nodes(group).into_iter().collect());
                self.step(Event::Voters(groups.collect()));
            }
            "follow" => self.step(Event::Leading(false)),
            "mute" => {
                nodes(rest).iter().for_each(|n| self.speakers.get_mut(n).expect("a member").mute = true)
            }
            "sleep" => self.now += rest.parse::<u64>().expect("milliseconds"),
            "dead" | "back" => self.change(&nodes(rest), verb == "back"),
            "ledger" => self.ledger(rest),
            "until" => {}
            other => panic!("no such verb: {other}"),
        }
    }

    fn say(&mut self, observer: NodeId, subject: NodeId, what: &str) {
        let trouble = match what {
            "host-gone" => Trouble::HostGone,
            "agent-gone" => Trouble::AgentGone,
            "agent-stalled" => Trouble::AgentStalled,
            "link-bad" => Trouble::LinkBad,
            "asking" => return self.ask(observer, subject),
            "well" => return self.find(observer, subject, None),
            "heard" | "unheard" => {
                return self.step(Event::PollAnswer { observer, subject, hears: what == "heard" });
            }
            other => panic!("no such finding: {other}"),
        };
        self.find(observer, subject, Some(trouble));
    }

    /// A new view, in which these are dead, or alive in a new life.
    fn change(&mut self, nodes: &[NodeId], back: bool) {
        self.epoch += 1;
        for node in nodes {
            let member = self.members.get_mut(node).expect("a member");
            member.state = if back { NodeState::Alive } else { NodeState::Dead };
            member.incarnation = Incarnation(member.incarnation.0 + u64::from(back));
        }
        self.view();
    }

    /// `60000 n3=gone n4=stalled`: agent_timeout, and whose agents aren't up.
    fn ledger(&mut self, text: &str) {
        let mut words = text.split_whitespace();
        let timeout = ms(words.next().and_then(|w| w.parse().ok()).expect("milliseconds first"));
        let state = |word: &str| {
            let (who, what) = word.split_once('=').expect("n3=gone");
            (node(who), if what == "gone" { AgentState::Gone } else { AgentState::Stalled })
        };
        self.step(Event::Agents { timeout, down: words.map(state).collect() });
    }
}

fn member(node: NodeId) -> ViewMember {
    ViewMember {
        node,
        name: name(node),
        address: String::new(),
        zone: String::new(),
        role: Role::Member,
        version: String::new(),
        state: NodeState::Alive,
        incarnation: Incarnation(1),
        session: SessionId(node.0),
    }
}

fn line(effect: &Effect) -> String {
    let names = |nodes: &[NodeId]| nodes.iter().map(|n| name(*n)).collect::<Vec<_>>().join(" ");
    match effect {
        Effect::Suspected { node, observers } => format!("suspected {} by {}", name(*node), names(observers)),
        Effect::Declare(verdicts) => {
            let nodes: Vec<NodeId> = verdicts.iter().map(|v| v.node).collect();
            format!("dead {}", names(&nodes))
        }
        Effect::Poll { subject, observers } => format!("ask {} about {}", names(observers), name(*subject)),
        Effect::AgentState { node, state, observers, .. } => {
            let by = format!("agent of {} {state:?} by {}", name(*node), names(observers));
            by.trim_end_matches(" by ").to_lowercase()
        }
    }
}

/// Plays lines of `MILLISECOND what`, and writes behind each what came out before the next.
pub fn play(bench: &mut Bench, script: &str) -> String {
    let mut text = Vec::new();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty() && !l.contains("=>")) {
        let (at, what) = line.split_once(' ').expect("MILLISECOND what");
        bench.until(at.parse().expect("milliseconds"));
        text.append(&mut bench.said);
        text.push(line.to_owned());
        bench.act(what);
    }
    text.append(&mut bench.said);
    text.join("\n")
}

/// The script with its answers must be what is played.
pub fn check(count: u64, script: &str) -> Bench {
    let mut bench = Bench::of(count);
    let expected: Vec<&str> = script.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert_eq!(play(&mut bench, script), expected.join("\n"));
    bench
}

/// Who is declared dead, all decisions together.
pub fn dead(bench: &Bench) -> BTreeSet<u64> {
    bench.deaths.iter().flatten().map(|v| v.node.0).collect()
}

#[test]
fn a_rest_that_was_told_is_no_stall_until_it_is_over() {
    let mut bench = Bench::of(5);
    bench.step(Event::Tick);
    assert!(!bench.cut.is_busy());
    bench.step(Event::Rest(Instant::from_millis(60_000)));
    bench.now = 60_000;
    bench.find(node("n2"), node("n3"), Some(Trouble::HostGone));
    assert!(bench.cut.is_busy());
    assert_eq!(bench.cut.slept, Duration::ZERO);
    // Whoever comes sooner than it said is to come again a tick later, unless it says more.
    bench.step(Event::Rest(Instant::from_millis(62_000)));
    bench.now = 61_000;
    bench.step(Event::Tick);
    bench.now = 62_000;
    bench.step(Event::Tick);
    assert_eq!(bench.cut.slept, ms(950), "a tick was due");
    bench.step(Event::Rest(Instant::from_millis(62_250)));
    bench.now = 63_250;
    bench.step(Event::Tick);
    assert_eq!(bench.cut.slept, ms(1_950), "it was to come a second ago");
}
