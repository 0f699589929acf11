//! The keeper's hand on the lease: what the agent told goes to the holder, what the holder wants goes out, and what a
//! majority acknowledged goes onto the page that guards read.
//!
//! What was told last stands when the agent falls silent: that is what a keeper is for. The holder's session is this
//! process's own, so answers to an earlier keeper's renewals count for nothing. Not here: sockets (`process`), the rule
//! (`cluster_core::lease::Holder`).

use super::{
    datagram::{Message, seal},
    process::complain,
    protocol::{Issued, Route, Tell, ToAgent},
    secret::KeyId,
};
use crate::{wire::convert::RenewalAnswer, workload::page::DeadlinePage};
use cluster_core::{
    ids::{BootId, ClusterId, LeaseEpoch, NodeId, SessionId},
    lease::{Effect, Event, Grant, Holder, Renewal, Verdict},
    time::{Clocks, Instant},
    timing::Timing,
};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

/// Without a lease for so long, and told that it is revoked or without an agent that would learn better, a holder asks
/// as seldom as `RETRY_EVERY`: a dead epoch mustn't keep voters busy.
const GIVE_UP_HURRY_AFTER: Duration = Duration::from_secs(5);
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What is to leave this process.
#[derive(PartialEq, Eq)]
pub enum Out {
    Datagram { to: SocketAddr, bytes: Vec<u8> },
    Agent(ToAgent),
}

struct Kept {
    profile: String,
    session: SessionId,
    holder: Holder,
}

pub struct Renewing {
    me: NodeId,
    boot: BootId,
    dir: PathBuf,
    /// Of the socket that datagrams leave by.
    own: SocketAddr,
    kept: Option<Kept>,
    cluster: Option<ClusterId>,
    grant: Option<Grant>,
    wanted: bool,
    routes: BTreeMap<NodeId, Route>,
    page: Option<(LeaseEpoch, DeadlinePage)>,
    /// The newest nonce that each voter answered by datagram.
    answered: BTreeMap<NodeId, u64>,
    /// Since when there is no deadline ahead.
    without_since: Option<Instant>,
    revoked: bool,
    last_round: Instant,
}

impl Renewing {
    #[must_use]
    pub fn new(me: NodeId, boot: BootId, dir: PathBuf, own: SocketAddr) -> Self {
        Self {
            me,
            boot,
            dir,
            own,
            kept: None,
            cluster: None,
            grant: None,
            wanted: false,
            routes: BTreeMap::new(),
            page: None,
            answered: BTreeMap::new(),
            without_since: None,
            revoked: false,
            last_round: Instant::ZERO,
        }
    }

    /// Whether there ever was anything to keep.
    #[must_use]
    pub const fn has_held(&self) -> bool {
        self.page.is_some()
    }

    /// When `tick` is due, on CLOCK_BOOTTIME.
    #[must_use]
    pub fn due(&self, now: Clocks, agent_up: bool) -> Option<Instant> {
        let due = self.kept.as_ref()?.holder.next_tick()?;
        Some(if self.is_hopeless(now, agent_up) { due.max(self.last_round + RETRY_EVERY) } else { due })
    }

    fn is_hopeless(&self, now: Clocks, agent_up: bool) -> bool {
        let without = self.without_since.is_some_and(|since| now.boot.since(since) >= GIVE_UP_HURRY_AFTER);
        without && (self.revoked || !agent_up)
    }

    /// What the agent says; the same again changes nothing. `now` is read before what comes out is sent, here and below.
    pub fn told(&mut self, now: Clocks, tell: Tell, out: &mut Vec<Out>) {
        let Some(timing) = Timing::named(&tell.profile) else {
            let profile = tell.profile;
            complain(&format!("the agent names profile \"{profile}\", which isn't known here"));
            return;
        };
        if self.kept.as_ref().is_none_or(|kept| kept.profile != tell.profile) {
            // A session of its own: nothing that an earlier holder sent may count for this one.
            let session = SessionId(rand::random());
            let holder = Holder::new(self.me, self.boot, session, timing);
            self.kept = Some(Kept { profile: tell.profile, session, holder });
            self.answered.clear();
            self.grant = None;
        }
        self.cluster = tell.cluster.or(self.cluster);
        for route in tell.routes {
            if self.routes.get(&route.voter) != Some(&route) {
                // Whether this way works is to be seen.
                self.answered.remove(&route.voter);
                self.routes.insert(route.voter, route);
            }
        }
        match tell.issued {
            Issued::Unknown => {}
            Issued::Nothing => {
                self.grant = None;
                self.step(now, Event::Withdrawn, out);
            }
            Issued::Granted(grant) => self.granted(now, grant, out),
        }
        self.wanted = tell.wanted.unwrap_or(self.wanted);
        self.step(now, Event::Wanted(self.wanted), out);
    }

