//! What a leader says to the other voters all the time, over one stream each: questions with a number, answers by it. A
//! call each costs several times as much, and there are ten a second and voter.
//!
//! Not here: consensus' other messages, which are rare or long (`peer::raft`), and what is said.

use super::{
    client::{Made, Peers},
    peer::{PeerError, client},
    peer_server::Refused,
};
use crate::limits::CONNECT_TIMEOUT;
use cluster_core::ids::{ClusterId, NodeId};
use futures::{Stream, StreamExt as _, future::BoxFuture, stream::BoxStream};
use holdfast_proto::internal::{self as pb, raft_stream_response::Answer as Wire};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

/// Questions on their way into one stream; more are refused, and asked again by consensus.
const OUTBOX: usize = 16;
/// Questions of one stream that are answered at once; more wait.
const ANSWERED_AT_ONCE: usize = 32;
/// Voters that streams are kept to; beyond it all are closed, and opened again where they are used.
const LINES_MAX: usize = 16;
const PATIENCE: Patience = Patience { silent: Duration::from_secs(2), idle: Duration::from_secs(10) };

#[derive(Clone, Copy)]
struct Patience {
    /// A stream on which nothing was answered for so long is opened anew.
    silent: Duration,
    /// One over which nobody asks for so long is closed: another leads.
    idle: Duration,
}

type Answer = Result<Vec<u8>, PeerError>;

/// One message of consensus, from one voter to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub cluster: ClusterId,
    pub from: NodeId,
    pub to: NodeId,
    pub kind: u32,
    pub payload: Vec<u8>,
}

struct Asked {
    question: Question,
    answer: oneshot::Sender<Answer>,
}

struct Line {
    address: String,
    questions: mpsc::Sender<Asked>,
    _task: AbortOnDropHandle<()>,
}

type Questions = ReceiverStream<pb::RaftStreamRequest>;
type Answers = BoxStream<'static, Result<pb::RaftStreamResponse, Status>>;

/// How streams come to be; the tests join both ends without a wire.
trait Opens: Send + Sync + 'static {
    fn open<'a>(&'a self, address: &'a str, questions: Questions) -> BoxFuture<'a, Option<(Answers, Made)>>;
    /// Whether the connection of that stream is still the one to use.
    fn is_newest(&self, address: &str, made: Made) -> bool;
    /// The connection delivers nothing: the next stream is to have another.
    fn give_up(&self, address: &str, made: Made);
}

impl Opens for Peers {
    fn open<'a>(&'a self, address: &'a str, questions: Questions) -> BoxFuture<'a, Option<(Answers, Made)>> {
        Box::pin(async move {
            let (channel, made) = self.made_channel(address).ok()?;
            let mut client = client(channel);
            // As long as a connection may take to come about: one that is slow isn't begun anew.
            let Ok(opened) = tokio::time::timeout(CONNECT_TIMEOUT, client.raft_stream(questions)).await
            else {
                self.give_up(address, made);
                return None;
            };
            Some((opened.ok()?.into_inner().boxed(), made))
        })
    }

    fn is_newest(&self, address: &str, made: Made) -> bool {
        self.newest(address) == Some(made)
    }

    fn give_up(&self, address: &str, made: Made) {
        self.forget_made(address, made);
    }
}

/// The streams to all voters, one each: a handful, and those of voters that are none any more.
pub struct Lines {
    opens: Arc<dyn Opens>,
    patience: Patience,
    lines: Mutex<BTreeMap<NodeId, Line>>,
}

impl Lines {
    #[must_use]
    pub fn new(peers: Arc<Peers>) -> Self {
        Self::over(peers, PATIENCE)
    }

    fn over(opens: Arc<dyn Opens>, patience: Patience) -> Self {
        Self { opens, patience, lines: Mutex::default() }
    }

    /// Waits for the answer no longer than `timeout`, connecting included.
    pub async fn ask(&self, address: &str, question: Question, timeout: Duration) -> Answer {
        let (answer, answered) = oneshot::channel();
        let sent = self.line(question.to, address).try_send(Asked { question, answer });
        sent.map_err(|_| PeerError::Unreachable("too much is on its way".into()))?;
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(PeerError::Unreachable("its stream ended, or none could be opened".into())),
            Err(_) => Err(PeerError::Unreachable(format!("nothing within {} ms", timeout.as_millis()))),
        }
    }

    fn line(&self, to: NodeId, address: &str) -> mpsc::Sender<Asked> {
        let mut lines = self.lines.lock().expect("no holder of this lock panics");
        if lines.get(&to).is_none_or(|line| line.address != address) {
            if lines.len() >= LINES_MAX {
                lines.clear();
            }
            let (questions, asked) = mpsc::channel(OUTBOX);
            let task = tokio::spawn(keep(self.opens.clone(), self.patience, address.to_owned(), asked));
            let line = Line { address: address.to_owned(), questions, _task: AbortOnDropHandle::new(task) };
            lines.insert(to, line);
        }
        lines[&to].questions.clone()
    }
}

