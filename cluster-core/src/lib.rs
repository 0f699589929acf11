//! Every decision that Holdfast makes, and nothing else: no sockets, files, threads, clocks, dice or wire types.
//!
//! Each machine has one entry point, `step(now, event, …)`; time and randomness come in as arguments, what must be
//! done comes out as data. The agent feeds the same machines that the simulator does.

pub mod alerting;
pub mod availability;
pub mod cut;
pub mod founding;
pub mod ids;
pub mod instance;
pub mod lease;
pub mod ledger;
pub mod limits;
pub mod membership;
pub mod recovery;
pub mod time;
pub mod timing;
