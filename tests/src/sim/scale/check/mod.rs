//! The checkers of the simulator of size: one file a promise. They see everything, and change nothing.

mod agree;
mod calm;
mod found;
mod told;

pub use calm::Calm;
pub use found::Found;