    fn granted(&mut self, now: Clocks, grant: Grant, out: &mut Vec<Out>) {
        if self.grant.as_ref() == Some(&grant) && self.page.is_some() {
            return;
        }
        if self.page.as_ref().is_none_or(|(of, _)| *of != grant.epoch) {
            // The old one's stays as it is, and its guards end with it.
            match DeadlinePage::create_or_open(&self.dir, grant.epoch, self.boot) {
                Ok(page) => self.page = Some((grant.epoch, page)),
                Err(error) => {
                    complain(&format!("without a deadline page nothing can run here: {error}"));
                    return; // told again soon, and tried again then
                }
            }
        }
        let votes = |voter: &NodeId| grant.voters.iter().any(|group| group.contains(voter));
        self.routes.retain(|voter, _| votes(voter));
        self.answered.retain(|voter, _| votes(voter));
        self.revoked = false;
        self.without_since = Some(now.boot);
        self.grant = Some(grant.clone());
        self.step(now, Event::Granted(grant), out);
    }

    pub fn tick(&mut self, now: Clocks, out: &mut Vec<Out>) {
        self.step(now, Event::Tick, out);
    }

    /// A voter's answer; `by_datagram` when it came by the keeper's own way.
    pub fn answered(&mut self, now: Clocks, answer: RenewalAnswer, by_datagram: bool, out: &mut Vec<Out>) {
        let RenewalAnswer { voter, session, nonce, verdict } = answer;
        // One of an earlier session may be a repetition, and proves nothing about the way.
        if by_datagram && self.kept.as_ref().is_some_and(|kept| kept.session == session) {
            let newest = self.answered.entry(voter).or_default();
            *newest = (*newest).max(nonce);
        }
        let event = match verdict {
            Verdict::Acked => Event::Ack { voter, session, nonce },
            Verdict::Refused(reason) => Event::Refused { voter, session, nonce, reason },
        };
        self.step(now, event, out);
    }

    #[must_use]
    pub fn route(&self, voter: NodeId) -> Option<&Route> {
        self.routes.get(&voter)
    }

    /// Whether a hint about this key is about one that is in use.
    #[must_use]
    pub fn uses(&self, voter: NodeId, key_id: KeyId) -> bool {
        self.routes.get(&voter).is_some_and(|route| route.key_id == key_id)
    }

    fn step(&mut self, now: Clocks, event: Event, out: &mut Vec<Out>) {
        let Some(kept) = &mut self.kept else { return };
        let mut effects = Vec::new();
        kept.holder.step(now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Renew { voter, renewal } => {
                    self.last_round = now.boot;
                    self.renew(now, voter, renewal, out);
                }
                Effect::Extend { epoch, deadline } => {
                    (self.without_since, self.revoked) = (None, false);
                    if let Some((_, page)) = self.page.as_ref().filter(|(of, _)| *of == epoch) {
                        page.extend(deadline);
                    }
                }
                Effect::Expired { epoch } => {
                    self.without_since = Some(now.boot);
                    out.push(Out::Agent(ToAgent::Expired(epoch)));
                }
                Effect::Revoked { epoch } => {
                    self.revoked = true;
                    out.push(Out::Agent(ToAgent::Revoked(epoch)));
                }
                // The agent learns it from the log, and tells the new set. Until then the others' answers must do.
                Effect::VotersChanged { .. } => {}
            }
        }
    }

    /// By datagram; and by the agent's stream unless datagrams to this voter are known to get through.
    fn renew(&self, now: Clocks, voter: NodeId, renewal: Renewal, out: &mut Vec<Out>) {
        let Some(cluster) = self.cluster else { return };
        let at = now.raw;
        if voter == self.me {
            out.push(Out::Agent(ToAgent::Asked { from: None, at, cluster, renewal }));
            return;
        }
        // A socket of IPv4 reaches none of IPv6.
        let fits = |to: &&SocketAddr| to.is_ipv4() || self.own.is_ipv6();
        let route = self.routes.get(&voter);
        if let Some((route, &to)) = route.and_then(|r| Some((r, r.addresses.iter().find(fits)?))) {
            let bytes =
                seal(&route.key, route.key_id, self.me, voter, &Message::Renewal { cluster, renewal });
            out.push(Out::Datagram { to, bytes });
        }
        if self.answered.get(&voter).is_none_or(|newest| newest + 1 < renewal.nonce) {
            out.push(Out::Agent(ToAgent::Relay { voter, at, renewal }));
        }
    }
}

#[cfg(test)]
#[path = "renewing_tests.rs"]
mod tests;
