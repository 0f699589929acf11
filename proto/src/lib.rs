//! Holdfast's wire types: what `proto/` says, as Rust. No logic lives here.
#![allow(clippy::all, missing_docs)]

/// The public API: stable names, versioned package.
pub mod v1 {
    tonic::include_proto!("holdfast.v1");
}

/// What agents say to each other. Not an API; it may change with the feature level.
pub mod internal {
    tonic::include_proto!("holdfast.internal.v1");
}

/// The encoded `FileDescriptorSet` of every file: for server reflection and for printing messages as JSON.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
