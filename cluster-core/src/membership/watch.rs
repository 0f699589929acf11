//! Watch: looks into odd silence, keeps an eye on peers in trouble, helps others to look, and says what was found.
//!
//! A peer in trouble is looked at again and again at little cost: one whose agent is gone but whose host answered must be
//! found out as fast as any other should its host fall silent as well.
//!
//! Not here: what an inquiry does (`opinion`), and when silence is odd (`edge`).

use super::*;
use link::Found;
use opinion::{Evidence, HELPERS, Step, Verdict, help_probes};

/// Inquiries of this agent's own at a time; further peers wait.
const INQUIRIES_MAX: usize = 64;
/// Inquiries for others at a time; whoever asks for more gets no answer.
pub const HELP_MAX: usize = 32;
/// Inquiries in a row that only a helper's recent heartbeat keeps open.
const UNSURE_MAX: u32 = 3;
/// Between two new streams to a peer whose agent answers and whose stream is silent.
const REDIAL_EVERY: Duration = Duration::from_secs(5);
/// Datagrams of a look at a peer whose host is gone, and at one whose agent is.
const LOOK_HOST: u32 = 2;
const LOOK_AGENT: u32 = 1;
/// Peers that a report names as asked about.
pub const ASKING_MAX: usize = 64;

impl Membership {
    /// When the link has something to do, for `next_tick`.
    pub(super) fn link_due(&self, peer: NodeId, link: &Link) -> Instant {
        let never = Instant::from_nanos(u64::MAX);
        let dial = if link.awaits_dial() { link.dial_at } else { never };
        let retire = link.retire_at.unwrap_or(never);
        let looked_into = self.inquiries.get(&peer).is_some_and(Inquiry::is_own);
        let look = match link.found {
            _ if looked_into || !link.wanted => never,
            Some(_) => link.watch_at,
            None if self.health.is_bad() => never,
            None => link.edge.odd_at(),
        };
        let beat = if link.edge.is_open() { link.beat_at } else { never };
        dial.min(retire).min(look).min(beat)
    }

    /// Starts to look into whoever is odd, and looks at those in trouble.
    pub(super) fn judge(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.leaving || self.health.in_grace(now) {
            return;
        }
        let odd = |l: &Link| l.wanted && now >= l.found.as_ref().map_or(l.edge.odd_at(), |_| l.watch_at);
        let peers: Vec<NodeId> = self.links.iter().filter(|(_, l)| odd(l)).map(|(p, _)| *p).collect();
        for peer in peers {
            let gone = self.table.get(peer).is_none_or(|m| m.record.state == MemberState::Left);
            if gone || self.inquiries.get(&peer).is_some_and(Inquiry::is_own) {
                continue;
            }
            match self.links[&peer].found.as_ref().map(|found| found.trouble) {
                // Who is starved would find everyone silent, and its questions would starve others.
                None if self.health.is_bad() => {}
                None | Some(Trouble::LinkBad) => self.begin(now, peer, effects),
                Some(Trouble::HostGone) => {
                    self.look(now, peer, self.timing.suspect_ceiling, LOOK_HOST, effects);
                }
                Some(Trouble::AgentGone | Trouble::AgentStalled) => self.watch_host(now, peer, effects),
            }
        }
    }

    /// Looks at a host whose agent is in trouble; opens an inquiry once it, too, is silent.
    fn watch_host(&mut self, now: Instant, peer: NodeId, effects: &mut Vec<Effect>) {
        let (link, every) = (&self.links[&peer], self.timing.heartbeat / 2);
        let silent_after = self.timing.suspect_floor.max(every * link.look_patience() * 3 / 2);
        if link.sign_at.is_none_or(|at| now.since(at) >= silent_after) {
            self.begin(now, peer, effects);
        } else {
            self.look(now, peer, every, LOOK_AGENT, effects);
        }
    }

    fn look(&mut self, now: Instant, peer: NodeId, every: Duration, count: u32, effects: &mut Vec<Effect>) {
        let (nonce, probe_every) = (self.rng.next(), self.timing.probe_every);
        let Some(address) = self.address(peer) else { return };
        let link = self.links.get_mut(&peer).expect("it is looked at");
        (link.watch_nonce, link.watch_at) = (nonce, now + every * link.look_patience());
        if let Some(found) = link.found.as_mut().filter(|found| found.without_keeper) {
            found.looks += 1;
            effects.push(Effect::Dial { peer, address: address.clone() });
        }
        effects.push(Effect::ProbeBurst { peer, address, nonce, count, every: probe_every });
    }

    fn address(&self, peer: NodeId) -> Option<String> {
        self.table.get(peer).map(|m| m.record.address.clone())
    }

