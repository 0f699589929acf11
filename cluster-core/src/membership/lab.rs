//! A few hosts on a virtual network, for the scripts in `tests`: real machines, ordered streams, datagrams, one clock.
//! Each host has a keeper that answers datagrams for its agent, unless it is told to have none.
//!
//! Hosts are called n1, n2, …; n1 is the seed. What the leader declares is committed a moment later, if it is told to.

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

    /// What the host's keeper answers to a datagram.
    fn keep(&mut self, host: usize, from: usize, nonce: u64) {
        let (now, h) = (self.now, &self.hosts[host]);
        let stalled =
            h.stopped_until > now && h.stopped_at.is_some_and(|at| now.since(at) > Duration::from_secs(1));
        let agent = match (h.up, stalled) {
            (false, _) => AgentState::Gone,
            (true, true) => AgentState::Stalled,
            (true, false) => AgentState::Up,
        };
        let event = Event::ProbeAnswered { peer: id(host), nonce, agent };
        if h.keeper && h.powered && h.paused_until <= now && !self.lost() && self.passes(host, from) {
            self.put(now + Duration::from_millis(1), from, Delivery::Member(event));
        }
    }

    fn lost(&mut self) -> bool {
        self.rng.below(100) < self.loss_percent
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
                Effect::Connect { peer, .. } => _ = self.hosts[host].wanted.insert(peer),
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

    /// Ends the stream, unless the other end dialled it as well.
    fn disconnect(&mut self, host: usize, peer: NodeId) {
        self.hosts[host].wanted.remove(&peer);
        let other = index(peer);
        if !self.hosts[other].wanted.contains(&id(host)) && self.streams.remove(&(host, other)) {
            self.streams.remove(&(other, host));
            let at = self.now + Duration::from_millis(1);
            self.put(at, host, Delivery::Member(Event::StreamEnded { peer }));
            self.put(at, other, Delivery::Member(Event::StreamEnded { peer: id(host) }));
        }
    }

    fn passes(&self, from: usize, to: usize) -> bool {
        self.hosts[from].powered && self.hosts[to].powered && !self.cuts.contains(&(from, to))
    }

    /// One message of another kind; a lost packet comes later.
    fn tell(&mut self, from: usize, to: usize, delivery: Delivery) {
        if from == to || (self.passes(from, to) && self.passes(to, from)) {
            let late = if self.lost() { 200 } else { 0 };
            self.put(self.now + Duration::from_millis(2 + late), to, delivery);
        }
    }

    /// A fresh connection and one question.
    fn connect(&mut self, host: usize, peer: NodeId) {
        let (now, h) = (self.now, &self.hosts[index(peer)]);
        let runs = h.stopped_until <= now;
        let (up, reached) = (h.up, h.paused_until <= now && self.passes(host, index(peer)));
        let reached = reached && self.passes(index(peer), host) && !self.lost() && !self.lost();
        let (outcome, ms) = match (reached, up, runs) {
            (false, ..) => (DialOutcome::NoRoute, 250),
            (true, false, _) => (DialOutcome::Refused, 2),
            (true, true, false) => (DialOutcome::Silent, 250),
            (true, true, true) => (DialOutcome::Answered, 4),
        };
        let event = Event::Dialled { peer, outcome };
        self.put(now + Duration::from_millis(ms), host, Delivery::Member(event));
    }

    /// Ordered, like a stream; a lost packet is a heartbeat that never comes, a spike one that delays all behind it.
    fn send(&mut self, from: usize, to: usize, heartbeat: Heartbeat) {
        self.sent += 1;
        self.records += heartbeat.deltas.len();
        if self.lost() || !self.streams.contains(&(from, to)) || !self.passes(from, to) {
            return;
        }
        let spike = if self.rng.below(100) < self.spike_percent { self.rng.below(1_200) } else { 0 };
        let delay = Duration::from_millis((1 + self.rng.below(5) + spike) as u64);
        let after = self.last_arrival.get(&(from, to)).copied().unwrap_or_default();
        let at = after.max(self.now + delay);
        self.last_arrival.insert((from, to), at);
        self.put(at, to, Delivery::Member(Event::Heartbeat(heartbeat)));
    }

    fn probe(&mut self, host: usize, address: &str) {
        let to = (0..self.hosts.len()).find(|h| self.hosts[*h].members.me().address == address);
        if let Some(to) = to.filter(|&to| self.runs(to) && self.passes(host, to) && self.passes(to, host)) {
            self.greet(host, to);
        }
    }

    fn greet(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let hello = self.hosts[from].members.hello();
            self.put(self.now, to, Delivery::Member(Event::Hello(hello)));
        }
    }

    fn dial(&mut self, host: usize) {
        for peer in self.hosts[host].wanted.clone() {
            let to = index(peer);
            let stands = self.streams.contains(&(host, to)) || (self.lower_dials && host > to);
            if !stands && self.runs(to) && self.passes(host, to) && self.passes(to, host) {
                self.greet(host, to);
                self.streams.extend([(host, to), (to, host)]);
                self.put(self.now, host, Delivery::Member(Event::StreamOpened { peer }));
                self.put(self.now, to, Delivery::Member(Event::StreamOpened { peer: id(host) }));
            }
        }
    }

    fn runs(&self, host: usize) -> bool {
        let h = &self.hosts[host];
        h.up && h.powered && h.paused_until <= self.now && h.stopped_until <= self.now
    }

    /// Both ends learn that their streams are over.
    pub fn break_streams(&mut self, host: usize, noticed: bool) {
        for other in 0..self.hosts.len() {
            if self.streams.remove(&(host, other)) && noticed {
                // What was said before is read before.
                let last = |a, b| self.last_arrival.get(&(a, b)).copied().unwrap_or_default();
                let last = last(host, other).max(last(other, host)).max(self.now);
                let at = last + Duration::from_millis(1);
                self.put(at, other, Delivery::Member(Event::StreamEnded { peer: id(host) }));
                self.put(at, host, Delivery::Member(Event::StreamEnded { peer: id(other) }));
            }
            self.streams.remove(&(other, host));
        }
    }

    /// The process ends; its host's kernel says so.
    pub fn kill(&mut self, host: usize) {
        self.break_streams(host, true);
        self.hosts[host].up = false;
    }

    /// Nothing says anything any more.
    pub fn power_off(&mut self, host: usize) {
        self.hosts[host].powered = false;
    }

    /// The agent's process stands still; its host and its keeper go on.
    pub fn stop(&mut self, host: usize, ms: u64) {
        self.hosts[host].stopped_at = Some(self.now);
        self.hosts[host].stopped_until = self.now + Duration::from_millis(ms);
    }

    /// The machine as it was when it lost power, its memory intact: for what no restart would explain.
    pub fn reconnect(&mut self, host: usize) {
        self.hosts[host].up = true;
        self.hosts[host].powered = true;
        self.put(self.now, host, Delivery::Tick);
    }

    /// A new life, that knows what the ledger knew and its last incarnation.
    pub fn start(&mut self, host: usize) {
        self.break_streams(host, true);
        let last = self.hosts[host].members.me();
        let me = record(host, last.incarnation.0 + 1, last.session.0 + 100);
        self.queue.retain(|_, (to, _)| *to != host);
        let keeper = self.hosts[host].keeper;
        let log = core::mem::take(&mut self.hosts[host].log);
        self.hosts[host] = Host { log, keeper, ..self.host(me) };
        let view = self.view.clone();
        self.put(self.now, host, Delivery::View(view));
        self.begin(host);
    }

    pub fn pause(&mut self, host: usize, ms: u64) {
        self.hosts[host].paused_until = self.now + Duration::from_millis(ms);
    }

    /// Cuts the network into these and the others; their streams end, as they do after a while.
    pub fn split(&mut self, apart: &[usize]) {
        for a in 0..self.hosts.len() {
            for b in 0..self.hosts.len() {
                if apart.contains(&a) != apart.contains(&b) {
                    self.cuts.insert((a, b));
                    if self.streams.remove(&(a, b)) {
                        self.put(self.now, b, Delivery::Member(Event::StreamEnded { peer: id(a) }));
                    }
                }
            }
        }
    }

    /// Every host that runs is in the ledger as alive, with its present record.
    pub fn commit(&mut self) {
        for host in self.hosts.iter().filter(|h| h.up && h.powered) {
            let me = host.members.me();
            self.view.members.retain(|m| m.node != me.node);
            self.view.members.push(ViewMember {
                node: me.node,
                name: me.name.clone(),
                address: me.address.clone(),
                zone: me.zone.clone(),
                role: me.role,
                version: me.version.clone(),
                state: NodeState::Alive,
                incarnation: me.incarnation,
                session: me.session,
            });
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

    /// "n1 alive, n2 suspect": what a host lists.
    pub fn list(&self, host: usize) -> String {
        let of = |m: &Member| format!("{} {:?}", m.record.name, m.record.state).to_lowercase();
        self.hosts[host].members.members().map(of).collect::<Vec<_>>().join(", ")
    }

    /// "4064 n4": what was declared when.
    pub fn declarations(&self) -> Vec<(u64, String)> {
        let names =
            |v: &Vec<Verdict>| v.iter().map(|v| format!("n{}", v.node.0)).collect::<Vec<_>>().join(" ");
        self.declared.iter().map(|(ms, _, verdicts)| (*ms, names(verdicts))).collect()
    }

    pub fn happened(&self, host: usize, wanted: impl Fn(&Effect) -> bool) -> Vec<u64> {
        self.hosts[host].log.iter().filter(|(_, e)| wanted(e)).map(|(ms, _)| *ms).collect()
    }

    /// When this host suspected, or heard others suspect, the other one.
    pub fn suspected(&self, host: usize, of: usize) -> Vec<u64> {
        self.happened(
            host,
            |e| matches!(e, Effect::Changed { node, state: MemberState::Suspect, .. } if *node == id(of)),
        )
    }
}

impl Lab {
    /// "n3 HostGone, n4 AgentGone": what the host finds now.
    pub fn findings(&self, host: usize) -> String {
        let report = self.hosts[host].members.report(self.now);
        let of = |f: &Finding| format!("n{} {:?}", f.node.0, f.trouble);
        report.findings.iter().map(of).collect::<Vec<_>>().join(", ")
    }
}
