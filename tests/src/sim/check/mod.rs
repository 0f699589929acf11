//! The checkers: one file a promise, each named after it. They see everything, and change nothing.

mod acknowledged;
mod at_most_once;
mod it_ends;
mod quorum;

pub use acknowledged::Acknowledged;
pub use at_most_once::AtMostOnce;
pub use it_ends::it_ends;
pub use quorum::committed_by_quorum;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{promise}: {what}")]
pub struct Violation {
    pub promise: &'static str,
    pub what: String,
}
