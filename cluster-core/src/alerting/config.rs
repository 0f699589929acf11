//! The alerting configuration, ready to be used: conditions compiled, hours found, and for each alert what matches it.
//! All of that is worked out once: a configuration and an alert's name, severity and labels don't change.
//!
//! Not here: what follows from a match (`mutes`, `groups`).

use super::{
    condition::{Condition, Facts},
    hours::Hours,
    matching::Matching,
};
use crate::{
    ledger::{Alert, AlertingConfig, Ledger},
    time::WallTime,
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Compiled {
    config: AlertingConfig,
    /// In the configuration's order; `None` where it can't be used, and then never holds.
    routes: Vec<Option<Test>>,
    inhibits: Vec<Option<(Condition, Condition)>>,
    maintenances: Vec<Option<Test>>,
    hours: BTreeMap<String, Hours>,
    silences: BTreeMap<u64, Option<Matching>>,
    matched: BTreeMap<u64, Matched>,
}

#[derive(Debug)]
enum Test {
    Always,
    If(Condition),
}

/// What matches one alert, by index.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Matched {
    /// Those that take it, in order: the first that matches, and further ones while they say `go_on`.
    pub routes: Vec<usize>,
    pub sources: BTreeSet<usize>,
    pub targets: BTreeSet<usize>,
    pub maintenances: Vec<usize>,
}

impl Compiled {
    /// And what can't be used of it.
    pub(super) fn of(config: &AlertingConfig) -> (Self, Vec<String>) {
        let mut wrong = Vec::new();
        let mut test = |what: &str, condition: &Option<String>| match condition {
            None => Some(Test::Always),
            Some(text) => match Condition::compile(text) {
                Ok(condition) => Some(Test::If(condition)),
                Err(why) => {
                    wrong.push(format!("{what}, \"{text}\": {why}"));
                    None
                }
            },
        };
        let nth = |i: usize| i + 1;
        let routes = config.routes.iter().enumerate();
        let routes =
            routes.map(|(i, r)| test(&format!("the condition of route {}", nth(i)), &r.condition)).collect();
        let maintenances = config.maintenances.iter().enumerate();
        let maintenances = maintenances
            .map(|(i, m)| test(&format!("the condition of maintenance {}", nth(i)), &m.condition))
            .collect();
        let mut inhibits = Vec::new();
        for (i, inhibit) in config.inhibits.iter().enumerate() {
            let mut side = |which: &str, text: &String| match test(
                &format!("the {which} of inhibition {}", nth(i)),
                &Some(text.clone()),
            ) {
                Some(Test::If(condition)) => Some(condition),
                _ => None,
            };
            let (source, target) = (side("source", &inhibit.source), side("target", &inhibit.target));
            inhibits.push(source.zip(target));
        }
        let mut hours = BTreeMap::new();
        for (name, schedule) in &config.schedules {
            match Hours::of(schedule) {
                Ok(found) => drop(hours.insert(name.clone(), found)),
                Err(why) => wrong.push(format!("schedule \"{name}\": {why}")),
            }
        }
        let config = config.clone();
        let this = Self { config, routes, inhibits, maintenances, hours, ..Self::default() };
        (this, wrong)
    }

    /// Takes note of what is new in the ledger. What can't be used is said once, in `complaints`.
    pub fn refresh(&mut self, ledger: &Ledger, complaints: &mut Vec<String>) {
        if self.config != ledger.alerting {
            let (compiled, wrong) = Self::of(&ledger.alerting);
            *self = compiled;
            complaints.extend(wrong);
        }
        self.matched.retain(|id, _| ledger.alerts.contains_key(id));
        for (id, alert) in &ledger.alerts {
            if !self.matched.contains_key(id) {
                let matched = self.match_alert(alert, complaints);
                self.matched.insert(*id, matched);
            }
        }
        self.silences.retain(|id, _| ledger.silences.contains_key(id));
        for (id, silence) in &ledger.silences {
            if !self.silences.contains_key(id) {
                let matching = Matching::of(&silence.matchers);
                complaints.extend(matching.as_ref().err().map(|why| format!("silence {id}: {why}")));
                self.silences.insert(*id, matching.ok());
            }
        }
    }

    fn match_alert(&self, alert: &Alert, complaints: &mut Vec<String>) -> Matched {
        let mut matched = Matched::default();
        if self.routes.is_empty() && self.inhibits.is_empty() && self.maintenances.is_empty() {
            return matched;
        }
        let facts = Facts::of(alert);
        let mut asks = |condition: &Condition, what: &str, i: usize| {
            condition.holds(&facts).unwrap_or_else(|why| {
                complaints.push(format!("{what} {} asked about {}: {why}", i + 1, alert.name));
                false
            })
        };
        let mut holds = |test: &Option<Test>, what: &str, i: usize| match test {
            Some(Test::Always) => true,
            Some(Test::If(condition)) => asks(condition, what, i),
            None => false,
        };
        for (i, test) in self.routes.iter().enumerate() {
            if holds(test, "route", i) {
                matched.routes.push(i);
                if !self.config.routes[i].go_on {
                    break;
                }
            }
        }
        for (i, test) in self.maintenances.iter().enumerate() {
            if holds(test, "maintenance", i) {
                matched.maintenances.push(i);
            }
        }
        for (i, sides) in self.inhibits.iter().enumerate() {
            let Some((source, target)) = sides else { continue };
            if asks(source, "inhibition", i) {
                matched.sources.insert(i);
            }
            if asks(target, "inhibition", i) {
                matched.targets.insert(i);
            }
        }
        matched
    }

    /// Of an alert that `refresh` saw.
    #[must_use]
    pub fn matched(&self, alert: u64) -> &Matched {
        &self.matched[&alert]
    }

    /// A schedule that can't be used is never on; without one it always is.
    #[must_use]
    pub fn is_on(&self, schedule: Option<&String>, wall: WallTime) -> bool {
        schedule.is_none_or(|name| self.hours.get(name).is_some_and(|hours| hours.include(wall)))
    }

    /// One whose expressions can't be used takes nothing.
    #[must_use]
    pub fn silences(&self, silence: u64, alert: &Alert) -> bool {
        self.silences[&silence].as_ref().is_some_and(|matching| matching.takes(alert))
    }
}
