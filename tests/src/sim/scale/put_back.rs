//! Mistakes put back by hand, each in a scenario of its own in which it nearly always shows: what proves that the
//! checkers can find anything. Most seeds are to find the mistake, and none may be broken without it.
//!
//! Not here: what a mistake changes (`Break` says it), the checkers, and the search at random (`scenario::random`).

use super::{Break, Fault, Options, Plan, alerts, run};
use crate::sim::{check::Violation, rng::Rng};
use core::{ops::Range, time::Duration};

/// One mistake, and where it shows.
#[derive(Debug)]
pub struct Mistake {
    pub put_back: Break,
    /// The scenario's name, for people.
    pub scenario: &'static str,
    /// The promise that it breaks.
    pub promise: &'static str,
    options: fn(u64) -> Options,
}

pub const MISTAKES: [Mistake; 5] = [
    Mistake {
        put_back: Break::NoLocalHealth,
        scenario: "overloaded",
        promise: "what is healthy stays up",
        options: |seed| small(seed, overloaded),
    },
    Mistake {
        put_back: Break::HEqualsOne,
        scenario: "hard of hearing",
        promise: "what is healthy stays up",
        options: |seed| small(seed, hard_of_hearing),
    },
    Mistake {
        put_back: Break::NoRefutation,
        scenario: "flicker",
        promise: "all agree",
        options: |seed| small(seed, flicker),
    },
    Mistake {
        put_back: Break::NoGroupWaits,
        scenario: "many lost at once",
        promise: "one failure, one alert",
        options: many_lost,
    },
    Mistake {
        put_back: Break::NoMemory,
        scenario: "many lost at once",
        promise: "one failure, one alert",
        options: many_lost,
    },
];

/// What some seeds came to, in their order.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// Those that break the mistake's promise with it.
    pub found: Vec<(u64, Violation)>,
    /// Those that break any promise without it.
    pub unsound: Vec<(u64, Violation)>,
}

/// So few that all watch each other, and five of the nine observers of each decide.
const NODES: u32 = 10;
const VOTERS: u32 = 3;
/// Trouble begins once all is settled, and ends long before the last look at it: whoever was half connected is back.
const SETTLED: Duration = Duration::from_secs(10);
const CALM: Duration = Duration::from_secs(60);

impl Mistake {
    fn play(&self, seed: u64, put_back: Break, trace: bool) -> Option<Violation> {
        run(&Options { put_back, trace, ..(self.options)(seed) }).violation
    }

    /// Plays each of these seeds with the mistake and without. `trace`: prints the one with it.
    #[must_use]
    pub fn search(&self, seeds: Range<u64>, trace: bool) -> Tried {
        let mut tried = Tried::default();
        for seed in seeds {
            let with = self.play(seed, self.put_back, trace).filter(|v| v.promise == self.promise);
            tried.found.extend(with.map(|violation| (seed, violation)));
            let without = self.play(seed, Break::Nothing, false);
            tried.unsound.extend(without.map(|violation| (seed, violation)));
        }
        tried
    }
}

fn small(seed: u64, plan: fn(&mut Rng) -> Plan) -> Options {
    let plan = plan(&mut Rng::new(seed ^ 0xbad));
    let lasts = plan.iter().map(|(at, _)| *at).max().unwrap_or_default() + CALM;
    Options { seed, nodes: NODES, voters: VOTERS, lasts, plan, ..Options::default() }
}

/// A quarter of a dozen, and two leaders that fall.
fn many_lost(seed: u64) -> Options {
    alerts::options(12, 3, alerts::By::Power, Duration::from_secs(60), seed)
}

fn not_a_voter(rng: &mut Rng) -> u32 {
    u32::try_from(rng.between(VOTERS.into(), NODES.into())).expect("few")
}

/// Twice the machine under all but the voters gives none of them any time. They wake together but for one, whom all
/// others would blame for what they slept through themselves: its death is decided before its keeper is heard.
fn overloaded(rng: &mut Rng) -> Plan {
    let mut plan = Plan::new();
    for at in [SETTLED, SETTLED + Duration::from_secs(15)] {
        let (slept, last) = (rng.between(1_200, 1_900), not_a_voter(rng));
        for node in VOTERS..NODES {
            let longer = if node == last { rng.between(800, 2_000) } else { rng.between(0, 20) };
            plan.push((at, Fault::Pause(node, slept + longer)));
        }
    }
    plan
}

/// One hears nobody for some seconds, and so finds everybody gone.
fn hard_of_hearing(rng: &mut Rng) -> Plan {
    let (node, until) = (not_a_voter(rng), SETTLED + rng.ms(3_000, 8_000));
    vec![(SETTLED, Fault::Deaf(node, true)), (until, Fault::Deaf(node, false))]
}

/// One after the other is silent for so short that some call it suspect, and too few for it to die.
fn flicker(rng: &mut Rng) -> Plan {
    let mut plan = Plan::new();
    let mut at = SETTLED;
    for node in VOTERS..NODES {
        plan.push((at, Fault::Mute(node, true)));
        plan.push((at + rng.ms(600, 900), Fault::Mute(node, false)));
        at += Duration::from_secs(4);
    }
    plan
}
