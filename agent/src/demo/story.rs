//! A host is lost and comes back: what the survivors, the alerts' receiver and the service's own answers say about it,
//! put together as it comes.
//!
//! Not here: causing it, waiting for it (`mod`).

use super::{
    receiver::{Delivered, Delivery},
    timeline::{Timeline, seconds},
};
use holdfast_proto::v1::{Event, EventType};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What the singleton answered to a request.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    pub node: String,
    pub generation: u64,
}

/// Something that was learned.
pub enum Told {
    /// By a survivor, of the ledger or of its own.
    Event(Box<Event>),
    Delivered {
        at_ms: u64,
        delivered: Delivered,
    },
    Answered {
        at_ms: u64,
        answer: Answer,
    },
}

#[derive(Clone, Debug)]
struct Serving {
    at_ms: u64,
    answer: Answer,
}

pub struct Story {
    pub timeline: Timeline,
    pub victim: String,
    pub lost_at_ms: u64,
    /// Who could suspect the victim.
    survivors: usize,
    /// Who did, first to last.
    suspected_by: BTreeMap<String, u64>,
    suspicion_told: bool,
    /// Ledger events that were told already: every survivor tells them all.
    seen: BTreeMap<(u64, i32, String), ()>,
    last_answer_ms: u64,
    served: Option<Serving>,
    pub declared: bool,
    pub safe: bool,
    /// The singleton's new generation.
    pub started: Option<u64>,
    pub serving: bool,
    pub back: bool,
    pub firing: u32,
    pub resolved: u32,
    /// What must not be.
    pub wrong: Option<String>,
}

/// Events that are remembered as told; a story has a few dozen.
const SEEN_MAX: usize = 10_000;

impl Story {
    #[must_use]
    pub fn new(timeline: Timeline, victim: String, survivors: usize) -> Self {
        Self {
            timeline,
            victim,
            lost_at_ms: u64::MAX,
            survivors,
            suspected_by: BTreeMap::new(),
            suspicion_told: false,
            seen: BTreeMap::new(),
            last_answer_ms: 0,
            served: None,
            declared: false,
            safe: false,
            started: None,
            serving: false,
            back: false,
            firing: 0,
            resolved: 0,
            wrong: None,
        }
    }

    #[must_use]
    pub const fn moved(&self) -> bool {
        self.declared && self.safe && self.serving && self.firing > 0
    }

    #[must_use]
    pub const fn over(&self) -> bool {
        self.back && self.resolved > 0
    }

    /// What is still to come, for whoever waits in vain.
    #[must_use]
    pub fn missing(&self) -> String {
        let all = [
            (self.declared, "declared"),
            (self.safe, "safe"),
            (self.started.is_some(), "started"),
            (self.serving, "serving"),
            (self.firing > 0, "alert_firing"),
            (self.back, "node_back"),
            (self.resolved > 0, "alert_resolved"),
        ];
        let missing: Vec<&str> =
            all.into_iter().filter_map(|(there, name)| (!there).then_some(name)).collect();
        missing.join(" ")
    }

    pub fn take(&mut self, told: Told) {
        match told {
            Told::Event(event) => self.event(&event),
            Told::Delivered { at_ms, delivered } => match delivered {
                Ok(delivery) => self.delivered(at_ms, &delivery),
                Err(why) => self.fails(why),
            },
            Told::Answered { at_ms, answer } => self.answered(at_ms, answer),
        }
    }

    fn fails(&mut self, why: String) {
        self.wrong.get_or_insert(why);
    }

