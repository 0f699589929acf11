//! A few hosts on a virtual network, for the scripts in `tests`: real machines, ordered streams, datagrams, one clock.
//! Each host has a keeper that answers datagrams for its agent, unless it is told to have none.
//!
//! Hosts are called n1, n2, …; n1 is the seed. What the leader declares is committed a moment later, if it is told to.
//! Not here: Raft, processes, and anything that a seed wouldn't fix.

mod outages;
mod seen;
mod wire;

use super::*;
use crate::{
    cut::{self, Cut, Verdict},
    ledger::{NodeState, Role},
    timing::LAN,
};
use std::collections::BTreeSet;

pub const TICK_MS: u64 = 50;

pub struct Host {
    pub members: Membership,
    pub cut: Cut,
    /// The agent's process is there.
    pub up: bool,
    /// The host has power.
    pub powered: bool,
    pub keeper: bool,
    /// The whole host is frozen.
    paused_until: Instant,
    /// Only the agent's process is stopped, since then.
    stopped_at: Option<Instant>,
    stopped_until: Instant,
    wanted: BTreeSet<NodeId>,
    /// Effects for people and disks, with the millisecond.
    pub log: Vec<(u64, Effect)>,
}

#[derive(Clone)]
enum Delivery {
    Tick,
    Member(Event),
    View(View),
    Cut(cut::Event),
    /// To the host's keeper, from this host.
    Datagram {
        from: usize,
        nonce: u64,
    },
}

pub struct Lab {
    pub now: Instant,
    pub hosts: Vec<Host>,
    queue: BTreeMap<(Instant, u64), (usize, Delivery)>,
    /// Ends of streams that stand.
    streams: BTreeSet<(usize, usize)>,
    /// Ordered pairs that nothing passes.
    pub cuts: BTreeSet<(usize, usize)>,
    last_arrival: BTreeMap<(usize, usize), Instant>,
    pub loss_percent: usize,
    pub spike_percent: usize,
    /// Of two hosts only the lower one dials.
    pub lower_dials: bool,
    rng: Rng,
    count: u64,
    pub view: View,
    pub commits: bool,
    /// Heartbeats sent, records in them, bursts, requests for help.
    pub sent: usize,
    pub records: usize,
    pub bursts: usize,
    pub helped: usize,
    /// Millisecond, declarer, verdicts.
    pub declared: Vec<(u64, usize, Vec<Verdict>)>,
}

pub fn id(host: usize) -> NodeId {
    NodeId(host as u64 + 1)
}

fn index(node: NodeId) -> usize {
    usize::try_from(node.0).expect("small") - 1
}

pub fn record(host: usize, incarnation: u64, session: u64) -> MemberRecord {
    MemberRecord {
        node: id(host),
        incarnation: Incarnation(incarnation),
        state: MemberState::Alive,
        session: SessionId(session),
        revision: 0,
        sick: None,
        name: format!("n{}", host + 1),
        address: format!("10.0.0.{}:7400", host + 1),
        http: Some(format!("10.0.0.{}:7480", host + 1)),
        zone: String::new(),
        role: Role::Member,
        version: "0.1.0".to_owned(),
    }
}

impl Lab {
    /// All hosts start at 0 and know the seed's address only. n1 leads.
    pub fn new(hosts: usize, seed: u64) -> Self {
        let mut lab = Self {
            now: Instant::ZERO,
            hosts: Vec::new(),
            queue: BTreeMap::new(),
            streams: BTreeSet::new(),
            cuts: BTreeSet::new(),
            last_arrival: BTreeMap::new(),
            loss_percent: 0,
            spike_percent: 0,
            lower_dials: false,
            rng: Rng::new(seed),
            count: 0,
            view: View::default(),
            commits: true,
            sent: 0,
            records: 0,
            bursts: 0,
            helped: 0,
            declared: Vec::new(),
        };
        for host in 0..hosts {
            let new = lab.host(record(host, 1, host as u64 + 100));
            lab.hosts.push(new);
            lab.begin(host);
        }
        lab.lead(0, true);
        lab
    }

    /// A cluster that is already formed and committed.
    pub fn formed(hosts: usize, seed: u64) -> Self {
        let mut lab = Self::new(hosts, seed);
        lab.run_to(1_000);
        lab.commit();
        lab.run_to(3_000);
        lab
    }

