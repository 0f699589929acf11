//! The event stream of one agent: its ledger's events in order, and what it alone saw in between.
//!
//! It holds nothing back for a slow reader: events are read when the reader takes them, and one who is overtaken by the
//! ledger's own limit is told so and sent away.

use super::errors;
use crate::{
    limits::EVENTS_AT_ONCE,
    shared::Shared,
    view::{self, wall_time},
};
use cluster_core::{ledger::Event, time::WallTime};
use futures::stream::{BoxStream, StreamExt as _, unfold};
use holdfast_proto::v1;
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};
use tonic::{Code, Status};

type Item = Result<v1::WatchEventsResponse, Status>;

struct Watch {
    shared: Arc<Shared>,
    /// All events of entries up to here were given out or were not wanted.
    after: u64,
    since: WallTime,
    follow: bool,
    /// The oldest event that the ledger kept when it was last read: when it has moved beyond `after`, some were missed.
    oldest: Option<u64>,
    taken: VecDeque<Event>,
    applied: watch::Receiver<u64>,
    local: broadcast::Receiver<Event>,
    ended: bool,
}

#[must_use]
pub fn stream(shared: &Arc<Shared>, request: &v1::WatchEventsRequest) -> BoxStream<'static, Item> {
    let watch = Watch {
        shared: Arc::clone(shared),
        after: request.after_index,
        since: request.since.as_ref().map(wall_time).unwrap_or_default(),
        follow: request.follow,
        oldest: None,
        taken: VecDeque::new(),
        applied: shared.applied.clone(),
        local: shared.local_events.subscribe(),
        ended: false,
    };
    unfold(watch, |mut watch| async move { watch.next().await.map(|item| (item, watch)) }).boxed()
}

impl Watch {
    async fn next(&mut self) -> Option<Item> {
        if self.ended {
            return None;
        }
        let next = self.next_event().await;
        self.ended = !matches!(next, Some(Ok(_)));
        next.map(|found| found.map(|event| v1::WatchEventsResponse { event: Some(view::event(&event)) }))
    }

    async fn next_event(&mut self) -> Option<Result<Event, Status>> {
        loop {
            if let Some(event) = self.taken.pop_front() {
                return Some(Ok(event));
            }
            // Before looking, so that an entry applied just afterwards is noticed below.
            self.applied.mark_unchanged();
            if let Err(missed) = self.take() {
                return Some(Err(missed));
            }
            if !self.taken.is_empty() {
                continue;
            }
            if !self.follow {
                return None;
            }
            tokio::select! {
                changed = self.applied.changed() => if changed.is_err() {
                    return Some(Err(stopping()));
                },
                event = self.local.recv() => match event {
                    Ok(event) if event.time >= self.since => return Some(Ok(event)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return Some(Err(too_slow(self.after))),
                    Err(RecvError::Closed) => return Some(Err(stopping())),
                },
            }
        }
    }

    /// Takes the next events out of the ledger: whole entries, so that a cursor between entries is enough.
    fn take(&mut self) -> Result<(), Status> {
        let (oldest, taken) = self.shared.read(|ledger| {
            let start = ledger.events.partition_point(|event| event.index <= self.after);
            let mut taken: VecDeque<Event> = VecDeque::new();
            for event in ledger.events.range(start..) {
                let whole = taken.back().is_none_or(|last: &Event| last.index != event.index);
                if whole && taken.len() >= EVENTS_AT_ONCE {
                    break;
                }
                taken.push_back(event.clone());
            }
            (ledger.events.front().map(|event| event.index), taken)
        });
        // Only a watcher that had read before can have missed something; a new one begins where the ledger does.
        let missed =
            matches!((self.oldest, oldest), (Some(before), Some(now)) if now > before && now > self.after);
        if missed {
            return Err(too_slow(self.after));
        }
        self.oldest = oldest.or(self.oldest);
        if let Some(last) = taken.back() {
            self.after = last.index;
        }
        self.taken = taken.into_iter().filter(|event| event.time >= self.since).collect();
        // A batch of which nothing was wanted isn't the end.
        if self.taken.is_empty() && self.has_more() { self.take() } else { Ok(()) }
    }

    fn has_more(&self) -> bool {
        self.shared.read(|ledger| ledger.events.back().is_some_and(|event| event.index > self.after))
    }
}

fn too_slow(after: u64) -> Status {
    let text = format!(
        "this watcher was overtaken: events after index {after} are no longer kept; watch again, and read faster"
    );
    errors::status(Code::ResourceExhausted, "WATCHER_TOO_SLOW", text)
}

fn stopping() -> Status {
    errors::status(Code::Unavailable, "STOPPING", "the agent is stopping; watch through another one")
}
