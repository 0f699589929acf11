//! The lease's holder and what it needs of the world: renewals out, answers in, the deadline onto the page that the
//! guards of this node read.
//!
//! Renewals are sent from a task of their own clock: the loop may be busy, the lease must not be. Not here: the rule
//! (`cluster_core::lease::Holder`).

use super::replica::Replica;
use crate::{
    clock,
    wire::{
        client::Peers,
        convert::RenewalAnswer,
        streams::{self, Stream},
    },
    workload::page::DeadlinePage,
};
use cluster_core::{
    ids::{BootId, ClusterId, LeaseEpoch, LogId, NodeId, SessionId},
    lease::{Effect, Event, Grant, Groups, Holder, Renewal, Verdict, has_room},
    timing::Timing,
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};

/// Between two looks at the holder's clock: no oftener, even when a round is overdue, and no later.
const LOOK_MIN: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(40);

struct State {
    holder: Holder,
    page: Option<(LeaseEpoch, DeadlinePage)>,
    streams: BTreeMap<NodeId, Stream<Renewal>>,
}

/// Shared by the loop, the answers' task and the clock's task.
struct Core {
    me: NodeId,
    boot: BootId,
    guards_dir: PathBuf,
    replica: Arc<Replica>,
    state: Mutex<State>,
}

