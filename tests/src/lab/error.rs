//! What can go wrong in the lab itself or in what it watches.

use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("`{command}` failed: {why}")]
    Command { command: String, why: String },
    #[error("waited {} s for {what}; last seen: {last}", within.as_secs())]
    Late { what: String, within: Duration, last: String },
    #[error("can't {what}: {cause}")]
    Io { what: String, cause: std::io::Error },
    #[error("{0}")]
    Broken(String),
}

impl LabError {
    /// For `map_err`: what was being done, in the infinitive.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }
}
