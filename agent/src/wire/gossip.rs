//! One gossip stream an edge, both ways on it: the side that dials speaks in the request, the other in the response.
//!
//! Each stream is one task that reads, says when the stream opens and ends, and hands on what it hears; what is to be
//! said goes straight into the stream's outbox. What can't leave at once is dropped: a late heartbeat is worth nothing.
//! Not here: who is dialled, and which of two streams to a peer is used.

use super::{
    client::Peers,
    convert::{Beat, beat_from_wire, beat_to_wire},
    findings::{SentReport, report_from_wire, report_to_wire},
    peer::{client, introduction_from_wire, introduction_to_wire},
    peer_server::Refused,
};
use crate::keeper::contacts::Introduction;
use cluster_core::ids::{ClusterId, NodeId};
use futures::{Stream, StreamExt as _, future::BoxFuture};
use holdfast_proto::internal as pb;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

/// Messages on their way into one stream; more are dropped.
const OUTBOX: usize = 16;
/// Between two attempts to open a stream: at first, and at most.
const REDIAL: Duration = Duration::from_millis(200);
const REDIAL_MAX: Duration = Duration::from_secs(1);
/// Opening a stream is given up after this: at first, and when the one before was given up, for where all are busy it may
/// only be slow.
const OPEN_TIMEOUT: Duration = Duration::from_millis(1_000);
const OPEN_TIMEOUT_MAX: Duration = Duration::from_millis(2_000);
/// Who opens a stream says who it is within this.
const FIRST_WORD: Duration = Duration::from_secs(2);

/// What is said over a gossip stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Beat(Box<Beat>),
    /// To a voter that is a neighbour, beside the call that carries the same.
    Report(SentReport),
    AskKey(KeyAsked),
    Key(NodeId, Introduction),
}

/// The key of the keeper of `to` is wanted: over a stream that stands it costs no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAsked {
    pub cluster: ClusterId,
    pub from: NodeId,
    pub to: NodeId,
}

impl Said {
    const fn from(&self) -> NodeId {
        match self {
            Self::Beat(beat) => beat.heartbeat.from,
            Self::Report(sent) => sent.report.observer,
            Self::AskKey(KeyAsked { from, .. }) | Self::Key(from, _) => *from,
        }
    }
}

/// Which of this process' streams; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(u64);

