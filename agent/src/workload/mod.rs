//! Workloads as processes: the guards that hold the lease's deadline over them, and the agent's side of the guards.
//!
//! Alone in starting processes. It decides nothing: what should run is the instance machine's, how long is the
//! lease's. A guard (`guard/`) is a process of its own, one per instance; the rest of this module is shared, or the
//! agent's.

pub mod cgroup;
pub mod guard;
pub mod logs;
pub mod page;
pub mod spec;
pub mod state;
pub mod supervisor;
pub mod sys;
