//! What a person asked of a scenario besides its name and count.

use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The form that `cargo test` runs: smaller, and without limits that only a quiet machine keeps.
    pub short: bool,
    /// Sizes of clusters, for scenarios that have a choice.
    pub agents: Vec<usize>,
    /// How long to watch, for scenarios that watch.
    pub minutes: Option<f64>,
    /// A table for docs/BENCHMARKS.md at the end.
    pub markdown: bool,
}

impl Ask {
    /// The sizes to do it with.
    #[must_use]
    pub fn sizes(&self, short: &[usize], usual: &[usize]) -> Vec<usize> {
        match (self.agents.is_empty(), self.short) {
            (false, _) => self.agents.clone(),
            (true, true) => short.to_vec(),
            (true, false) => usual.to_vec(),
        }
    }

    /// How long to watch.
    #[must_use]
    pub fn watch(&self, short: Duration, usual: Duration) -> Duration {
        match self.minutes {
            Some(minutes) => Duration::from_secs_f64(minutes * 60.0),
            None if self.short => short,
            None => usual,
        }
    }
}
