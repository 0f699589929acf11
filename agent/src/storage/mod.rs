//! Holdfast's own files: the identity, the lock on the data directory, the Raft log and the snapshots, as bytes.
//!
//! It doesn't know what the bytes mean (`consensus` and `cluster-core` do), and never decides anything: a file that
//! is damaged, foreign or too new is an error that names it, not a reason to start afresh. Everything in here blocks;
//! async callers go through the writer thread of [`log`] or through `spawn_blocking`.

pub mod error;
pub mod files;
pub mod lock;
pub mod log;
mod log_writer;
pub mod node;
mod record;
pub mod snapshot;

#[cfg(test)]
mod disk_double;
#[cfg(test)]
mod log_crash_tests;
#[cfg(test)]
mod log_tests;

pub use error::StorageError;
