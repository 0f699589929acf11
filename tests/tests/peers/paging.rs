//! Our requests to paging systems beside those that Alertmanager makes of the same alert.
//!
//! Alertmanager's are the golden ones: the systems themselves can only be had as services. Not here: what only we send.

use super::{check, cluster};
use holdfast_tests::{
    lab::{LabError, receiver::Receiver, wait::wait_until},
    peers::{
        alertmanager::{self, Alertmanager},
        installed::unless_ci,
        trouble,
    },
};
use libtest_mimic::{Completion, Failed};
use serde_json::Value;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(20);

/// Where a system's requests go, and which fields, where Alertmanager's request has them, ours must have: `equal` ones
/// with the same value, `alike` ones with one of the same type.
struct System {
    path: &'static str,
    equal: &'static [&'static str],
    alike: &'static [&'static str],
    /// Names the alert, firing or over. Slack has none.
    identity: Option<&'static str>,
}

const SYSTEMS: [System; 4] = [
    System {
        path: "/v2/enqueue",
        equal: &["/routing_key", "/event_action", "/payload/severity"],
        alike: &["/dedup_key", "/client", "/payload/summary", "/payload/source", "/payload/custom_details"],
        identity: Some("/dedup_key"),
    },
    System {
        path: "/v2/alerts",
        equal: &["/priority", "/responders", "/tags"],
        alike: &["/alias", "/message", "/description", "/details", "/source"],
        identity: Some("/alias"),
    },
    System {
        path: "/alert/key/sre",
        equal: &["/message_type"],
        alike: &["/entity_id", "/entity_display_name", "/state_message", "/monitoring_tool"],
        identity: Some("/entity_id"),
    },
    System {
        path: "/slack",
        equal: &["/attachments/0/color"],
        alike: &["/attachments/0/title", "/attachments/0/text", "/attachments/0/fallback"],
        identity: None,
    },
];

pub fn look_alike() -> Result<Completion, Failed> {
    if let Some(why) = alertmanager::missing() {
        return unless_ci(why);
    }
    let recorder = Receiver::start(([127, 0, 0, 1], 0).into(), None)?;
    let theirs = Alertmanager::start(recorder.address)?;
    let lab = cluster(&channels(&format!("http://{}/ours", recorder.address), theirs.port))?;
    trouble::begin(&lab)?;
    until_all_told(&recorder, 1)?;
    trouble::end(&lab)?;
    until_all_told(&recorder, 2)?;
    for system in &SYSTEMS {
        let (ours, theirs) = (told(&recorder, "ours", system), told(&recorder, "theirs", system));
        let differs = all_differs(system, &ours, &theirs);
        check(differs.is_none(), || {
            let differs = differs.unwrap_or_default();
            format!("{}: {differs}\nours: {ours:#?}\ntheirs: {theirs:#?}", system.path)
        })?;
    }
    Ok(Completion::Completed)
}

/// One to each system, and one to the Alertmanager that tells the same systems.
fn channels(ours: &str, alertmanager: u16) -> String {
    format!(
        r#"
[channel.alertmanager]
type = "alertmanager"
url = "http://127.0.0.1:{alertmanager}"
[channel.pagerduty]
type = "pagerduty"
routing_key = "00000000000000000000000000000000"
url = "{ours}/v2/enqueue"
[channel.opsgenie]
type = "opsgenie"
api_key = "key"
responders = ["sre"]
tags = ["holdfast"]
url = "{ours}"
[channel.victorops]
type = "victorops"
api_key = "key"
routing_key = "sre"
url = "{ours}/alert"
[channel.slack]
type = "slack"
url = "{ours}/slack"
[[route]]
channels = ["alertmanager", "pagerduty", "opsgenie", "victorops", "slack"]
"#
    )
}

/// A request, with `ID` in its path for the alert's own name.
#[derive(Debug)]
struct Told {
    path: String,
    identity: String,
    body: Value,
}

/// All that one of both said to this system: of the alert that fires, and of its end.
fn told(recorder: &Receiver, who: &str, system: &System) -> Vec<Told> {
    let start = format!("/{who}{}", system.path);
    let requests: Vec<_> = recorder.all().into_iter().filter(|r| r.path.starts_with(&start)).collect();
    let name = |body: &Value| Some(body.pointer(system.identity?)?.as_str()?.to_owned());
    let first = requests.first().and_then(|request| name(&request.body)).unwrap_or_default();
    let told = requests.into_iter().map(|request| {
        let identity = name(&request.body).unwrap_or_else(|| first.clone());
        let rest = &request.path[start.len()..];
        let path = if identity.is_empty() { rest.to_owned() } else { rest.replace(&identity, "ID") };
        Told { path, identity, body: request.body }
    });
    told.collect()
}

fn until_all_told(recorder: &Receiver, count: usize) -> Result<(), LabError> {
    wait_until(&format!("{count} requests to each system"), WITHIN, || {
        for (who, system) in ["ours", "theirs"].iter().flat_map(|who| SYSTEMS.iter().map(move |s| (who, s))) {
            let told = told(recorder, who, system);
            if told.len() != count {
                return Err(format!("{} to {} of {who}: {told:?}", told.len(), system.path));
            }
        }
        Ok(())
    })
}

/// What isn't as in Alertmanager's requests, or with which there is nothing to compare.
fn all_differs(system: &System, ours: &[Told], theirs: &[Told]) -> Option<String> {
    let mut fields = system.equal.iter().chain(system.alike);
    if let Some(field) = fields.find(|field| theirs[0].body.pointer(field).is_none()) {
        return Some(format!("Alertmanager itself has no {field}"));
    }
    if ours.iter().any(|told| told.identity != ours[0].identity) {
        return Some("the end is of another alert".to_owned());
    }
    ours.iter().zip(theirs).find_map(|(ours, theirs)| differs(system, ours, theirs))
}

fn differs(system: &System, ours: &Told, theirs: &Told) -> Option<String> {
    if ours.path != theirs.path {
        return Some("the paths".to_owned());
    }
    if system.identity.is_some() && (ours.identity.len(), theirs.identity.len()) != (64, 64) {
        return Some("the names of the alert: both should be of 64 digits".to_owned());
    }
    let asked = |fields: &'static [&'static str]| {
        fields
            .iter()
            .filter_map(|field| Some((*field, ours.body.pointer(field), theirs.body.pointer(field)?)))
    };
    let unequal = asked(system.equal).find(|(_, ours, theirs)| *ours != Some(*theirs));
    let unlike = asked(system.alike)
        .find(|(_, ours, theirs)| ours.map(std::mem::discriminant) != Some(std::mem::discriminant(*theirs)));
    unequal.or(unlike).map(|(field, ..)| field.to_owned())
}
