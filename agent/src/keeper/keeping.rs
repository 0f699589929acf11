//! The keeper's work: one loop that waits for datagrams, for its agent and for the time of the next renewal.
//!
//! It ends when the agent says so, when its directory or its place there is gone, or, if it never had a lease to keep,
//! together with its agent. What it decides about the lease is `renewing`'s.

use super::{
    datagram::{self, DATAGRAM_MAX, Header, Kind, Message},
    local::{self, Got},
    process::{KeeperError, complain, is_asked_to_end},
    protocol::{Hello, PACKET_MAX, ToAgent, ToKeeper, Unread},
    renewing::{Out, Renewing},
    replay::ReplayGuard,
    secret::Secret,
    state::Lock,
};
use crate::clock;
use cluster_core::{
    ids::{BootId, NodeId},
    membership::AgentState,
    time::Instant,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    path::PathBuf,
    time::Duration,
};

/// An agent that told nothing for so long is stalled.
const FED_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks at what nobody tells: whether this keeper still has its place.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// No wait is shorter, even when a renewal is overdue.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// Datagrams and packets taken at one look; the rest waits for the next.
const DATAGRAMS_A_LOOK: usize = 256;
const PACKETS_A_LOOK: usize = 64;
/// Hints about unknown keys in a second, over all peers.
const HINTS_A_SECOND: u32 = 20;
/// Between two words to the agent about the same voter's unknown key.
const UNKNOWN_AGAIN: Duration = Duration::from_secs(1);
/// SIGTERM to a keeper whose agent is gone: the host is going down, and its guards need the lease to end in peace.
const TERM_GRACE: Duration = Duration::from_secs(10);

/// The agent's end of the local socket.
struct Agent {
    socket: OwnedFd,
    /// On CLOCK_MONOTONIC_RAW.
    fed_at: Option<Instant>,
}

pub(super) struct Keeper {
    dir: PathBuf,
    me: NodeId,
    secret: Secret,
    udp: UdpSocket,
    listener: OwnedFd,
    hello: Hello,
    agent: Option<Agent>,
    renewing: Renewing,
    replay: ReplayGuard,
    hints: Hints,
    unknown_told: BTreeMap<NodeId, Instant>,
    ends_with_agent: bool,
    looked_at: Instant,
    term_at: Option<Instant>,
    ended: bool,
}

/// A bound on what strangers can make a keeper send.
#[derive(Default)]
struct Hints {
    second: u64,
    sent: u32,
}

impl Hints {
    fn may(&mut self, now: Instant) -> bool {
        let second = now.as_millis() / 1_000;
        if second != self.second {
            (self.second, self.sent) = (second, 0);
        }
        self.sent += 1;
        self.sent <= HINTS_A_SECOND
    }
}

impl Keeper {
    pub(super) fn new(
        dir: PathBuf,
        me: NodeId,
        boot: BootId,
        secret: Secret,
        udp: UdpSocket,
        listener: OwnedFd,
        hello: Hello,
    ) -> Self {
        Self {
            renewing: Renewing::new(me, boot, dir.clone(), hello.address),
            dir,
            me,
            secret,
            udp,
            listener,
            hello,
            agent: None,
            replay: ReplayGuard::default(),
            hints: Hints::default(),
            unknown_told: BTreeMap::new(),
            ends_with_agent: false,
            looked_at: clock::raw(),
            term_at: None,
            ended: false,
        }
    }

