//! The keeper: one small process a node that renews the lease, writes the deadline page and answers second-opinion
//! probes, so that an agent's crash, freeze or upgrade costs what runs here nothing.
//!
//! ```text
//! agent ── local socket (protocol) ── keeper ── UDP, sealed (datagram) ── keepers of voters, agents that probe
//!                                        └─ deadline page ── guards
//! ```
//! `process` and `keeping` are the process; `renewing` is its part of the lease. `handle` is the agent's side: it starts a keeper, or adopts
//! the one that an earlier agent left, and starts it again when it dies. `contacts` holds the keys that other nodes'
//! agents hand out, `prober` asks others' keepers. Why no promise is broken by it: `docs/adr/0003-leases.md` and
//! `docs/adr/0006-keeper.md`.
//!
//! Not here: the lease's rules (`cluster_core::lease`), who is suspected, what the ledger issues.

mod bytes;
pub mod contacts;
pub mod datagram;
pub mod handle;
mod keeping;
pub mod local;
pub mod prober;
pub mod process;
pub mod protocol;
mod renewing;
mod replay;
pub mod secret;
pub mod state;

pub use process::main;