/// A stream whenever somebody asks. What is asked while none can be opened fails with it.
async fn keep(opens: Arc<dyn Opens>, patience: Patience, address: String, mut asked: mpsc::Receiver<Asked>) {
    let mut next = asked.recv().await;
    while let Some(first) = next {
        next = match talk(&*opens, patience, &address, first, &mut asked).await {
            Some(left) => Some(left),
            None => {
                while asked.try_recv().is_ok() {}
                asked.recv().await
            }
        };
    }
}

/// One stream, from its first question to its end. Returns a question that is to be asked over another.
async fn talk(
    opens: &dyn Opens,
    patience: Patience,
    address: &str,
    first: Asked,
    asked: &mut mpsc::Receiver<Asked>,
) -> Option<Asked> {
    let (into, questions) = mpsc::channel(OUTBOX);
    let mut waiting = BTreeMap::from([(1, first.answer)]);
    into.try_send(question_to_wire(1, first.question)).ok()?;
    let (mut answers, made) = opens.open(address, ReceiverStream::new(questions)).await?;
    let (mut number, mut asked_at) = (1, Instant::now());
    let mut unanswered_since = Some(asked_at);
    loop {
        tokio::select! {
            next = asked.recv() => {
                let next = next?;
                // It waited here for longer than its asker did.
                if next.answer.is_closed() {
                    continue;
                }
                asked_at = Instant::now();
                let silent = asked_at - *unanswered_since.get_or_insert(asked_at);
                if silent > patience.silent {
                    opens.give_up(address, made);
                }
                if !opens.is_newest(address, made) {
                    return Some(next);
                }
                // Those whose time is over are asked again by consensus.
                waiting.retain(|_, answer| !answer.is_closed());
                number += 1;
                let Asked { mut question, answer } = next;
                (question.cluster, question.from, question.to) = (ClusterId(0), NodeId(0), NodeId(0));
                // Full: the stream is behind, and this one fails.
                if into.try_send(question_to_wire(number, question)).is_ok() {
                    waiting.insert(number, answer);
                }
            }
            message = answers.next() => {
                let message = message?.ok()?;
                unanswered_since = None;
                if let Some(answer) = waiting.remove(&message.number) {
                    let _gave_up = answer.send(answer_from_wire(message));
                }
            }
            () = tokio::time::sleep_until(asked_at + patience.idle) => return None,
        }
    }
}

/// The answering side of a stream that another voter opened. Ends when it sends nonsense.
pub(super) fn answers<F>(
    questions: impl Stream<Item = Result<pb::RaftStreamRequest, Status>> + Send,
    answer: impl Fn(Question) -> F + Send + Clone,
) -> impl Stream<Item = Result<pb::RaftStreamResponse, Status>> + Send
where
    F: Future<Output = Result<Vec<u8>, Refused>> + Send,
{
    let whose = (ClusterId(0), NodeId(0), NodeId(0));
    let whole = questions.scan(whose, |whose, message| {
        let read = message.ok().and_then(|message| question_from_wire(message, whose));
        std::future::ready(read)
    });
    let answered = whole.map(move |(number, question)| {
        let answered = answer(question);
        async move { Ok(answer_to_wire(number, answered.await)) }
    });
    answered.buffer_unordered(ANSWERED_AT_ONCE)
}

pub(super) fn raft_to_wire(q: Question) -> pb::RaftRequest {
    pb::RaftRequest { cluster_id: q.cluster.0, from: q.from.0, to: q.to.0, kind: q.kind, payload: q.payload }
}

fn question_to_wire(number: u64, question: Question) -> pb::RaftStreamRequest {
    pb::RaftStreamRequest { number, request: Some(raft_to_wire(question)) }
}

/// Whose words they are, if it isn't said, is as it was said last.
fn question_from_wire(
    message: pb::RaftStreamRequest,
    whose: &mut (ClusterId, NodeId, NodeId),
) -> Option<(u64, Question)> {
    let request = message.request?;
    if request.cluster_id != 0 {
        *whose = (ClusterId(request.cluster_id), NodeId(request.from), NodeId(request.to));
    }
    let (cluster, from, to) = *whose;
    Some((message.number, Question { cluster, from, to, kind: request.kind, payload: request.payload }))
}

fn answer_to_wire(number: u64, answer: Result<Vec<u8>, Refused>) -> pb::RaftStreamResponse {
    let answer = match answer {
        Ok(payload) => Wire::Payload(payload),
        Err(Refused::Unavailable(why)) => Wire::Unavailable(why),
        Err(refused @ (Refused::No(_) | Refused::Taken(_))) => Wire::Refused(refused.to_string()),
    };
    pb::RaftStreamResponse { number, answer: Some(answer) }
}

