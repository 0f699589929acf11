//! This agent's copy of the ledger: entries go in, in order, and everyone who waits for them is told.
//!
//! A voter's copy is fed by consensus, a follower's by the stream of a voter. The voter's book is told of all that its
//! log holds, in the same order. Not here: the rules (`cluster_core::ledger`, `cluster_core::lease`).

use crate::{
    clock,
    consensus::{LogObserver, Machine},
    limits::FEED_ENTRIES,
    wire::codec,
};
use cluster_core::{
    ids::{LogId, NodeId},
    lease::{Book, Fact, concerns},
    ledger::{LEDGER_FORMAT, Ledger},
};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use tokio::sync::{broadcast, watch};

/// What happened to the replica, on its way to followers.
#[derive(Clone, Debug)]
pub enum Change {
    Applied {
        at: LogId,
        command: Arc<Vec<u8>>,
    },
    /// A snapshot took its place: whoever follows begins anew.
    Replaced,
}

pub struct Replica {
    pub ledger: Arc<RwLock<Ledger>>,
    book: Mutex<Book>,
    applied: watch::Sender<u64>,
    feed: broadcast::Sender<Change>,
}

impl Replica {
    #[must_use]
    pub fn new(me: NodeId) -> Arc<Self> {
        let ledger = Ledger { format: LEDGER_FORMAT, ..Ledger::default() };
        Arc::new(Self {
            ledger: Arc::new(RwLock::new(ledger)),
            book: Mutex::new(Book::new(me, clock::raw())),
            applied: watch::Sender::new(0),
            feed: broadcast::Sender::new(FEED_ENTRIES),
        })
    }

    pub fn read<R>(&self, f: impl FnOnce(&Ledger) -> R) -> R {
        f(&self.ledger.read().expect("no reader or writer of the ledger panics"))
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of the book panics")
    }

    /// The index of the newest entry applied.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The whole ledger, encoded, and every entry after it.
    #[must_use]
    pub fn feed(&self) -> (LogId, Vec<u8>, broadcast::Receiver<Change>) {
        // Subscribed first: an entry applied in between comes twice, and the second time is skipped.
        let entries = self.feed.subscribe();
        let (at, bytes) = self.read(|ledger| (ledger.applied, codec::encode_ledger(ledger)));
        (at, bytes, entries)
    }

    /// Applies one committed entry and returns the encoded reply.
    ///
    /// # Panics
    /// On an entry that this build can't read or isn't able to apply: a replica that skipped it would answer, and
    /// decide, otherwise than the others. The agent ends; a newer build goes on where this one stopped.
    pub fn apply(&self, at: LogId, bytes: &[u8]) -> Vec<u8> {
        let command = codec::decode_command(bytes)
            .unwrap_or_else(|e| panic!("entry {} of the log can't be read: {e}", at.index));
        let reply = {
            let mut ledger = self.ledger.write().expect("no reader or writer of the ledger panics");
            let reply = ledger
                .apply(at, &command)
                .unwrap_or_else(|e| panic!("entry {} of the log can't be applied: {e}", at.index));
            if concerns(&command.body) {
                self.book().step(clock::raw(), Fact::Applied { ledger: &ledger });
            }
            reply
        };
        let _nobody_follows = self.feed.send(Change::Applied { at, command: Arc::new(bytes.to_vec()) });
        self.applied.send_replace(at.index);
        codec::encode_reply(&reply)
    }

    /// As [`restore`](Self::restore), from another agent, which may be behind. This copy never goes back: what it knew
    /// to have ended would seem to be placed here again, and what was placed since would seem to be gone.
    pub fn follow(&self, bytes: &[u8]) -> Result<(), String> {
        let theirs = codec::decode_ledger(bytes).map_err(|e| e.to_string())?.applied;
        let mine = self.read(|ledger| ledger.applied);
        if theirs.index < mine.index {
            return Err(format!("it is behind: entry {} there, {} here", theirs.index, mine.index));
        }
        self.restore(bytes)
    }

    /// Replaces the whole ledger. An error leaves it as it was.
    pub fn restore(&self, bytes: &[u8]) -> Result<(), String> {
        let ledger = codec::decode_ledger(bytes).map_err(|e| e.to_string())?;
        if ledger.format > LEDGER_FORMAT {
            return Err(format!(
                "ledger format {} is newer than this build's {LEDGER_FORMAT}",
                ledger.format
            ));
        }
        let index = ledger.applied.index;
        *self.ledger.write().expect("no reader or writer of the ledger panics") = ledger;
        let _nobody_follows = self.feed.send(Change::Replaced);
        self.applied.send_replace(index);
        Ok(())
    }
}

/// Consensus' hand on the replica.
pub struct ReplicaMachine(pub Arc<Replica>);

impl Machine for ReplicaMachine {
    fn apply(&mut self, at: LogId, command: &[u8]) -> Vec<u8> {
        self.0.apply(at, command)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.read(codec::encode_ledger)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0.restore(bytes)
    }
}

/// Tells the book what this voter's log holds, committed or not, before anybody else can know.
pub struct BookKeeper(pub Arc<Replica>);

impl BookKeeper {
    fn tell(&self, fact: Fact<'_>) {
        self.0.book().step(clock::raw(), fact);
    }

    fn installed(&self, bytes: &[u8]) {
        // `restore` has refused, or will refuse, what can't be read; nothing is acknowledged on its ground.
        if let Ok(ledger) = codec::decode_ledger(bytes) {
            self.tell(Fact::Installed { ledger: &ledger });
        }
    }
}

impl LogObserver for BookKeeper {
    fn opened(&self, _snapshot: Option<LogId>, bytes: Option<&[u8]>) {
        if let Some(bytes) = bytes {
            self.installed(bytes);
        }
    }

    fn appended(&self, at: LogId, command: &[u8]) {
        let command = codec::decode_command(command)
            .unwrap_or_else(|e| panic!("entry {} for the log can't be read: {e}", at.index));
        self.tell(Fact::Appended { at, body: &command.body });
    }

    fn voters_appended(&self, at: LogId, voters: &[NodeId], _joint: bool) {
        // Voter changes aren't made yet, so there is no joint configuration whose halves must be told apart.
        let groups = vec![voters.iter().copied().collect()];
        self.tell(Fact::Configured { at, voters: &groups });
    }

    fn durable(&self, upto: u64) {
        self.tell(Fact::Durable { upto });
    }

    fn truncated(&self, from_index: u64) {
        self.tell(Fact::Truncated { from: from_index });
    }

    fn snapshot_installed(&self, _at: LogId, bytes: &[u8]) {
        self.installed(bytes);
    }
}
