//! What tests are made of: the simulator, and the lab that runs the real binary on many hosts of one machine,
//! and what runs other people's programs against it. Not here: the tests themselves.

pub mod lab;
pub mod peers;
pub mod sim;