impl StreamId {
    fn next() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self(COUNT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What became of a stream with `peer`.
#[derive(Debug)]
pub enum StreamEvent {
    Opened { peer: NodeId, id: StreamId, outbox: Outbox, dialled: bool },
    Ended { peer: NodeId, id: StreamId, why: String },
}

/// The sending end of one stream. When the last one goes, the stream ends in this direction.
#[derive(Clone, Debug)]
pub struct Outbox(mpsc::Sender<Outgoing>);

impl Outbox {
    /// Drops the message when the stream is behind: its peer stopped reading, and its silence will tell.
    pub fn send(&self, said: Said) {
        let _behind = self.0.try_send(Outgoing::Said(said));
    }

    /// Whether nothing takes what is sent any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

#[derive(Debug)]
enum Outgoing {
    Said(Said),
    Refusal(Refused),
}

/// Who listens to all streams of one agent.
pub trait Ear: Send + Sync + 'static {
    /// Each heartbeat is checked before anything else: whether this node may speak here, by these names of its
    /// certificate (None: without TLS). False: it may, and isn't to be heard yet.
    fn admit(&self, beat: &Beat, names: Option<&[String]>) -> Result<bool, Refused>;
    /// In the order of the stream.
    fn heard(&self, said: Said) -> BoxFuture<'_, ()>;
    fn stream(&self, event: StreamEvent) -> BoxFuture<'_, ()>;
}

/// A stream that is kept open: dialled again whenever it ended, until this is dropped.
#[derive(Debug)]
pub struct Dialler {
    pub address: String,
    _task: AbortOnDropHandle<()>,
}

/// Keeps a stream with the peer.
pub fn dial(peers: Arc<Peers>, ear: Arc<dyn Ear>, peer: NodeId, address: String) -> Dialler {
    let to = address.clone();
    let task = tokio::spawn(async move {
        let (mut pause, mut patience) = (REDIAL, OPEN_TIMEOUT);
        loop {
            let end = once(&peers, &ear, peer, &to, patience).await;
            pause = if end == End::Opened { REDIAL } else { (pause * 2).min(REDIAL_MAX) };
            patience = if end == End::TimedOut { OPEN_TIMEOUT_MAX } else { OPEN_TIMEOUT };
            tokio::time::sleep(pause).await;
        }
    });
    Dialler { address, _task: AbortOnDropHandle::new(task) }
}

/// What became of one attempt to keep a stream.
#[derive(PartialEq, Eq)]
enum End {
    /// It stood, however briefly.
    Opened,
    Failed,
    TimedOut,
}

/// One stream from its opening to its end.
async fn once(peers: &Peers, ear: &Arc<dyn Ear>, peer: NodeId, address: &str, patience: Duration) -> End {
    let Ok((channel, made)) = peers.made_channel(address) else { return End::Failed };
    let (into, queued) = mpsc::channel(OUTBOX);
    let mut writer = Writer::default();
    let outbound = ReceiverStream::new(queued).filter_map(move |outgoing| {
        std::future::ready(match outgoing {
            Outgoing::Said(said) => Some(writer.write(&said)),
            Outgoing::Refusal(_) => None,
        })
    });
    let mut client = client(channel);
    let mut inbound = match tokio::time::timeout(patience, client.gossip(outbound)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(_)) => return End::Failed,
        Err(_) => {
            // The connection may be one that the network forgot.
            peers.forget_made(address, made);
            return End::TimedOut;
        }
    };
    let id = StreamId::next();
    ear.stream(StreamEvent::Opened { peer, id, outbox: Outbox(into), dialled: true }).await;
    // What the other's certificate is good for was checked when it was dialled.
    let (why, _) = listen(&**ear, peer, None, &mut Reader::default(), &mut inbound).await;
    ear.stream(StreamEvent::Ended { peer, id, why }).await;
    End::Opened
}

/// Hears one side of a stream until it ends; says why it did, and whether this side refused it.
async fn listen(
    ear: &dyn Ear,
    peer: NodeId,
    names: Option<&[String]>,
    reader: &mut Reader,
    inbound: &mut Streaming<pb::Heartbeat>,
) -> (String, Option<Refused>) {
    loop {
        let message = match inbound.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return ("closed by the other side".into(), None),
            Err(status) => return (status.message().to_owned(), None),
        };
        let said = reader.read(message).and_then(|said| {
            if said.from() != peer {
                return Err(Refused::No(format!("this stream is {peer}'s, not {}'s", said.from())));
            }
            match &said {
                Said::Beat(beat) => ear.admit(beat, names).map(|heard| heard.then_some(said)),
                Said::Report(_) | Said::AskKey(_) | Said::Key(..) => Ok(Some(said)),
            }
        });
        match said {
            Ok(None) => {}
            Ok(Some(said)) => ear.heard(said).await,
            Err(refused) => return (refused.to_string(), Some(refused)),
        }
    }
}

/// The answering side of a stream that another agent dialled.
pub(super) fn accept(
    ear: Arc<dyn Ear>,
    inbound: Streaming<pb::Heartbeat>,
    names: Option<Vec<String>>,
) -> impl Stream<Item = Result<pb::Heartbeat, Status>> + Send {
    let (into, queued) = mpsc::channel(OUTBOX);
    // Ends with the stream that it reads; its end is told as evidence.
    tokio::spawn(async move {
        if let Some(refused) = converse(&*ear, inbound, names.as_deref(), &into).await {
            let _gone = into.send(Outgoing::Refusal(refused)).await;
        }
    });
    let mut writer = Writer::default();
    ReceiverStream::new(queued).map(move |outgoing| match outgoing {
        Outgoing::Said(said) => Ok(writer.write(&said)),
        Outgoing::Refusal(refused) => Err(refused.into()),
    })
}

