//! Case: what goes on about one subject over time: how long it has been between the marks, what others answered when
//! asked, what was said of it already.
//!
//! Not here: counting (`tally`), and when the verdicts of several subjects become one decision (`Cut`).

use super::tally::{Standing, Tally};
use crate::{ids::NodeId, membership::AgentState, time::Instant, timing::Timing};
use core::time::Duration;
use std::collections::BTreeMap;

/// Between two polls about a subject that stays between the marks.
const POLL_AGAIN: Duration = Duration::from_secs(1);

/// An agent must be stalled for so long, or well after it was stalled, before anybody is told: a starved one changes
/// all the time.
const AGENT_SETTLES: Duration = Duration::from_secs(2);

/// Who was reached by anybody for the last time so long ago isn't any more.
const REACHED_LASTS: Duration = Duration::from_secs(5);

/// What a subject's case says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing to decide.
    Nothing,
    /// It may turn out to belong to the same outage as others that are due.
    Pending,
    /// Between the marks, and asking did not settle it. Nobody waits for it any more.
    Contested,
    /// So many found it gone that it is, but somebody reached it of late, by some way: it isn't urgent.
    HalfDead,
    Gone,
}

/// One question to all who hadn't said anything.
#[derive(Clone, Debug)]
pub(super) struct Poll {
    at: Instant,
    /// Whether this is the first one since the subject rose above the low mark.
    first: bool,
    pub asked: Vec<NodeId>,
    /// Who of them answered, and whether it hears the subject.
    pub answers: BTreeMap<NodeId, bool>,
}

