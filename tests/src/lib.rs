//! What tests are made of: the simulator, and the lab that runs the real binary on many hosts of one machine.
//! Not here: the tests themselves.

pub mod lab;
pub mod sim;
