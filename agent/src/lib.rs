//! The agent: every effect. Sources and doers around the pure machines of `cluster-core`.

pub mod cli;
pub mod clock;
pub mod config;
pub mod consensus;
pub mod demo;
pub mod http;
pub mod json;
pub mod keeper;
pub mod limits;
pub mod notify;
pub mod priority;
pub mod run;
pub mod security;
pub mod sense;
pub mod shared;
pub mod storage;
pub mod telemetry;
pub mod view;
pub mod wire;
pub mod workload;