    fn host(&mut self, me: MemberRecord) -> Host {
        let node = me.node;
        Host {
            members: Membership::new(me, LAN, self.now, self.rng.next()),
            cut: Cut::new(node, LAN, self.now),
            up: true,
            powered: true,
            keeper: true,
            paused_until: Instant::ZERO,
            stopped_at: None,
            stopped_until: Instant::ZERO,
            wanted: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    fn begin(&mut self, host: usize) {
        self.put(self.now, host, Delivery::Member(Event::Seeds(vec![record(0, 0, 0).address])));
        self.put(self.now + Duration::from_millis(host as u64), host, Delivery::Tick);
    }

    fn put(&mut self, at: Instant, host: usize, delivery: Delivery) {
        self.count += 1;
        self.queue.insert((at, self.count), (host, delivery));
    }

    pub fn lead(&mut self, host: usize, leads: bool) {
        let now = self.now;
        let voters = vec![(0..self.hosts.len().min(3)).map(id).collect()];
        self.hosts[host].cut.step(now, cut::Event::Voters(voters), &mut Vec::new());
        self.hosts[host].cut.step(now, cut::Event::Leading(leads), &mut Vec::new());
    }

    pub fn run_to(&mut self, ms: u64) {
        let end = Instant::from_millis(ms);
        while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= end) {
            let (at, _) = *entry.key();
            let (host, delivery) = entry.remove();
            self.now = at;
            self.deliver(host, delivery);
        }
        self.now = end;
    }

    fn deliver(&mut self, host: usize, delivery: Delivery) {
        let now = self.now;
        if let Delivery::Datagram { from, nonce } = delivery {
            return self.keep(host, from, nonce);
        }
        if !self.hosts[host].up || !self.hosts[host].powered {
            return;
        }
        let wake = self.hosts[host].paused_until.max(self.hosts[host].stopped_until);
        if wake > now {
            return self.put(wake, host, delivery);
        }
        match delivery {
            Delivery::Tick => {
                self.member(host, Event::Tick);
                self.judge(host, cut::Event::Tick);
                self.dial(host);
                self.put(now + Duration::from_millis(TICK_MS), host, Delivery::Tick);
            }
            Delivery::Member(event) => self.member(host, event),
            Delivery::View(view) => {
                self.judge(host, cut::Event::View(view.clone()));
                self.member(host, Event::View(Arc::new(Roll::of(&view))));
            }
            Delivery::Cut(event) => self.judge(host, event),
            Delivery::Datagram { .. } => unreachable!("the keeper has it"),
        }
    }

    fn judge(&mut self, host: usize, event: cut::Event) {
        let mut effects = Vec::new();
        self.hosts[host].cut.step(self.now, event, &mut effects);
        for effect in effects {
            if let cut::Effect::Poll { subject, observers } = &effect {
                for &to in observers {
                    self.tell(
                        host,
                        index(to),
                        Delivery::Member(Event::Polled { by: id(host), subject: *subject }),
                    );
                }
            }
            if let cut::Effect::Declare(verdicts) = effect {
                if self.commits {
                    for member in &mut self.view.members {
                        if verdicts.iter().any(|v| v.node == member.node) {
                            member.state = NodeState::Dead;
                        }
                    }
                    self.publish();
                }
                self.declared.push((self.now.as_millis(), host, verdicts));
            }
        }
    }

    pub fn member(&mut self, host: usize, event: Event) {
        let mut effects = Vec::new();
        self.hosts[host].members.step(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { to, heartbeat } => self.send(host, index(to), heartbeat),
                Effect::Connect { peer, .. } | Effect::Reconnect { peer, .. } => {
                    _ = self.hosts[host].wanted.insert(peer)
                }
                Effect::Disconnect { peer } => self.disconnect(host, peer),
                Effect::Probe { address } => self.probe(host, &address),
                Effect::ProbeBurst { peer, nonce, count, every, .. } => {
                    self.bursts += 1;
                    let at = self.now.as_millis();
                    self.hosts[host].log.push((at, Effect::Dial { peer, address: String::new() }));
                    for i in 0..count {
                        let at = self.now + every * i + Duration::from_millis(1);
                        if !self.lost() && self.passes(host, index(peer)) {
                            self.put(at, index(peer), Delivery::Datagram { from: host, nonce });
                        }
                    }
                }
                Effect::Dial { peer, .. } => self.connect(host, peer),
                Effect::AskHelp { helper, subject } => {
                    self.helped += 1;
                    let event = Event::HelpAsked { by: id(host), subject };
                    self.tell(host, index(helper), Delivery::Member(event));
                }
                Effect::AnswerHelp { to, subject, opinion } => {
                    let event = Event::HelpAnswered { helper: id(host), subject, opinion };
                    self.tell(host, index(to), Delivery::Member(event));
                }
                Effect::AnswerPoll { to, subject, hears } => {
                    let event = cut::Event::PollAnswer { observer: id(host), subject, hears };
                    self.tell(host, index(to), Delivery::Cut(event));
                }
                Effect::Report(report) => {
                    for to in 0..self.hosts.len() {
                        self.tell(host, to, Delivery::Cut(cut::Event::Report(report.clone())));
                    }
                    self.hosts[host].log.push((self.now.as_millis(), Effect::Report(report)));
                }
                other => self.hosts[host].log.push((self.now.as_millis(), other)),
            }
        }
    }

    fn runs(&self, host: usize) -> bool {
        let h = &self.hosts[host];
        h.up && h.powered && h.paused_until <= self.now && h.stopped_until <= self.now
    }

    /// Every host that runs is in the ledger as alive, with its present record.
    pub fn commit(&mut self) {
        for host in self.hosts.iter().filter(|h| h.up && h.powered) {
            let me = host.members.me();
            self.view.members.retain(|m| m.node != me.node);
            self.view.members.push(ViewMember::of(me, NodeState::Alive));
        }
        self.publish();
    }

    pub fn publish(&mut self) {
        self.view.epoch.0 += 1;
        for host in 0..self.hosts.len() {
            let view = self.view.clone();
            self.put(self.now + Duration::from_millis(5), host, Delivery::View(view));
        }
    }
}