    /// Until it ends.
    pub(super) fn keep(mut self, lock: &Lock) -> Result<(), KeeperError> {
        while !self.ended {
            self.wait().map_err(KeeperError::Wait)?;
            // The agent first: how it is must be known before others are told.
            self.accept();
            self.hear_agent();
            self.hear_datagrams();
            self.renew();
            self.look(lock);
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        let now = clock::now();
        let due = self.renewing.due(now, self.agent_state() == AgentState::Up);
        let patience = due.map_or(LOOK_EVERY, |at| at.since(now.boot).clamp(WAIT_MIN, LOOK_EVERY));
        let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec: seconds, tv_nsec: patience.subsec_nanos().into() };
        let mut fds = vec![PollFd::new(&self.udp, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        fds.extend(self.agent.as_ref().map(|agent| PollFd::new(&agent.socket, PollFlags::IN)));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn agent_state(&self) -> AgentState {
        match &self.agent {
            None => AgentState::Gone,
            Some(agent) => match agent.fed_at {
                Some(at) if clock::raw().since(at) < FED_WITHIN => AgentState::Up,
                _ => AgentState::Stalled,
            },
        }
    }

    /// The data directory has one agent at a time, so who comes later is the one.
    fn accept(&mut self) {
        while let Ok(Some(socket)) = local::accept(&self.listener) {
            match local::peer(&socket) {
                Ok(_) => {
                    self.agent = Some(Agent { socket, fed_at: None });
                    self.tell(&ToAgent::Hello(self.hello.clone()));
                }
                Err(e) => complain(&format!("who connects isn't its agent: {e}")),
            }
        }
    }

    fn hear_agent(&mut self) {
        let mut buffer = [0; PACKET_MAX];
        for _ in 0..PACKETS_A_LOOK {
            let Some(agent) = &self.agent else { return };
            let read = match local::get(&agent.socket, &mut buffer) {
                Ok(Got::Packet(packet)) => ToKeeper::decode(packet),
                Ok(Got::Nothing) => return,
                Ok(Got::End) | Err(_) => return self.agent_is_gone(),
            };
            match read {
                Ok(message) => self.told(message),
                Err(Unread::Damaged) => complain("the agent sent a packet without sense"),
                // An agent of another version retires this keeper; until then it is no agent of this one.
                Err(Unread::OtherVersion(_)) => return self.agent_is_gone(),
            }
        }
    }

    fn agent_is_gone(&mut self) {
        self.agent = None;
        self.ended |= self.ends_with_agent || !self.renewing.has_held();
    }

    fn told(&mut self, message: ToKeeper) {
        let mut out = Vec::new();
        let now = clock::now();
        match message {
            ToKeeper::Hello => self.tell(&ToAgent::Hello(self.hello.clone())),
            ToKeeper::Retire => self.ended = true,
            ToKeeper::Tell(tell) => {
                if let Some(agent) = &mut self.agent {
                    agent.fed_at = Some(now.raw);
                }
                self.ends_with_agent = tell.ends_with_agent;
                self.renewing.told(now, tell, &mut out);
                self.tell(&ToAgent::Alive);
            }
            ToKeeper::Answered { to, node, answer } => {
                self.answer(to, node, &Message::RenewalAnswer(answer));
            }
            ToKeeper::Heard(answer) => self.renewing.answered(now, answer, false, &mut out),
        }
        self.send(out);
    }

    fn renew(&mut self) {
        let now = clock::now();
        if self.renewing.due(now, self.agent_state() == AgentState::Up).is_some_and(|at| at <= now.boot) {
            let mut out = Vec::new();
            self.renewing.tick(now, &mut out);
            self.send(out);
        }
    }

    fn send(&mut self, out: Vec<Out>) {
        for out in out {
            match out {
                Out::Datagram { to, bytes } => self.send_datagram(to, &bytes),
                Out::Agent(message) => self.tell(&message),
            }
        }
    }

    /// What doesn't leave at once is lost, as on the wire: the next one is dated better.
    fn send_datagram(&self, to: SocketAddr, bytes: &[u8]) {
        let _lost = self.udp.send_to(bytes, reachable(to, self.hello.address));
    }

    /// To a stalled agent only what it asked for: what it would read minutes later helps nobody.
    fn tell(&self, message: &ToAgent) {
        let late_is_worthless = matches!(message, ToAgent::Relay { .. } | ToAgent::Asked { .. });
        if late_is_worthless && self.agent_state() != AgentState::Up {
            return;
        }
        if let Some(agent) = &self.agent {
            let _dropped = local::put(&agent.socket, &message.encode());
        }
    }

    fn hear_datagrams(&mut self) {
        let mut buffer = [0; DATAGRAM_MAX + 1];
        for _ in 0..DATAGRAMS_A_LOOK {
            match self.udp.recv_from(&mut buffer) {
                Ok((length, from)) => self.datagram(from, &buffer[..length]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // What an earlier datagram met elsewhere (a closed port); the next read goes on.
                Err(_) => {}
            }
        }
    }

    fn datagram(&mut self, from: SocketAddr, datagram: &[u8]) {
        let now = clock::now();
        let Ok(header) = datagram::peek(datagram) else { return };
        if header.to != self.me {
            return;
        }
        if header.kind == Kind::UnknownKey {
            self.unknown_key(now.raw, &header);
        } else if header.kind.is_answer() {
            let Some(route) = self.renewing.route(header.from) else { return };
            let opened = datagram::open(&route.key, datagram);
            if let Ok((_, Message::RenewalAnswer(answer))) = opened
                && answer.voter == header.from
            {
                let mut out = Vec::new();
                self.renewing.answered(now, answer, true, &mut out);
                self.send(out);
            }
        } else if header.key_id != self.secret.id() {
            if self.hints.may(now.raw) {
                self.send_datagram(from, &datagram::unknown_key(&header, self.me));
            }
        } else if let Ok((_, message)) = datagram::open(&self.secret.key_for(header.from, self.me), datagram)
        {
            self.asked(now.raw, from, &header, message);
        }
    }

    /// A question that its sender is proven to have asked, once or again.
    fn asked(&mut self, now: Instant, from: SocketAddr, header: &Header, message: Message) {
        match message {
            Message::Probe { nonce } => {
                let agent = self.agent_state();
                self.answer(from, header.from, &Message::ProbeAnswer { nonce, agent });
            }
            Message::Renewal { cluster, renewal } if renewal.node == header.from => {
                let up = self.agent_state() == AgentState::Up;
                if up && self.replay.is_new(renewal.node, renewal.session, renewal.nonce) {
                    self.tell(&ToAgent::Asked { from: Some(from), at: now, cluster, renewal });
                }
            }
            Message::Renewal { .. } | Message::ProbeAnswer { .. } | Message::RenewalAnswer(_) => {}
        }
    }

    fn answer(&self, to: SocketAddr, node: NodeId, message: &Message) {
        let key = self.secret.key_for(node, self.me);
        self.send_datagram(to, &datagram::seal(&key, self.secret.id(), self.me, node, message));
    }

    fn unknown_key(&mut self, now: Instant, header: &Header) {
        let told = self.unknown_told.get(&header.from);
        let again = told.is_none_or(|at| now.since(*at) >= UNKNOWN_AGAIN);
        if again && self.renewing.uses(header.from, header.key_id) {
            self.unknown_told.insert(header.from, now);
            self.tell(&ToAgent::UnknownKey { voter: header.from, key_id: header.key_id });
        }
    }

    /// Now and then: whether this keeper is still the one of its directory, and wanted on this host.
    fn look(&mut self, lock: &Lock) {
        let now = clock::raw();
        if is_asked_to_end() {
            let since = *self.term_at.get_or_insert(now);
            self.ended |= now.since(since) >= TERM_GRACE;
        }
        if now.since(self.looked_at) >= LOOK_EVERY {
            self.looked_at = now;
            self.ended |= !lock.is_in_place(&self.dir);
        }
    }
}

/// An address as a socket bound to `own` must name it: one of IPv6 names those of IPv4 by mapping.
fn reachable(to: SocketAddr, own: SocketAddr) -> SocketAddr {
    match (own, to) {
        (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
            SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
        }
        _ => to,
    }
}