/// Returns why the stream was refused, if it was.
async fn converse(
    ear: &dyn Ear,
    mut inbound: Streaming<pb::Heartbeat>,
    names: Option<&[String]>,
    into: &mpsc::Sender<Outgoing>,
) -> Option<Refused> {
    let mut reader = Reader::default();
    let beat = match tokio::time::timeout(FIRST_WORD, first_beat(&mut reader, &mut inbound)).await {
        Ok(Ok(beat)) => beat,
        Ok(Err(refused)) => return Some(refused),
        Err(_) => return Some(Refused::No("no heartbeat came".into())),
    };
    let counts = match ear.admit(&beat, names) {
        Ok(counts) => counts,
        Err(refused) => return Some(refused),
    };
    let (peer, id) = (beat.heartbeat.from, StreamId::next());
    ear.stream(StreamEvent::Opened { peer, id, outbox: Outbox(into.clone()), dialled: false }).await;
    if counts {
        ear.heard(Said::Beat(beat)).await;
    }
    let (why, refused) = listen(ear, peer, names, &mut reader, &mut inbound).await;
    ear.stream(StreamEvent::Ended { peer, id, why }).await;
    refused
}

/// What else is said before it, nobody is known to say.
async fn first_beat(
    reader: &mut Reader,
    inbound: &mut Streaming<pb::Heartbeat>,
) -> Result<Box<Beat>, Refused> {
    while let Ok(Some(message)) = inbound.message().await {
        if let Said::Beat(beat) = reader.read(message)? {
            return Ok(beat);
        }
    }
    Err(Refused::No("nothing was said".into()))
}

/// Leaves out what the message before said as well.
#[derive(Default)]
struct Writer {
    said: Option<(Option<ClusterId>, String)>,
    session: u64,
    from: u64,
}

impl Writer {
    fn write(&mut self, said: &Said) -> pb::Heartbeat {
        let beat = match said {
            Said::Beat(beat) => beat,
            Said::Report(sent) => {
                return pb::Heartbeat { report: Some(report_to_wire(sent)), ..pb::Heartbeat::default() };
            }
            Said::AskKey(KeyAsked { cluster, from, to }) => {
                let request = pb::IntroduceRequest { cluster_id: cluster.0, node: from.0, to: to.0 };
                return pb::Heartbeat { asks_key: Some(request), ..pb::Heartbeat::default() };
            }
            Said::Key(from, introduction) => {
                let key = Some(introduction_to_wire(introduction.clone()));
                return pb::Heartbeat { from: from.0, key, ..pb::Heartbeat::default() };
            }
        };
        let mut wire = beat_to_wire(beat);
        if self
            .said
            .as_ref()
            .is_some_and(|(cluster, name)| *cluster == beat.cluster && *name == beat.cluster_name)
        {
            wire.cluster_id = 0;
            wire.cluster_name = String::new();
        } else {
            self.said = Some((beat.cluster, beat.cluster_name.clone()));
        }
        let (from, session) = (wire.from, wire.session);
        if (from, session) == (self.from, self.session) {
            (wire.from, wire.session) = (0, 0);
        }
        (self.from, self.session) = (from, session);
        wire
    }
}

/// Puts back what a `Writer` left out.
#[derive(Default)]
struct Reader {
    cluster_id: u64,
    cluster_name: String,
    from: u64,
    session: u64,
}

