//! The queue of what happens next: a binary heap of small structs. What happens at one moment happens in the order in
//! which it was queued, so that a seed fixes a run.
//!
//! Not here: payloads. What is queued should be a few words long.

use std::collections::BinaryHeap;

#[derive(Debug)]
struct Item<T> {
    at: u64,
    turn: u64,
    what: T,
}

impl<T> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.turn) == (other.at, other.turn)
    }
}

impl<T> Eq for Item<T> {}

impl<T> PartialOrd for Item<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Item<T> {
    /// The heap's greatest is the earliest.
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (other.at, other.turn).cmp(&(self.at, self.turn))
    }
}

#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Item<T>>,
    turns: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), turns: 0 }
    }
}

impl<T> Queue<T> {
    /// `at`: nanoseconds of true time.
    pub fn push(&mut self, at: u64, what: T) {
        self.turns += 1;
        self.heap.push(Item { at, turn: self.turns, what });
    }

    pub fn pop(&mut self) -> Option<(u64, T)> {
        self.heap.pop().map(|item| (item.at, item.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_equals_in_turn() {
        let mut queue = Queue::default();
        for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b'), (5, 'e')] {
            queue.push(at, what);
        }
        let order: String = core::iter::from_fn(|| queue.pop().map(|(_, what)| what)).collect();
        assert_eq!(order, "abcde");
    }
}