    /// Opens an inquiry of this agent's own.
    fn begin(&mut self, now: Instant, peer: NodeId, effects: &mut Vec<Effect>) {
        let own = self.inquiries.values().filter(|i| i.is_own()).count();
        let Some(address) = self.address(peer).filter(|_| own < INQUIRIES_MAX) else { return };
        let nonce = self.rng.next();
        let link = self.links.get_mut(&peer).expect("only links are looked into");
        let long = link.edge.is_long_silent(now, &self.timing);
        let at_once = !link.edge.is_open() || own == 0;
        link.suspected_at.get_or_insert(now);
        link.inquired_at = now;
        let inquiry = self.inquiries.entry(peer).or_insert_with(|| Inquiry::new(now));
        inquiry.for_itself(now, nonce, at_once, long, &self.timing);
        let (count, every) = (self.timing.probes, self.timing.probe_every);
        effects.push(Effect::ProbeBurst { peer, address, nonce, count, every });
        self.advance(now, peer, effects);
    }

    /// Moves all inquiries on whose time has come.
    pub(super) fn inquire(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.inquiries.is_empty() {
            return;
        }
        let due = |i: &Inquiry| i.due(&self.timing).is_none_or(|at| now >= at);
        let subjects: Vec<NodeId> = self.inquiries.iter().filter(|(_, i)| due(i)).map(|(s, _)| *s).collect();
        for subject in subjects {
            self.advance(now, subject, effects);
        }
    }

    fn advance(&mut self, now: Instant, subject: NodeId, effects: &mut Vec<Effect>) {
        let heard_at = self.links.get(&subject).and_then(|l| l.edge.heard_at());
        while let Some(inquiry) = self.inquiries.get_mut(&subject) {
            match inquiry.step(now, heard_at, &self.timing) {
                None => break,
                Some(Step::Dial) => {
                    if let Some(address) = self.address(subject) {
                        effects.push(Effect::Dial { peer: subject, address });
                    }
                }
                Some(Step::Answer { to, opinion }) => {
                    effects.push(Effect::AnswerHelp { to, subject, opinion });
                }
                Some(Step::AskHelp) => {
                    let helpers = self.helpers(subject);
                    effects.extend(helpers.iter().map(|&helper| Effect::AskHelp { helper, subject }));
                    self.inquiries.get_mut(&subject).expect("it asks").asked(helpers);
                    self.found = true;
                }
                Some(Step::Verdict(verdict)) => {
                    let (evidence, asked) = (inquiry.evidence().clone(), inquiry.helpers_asked());
                    self.conclude(now, subject, verdict, &evidence, asked, effects);
                }
            }
        }
        if self.inquiries.get(&subject).is_some_and(Inquiry::is_over) {
            self.inquiries.remove(&subject);
        }
    }

    /// Some who watch the subject as well and aren't in trouble themselves; of a joiner, some of this agent's own peers.
    fn helpers(&mut self, subject: NodeId) -> Vec<NodeId> {
        let watchers = self.table.roll().watchers(subject);
        let troubled = |n: &NodeId| {
            let odd = |i: &Inquiry| i.is_own();
            self.links.get(n).is_some_and(|l| l.found.is_some()) || self.inquiries.get(n).is_some_and(odd)
        };
        let fit = |n: &NodeId| *n != self.me.node && *n != subject && !troubled(n);
        let mut fit: Vec<NodeId> = if watchers.is_empty() {
            self.links.iter().filter(|(n, l)| l.edge.is_open() && fit(n)).map(|(n, _)| *n).collect()
        } else {
            watchers.iter().copied().filter(fit).collect()
        };
        let mut helpers = Vec::new();
        while helpers.len() < HELPERS && !fit.is_empty() {
            helpers.push(fit.swap_remove(self.rng.below(fit.len())));
        }
        helpers
    }

