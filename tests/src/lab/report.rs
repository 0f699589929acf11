//! What a scenario found: a row for each run, what was wrong, and the usual and the worst.

use super::ask::Ask;
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Report {
    pub scenario: &'static str,
    pub ask: Ask,
    pub runs: Vec<Run>,
    notes: Vec<String>,
}

/// One run: what was done, how long things took, and what was wrong.
#[derive(Debug, Default)]
pub struct Run {
    pub label: String,
    pub took: Vec<(&'static str, Option<Duration>)>,
    pub problems: Vec<String>,
}

impl Run {
    #[must_use]
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    pub fn took(&mut self, what: &'static str, time: Option<Duration>) {
        self.took.push((what, time));
    }

    /// Notes a problem unless `holds`.
    pub fn check(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }
}

impl Report {
    #[must_use]
    pub fn new(scenario: &'static str, ask: Ask) -> Self {
        Self { scenario, ask, ..Self::default() }
    }

    /// A figure that is no time of a run: shown now, and again at the end.
    pub fn note(&mut self, text: String) {
        println!("{:<14}      {text}", self.scenario);
        self.notes.push(text);
    }

    /// Keeps it, and shows it at once: long scenarios should be watched.
    pub fn add(&mut self, run: Run) {
        let times: Vec<String> =
            run.took.iter().map(|(what, time)| format!("{what} {:>6}", ms(*time))).collect();
        println!("{:<14} {:>3}  {:<28} {}", self.scenario, self.runs.len() + 1, run.label, times.join("  "));
        for problem in &run.problems {
            println!("{:<14}      PROBLEM: {problem}", "");
        }
        self.runs.push(run);
    }

    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let of = |run: &Run| run.problems.iter().map(|p| format!("{}: {p}", run.label)).collect::<Vec<_>>();
        self.runs.iter().flat_map(of).collect()
    }

    /// The median and the maximum of each time, over all runs that have it.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut columns: Vec<&'static str> = Vec::new();
        for (what, _) in self.runs.iter().flat_map(|r| &r.took) {
            if !columns.contains(what) {
                columns.push(what);
            }
        }
        let of = |column: &str| {
            let mut times: Vec<Duration> = self
                .runs
                .iter()
                .flat_map(|r| &r.took)
                .filter(|t| t.0 == column)
                .filter_map(|t| t.1)
                .collect();
            times.sort();
            let median = times.get(times.len() / 2).copied();
            format!("{column}: median {} max {}", ms(median), ms(times.last().copied()))
        };
        let times: Vec<String> = columns.iter().map(|c| of(c)).collect();
        let mut summary =
            format!("{}: {} runs, {} problems", self.scenario, self.runs.len(), self.problems().len());
        if !times.is_empty() {
            summary += &format!("; ms: {}", times.join("; "));
        }
        self.notes.iter().for_each(|note| summary += &format!("\n  {note}"));
        summary
    }
}

fn ms(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |t| t.as_millis().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_leaves_out_what_did_not_happen() {
        let mut report = Report::new("lost-host", Ask::default());
        for time in [Some(30), None, Some(10), Some(20)] {
            let mut run = Run::new("cut");
            run.took("gap", time.map(Duration::from_millis));
            run.check(time.is_some(), || "no gap".into());
            report.add(run);
        }
        assert_eq!(report.summary(), "lost-host: 4 runs, 1 problems; ms: gap: median 20 max 30");
    }
}
