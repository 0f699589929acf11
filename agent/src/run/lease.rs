//! The lease as the main loop sees it: what the keeper is told, what it asks for, and what the deadline page says.
//!
//! The keeper renews by itself; it is told everything at each turn of the loop, a few times a second, and takes that for
//! the agent's sign of life: a loop that hangs is seen. Beside its datagrams go the agent's streams to the voters.
//! Renewals of other nodes that came to this node's keeper are put to the voter's book here.
//!
//! Not here: the rule (`cluster_core::lease::Holder`), the process (`keeper`).

use super::replica::Replica;
use crate::{
    clock,
    keeper::{
        contacts::Contacts,
        handle::{Keeper, KeeperEvent},
        protocol::{Issued, Route, Tell, ToAgent, ToKeeper},
    },
    wire::{
        client::Peers,
        convert::RenewalAnswer,
        streams::{self, Stream},
    },
    workload::page::PageReader,
};
use cluster_core::{
    ids::{BootId, ClusterId, LeaseEpoch, LogId, NodeId},
    lease::{Grant, Groups, Renewal, has_room},
    time::Instant,
    timing::Timing,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

/// Between two words to the keeper while nothing changes.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// A renewal that waited longer for this agent is dropped: it would be dated now, and keep a lost node's work waiting.
const LATE: Duration = Duration::from_millis(500);
/// Between two looks at how voters' keepers are reached; names may change their meaning.
const ROUTE_EVERY: Duration = Duration::from_secs(2);
/// The same while a voter has no route.
const ROUTE_AGAIN: Duration = Duration::from_millis(300);

#[derive(Default)]
struct State {
    cluster: Option<ClusterId>,
    issued: Issued,
    wanted: Option<bool>,
    addresses: BTreeMap<NodeId, String>,
    routes: BTreeMap<NodeId, Route>,
    streams: BTreeMap<NodeId, Stream<Renewal>>,
    page: Option<(LeaseEpoch, PageReader)>,
    told_at: Instant,
}

/// Shared by the loop and the tasks.
struct Core {
    me: NodeId,
    boot: BootId,
    timing: Timing,
    guards_dir: PathBuf,
    dev: bool,
    replica: Arc<Replica>,
    keeper: Keeper,
    contacts: Arc<Contacts>,
    reroute: Notify,
    state: Mutex<State>,
}

/// What the lease is made of; see `run`.
pub struct Parts {
    pub me: NodeId,
    pub boot: BootId,
    pub timing: Timing,
    pub guards_dir: PathBuf,
    /// With `--dev` the keeper ends with the agent.
    pub dev: bool,
    pub replica: Arc<Replica>,
    pub peers: Arc<Peers>,
    pub keeper: Keeper,
    pub keeper_events: mpsc::Receiver<KeeperEvent>,
    pub contacts: Arc<Contacts>,
}

/// The loop's hand on it. Dropping it ends this agent's share; the keeper goes on.
pub struct Lease {
    core: Arc<Core>,
    peers: Arc<Peers>,
    answers: mpsc::Sender<RenewalAnswer>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Lease {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { me, boot, timing, guards_dir, dev, replica, peers, keeper, contacts, .. } = parts;
        let (reroute, state) = (Notify::new(), Mutex::default());
        let core = Core { me, boot, timing, guards_dir, dev, replica, keeper, contacts, reroute, state };
        let core = Arc::new(core);
        let (answers, answered) = mpsc::channel::<RenewalAnswer>(256);
        let tasks = vec![
            AbortOnDropHandle::new(tokio::spawn(core.clone().hear_voters(answered))),
            AbortOnDropHandle::new(tokio::spawn(core.clone().hear_keeper(parts.keeper_events))),
            AbortOnDropHandle::new(tokio::spawn(core.clone().find_routes())),
        ];
        Self { core, peers, answers, _tasks: tasks }
    }

    /// What the ledger grants now (`None`: it isn't known yet), and who keeps it.
    pub fn granted(
        &mut self,
        issued: Option<Option<LeaseEpoch>>,
        voters: Groups,
        config: LogId,
        lease: Duration,
        addresses: &BTreeMap<NodeId, String>,
    ) {
        {
            let mut state = self.core.lock();
            let issued = match issued {
                None => state.issued.clone(),
                Some(None) => Issued::Nothing,
                Some(Some(_)) if addresses.is_empty() => state.issued.clone(),
                Some(Some(epoch)) => Issued::Granted(Grant { epoch, voters, voter_config: config, lease }),
            };
            // It comes with every change of the ledger; most change nothing here.
            if issued == state.issued && *addresses == state.addresses {
                return;
            }
            state.issued = issued;
            state.addresses.clone_from(addresses);
            self.core.tell(&mut state);
        }
        self.dial();
        self.core.reroute.notify_one();
    }

    /// At each turn of the loop: whether anything here needs the lease, and whose voters are asked.
    pub fn settle(&mut self, cluster: Option<ClusterId>, wanted: bool) {
        let changed = {
            let mut state = self.core.lock();
            let changed = (cluster, Some(wanted)) != (state.cluster, state.wanted);
            (state.cluster, state.wanted) = (cluster, Some(wanted));
            if changed || clock::raw().since(state.told_at) >= TELL_EVERY {
                self.core.tell(&mut state);
            }
            changed
        };
        if changed {
            self.dial();
            self.core.reroute.notify_one();
        }
    }

    /// The epoch whose deadline is far enough ahead to start something.
    #[must_use]
    pub fn held(&self) -> Option<LeaseEpoch> {
        let mut state = self.core.lock();
        let Issued::Granted(Grant { epoch, .. }) = &state.issued else { return None };
        let epoch = *epoch;
        if state.page.as_ref().is_none_or(|(of, _)| *of != epoch) {
            // There is none until the keeper has made it.
            let page = PageReader::open(&self.core.guards_dir, epoch).ok()?;
            state.page = Some((epoch, page));
        }
        let content = state.page.as_ref().and_then(|(_, page)| page.read().ok())?;
        let now = clock::now();
        if (content.epoch, content.boot) != (epoch, self.core.boot) {
            // Another boot's, which the keeper replaces.
            state.page = None;
            return None;
        }
        // Too near its end, a guard would refuse to start anything.
        let holds = !content.revoked && !content.deadline.is_over(now) && has_room(content.deadline, now);
        holds.then_some(epoch)
    }

    /// This node has left for good: nothing is kept for it any more.
    pub fn retire(&self) {
        self.core.keeper.retire();
    }

    /// Streams to all voters while the lease is wanted, none otherwise.
    fn dial(&mut self) {
        let mut state = self.core.lock();
        let Some(cluster) = state.cluster.filter(|_| state.wanted == Some(true)) else {
            state.streams.clear();
            return;
        };
        let State { addresses, streams, .. } = &mut *state;
        streams.retain(|node, stream| addresses.get(node) == Some(&stream.address));
        for (node, address) in addresses.iter().filter(|(node, _)| **node != self.core.me) {
            streams.entry(*node).or_insert_with(|| {
                streams::renewals(self.peers.clone(), cluster, address.clone(), self.answers.clone())
            });
        }
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lease's state panics")
    }

    /// Everything, at once: the keeper may be a new one.
    fn tell(&self, state: &mut State) {
        state.told_at = clock::raw();
        self.keeper.send(&ToKeeper::Tell(Tell {
            profile: self.timing.name.to_owned(),
            cluster: state.cluster,
            issued: state.issued.clone(),
            wanted: state.wanted,
            routes: state.routes.values().cloned().collect(),
            ends_with_agent: self.dev,
        }));
    }

    async fn hear_voters(self: Arc<Self>, mut answers: mpsc::Receiver<RenewalAnswer>) {
        while let Some(answer) = answers.recv().await {
            self.keeper.send(&ToKeeper::Heard(answer));
        }
    }

    async fn hear_keeper(self: Arc<Self>, mut events: mpsc::Receiver<KeeperEvent>) {
        while let Some(event) = events.recv().await {
            match event {
                KeeperEvent::Connected => self.tell(&mut self.lock()),
                KeeperEvent::Said(message) => self.heard(message),
            }
        }
    }

    fn heard(&self, message: ToAgent) {
        match message {
            ToAgent::Hello(_) | ToAgent::Alive => {}
            ToAgent::Relay { voter, at, renewal } => {
                if clock::raw().since(at) < LATE
                    && let Some(stream) = self.lock().streams.get(&voter)
                {
                    stream.send(renewal);
                }
            }
            ToAgent::Asked { from, at, cluster, renewal } => self.asked(from, at, cluster, &renewal),
            ToAgent::UnknownKey { voter, key_id } => {
                if self.contacts.forget(voter, key_id) {
                    tracing::info!(%voter, "a voter's keeper has a new secret: asking for the new key");
                    self.reroute.notify_one();
                }
            }
            ToAgent::Expired(epoch) => {
                tracing::warn!(epoch = epoch.0, "this node's lease ran out: its guards end what runs here");
            }
            ToAgent::Revoked(epoch) => {
                // The entry may yet be cut off the voters' logs; the deadline ends what runs here in any case.
                tracing::warn!(epoch = epoch.0, "the voters call this node's lease revoked");
            }
        }
    }

    /// This node votes: its book is asked, for this node itself like for any other.
    fn asked(&self, from: Option<SocketAddr>, at: Instant, cluster: ClusterId, renewal: &Renewal) {
        if clock::raw().since(at) >= LATE || self.lock().cluster != Some(cluster) {
            return;
        }
        let verdict = self.replica.book().renew(clock::raw(), renewal);
        let (session, nonce) = (renewal.session, renewal.nonce);
        let answer = RenewalAnswer { voter: self.me, session, nonce, verdict };
        self.keeper.send(&match from {
            None => ToKeeper::Heard(answer),
            Some(to) => ToKeeper::Answered { to, node: renewal.node, answer },
        });
    }

    /// Keeps a route to each voter's keeper while the lease is wanted.
    async fn find_routes(self: Arc<Self>) {
        loop {
            let missing = self.look_for_routes().await;
            let pause = if missing { ROUTE_AGAIN } else { ROUTE_EVERY };
            let _woken = tokio::time::timeout(pause, self.reroute.notified()).await;
        }
    }

    /// Whether a route is missing that is needed.
    async fn look_for_routes(&self) -> bool {
        let voters: Vec<(NodeId, String)> = {
            let mut state = self.lock();
            let State { addresses, routes, wanted, .. } = &mut *state;
            routes.retain(|voter, _| addresses.contains_key(voter));
            if *wanted == Some(true) {
                addresses.iter().filter(|(n, _)| **n != self.me).map(|(n, a)| (*n, a.clone())).collect()
            } else {
                Vec::new()
            }
        };
        let asked = voters.iter().map(|(voter, address)| self.contacts.contact(*voter, address));
        let found = futures::future::join_all(asked).await;
        let mut missing = false;
        let mut state = self.lock();
        let before = state.routes.clone();
        for ((voter, _), contact) in voters.into_iter().zip(found) {
            match contact {
                Ok(contact) => {
                    let route = Route {
                        voter,
                        key: contact.key,
                        key_id: contact.key_id,
                        addresses: contact.addresses,
                    };
                    state.routes.insert(voter, route);
                }
                Err(error) => {
                    tracing::debug!(%voter, %error, "no route to a voter's keeper");
                    missing = true;
                }
            }
        }
        if state.routes != before {
            self.tell(&mut state);
        }
        missing
    }
}
