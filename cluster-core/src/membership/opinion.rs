//! Opinion: finds out what is the matter with one peer, before anybody says anything against it.
//!
//! Silence alone can't tell loss from death. So the peer's keeper is asked by a burst of datagrams, and its agent over a
//! fresh connection: at once if its stream ended or nobody else is looked into, else if the keeper doesn't vouch for it
//! soon, for a handshake costs both more than all heartbeats of a minute, and where everyone is short of time everyone is
//! silent. If its keeper doesn't answer, some others are asked to try the same from where they are; they, too, try a
//! connection only if the keeper says nothing soon. After a fixed time all that came is weighed (`weigh`). The same inquiry
//! serves those who ask this agent for help.
//!
//! Not here: when a peer is odd (`edge`), who may help, and what follows from the verdict.

use super::record::{AgentState, DialOutcome, Opinion, Trouble};
use crate::{ids::NodeId, time::Instant, timing::Timing};
use core::time::Duration;

/// Others that are asked to try.
pub const HELPERS: usize = 3;
/// Who wait for one inquiry's outcome; further ones get no answer.
pub const ASKERS_MAX: usize = 16;

/// What an inquiry that an agent began for itself ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its agent answered here.
    Cleared,
    Trouble(Trouble),
    /// Nothing answered, but a helper had a heartbeat not long ago: that may be the last one of a dead peer. Look again.
    Unsure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A fresh connection to its agent is to be tried.
    Dial,
    /// Others should try as well: call `asked` with whom.
    AskHelp,
    Answer {
        to: NodeId,
        opinion: Opinion,
    },
    Verdict(Verdict),
}

/// What is known by now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    pub keeper: Option<AgentState>,
    pub dial: Option<DialOutcome>,
    pub helpers: Vec<(NodeId, Opinion)>,
    /// The silence is so long that an agent which only looks up to its keeper isn't.
    pub long: bool,
}

/// What all of it comes to, once there is nothing more to wait for.
#[must_use]
pub fn weigh(e: &Evidence) -> Verdict {
    use {AgentState::*, DialOutcome::*, Trouble::*};
    let any_dial = |outcome| e.helpers.iter().any(|(_, o)| o.dial == Some(outcome));
    let any_keeper = |state| e.helpers.iter().any(|(_, o)| o.keeper == Some(state));
    let trouble = |agent| Verdict::Trouble(if agent == Gone { AgentGone } else { AgentStalled });
    match (e.keeper, e.dial) {
        (_, Some(Answered)) => Verdict::Cleared,
        (Some(Up), Some(Refused)) if !any_dial(Answered) => trouble(Gone),
        (Some(Up), Some(Silent)) if e.long && !any_dial(Answered) => trouble(Stalled),
        (Some(Up), _) => Verdict::Cleared,
        _ if any_dial(Answered) => Verdict::Trouble(LinkBad),
        (Some(state), _) => trouble(state),
        _ if any_keeper(Up) => Verdict::Trouble(LinkBad),
        _ if any_keeper(Stalled) => trouble(Stalled),
        _ if any_keeper(Gone) => trouble(Gone),
        (_, Some(Silent)) => trouble(Stalled),
        (_, Some(Refused)) => trouble(Gone),
        _ if any_dial(Silent) => trouble(Stalled),
        _ if any_dial(Refused) => trouble(Gone),
        _ if e.helpers.iter().any(|(_, o)| o.hears) => Verdict::Unsure,
        _ => Verdict::Trouble(HostGone),
    }
}

#[derive(Clone, Debug)]
pub struct Inquiry {
    began: Instant,
    nonce: u64,
    /// This agent wants to know for itself.
    own: bool,
    /// When a fresh connection is tried, if the keeper doesn't vouch for the agent before; none once it is.
    dial_at: Option<Instant>,
    help_asked: bool,
    asked: Vec<NodeId>,
    evidence: Evidence,
    /// Who asked for help, and when.
    askers: Vec<(NodeId, Instant)>,
}

