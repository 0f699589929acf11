//! The wire: the only module that knows tonic. Everything that crosses it is converted here, both ways.

pub mod cli_client;
pub mod client;
