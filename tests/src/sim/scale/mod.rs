//! The simulator of size: membership and cut at up to 10,000 nodes, in a network whose streams behave like TCP.
//!
//! Real: every node's membership machine and every voter's cut. Stand-ins: the network (`net`, `tcp`, `streams`), hosts and
//! processes (`node`, `process`), Raft and the ledger (`office`). A seed fixes everything; what goes wrong is a plan
//! (`faults`). One checker a promise stands in `check`. Not here: leases, workloads and Raft itself, which the simulator of
//! five nodes beside this has; sockets, real time and load, which the lab has.

pub mod calibrate;
mod carry;
mod check;
pub mod command;
mod faults;
mod net;
mod node;
mod office;
mod options;
mod process;
pub mod put_back;
mod queue;
pub mod scenario;
mod sizes;
mod streams;
mod tcp;
pub mod versus;
mod world;

pub use faults::{Fault, Plan};
pub use options::{Break, Counts, Crash, Declared, Options, Outcome};
pub use world::run;
