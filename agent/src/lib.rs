//! The agent: every effect. Sources and doers around the pure machines of `cluster-core`.

pub mod consensus;
pub mod storage;
pub mod workload;