impl Poll {
    fn is_over(&self, at: Instant, timing: &Timing) -> bool {
        self.answers.len() == self.asked.len() || at.since(self.at) >= timing.cut_poll_after
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Case {
    /// Said to people, for as long as this suspicion lasts.
    pub suspected: bool,
    pub unstable_since: Option<Instant>,
    pub poll: Option<Poll>,
    pub declared_at: Option<Instant>,
    /// When somebody last said, asked by the leader, that it hears it.
    heard_at: Option<Instant>,
    /// Since when, and until when, somebody reached it in spite of its accusers.
    reached: Option<(Instant, Instant)>,
    /// It was gone while it was reached, and has not been clear since.
    half_dead: bool,
    /// What its observers agree on of its agent; up again once nobody finds any trouble.
    pub agent: AgentState,
    /// What they agree on by now, and since when, if that is something else.
    turning: Option<(AgentState, Instant)>,
    /// What was last said of its agent, and when, until the ledger shows it.
    pub said: Option<(AgentState, Instant)>,
}

impl Case {
    /// Follows the tally. Some: to be asked now, if this process leads.
    pub fn follow(
        &mut self,
        at: Instant,
        tally: &Tally,
        timing: &Timing,
        leads: bool,
    ) -> Option<Vec<NodeId>> {
        self.settle(
            at,
            match tally.agent() {
                Some(state) => state,
                None if tally.is_troubled() => self.agent,
                None => AgentState::Up,
            },
        );
        if tally.is_reached() {
            self.reach(at);
        }
        self.half_dead &= tally.standing() != Standing::Clear;
        if tally.standing() != Standing::Unstable {
            (self.unstable_since, self.poll) = (None, None);
            if tally.standing() == Standing::Clear {
                self.suspected = false;
                // What was declared for its agent's sake stays so.
                self.declared_at = self.declared_at.filter(|_| self.agent != AgentState::Up);
            }
            return None;
        }
        let since = *self.unstable_since.get_or_insert(at);
        let due = match &self.poll {
            None => at.since(since) >= timing.cut_poll_after,
            Some(poll) => at.since(poll.at) >= POLL_AGAIN,
        };
        if !leads || !due {
            return None;
        }
        let asked: Vec<NodeId> = tally.others.clone();
        let first = self.poll.is_none();
        self.poll = Some(Poll { at, first, asked: asked.clone(), answers: BTreeMap::new() });
        (!asked.is_empty()).then_some(asked)
    }

    /// Nobody says anything of the subject.
    pub fn unsaid(&mut self, at: Instant) {
        self.settle(at, AgentState::Up);
        *self = Self { said: self.said, agent: self.agent, turning: self.turning, ..Self::default() };
    }

    /// Its observers agree on this. That a process is gone is certain, and so is that it is there again.
    fn settle(&mut self, at: Instant, agreed: AgentState) {
        if agreed == self.agent {
            self.turning = None;
            return;
        }
        let since = self.turning.filter(|(state, _)| *state == agreed).map_or(at, |(_, since)| since);
        let certain =
            agreed == AgentState::Gone || (self.agent, agreed) == (AgentState::Gone, AgentState::Up);
        let settled = certain || at.since(since) >= AGENT_SETTLES;
        (self.agent, self.turning) =
            if settled { (agreed, None) } else { (self.agent, Some((agreed, since))) };
    }

    /// An answer of somebody who wasn't asked counts for nothing.
    pub fn answered(&mut self, at: Instant, observer: NodeId, hears: bool) {
        if let Some(poll) = self.poll.as_mut().filter(|poll| poll.asked.contains(&observer)) {
            poll.answers.insert(observer, hears);
            if hears {
                self.heard_at = Some(at);
            }
        }
    }

    fn reach(&mut self, at: Instant) {
        let going_on = |(_, last): &(Instant, Instant)| at.since(*last) < REACHED_LASTS;
        let since = self.reached.filter(going_on).map_or(at, |(since, _)| since);
        self.reached = Some((since, at));
    }

    /// Whether some reach it while others don't, and not just because they notice its death later or spoke of a trouble
    /// before it.
    fn is_half_connected(&self, at: Instant, timing: &Timing) -> bool {
        let all_notice = (timing.suspect_ceiling + timing.opinion) * 3 / 2;
        let of_late = |last: Instant| at.since(last) < REACHED_LASTS;
        self.heard_at.is_some_and(of_late)
            || self.reached.is_some_and(|(since, last)| of_late(last) && last.since(since) >= all_notice)
    }

    pub fn finding(&self, at: Instant, tally: &Tally, timing: &Timing) -> Finding {
        let counted = self.counted(at, tally, timing);
        let reached = self.is_half_connected(at, timing);
        match counted {
            Finding::Gone if reached => Finding::HalfDead,
            Finding::Pending | Finding::Contested
                if self.half_dead && reached && tally.is_accused_by_most() =>
            {
                Finding::HalfDead
            }
            counted => counted,
        }
    }

    /// Once half dead it stays so until it is clear: at each moment other observers happen to reach it.
    pub fn remember(&mut self, finding: Finding) {
        self.half_dead |= finding == Finding::HalfDead;
    }

    fn counted(&self, at: Instant, tally: &Tally, timing: &Timing) -> Finding {
        match (tally.standing(), &self.poll) {
            (Standing::Clear, _) => Finding::Nothing,
            (Standing::Gone, _) => Finding::Gone,
            (Standing::Unstable, None) => Finding::Pending,
            (Standing::Unstable, Some(poll)) if !poll.is_over(at, timing) => {
                if poll.first {
                    Finding::Pending
                } else {
                    Finding::Contested
                }
            }
            (Standing::Unstable, Some(poll)) if tally.gone_by_poll(&poll.answers) => Finding::Gone,
            (Standing::Unstable, Some(_)) => Finding::Contested,
        }
    }

    /// Whether it wasn't declared of late: a declaration that the view doesn't show after a lease time is made again.
    pub fn is_unsaid(&self, at: Instant, timing: &Timing) -> bool {
        self.declared_at.is_none_or(|said| at.since(said) >= timing.lease)
    }

    /// Whether anything must be remembered once nobody says anything of the subject any more.
    pub fn is_over(&self) -> bool {
        self.agent == AgentState::Up && self.said.is_none()
    }
}
