//! What is heard: heartbeats and records of others, and what they say of this agent itself.
//!
//! Not here: the rules of merging (`table`), and what is said in turn (`speak`).

use super::*;

impl Membership {
    pub(super) fn hear(&mut self, now: Instant, heartbeat: &Heartbeat, effects: &mut Vec<Effect>) {
        let from = heartbeat.from;
        for record in heartbeat.deltas.iter().take(FULL_MAX) {
            self.merge(now, from, record, effects);
        }
        if from == self.me.node {
            self.meet_myself(now, heartbeat.session, effects);
            return;
        }
        for of in heartbeat.vitals.iter().take(VITALS_MAX).filter(|of| of.node != self.me.node) {
            self.board.merge(of);
        }
        let Some(link) = self.links.get_mut(&from) else { return };
        let sessions = link.sessions.get_or_insert_with(|| Sessions::new(heartbeat.session, now));
        if let Some(sessions) = sessions.heard(now, heartbeat.session) {
            effects.push(Effect::Duplicate { node: from, sessions });
        }
        // The last words of an earlier life are no sign of the present one.
        if link.edge.is_of_another(heartbeat.session)
            && self.table.get(from).is_some_and(|m| heartbeat.incarnation < m.record.incarnation)
        {
            return;
        }
        if !link.edge.heard(now, heartbeat.session, heartbeat.seq, &self.timing) {
            return;
        }
        self.found |= link.is_well(now);
        (link.delivered, link.view) = (true, Some(heartbeat.view));
        if heartbeat.exchange == Exchange::Ask {
            link.answer();
        }
        if !self.inquiries.is_empty()
            && let Some(inquiry) = self.inquiries.get_mut(&from)
        {
            self.found |= self.reported && inquiry.is_own();
            inquiry.settled();
        }
    }

    /// Takes one record from gossip. Whom one suspects that was cut off itself, it hasn't heard since; so that isn't
    /// believed while the view has it as dead.
    pub(super) fn merge(
        &mut self,
        now: Instant,
        by: NodeId,
        record: &MemberRecord,
        effects: &mut Vec<Effect>,
    ) {
        let cut_off = || self.table.roll().get(by).is_some_and(Member::is_dead);
        if record.state == MemberState::Suspect && by != record.node && cut_off() {
            return;
        }
        if record.node == self.me.node {
            self.hear_of_myself(now, record, effects);
        } else {
            let change = self.table.merge(record);
            self.follow(now, change, true, effects);
        }
    }

    /// Somebody says something of this agent that it didn't say itself: it says otherwise, and louder.
    pub(super) fn hear_of_myself(&mut self, now: Instant, said: &MemberRecord, effects: &mut Vec<Effect>) {
        let foreign = said.session != self.me.session;
        let wrong = said.state != MemberState::Alive || foreign;
        if self.leaving || said.incarnation < self.me.incarnation || !wrong {
            return;
        }
        self.me.incarnation = Incarnation(said.incarnation.0.saturating_add(1));
        self.tell_of_myself();
        effects.push(Effect::Refuted { incarnation: self.me.incarnation });
        if foreign && said.state <= MemberState::Suspect {
            self.meet_myself(now, said.session, effects);
        }
    }

    pub(super) fn tell_of_myself(&mut self) {
        // Removed by a view, it isn't a member any more, whatever it thinks of itself.
        if self.table.get(self.me.node).is_some() {
            self.table.set(self.me.clone());
            self.gossip.tell(self.me.node);
        }
    }

    /// Another session speaks as this node, and so does this one.
    fn meet_myself(&mut self, now: Instant, session: SessionId, effects: &mut Vec<Effect>) {
        let found = self.my_sessions.heard(now, session);
        if let Some(sessions) = self.my_sessions.heard(now, self.me.session).or(found) {
            effects.push(Effect::Duplicate { node: self.me.node, sessions });
        }
    }
}
