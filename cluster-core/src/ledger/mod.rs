//! The ledger: what the cluster knows and has decided, as a deterministic function of its log.
//!
//! Not here: who may propose, when to decide, or how entries are encoded.

mod apply;
mod apply_alert;
mod apply_failure;
mod apply_health;
mod apply_instance;
mod apply_lease;
mod apply_message;
mod apply_node;
mod apply_place;
mod apply_posted;
mod apply_silence;
mod apply_workload;
mod command;
mod read;
mod state;
mod state_alert;
mod state_alerting;
#[cfg(test)]
pub(crate) mod tests;
mod validate;
mod validate_alerting;

pub use apply::UnsupportedLevel;
pub use apply_node::REMOVED;
pub use apply_posted::POSTED_PREFIX;
pub use command::*;
pub use state::*;
pub use state_alert::*;
pub use state_alerting::*;
