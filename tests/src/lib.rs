//! What tests the whole product: the lab runs the real binary on many hosts of one machine.

pub mod lab;
