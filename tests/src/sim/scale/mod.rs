//! The simulator of size: membership and cut at up to 10,000 nodes, in a network whose streams behave like TCP.

pub mod calibrate;
mod net;
mod queue;
mod tcp;
