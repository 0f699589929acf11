//! The simulator of size: membership and cut at up to 10,000 nodes, in a network whose streams behave like TCP.
//!
//! Real: every node's membership machine and every voter's cut; where the leader tells people, the ledger, recovery and
//! alerting too (`desk`). Stand-ins: the network (`net`, `tcp`, `streams`), hosts and processes (`node`, `process`), Raft
//! (`office`), providers (`provider`). A seed fixes everything; what goes wrong is a plan (`faults`). One checker a promise
//! stands in `check`. Not here: leases, workloads' processes and Raft itself, which the simulator of five nodes beside this
//! has; sockets, real time and load, which the lab has.

pub mod alerts;
pub mod calibrate;
mod carry;
mod check;
pub mod command;
mod desk;
mod faults;
mod ground;
mod net;
mod node;
mod office;
mod options;
mod process;
mod provider;
pub mod put_back;
mod queue;
pub mod scenario;
mod sizes;
mod streams;
mod tcp;
pub mod versus;
mod world;

pub use faults::{Fault, Plan};
pub use options::{Break, Counts, Crash, Declared, Options, Outcome, Tells};
pub use provider::Got;
pub use world::run;