impl Inquiry {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            nonce: 0,
            own: false,
            dial_at: None,
            help_asked: false,
            asked: Vec::new(),
            evidence: Evidence::default(),
            askers: Vec::new(),
        }
    }

    /// The burst with this nonce is on its way.
    pub fn burst(&mut self, nonce: u64) {
        self.nonce = nonce;
    }

    /// This agent itself wants a verdict, and begins anew with a burst of this nonce; `at_once`: a fresh connection is
    /// tried without waiting for the keeper. `long`: as in `Evidence`.
    pub fn for_itself(&mut self, now: Instant, nonce: u64, at_once: bool, long: bool, timing: &Timing) {
        let askers = core::mem::take(&mut self.askers);
        let dial_at = if at_once { now } else { now + dial_after(timing) };
        *self = Self { own: true, askers, dial_at: Some(dial_at), ..Self::new(now) };
        self.evidence.long = long;
        self.burst(nonce);
    }

    /// It is begun for another agent, with a burst of this nonce.
    pub fn helps(&mut self, now: Instant, nonce: u64, timing: &Timing) {
        self.dial_at = Some(now + help_within(timing) / 3);
        self.burst(nonce);
    }

    /// Another agent asks for what it finds.
    pub fn for_another(&mut self, now: Instant, by: NodeId) {
        if self.askers.len() < ASKERS_MAX && !self.askers.iter().any(|(asker, _)| *asker == by) {
            self.askers.push((by, now));
        }
    }

    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// Others were asked, and nothing answered yet here: this may end badly.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        let nothing = self.evidence.keeper.is_none()
            && self.evidence.dial.is_none_or(|outcome| outcome == DialOutcome::NoRoute);
        self.own && self.help_asked && nothing
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        !self.own && self.askers.is_empty()
    }

    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    #[must_use]
    pub fn helpers_asked(&self) -> usize {
        self.asked.len()
    }

    pub fn asked(&mut self, helpers: Vec<NodeId>) {
        self.asked = helpers;
    }

    /// False for the answer to another burst.
    pub fn probe_answered(&mut self, nonce: u64, agent: AgentState) -> bool {
        let mine = nonce == self.nonce;
        if mine {
            self.evidence.keeper = Some(agent);
        }
        mine
    }

    pub fn dialled(&mut self, outcome: DialOutcome) {
        self.evidence.dial = Some(outcome);
    }

    /// Who wasn't asked, or answers twice, says nothing.
    pub fn help_answered(&mut self, helper: NodeId, opinion: Opinion) {
        let known = self.evidence.helpers.iter().any(|(h, _)| *h == helper);
        if self.asked.contains(&helper) && !known {
            self.evidence.helpers.push((helper, opinion));
        }
    }

    /// A heartbeat came: nothing is left to find out for this agent.
    pub fn settled(&mut self) {
        self.own = false;
    }

    /// When `step` has something to do even if nothing comes.
    #[must_use]
    pub fn due(&self, timing: &Timing) -> Option<Instant> {
        let help = (self.own && self.wants_help()).then_some(self.began + timing.help_after);
        let verdict = self.own.then_some(self.began + timing.opinion);
        let dial = self.dial_at.filter(|_| self.own || self.evidence.keeper.is_none());
        let answers = self.askers.iter().map(|(_, asked)| *asked + help_within(timing)).min();
        [help, verdict, dial, answers].into_iter().flatten().min()
    }

    fn wants_help(&self) -> bool {
        !self.help_asked && self.evidence.keeper.is_none()
    }

    /// The next thing to do now, if any; to be called until there is none. `heard_at`: the peer's last heartbeat here.
    pub fn step(&mut self, now: Instant, heard_at: Option<Instant>, timing: &Timing) -> Option<Step> {
        let (keeper, dial) = (self.evidence.keeper, self.evidence.dial);
        let tells = keeper.is_some() || dial.is_some_and(|d| d != DialOutcome::NoRoute);
        if let Some(at) =
            self.askers.iter().position(|(_, asked)| tells || now >= *asked + help_within(timing))
        {
            let (to, asked) = self.askers.swap_remove(at);
            // Older than the asker's suspicion, it would prove nothing.
            let hears = heard_at.is_some_and(|at| at + timing.help_after >= asked);
            return Some(Step::Answer { to, opinion: Opinion { keeper, dial, hears } });
        }
        let dials = self.dial_at.is_some_and(|at| now >= at);
        if !self.own {
            let unanswered = dials && keeper.is_none() && !self.askers.is_empty();
            return unanswered.then(|| self.dial());
        }
        let vouched = keeper == Some(AgentState::Up) && self.dial_at.is_some() && !self.evidence.long;
        let certain = vouched || dial == Some(DialOutcome::Answered) || (keeper.is_some() && dial.is_some());
        if certain || now >= self.began + timing.opinion {
            self.own = false;
            return Some(Step::Verdict(weigh(&self.evidence)));
        }
        if dials {
            return Some(self.dial());
        }
        if self.wants_help() && now >= self.began + timing.help_after {
            self.help_asked = true;
            return Some(Step::AskHelp);
        }
        None
    }

    fn dial(&mut self) -> Step {
        self.dial_at = None;
        Step::Dial
    }
}

/// So soon that its outcome is there when the verdict is due.
fn dial_after(timing: &Timing) -> Duration {
    timing.help_after * 2 / 3
}

/// A helper answers so soon that the asker has it before its own verdict.
fn help_within(timing: &Timing) -> Duration {
    timing.opinion.saturating_sub(timing.help_after) * 3 / 4
}

/// Datagrams of a helper's burst: as many as can be answered in time.
#[must_use]
pub fn help_probes(timing: &Timing) -> u32 {
    let fit = help_within(timing).as_millis() / timing.probe_every.as_millis().max(1);
    u32::try_from(fit).unwrap_or(u32::MAX).clamp(1, timing.probes)
}
