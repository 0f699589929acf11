//! The agent: every effect. Sources and doers around the pure machines of `cluster-core`.

pub mod clock;
pub mod consensus;
pub mod limits;
pub mod run;
pub mod security;
pub mod shared;
pub mod storage;
pub mod wire;
pub mod workload;
