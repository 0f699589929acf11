//! The agent: every effect. Sources and doers around the pure machines of `cluster-core`.

pub mod consensus;
pub mod http;
pub mod limits;
pub mod notify;
pub mod security;
pub mod shared;
pub mod storage;
pub mod view;
pub mod wire;
pub mod workload;