    fn event(&mut self, event: &Event) {
        let at_ms = event.time.as_ref().map_or(0, millis);
        if at_ms < self.lost_at_ms {
            return;
        }
        let about_victim = event.subject == self.victim;
        if event.r#type() == EventType::NodeSuspected {
            if about_victim && let Some(observer) = event.fields.get("observer") {
                self.suspected(observer.clone(), at_ms);
            }
            return;
        }
        let key = (event.index, event.r#type, event.subject.clone());
        if self.seen.len() >= SEEN_MAX || self.seen.insert(key, ()).is_some() {
            return;
        }
        match event.r#type() {
            EventType::NodeDead if about_victim => {
                self.tell_suspicion();
                self.declared = true;
                self.timeline.event(at_ms, "declared", &event.summary);
            }
            EventType::NodeDead => self.fails(format!("{}, though it has power", event.summary)),
            EventType::SafeToStart if about_victim => {
                self.safe = true;
                let details = format!("counter may start elsewhere: {}", event.summary);
                self.timeline.event(at_ms, "safe", &details);
            }
            EventType::InstanceStarted => self.instance_started(at_ms, event),
            EventType::NodeBack if about_victim => {
                self.back = true;
                let incarnation = event.fields.get("incarnation").map_or("unknown", String::as_str);
                let away = seconds(at_ms - self.lost_at_ms);
                let details = format!("{}, incarnation {incarnation}, away for {away}", self.victim);
                self.timeline.event(at_ms, "node_back", &details);
            }
            _ => {}
        }
    }

    fn suspected(&mut self, observer: String, at_ms: u64) {
        if !self.suspicion_told {
            self.suspected_by.entry(observer).or_insert(at_ms);
            if self.suspected_by.len() >= self.survivors {
                self.tell_suspicion();
            }
        }
    }

    /// Once, when all suspect it or it is decided already; the time is the first one's.
    fn tell_suspicion(&mut self) {
        if let Some(first) = self.suspected_by.values().min().filter(|_| !self.suspicion_told) {
            let by: Vec<&str> = self.suspected_by.keys().map(String::as_str).collect();
            let details = format!("{} by {}", self.victim, by.join(" "));
            self.timeline.event(*first, "suspected", &details);
            self.suspicion_told = true;
        }
    }

    fn instance_started(&mut self, at_ms: u64, event: &Event) {
        let index = event.fields.get("index").map_or("0", String::as_str);
        if event.subject != "counter" {
            self.timeline.event(at_ms, "started", &format!("replica {index} of {}", event.summary));
            return;
        }
        if self.started.is_none() {
            self.started = event.fields.get("generation").and_then(|g| g.parse().ok());
            // The ledger learns of a start a little later than whoever asks the service.
            let served_ms = self.served.as_ref().map_or(at_ms, |served| served.at_ms);
            self.timeline.event(at_ms.min(served_ms), "started", &event.summary);
            self.tell_serving();
        }
    }

    fn answered(&mut self, at_ms: u64, answer: Answer) {
        if answer.node == self.victim {
            self.last_answer_ms = self.last_answer_ms.max(at_ms);
            if self.served.is_some() {
                self.fails(format!("counter answered from {} after it had moved", self.victim));
            }
        } else if self.served.is_none() {
            self.served = Some(Serving { at_ms, answer });
            self.tell_serving();
        }
    }

    /// Once it answers and the ledger knows of its start.
    fn tell_serving(&mut self) {
        if let (false, Some(generation), Some(served)) = (self.serving, self.started, self.served.clone()) {
            self.serving = true;
            if served.answer.generation != generation {
                let answered = served.answer.generation;
                self.fails(format!(
                    "counter answers as generation {answered}, the ledger started {generation}"
                ));
            }
            let details = format!(
                "counter on {}, {} after {} was lost; no answer for {}",
                served.answer.node,
                seconds(served.at_ms.saturating_sub(self.lost_at_ms)),
                self.victim,
                seconds(served.at_ms.saturating_sub(self.last_answer_ms)),
            );
            self.timeline.event(served.at_ms, "serving", &details);
        }
    }

    fn delivered(&mut self, at_ms: u64, delivery: &Delivery) {
        let mine = delivery.alert == "NodeDead"
            && delivery.labels.get("node").is_some_and(|node| *node == self.victim);
        match delivery.status.as_str() {
            "firing" => {
                self.firing += u32::from(mine);
                let details = format!("{} {}", delivery.alert, delivery.summary);
                self.timeline.event(at_ms, "alert_firing", &details);
            }
            _ => {
                self.resolved += u32::from(mine);
                // The summary is still that of the beginning.
                let subject = delivery.labels.get("node").or_else(|| delivery.labels.get("workload"));
                let details = format!("{} {}", delivery.alert, subject.map_or("", String::as_str));
                self.timeline.event(at_ms, "alert_resolved", &details);
            }
        }
    }
}

fn millis(time: &prost_types::Timestamp) -> u64 {
    let ms = time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos) / 1_000_000);
    u64::try_from(ms).unwrap_or_default()
}
