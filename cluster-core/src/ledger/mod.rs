//! The ledger: what the cluster knows and has decided, as a deterministic function of its log.
//!
//! Not here: who may propose, when to decide, or how entries are encoded.

mod command;
mod state;

pub use command::*;
pub use state::*;
