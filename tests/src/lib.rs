//! What tests are made of: the simulator. Not here: the tests themselves.

pub mod sim;
