//! Promise 6: what is gone is found, within a bound.

use crate::sim::{
    check::Violation,
    scale::{options::Crash, world::ns},
};
use core::time::Duration;

/// With loss everywhere commits and reports are late as well.
const WITHIN: Duration = Duration::from_secs(5);
const WITHIN_UNDER_LOSS: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub struct Found {
    pub crashes: Vec<Crash>,
    /// Came back before it was due.
    back: Vec<bool>,
}

impl Found {
    pub fn crashed(&mut self, node: u32, now: u64) {
        let at = Duration::from_nanos(now);
        self.crashes.push(Crash { node, at, first_report: None, declared: None, known: None });
        self.back.push(false);
    }

    pub fn back(&mut self, node: u32) {
        for (crash, back) in self.crashes.iter().zip(&mut self.back) {
            *back |= crash.node == node;
        }
    }

    fn open(&mut self, node: u32) -> Option<&mut Crash> {
        self.crashes.iter_mut().rev().find(|c| c.node == node)
    }

    pub fn reported(&mut self, node: u32, now: u64) {
        if let Some(crash) = self.open(node) {
            crash.first_report.get_or_insert(Duration::from_nanos(now));
        }
    }

    pub fn declared(&mut self, node: u32, now: u64) {
        if let Some(crash) = self.open(node) {
            crash.declared.get_or_insert(Duration::from_nanos(now));
        }
    }

    /// # Errors
    /// One that crashed long ago and didn't come back isn't declared.
    pub fn at_the_end(&self, now: u64, lossy: bool) -> Result<(), Violation> {
        let within = if lossy { WITHIN_UNDER_LOSS } else { WITHIN };
        let late = |c: &&Crash| c.declared.map_or_else(|| now > ns(c.at + within), |at| at > c.at + within);
        let mut gone = self.crashes.iter().zip(&self.back).filter(|(_, back)| !**back).map(|(c, _)| c);
        match gone.find(late) {
            None => Ok(()),
            Some(crash) => {
                let (node, at) = (crash.node + 1, crash.at.as_millis());
                let what = format!("n{node} crashed at {at} ms and was declared {:?}", crash.declared);
                Err(Violation { promise: "it ends", what })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_that_nobody_finds_is_noticed() {
        let mut found = Found::default();
        found.crashed(3, 0);
        assert!(found.at_the_end(4_000_000_000, false).is_ok());
        assert!(found.at_the_end(6_000_000_000, false).is_err());
        found.declared(3, 1_000_000_000);
        assert!(found.at_the_end(6_000_000_000, false).is_ok());
    }
}
