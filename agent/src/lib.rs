//! The agent: every effect. Sources and doers around the pure machines of `cluster-core`.

pub mod cli;
pub mod config;
pub mod consensus;
pub mod json;
pub mod limits;
pub mod security;
pub mod shared;
pub mod storage;
pub mod wire;
pub mod workload;
