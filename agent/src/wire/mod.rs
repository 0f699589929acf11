//! The wire: the only module that knows tonic. Everything that crosses it is converted here, both ways.

pub mod api;
pub mod client;
