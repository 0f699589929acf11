//! Providers: stand-ins that take a message, refuse one now and then, and answer after a while; the answer may find its
//! leader gone.
//!
//! Not here: what is sent and how often (the real outbox), and what people may get (`check`).

use super::{
    desk::Happens,
    streams::MS,
    world::{Later, World},
};
use cluster_core::{
    alerting::Notice,
    ledger::{Message, Phase, SendOutcome},
};
use std::collections::BTreeMap;

/// One way to a provider, or back.
const TAKES: (u64, u64) = (20, 700);
/// First attempts that are refused, in a hundred: never so many in a row that the channel counts as failing.
const REFUSED: u64 = 10;

/// One alert of a message: its name, its node's, and whether it fires.
pub type Listed = (String, String, Phase);

/// A message as a person got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub at: u64,
    pub id: u64,
    pub channel: String,
    pub incident: u64,
    /// Something of it still fires.
    pub open: bool,
    /// It says of itself that it may be a repetition.
    pub repeated: bool,
    pub lists: Vec<Listed>,
}

#[derive(Debug, Default)]
pub struct Providers {
    pub got: Vec<Got>,
    /// By message: how many leaders fell that had begun to send it, before the ledger said what came of that.
    pub unheard: BTreeMap<u64, u32>,
}

/// An attempt on its way.
#[derive(Debug)]
pub struct Sent {
    pub term: u64,
    attempt: u32,
    got: Box<Got>,
    leg: Leg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    /// A majority confirms its leader, just before it speaks.
    Confirming,
    Going,
    Back {
        taken: bool,
    },
}

impl Sent {
    pub fn is_for_leader(&self) -> bool {
        self.leg != Leg::Going
    }
}

impl World {
    pub(super) fn send(&mut self, leader: u32, term: u64, id: u64, attempt: u32) {
        let name = Self::name(leader);
        let Some(desk) = &self.desk else { return };
        let message: &Message = &desk.ledger.messages[&id];
        let listed = |(alert, phase): &(u64, Phase)| {
            let notice = Notice::of(&desk.ledger, *alert, *phase, &name, term)?;
            Some((notice.alert, notice.labels.get("node").cloned().unwrap_or_default(), *phase))
        };
        let got = Got {
            at: 0,
            id,
            channel: message.channel.clone(),
            incident: message.incident,
            open: message.open,
            repeated: message.maybe_repeated,
            lists: message.told.iter().filter_map(listed).collect(),
        };
        self.trace(|| format!("{name} sends message {id} to {}, attempt {attempt}", got.channel));
        let sent = Sent { term, attempt, got: Box::new(got), leg: Leg::Confirming };
        // A leader that no majority confirms keeps silent, and says so to itself when its time is up.
        if let Some(after) = self.commit_time(leader) {
            self.later(after, Later::Desk(Happens::Sent(sent)));
        }
    }

    /// The provider has it.
    pub(super) fn provided(&mut self, mut sent: Sent) {
        let now = self.now;
        let Some(desk) = &mut self.desk else { return };
        let taken = sent.attempt > 1 || !desk.rng.percent(REFUSED);
        if taken {
            desk.providers.got.push(Got { at: now, ..Got::clone(&sent.got) });
        }
        let after = desk.rng.between(TAKES.0, TAKES.1) * MS;
        let (id, channel, count) = (sent.got.id, sent.got.channel.clone(), sent.got.lists.len());
        self.trace(|| {
            let what = if taken { "takes" } else { "refuses" };
            format!("{channel} {what} message {id} about {count} alerts")
        });
        sent.leg = Leg::Back { taken };
        self.later(after, Later::Desk(Happens::Sent(sent)));
    }

    /// What was to come to a leader, and it leads still.
    pub(super) fn answered(&mut self, mut sent: Sent) {
        match sent.leg {
            Leg::Confirming => {
                let Some(desk) = &mut self.desk else { return };
                let after = desk.rng.between(TAKES.0, TAKES.1) * MS;
                sent.leg = Leg::Going;
                self.later(after, Later::Desk(Happens::Sent(sent)));
            }
            Leg::Going => unreachable!("that is the provider's"),
            Leg::Back { taken: true } => self.finished(sent.got.id, sent.attempt, SendOutcome::Sent),
            Leg::Back { taken: false } => {
                let reason = "503, try again".to_owned();
                let outcome = SendOutcome::Failed { reason, retry: true, after_ms: None, heard: false };
                self.finished(sent.got.id, sent.attempt, outcome);
            }
        }
    }
}