    fn conclude(
        &mut self,
        now: Instant,
        peer: NodeId,
        verdict: Verdict,
        evidence: &Evidence,
        asked: usize,
        effects: &mut Vec<Effect>,
    ) {
        let Some(incarnation) = self.table.get(peer).map(|m| m.record.incarnation) else { return };
        let Some(link) = self.links.get_mut(&peer).filter(|l| l.wanted) else { return };
        let before = link.found.as_ref().map(|f| f.trouble);
        let trouble = match verdict {
            Verdict::Unsure if link.unsure + 1 < UNSURE_MAX => {
                link.unsure += 1;
                return self.begin(now, peer, effects);
            }
            Verdict::Unsure => Some(Trouble::LinkBad),
            Verdict::Trouble(trouble) => Some(trouble),
            Verdict::Cleared => {
                link.edge.vouched(now, self.timing.suspect_floor * link.patience());
                link.cleared += 1;
                let long = link.edge.is_long_silent(now, &self.timing);
                (link.cleared > 1 && long).then_some(Trouble::LinkBad)
            }
        };
        link.unsure = 0;
        if trouble != Some(Trouble::HostGone) {
            link.sign_at = Some(now);
        }
        let again = match trouble {
            Some(Trouble::AgentGone | Trouble::AgentStalled) => self.timing.heartbeat / 2,
            _ => self.timing.suspect_ceiling * link.patience(),
        };
        link.watch_at = now + again;
        let suspected_at = link.suspected_at.unwrap_or(now);
        let small = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        link.found = trouble.map(|trouble| Found {
            trouble,
            incarnation,
            suspected_at,
            helpers_asked: small(asked),
            helpers_answered: small(evidence.helpers.len()),
            dial: evidence.dial,
            without_keeper: evidence.keeper.is_none(),
            looks: 0,
        });
        self.found |= trouble != before || asked > 0;
        // After an outage the stream waits for a retransmission, in doubt for as long as the outage lasted.
        let healed = trouble.is_none() && before == Some(Trouble::HostGone);
        // A stream that is being opened isn't begun anew: that is slow where all are busy.
        if healed || (trouble == Some(Trouble::LinkBad) && !link.awaits_stream()) {
            self.redial(now, peer, effects);
        }
    }

    /// The agent lives and its stream is dead: a fresh one, from this end too.
    pub(super) fn redial(&mut self, now: Instant, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(address) = self.address(peer) else { return };
        let link = self.links.get_mut(&peer).expect("only links are dialled");
        if now < link.redial_at {
            return;
        }
        link.redial_at = now + REDIAL_EVERY;
        link.dialled = Some(address.clone());
        effects.push(Effect::Reconnect { peer, address });
    }

    pub(super) fn probe_answered(
        &mut self,
        now: Instant,
        peer: NodeId,
        nonce: u64,
        agent: AgentState,
        effects: &mut Vec<Effect>,
    ) {
        let inquired = self.inquiries.get_mut(&peer).is_some_and(|i| i.probe_answered(nonce, agent));
        let looked = self.links.get(&peer).is_some_and(|l| l.watch_nonce == nonce);
        if let Some(link) = self.links.get_mut(&peer).filter(|_| inquired || looked) {
            link.sign_at = Some(now);
        }
        if inquired {
            self.advance(now, peer, effects);
        } else if looked {
            self.seen(now, peer, agent, effects);
        }
    }

    pub(super) fn dialled(
        &mut self,
        now: Instant,
        peer: NodeId,
        outcome: DialOutcome,
        effects: &mut Vec<Effect>,
    ) {
        let agent = match outcome {
            DialOutcome::Answered => AgentState::Up,
            DialOutcome::Silent => AgentState::Stalled,
            DialOutcome::Refused => AgentState::Gone,
            DialOutcome::NoRoute => {
                if let Some(inquiry) = self.inquiries.get_mut(&peer) {
                    inquiry.dialled(outcome);
                }
                return self.advance(now, peer, effects);
            }
        };
        if let Some(link) = self.links.get_mut(&peer) {
            link.sign_at = Some(now);
        }
        if let Some(inquiry) = self.inquiries.get_mut(&peer) {
            inquiry.dialled(outcome);
            self.advance(now, peer, effects);
        } else if self.links.get(&peer).is_some_and(|l| l.found.as_ref().is_some_and(|f| f.without_keeper)) {
            self.seen(now, peer, agent, effects);
        }
    }

    /// A look at a peer in trouble was answered, and says this of its agent.
    fn seen(&mut self, now: Instant, peer: NodeId, agent: AgentState, effects: &mut Vec<Effect>) {
        let link = self.links.get_mut(&peer).expect("it was looked at");
        let rested = now.since(link.inquired_at) >= self.timing.suspect_floor;
        let Some(found) = link.found.as_mut() else { return };
        let trouble = match agent {
            AgentState::Up => None,
            AgentState::Stalled => Some(Trouble::AgentStalled),
            AgentState::Gone => Some(Trouble::AgentGone),
        };
        match (found.trouble, trouble) {
            (Trouble::AgentGone | Trouble::AgentStalled, Some(trouble)) => {
                self.found |= core::mem::replace(&mut found.trouble, trouble) != trouble;
            }
            // Its host is back, or its agent: ask in earnest.
            _ if rested && !self.leaving => self.begin(now, peer, effects),
            _ => {}
        }
    }

