//! The one way in: `apply` takes the log's entries in order. Each family of commands has its file beside this one.
//!
//! Deterministic (equal logs give equal ledgers) and total: no command panics, and a rejected one changes nothing but
//! the clock, the position and the memory of requests. Not here: when and by whom something is proposed.

use super::{
    command::{Body, Command, FEATURE_LEVEL, Rejection, Reply},
    state::{Cluster, Event, EventType, LEDGER_FORMAT, Ledger, Settings},
};
use crate::{
    ids::{ClusterId, LogId, NodeId, RequestId},
    limits::{ACTOR_BYTES, EVENTS_MAX, NUMBER_MAX, REQUEST_MEMORY_MS, REQUESTS_MAX, SENTENCE_BYTES, clip},
    time::WallTime,
};

/// The entry needs a newer build. The node must stop: to skip it would be to differ from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "log entry {index} needs feature level {level}, this build knows {FEATURE_LEVEL}: \
     install the version that the rest of the cluster runs"
)]
pub struct UnsupportedLevel {
    pub index: u64,
    pub level: u16,
}

/// What every handler knows of the entry that it applies.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub at: LogId,
    pub now: WallTime,
    pub actor: &'a str,
}

pub(super) type Outcome = Result<Reply, Rejection>;

/// A rejection; `reason` is for programs, `message` for people.
pub(super) fn reject(reason: &str, message: impl Into<String>) -> Rejection {
    Rejection { reason: reason.to_owned(), message: clip(&message.into(), SENTENCE_BYTES) }
}

impl Ledger {
    /// Applies one entry of the log and says what came of it.
    ///
    /// # Errors
    /// The entry is of a higher feature level; the ledger is unchanged.
    ///
    /// # Panics
    /// When entries come out of order: the caller skipped or repeated one.
    pub fn apply(&mut self, at: LogId, command: &Command) -> Result<Reply, UnsupportedLevel> {
        if command.level > FEATURE_LEVEL {
            return Err(UnsupportedLevel { index: at.index, level: command.level });
        }
        self.advance(at);
        self.clock = self.clock.max(WallTime(command.proposed_at.0.min(NUMBER_MAX)));
        if let Some(reply) = self.remembered(command.request) {
            return Ok(reply);
        }
        let actor = clip(&command.actor, ACTOR_BYTES);
        let entry = Entry { at, now: self.clock, actor: &actor };
        let reply = self.dispatch(&entry, &command.body).unwrap_or_else(Reply::Rejected);
        self.remember(command.request, &reply);
        Ok(reply)
    }

    /// Takes note of an entry that carries no command (the log's own: blank ones, changes of the voters).
    ///
    /// # Panics
    /// When entries come out of order: the caller skipped or repeated one.
    pub fn advance(&mut self, at: LogId) {
        let first = self.applied == LogId::default();
        assert!(first || at.index > self.applied.index, "entry {at:?} after {:?}", self.applied);
        self.format = LEDGER_FORMAT;
        self.applied = at;
    }