impl Reader {
    fn read(&mut self, mut wire: pb::Heartbeat) -> Result<Said, Refused> {
        if let Some(report) = wire.report.take() {
            return report_from_wire(report).map(Said::Report).map_err(|e| Refused::No(e.to_string()));
        }
        if let Some(asked) = wire.asks_key {
            let (cluster, from, to) = (ClusterId(asked.cluster_id), NodeId(asked.node), NodeId(asked.to));
            return Ok(Said::AskKey(KeyAsked { cluster, from, to }));
        }
        if let Some(key) = wire.key.take() {
            let introduction = introduction_from_wire(key);
            let introduction = introduction.ok_or_else(|| Refused::No("a key of a wrong length".into()))?;
            return Ok(Said::Key(NodeId(wire.from), introduction));
        }
        if wire.cluster_name.is_empty() && wire.cluster_id == 0 {
            wire.cluster_id = self.cluster_id;
            wire.cluster_name.clone_from(&self.cluster_name);
        } else {
            self.cluster_id = wire.cluster_id;
            self.cluster_name.clone_from(&wire.cluster_name);
        }
        if wire.from == 0 && wire.session == 0 {
            (wire.from, wire.session) = (self.from, self.session);
        } else {
            (self.from, self.session) = (wire.from, wire.session);
        }
        beat_from_wire(wire).map(|beat| Said::Beat(Box::new(beat))).map_err(|e| Refused::No(e.to_string()))
    }
}

/// Ends of streams without a wire between them.
#[cfg(test)]
pub mod testing {
    use super::*;

    /// What keeps an outbox open.
    pub struct Line(#[expect(dead_code)] mpsc::Receiver<Outgoing>);

    pub fn line() -> (StreamId, Outbox, Line) {
        let (into, queued) = mpsc::channel(OUTBOX);
        (StreamId::next(), Outbox(into), Line(queued))
    }

    pub fn silent_dialler() -> Dialler {
        let task = tokio::spawn(std::future::pending());
        Dialler { address: "nowhere:1".into(), _task: AbortOnDropHandle::new(task) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keeper::secret::{Key, KeyId},
        wire::{convert::tests::beat, findings::tests::sent},
    };
    use cluster_core::ids::SessionId;
    use prost::Message as _;

    #[test]
    fn what_is_left_out_is_put_back() {
        let (mut writer, mut reader) = (Writer::default(), Reader::default());
        let founded = beat();
        let waiting = Beat { cluster: None, ..founded.clone() };
        let mut reborn = founded.clone();
        reborn.heartbeat.session = SessionId(99);
        for said in [&waiting, &waiting, &founded, &founded, &reborn, &founded]
            .map(|b| Said::Beat(Box::new(b.clone())))
        {
            let wire = writer.write(&said);
            assert_eq!(reader.read(wire), Ok(said));
        }
        let introduction = Introduction { key: Key([1; 32]), key_id: KeyId([2; 8]), udp_address: None };
        let from = founded.heartbeat.from;
        for said in [
            Said::Report(sent()),
            Said::AskKey(KeyAsked { cluster: ClusterId(1), from, to: NodeId(9) }),
            Said::Key(from, introduction),
            Said::Beat(Box::new(founded)),
        ] {
            assert_eq!(reader.read(writer.write(&said)), Ok(said));
        }
    }

    #[test]
    fn a_key_of_a_wrong_length_is_refused() {
        let key = pb::IntroduceResponse { key: vec![1; 31], key_id: vec![2; 8], udp_address: String::new() };
        let wire = pb::Heartbeat { from: 1, key: Some(key), ..pb::Heartbeat::default() };
        assert!(matches!(Reader::default().read(wire), Err(Refused::No(_))));
    }

    #[test]
    fn a_quiet_heartbeat_is_small() {
        let mut quiet = beat();
        (quiet.cluster, quiet.heartbeat.from) = (Some(ClusterId(u64::MAX)), NodeId(u64::MAX));
        (quiet.heartbeat.session, quiet.heartbeat.seq) = (SessionId(u64::MAX), 1_000_000);
        quiet.heartbeat.deltas.clear();
        quiet.heartbeat.vitals.clear();
        quiet.ack_ages.clear();
        let mut writer = Writer::default();
        let sizes = [(); 2].map(|()| writer.write(&Said::Beat(Box::new(quiet.clone()))).encoded_len());
        assert!(sizes[0] > 30 && sizes[1] < 16, "{sizes:?}");
    }
}