    pub(super) fn help(&mut self, now: Instant, by: NodeId, subject: NodeId, effects: &mut Vec<Effect>) {
        let helping = self.inquiries.values().filter(|i| !i.is_own()).count();
        let known = self.inquiries.contains_key(&subject);
        // Who is starved itself would call everyone silent.
        let fit = !self.health.is_bad() && subject != self.me.node && (known || helping < HELP_MAX);
        let Some(address) = self.address(subject).filter(|_| fit) else { return };
        if !known {
            let (nonce, every, count) = (self.rng.next(), self.timing.probe_every, help_probes(&self.timing));
            let inquiry = self.inquiries.entry(subject).or_insert_with(|| Inquiry::new(now));
            inquiry.helps(now, nonce, &self.timing);
            effects.push(Effect::ProbeBurst { peer: subject, address, nonce, count, every });
        }
        let inquiry = self.inquiries.get_mut(&subject).expect("it was just made");
        inquiry.for_another(now, by);
        self.advance(now, subject, effects);
    }

    pub(super) fn helped(
        &mut self,
        now: Instant,
        helper: NodeId,
        subject: NodeId,
        opinion: Opinion,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(inquiry) = self.inquiries.get_mut(&subject) {
            inquiry.help_answered(helper, opinion);
            self.advance(now, subject, effects);
        }
    }

    /// Who doesn't watch the subject, never heard it, or is starved itself, has nothing to say.
    pub(super) fn polled(&mut self, now: Instant, by: NodeId, subject: NodeId, effects: &mut Vec<Effect>) {
        if self.health.is_bad() || self.health.in_grace(now) {
            return;
        }
        if let Some(link) = self.links.get(&subject).filter(|l| l.wanted && l.edge.heard_at().is_some()) {
            let floor = self.timing.suspect_floor;
            let hears = link.hears(now, floor) || link.sign_at.is_some_and(|at| now.since(at) < floor);
            effects.push(Effect::AnswerPoll { to: by, subject, hears });
        }
    }

    /// What this agent itself found of a peer that it watches, and hasn't taken back.
    #[must_use]
    pub fn trouble(&self, peer: NodeId) -> Option<Trouble> {
        self.links.get(&peer)?.found.as_ref().map(|found| found.trouble)
    }

    /// What this agent would report now.
    #[must_use]
    pub fn report(&self, now: Instant) -> Report {
        let roll = self.table.roll();
        let mute = self.health.is_bad() || self.leaving;
        // Of a link that never was nothing is known to be bad.
        let told = |l: &Link| l.wanted && (l.edge.heard_at().is_some() || !l.is_bad());
        let findings = self.links.iter().filter(|(peer, l)| !mute && told(l) && roll.lives(**peer));
        Report {
            observer: self.me.node,
            view: self.table.view(),
            health: self.health.score(),
            findings: findings.filter_map(|(peer, link)| link.finding(now, *peer)).collect(),
            asking: if mute { Vec::new() } else { self.asking() },
        }
    }

    fn asking(&self) -> Vec<NodeId> {
        let roll = self.table.roll();
        let open = |l: &Link, i: &Inquiry| i.is_asking() || (i.is_own() && l.unsure > 0);
        let asks = |(peer, i): &(&NodeId, &Inquiry)| {
            let stood = |l: &&Link| l.wanted && l.edge.stood();
            let link = self.links.get(*peer).filter(|l| stood(l) && l.found.is_none());
            roll.lives(**peer) && link.is_some_and(|l| open(l, i))
        };
        self.inquiries.iter().filter(asks).map(|(peer, _)| *peer).take(ASKING_MAX).collect()
    }

    /// Reports to the voters, and calls those suspect whose hosts are gone.
    pub(super) fn tell_findings(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        // After a stall what came meanwhile is read first.
        if self.health.in_grace(now) {
            return;
        }
        self.found = false;
        let report = self.report(now);
        let empty = report.findings.is_empty() && report.asking.is_empty();
        if !empty || self.reported {
            self.reported = !empty;
            effects.push(Effect::Report(report));
        }
        if !self.health.is_bad() && !self.leaving {
            let gone =
                |l: &Link| l.wanted && l.found.as_ref().is_some_and(|f| f.trouble == Trouble::HostGone);
            let gone: Vec<NodeId> = self.links.iter().filter(|(_, l)| gone(l)).map(|(n, _)| *n).collect();
            for node in gone {
                self.suspect(now, node, effects);
            }
        }
    }

    fn suspect(&mut self, now: Instant, node: NodeId, effects: &mut Vec<Effect>) {
        let alive = |m: &&Member| m.record.state == MemberState::Alive;
        if let Some(member) = self.table.get(node).filter(alive) {
            let suspected = MemberRecord { state: MemberState::Suspect, ..member.record.clone() };
            let change = self.table.merge(&suspected);
            self.follow(now, change, true, effects);
        }
    }
}