    fn dispatch(&mut self, entry: &Entry<'_>, body: &Body) -> Outcome {
        match body {
            Body::Founded { cluster, name, settings } => self.founded(entry, *cluster, name, settings),
            Body::LeaderElected { node } => self.leader_elected(entry, *node),

            Body::NodeUp { .. } => self.node_up(entry, body),
            Body::NodeDraining { node } => self.node_draining(entry, *node),
            Body::NodeUndrained { node } => self.node_undrained(entry, *node),
            Body::NodeHeldBack { node, drain, evidence } => {
                self.node_held_back(entry, *node, *drain, evidence)
            }
            Body::NodeReleased { node, evidence } => self.node_released(entry, *node, evidence),
            Body::AgentState { .. } => self.agent_state(entry, body),
            Body::NodeLeft { node, epoch } => self.node_left(entry, *node, *epoch),
            Body::NodeRemoved { node, epoch } => self.node_removed(entry, *node, *epoch),
            Body::NodesForgotten { nodes } => self.nodes_forgotten(entry, nodes),

            Body::NodesDead { deaths } => self.nodes_dead(entry, deaths),
            Body::LeaseLost { node, epoch, last_seen_at, evidence } => {
                self.lease_lost(entry, *node, *epoch, *last_seen_at, evidence)
            }
            Body::EpochSafe { epoch, promises } => self.epoch_safe(entry, *epoch, promises),

            Body::FailureOpened { subject, caused_by } => self.failure_opened(entry, subject, *caused_by),
            Body::FailureAcknowledged { failure } => self.failure_acknowledged(entry, *failure),
            Body::FailureUnrecoverable { failure, reason } => {
                self.failure_unrecoverable(entry, *failure, reason)
            }

            Body::WorkloadsApplied { specs, if_version } => self.workloads_applied(entry, specs, *if_version),
            Body::WorkloadStopped { name } => self.workload_stopped(entry, name),
            Body::WorkloadStarted { name } => self.workload_started(entry, name),
            Body::WorkloadDeleted { name } => self.workload_deleted(entry, name),

            Body::Placed { workload, index, version, node, epoch } => {
                self.placed(entry, workload, *index, *version, *node, *epoch)
            }
            Body::Evicted { workload, index, generation, reason } => {
                self.evicted(workload, *index, *generation, reason)
            }
            Body::InstanceReported { node, workload, index, generation, instance, report } => {
                self.instance_reported(entry, *node, workload, *index, *generation, *instance, report)
            }

            Body::AlertingApplied { config, link_key } => {
                self.alerting_applied(entry, config, link_key.as_ref())
            }
            Body::AlertRaised { .. } => self.alert_raised(entry, body),
            Body::AlertEnded { dedup_key, summary } => self.alert_ended(entry, dedup_key, summary),
            Body::AlertPosted { .. } => self.alert_posted(entry, body),
            Body::AlertsExtended { until } => self.alerts_extended(entry, until),
            Body::AlertsMuted { alerts, channels, reason } => self.alerts_muted(alerts, channels, reason),
            Body::SilenceAdded { silence } => self.silence_added(entry, silence),
            Body::SilenceEnded { id } => self.silence_ended(entry, *id),

            Body::MessageQueued { channel, told, incident, why } => {
                self.message_queued(entry, channel, told, *incident, *why)
            }
            Body::MessageIntended { .. } => self.message_intended(entry, body),
            Body::MessageDone { .. } => self.message_done(entry, body),
        }
    }

    fn founded(&mut self, entry: &Entry<'_>, id: ClusterId, name: &str, settings: &Settings) -> Outcome {
        if let Some(cluster) = &self.cluster {
            let message = format!("cluster \"{}\" ({}) is founded already", cluster.name, cluster.id);
            return Err(reject("ALREADY_FOUNDED", message));
        }
        super::validate::founding(name, settings)?;
        let settings = settings.clone();
        self.cluster = Some(Cluster { id, name: name.to_owned(), settings, founded_at: entry.now });
        Ok(Reply::Done)
    }

    fn leader_elected(&mut self, entry: &Entry<'_>, node: NodeId) -> Outcome {
        self.leader = Some(node);
        let name = self.node_name(node);
        let summary = format!("{name} leads in term {}", entry.at.term);
        self.event(entry, EventType::LeaderElected, &name, summary, &[("term", entry.at.term.to_string())]);
        Ok(Reply::Done)
    }

    /// The reply to the same request, if it was made within the last ten minutes. Rejections are remembered, too: who
    /// was told "no" must not find it done later.
    fn remembered(&self, request: RequestId) -> Option<Reply> {
        let (time, reply) = self.requests.get(&request)?;
        (self.clock.since_ms(*time) < REQUEST_MEMORY_MS).then(|| reply.clone())
    }

    fn remember(&mut self, request: RequestId, reply: &Reply) {
        if request == RequestId(0) {
            return;
        }
        let now = self.clock;
        if self.requests.len() >= REQUESTS_MAX || self.applied.index.is_multiple_of(64) {
            self.requests.retain(|_, (time, _)| now.since_ms(*time) < REQUEST_MEMORY_MS);
        }
        if self.requests.len() >= REQUESTS_MAX {
            let oldest = self.requests.iter().min_by_key(|(id, (time, _))| (*time, **id)).map(|(id, _)| *id);
            oldest.map(|id| self.requests.remove(&id));
        }
        self.requests.insert(request, (now, reply.clone()));
    }

    pub(super) fn event(
        &mut self,
        entry: &Entry<'_>,
        kind: EventType,
        subject: &str,
        summary: impl Into<String>,
        fields: &[(&str, String)],
    ) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            index: entry.at.index,
            time: entry.now,
            kind,
            subject: subject.to_owned(),
            summary: clip(&summary.into(), SENTENCE_BYTES),
            fields: fields.iter().map(|(k, v)| ((*k).to_owned(), clip(v, SENTENCE_BYTES))).collect(),
        });
    }

    /// What a person asked for: `actor` is the certificate's name or `local`.
    pub(super) fn operator_event(&mut self, entry: &Entry<'_>, subject: &str, summary: String) {
        let fields = [("actor", entry.actor.to_owned())];
        self.event(entry, EventType::OperatorAction, subject, summary, &fields);
    }
}