fn answer_from_wire(message: pb::RaftStreamResponse) -> Answer {
    match message.answer {
        Some(Wire::Payload(payload)) => Ok(payload),
        Some(Wire::Unavailable(why)) => Err(PeerError::Unreachable(why)),
        Some(Wire::Refused(why)) => Err(PeerError::Refused(why)),
        None => Err(PeerError::Refused("its answer says nothing".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    const SOON: Duration = Duration::from_secs(5);

    /// Both ends in one process: what is asked is answered by what was asked, the longest payload last.
    #[derive(Default)]
    struct Loop {
        opened: AtomicU64,
        connection: AtomicU64,
        refuses: bool,
    }

    impl Opens for Loop {
        fn open<'a>(&'a self, _: &'a str, questions: Questions) -> BoxFuture<'a, Option<(Answers, Made)>> {
            self.opened.fetch_add(1, Ordering::Relaxed);
            let answers = answers(questions.map(Ok), |question: Question| async move {
                tokio::time::sleep(Duration::from_millis(question.payload.len() as u64)).await;
                match question.kind {
                    1 => Ok([question.from.0, question.to.0].map(u64::to_le_bytes).concat()),
                    2 => Err(Refused::Unavailable("not yet".into())),
                    3 => std::future::pending().await,
                    _ => Err(Refused::No("never".into())),
                }
            });
            let opened = (answers.boxed(), Made::numbered(self.connection.load(Ordering::Relaxed)));
            Box::pin(std::future::ready((!self.refuses).then_some(opened)))
        }

        fn is_newest(&self, _: &str, made: Made) -> bool {
            made == Made::numbered(self.connection.load(Ordering::Relaxed))
        }

        fn give_up(&self, _: &str, _: Made) {
            self.connection.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn question(kind: u32, payload_bytes: usize) -> Question {
        let (cluster, from, to) = (ClusterId(7), NodeId(1), NodeId(2));
        Question { cluster, from, to, kind, payload: vec![0; payload_bytes] }
    }

    #[tokio::test]
    async fn answers_come_in_any_order_each_to_its_question() {
        let opens = Arc::new(Loop::default());
        let lines = Lines::over(opens.clone(), PATIENCE);
        let told = [1_u64, 2].map(u64::to_le_bytes).concat();
        let pending = lines.ask("h2:7400", question(3, 0), SOON);
        let asked = [(1, 40), (2, 20), (9, 10), (1, 0)]
            .map(|(kind, bytes)| lines.ask("h2:7400", question(kind, bytes), SOON));
        let answered = tokio::select! {
            biased;
            never = pending => panic!("{never:?}"),
            answered = futures::future::join_all(asked) => answered,
        };
        assert_eq!(answered[0], Ok(told.clone()), "who asks whom is known after the first question, too");
        assert_eq!(answered[1], Err(PeerError::Unreachable("not yet".into())));
        assert_eq!(answered[2], Err(PeerError::Refused("never".into())));
        assert_eq!(answered[3], Ok(told));
        assert_eq!(opens.opened.load(Ordering::Relaxed), 1);
        opens.connection.store(1, Ordering::Relaxed);
        assert!(lines.ask("h2:7400", question(1, 0), SOON).await.is_ok(), "over the new connection");
        assert_eq!(opens.opened.load(Ordering::Relaxed), 2);
    }

    fn lines(opens: &Arc<Loop>) -> Lines {
        let patience = Patience { silent: Duration::from_millis(200), idle: Duration::from_millis(200) };
        Lines::over(opens.clone(), patience)
    }

    #[tokio::test]
    async fn a_stream_that_answers_nothing_is_opened_anew() {
        let opens = Arc::new(Loop::default());
        let lines = lines(&opens);
        let (began, brief) = (Instant::now(), Duration::from_millis(20));
        while opens.opened.load(Ordering::Relaxed) < 2 {
            let silent = lines.ask("h2:7400", question(3, 0), brief).await;
            assert!(matches!(silent, Err(PeerError::Unreachable(_))));
        }
        assert!(began.elapsed() >= lines.patience.silent);
        assert!(lines.ask("h2:7400", question(1, 0), SOON).await.is_ok());
    }

    #[tokio::test]
    async fn what_can_not_be_opened_fails_at_once_and_an_idle_stream_is_closed() {
        let refuses = lines(&Arc::new(Loop { refuses: true, ..Loop::default() }));
        let began = Instant::now();
        let asked = refuses.ask("h2:7400", question(1, 0), SOON).await;
        assert!(matches!(asked, Err(PeerError::Unreachable(_))));
        assert!(began.elapsed() < SOON);
        let opens = Arc::new(Loop::default());
        let lines = lines(&opens);
        for streams in 1..=2 {
            assert!(lines.ask("h2:7400", question(1, 0), SOON).await.is_ok());
            assert_eq!(opens.opened.load(Ordering::Relaxed), streams);
            tokio::time::sleep(lines.patience.idle * 2).await;
        }
    }
}