/// The loop's hand on it. Dropping it stops renewing; the guards then go by the last deadline.
pub struct Lease {
    core: Arc<Core>,
    peers: Arc<Peers>,
    answers: mpsc::Sender<RenewalAnswer>,
    addresses: BTreeMap<NodeId, String>,
    cluster: Option<ClusterId>,
    wanted: bool,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Lease {
    #[must_use]
    pub fn new(
        me: NodeId,
        boot: BootId,
        session: SessionId,
        timing: Timing,
        guards_dir: PathBuf,
        replica: Arc<Replica>,
        peers: Arc<Peers>,
    ) -> Self {
        let state =
            State { holder: Holder::new(me, boot, session, timing), page: None, streams: BTreeMap::new() };
        let core = Arc::new(Core { me, boot, guards_dir, replica, state: Mutex::new(state) });
        let (answers, mut answered) = mpsc::channel::<RenewalAnswer>(256);
        let hearing = {
            let core = core.clone();
            tokio::spawn(async move {
                while let Some(answer) = answered.recv().await {
                    core.answered(answer);
                }
            })
        };
        let ticking = {
            let core = core.clone();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(core.pause()).await;
                    core.step(Event::Tick);
                }
            })
        };
        let (addresses, tasks) = (BTreeMap::new(), vec![hearing, ticking]);
        Self { core, peers, answers, addresses, cluster: None, wanted: false, tasks }
    }

    /// What the ledger grants now, and who keeps it.
    pub fn granted(
        &mut self,
        epoch: Option<LeaseEpoch>,
        voters: Groups,
        config: LogId,
        lease: Duration,
        addresses: &BTreeMap<NodeId, String>,
    ) {
        self.addresses.clone_from(addresses);
        match epoch {
            None => self.core.step(Event::Withdrawn),
            Some(_) if addresses.is_empty() => {}
            Some(epoch) => {
                self.core.open_page(epoch);
                self.core.step(Event::Granted(Grant { epoch, voters, voter_config: config, lease }));
            }
        }
        self.dial();
    }

    /// Whether anything here needs the lease, and whose voters are asked.
    pub fn settle(&mut self, cluster: Option<ClusterId>, wanted: bool) {
        if (cluster, wanted) != (self.cluster, self.wanted) {
            (self.cluster, self.wanted) = (cluster, wanted);
            self.dial();
            self.core.step(Event::Wanted(wanted));
        }
    }

    /// The epoch whose deadline is far enough ahead to start something.
    #[must_use]
    pub fn held(&self) -> Option<LeaseEpoch> {
        let state = self.core.lock();
        let now = clock::now();
        // Too near its end, a guard would refuse to start anything.
        state.holder.deadline(now).filter(|deadline| has_room(*deadline, now)).and(state.holder.epoch())
    }

    /// Streams to all voters while the lease is wanted, none otherwise.
    fn dial(&mut self) {
        let mut state = self.core.lock();
        let Some(cluster) = self.cluster.filter(|_| self.wanted) else {
            state.streams.clear();
            return;
        };
        let addresses = &self.addresses;
        state.streams.retain(|node, stream| addresses.get(node) == Some(&stream.address));
        for (node, address) in addresses.iter().filter(|(node, _)| **node != self.core.me) {
            state.streams.entry(*node).or_insert_with(|| {
                streams::renewals(self.peers.clone(), cluster, address.clone(), self.answers.clone())
            });
        }
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lease's state panics")
    }

    /// Until the holder has something to do.
    fn pause(&self) -> Duration {
        let due = self.lock().holder.next_tick();
        due.map_or(LOOK_MAX, |at| at.since(clock::now().boot).clamp(LOOK_MIN, LOOK_MAX))
    }

    fn step(&self, event: Event) {
        let mut state = self.lock();
        self.step_locked(&mut state, event);
    }

    fn step_locked(&self, state: &mut State, event: Event) {
        let mut effects = Vec::new();
        // Read before anything that comes out enters the wire.
        state.holder.step(clock::now(), event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Renew { voter, renewal } if voter == self.me => self.renew_here(state, &renewal),
                Effect::Renew { voter, renewal } => {
                    if let Some(stream) = state.streams.get(&voter) {
                        stream.send(renewal);
                    }
                }
                Effect::Extend { epoch, deadline } => {
                    if let Some((_, page)) = state.page.as_ref().filter(|(of, _)| *of == epoch) {
                        page.extend(deadline);
                    }
                }
                Effect::Expired { epoch } => {
                    tracing::warn!(
                        epoch = epoch.0,
                        "this node's lease ran out: its guards end what runs here"
                    );
                }
                Effect::Revoked { epoch } => {
                    // The entry may yet be cut off the voters' logs; the deadline ends what runs here in any case.
                    tracing::warn!(epoch = epoch.0, "the voters call this node's lease revoked");
                }
                Effect::VotersChanged { newer } => tracing::debug!(?newer, "the voters changed"),
            }
        }
    }

    /// This node votes itself: its own book is asked like any other.
    fn renew_here(&self, state: &mut State, renewal: &Renewal) {
        let verdict = self.replica.book().renew(clock::raw(), renewal);
        let answer =
            RenewalAnswer { voter: self.me, session: renewal.session, nonce: renewal.nonce, verdict };
        self.answered_locked(state, answer);
    }

    fn answered(&self, answer: RenewalAnswer) {
        let mut state = self.lock();
        self.answered_locked(&mut state, answer);
    }

    fn answered_locked(&self, state: &mut State, answer: RenewalAnswer) {
        let RenewalAnswer { voter, session, nonce, verdict } = answer;
        let event = match verdict {
            Verdict::Acked => Event::Ack { voter, session, nonce },
            Verdict::Refused(reason) => {
                tracing::debug!(%voter, ?reason, "a voter didn't acknowledge a renewal");
                Event::Refused { voter, session, nonce, reason }
            }
        };
        self.step_locked(state, event);
    }

    /// The page of a new epoch; the old one's stays as it is, and its guards end with it.
    fn open_page(&self, epoch: LeaseEpoch) {
        let mut state = self.lock();
        if state.page.as_ref().is_some_and(|(of, _)| *of == epoch) {
            return;
        }
        match DeadlinePage::create_or_open(&self.guards_dir, epoch, self.boot) {
            Ok(page) => state.page = Some((epoch, page)),
            Err(error) => tracing::error!(%error, "without a deadline page nothing can run here"),
        }
    }
}
