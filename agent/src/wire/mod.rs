//! The wire: the only module that knows tonic. Everything that crosses it is converted here, both ways.

pub mod api;
mod certificate;
pub mod cli_client;
pub mod client;
pub mod codec;
pub mod convert;
pub mod findings;
pub mod following;
pub mod gossip;
pub mod peer;
pub mod peer_server;
pub mod raft;
pub mod server;
pub mod socket;
pub mod streams;
