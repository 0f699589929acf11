//! What Alertmanager makes of our alerts.

use super::{check, cluster, refused};
use holdfast_tests::{
    lab::{
        certificates::Authority,
        receiver::{Received, Receiver},
        wait::wait_until,
    },
    peers::{
        alertmanager::{self, Alertmanager, PASSWORD},
        installed::unless_ci,
        trouble,
    },
};
use libtest_mimic::{Completion, Failed};
use serde_json::json;
use std::{path::Path, time::Duration};

const WITHIN: Duration = Duration::from_secs(20);

pub fn shows() -> Result<Completion, Failed> {
    if let Some(why) = alertmanager::missing() {
        return unless_ci(why);
    }
    let recorder = Receiver::start(([127, 0, 0, 1], 0).into(), None)?;
    let mut theirs = Alertmanager::start(recorder.address)?;
    let url = format!("http://127.0.0.1:{}", theirs.port);
    let lab = cluster(&format!(
        "[channel.prometheus]\ntype = \"alertmanager\"\nurl = \"{url}\"\n[[route]]\nchannels = [\"prometheus\"]\n"
    ))?;

    trouble::begin(&lab)?;
    let alert = wait_until("Alertmanager to show the alert", WITHIN, || {
        theirs.alerts().map_err(|e| e.to_string())?.pop().ok_or_else(|| "none".to_owned())
    })?;
    // Neither leader nor term: another leader's alert must be the same one.
    let labels = json!({
        "alertname": "CrashLoop", "severity": "critical", "cluster": "lab",
        "workload": trouble::WORKLOAD, "index": "0", "node": "n1",
    });
    check(alert["labels"] == labels, || format!("the labels should be {labels}, not {}", alert["labels"]))?;
    check(alert["status"]["state"] == "active", || format!("it isn't active: {alert}"))?;
    let ours: serde_json::Value = serde_json::from_str(&lab.ask(0, &["alert", "list", "--json"])?)?;
    let started = &ours["alerts"][0]["starts_at"];
    check(&alert["startsAt"] == started, || format!("it started at {started}: {alert}"))?;

    // What is over before Alertmanager has told of it, it tells nobody of.
    wait_until("Alertmanager to tell of it", WITHIN, || match webhooks(&recorder).len() {
        0 => Err("nothing".to_owned()),
        _ => Ok(()),
    })?;
    trouble::end(&lab)?;
    wait_until("Alertmanager to forget the alert", WITHIN, || {
        let left = theirs.alerts().map_err(|e| e.to_string())?;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })?;
    let told = wait_until("Alertmanager to tell of both", WITHIN, || {
        let told = webhooks(&recorder);
        if told.len() == 2 { Ok(told) } else { Err(format!("{told:?}")) }
    })?;
    check(told[0].text("status") == "firing" && told[1].text("status") == "resolved", || {
        format!("{told:?}")
    })?;
    check(told[0].body["groupKey"] == told[1].body["groupKey"], || format!("two alerts: {told:?}"))?;
    let end = &told[1].body["alerts"][0];
    check(at(&end["startsAt"])? == at(started)?, || format!("it started at {started}: {end}"))?;

    lab.ask(0, &["alert", "test", "prometheus"])?;
    theirs.stop();
    refused(&lab, "prometheus", &["can't be reached"])?;
    Ok(Completion::Completed)
}

/// Its webhooks leave out zeros at the end of a fraction.
fn at(time: &serde_json::Value) -> Result<jiff::Timestamp, Failed> {
    Ok(time.as_str().unwrap_or_default().parse()?)
}

pub fn guarded() -> Result<Completion, Failed> {
    if let Some(why) = alertmanager::missing() {
        return unless_ci(why);
    }
    let directory = tempfile::tempdir()?;
    let authority = Authority::new(&directory.path().join("ours"))?;
    Authority::named("a stranger", &directory.path().join("strangers"))?;
    let stranger = directory.path().join("strangers/ca.pem");
    let files = authority.issue(&["127.0.0.1"])?;
    let recorder = Receiver::start(([127, 0, 0, 1], 0).into(), None)?;
    let theirs = Alertmanager::start_guarded(recorder.address, &files)?;
    let channel = |name: &str, password: &str, ca: &Path| {
        format!(
            "[channel.{name}]\ntype = \"alertmanager\"\nurl = \"https://127.0.0.1:{}\"\nusername = \
             \"holdfast\"\npassword = \"{password}\"\nca = {ca:?}\n",
            theirs.port
        )
    };
    let lab = cluster(
        &(channel("good", PASSWORD, &files.ca)
            + &channel("guess", "battery staple", &files.ca)
            + &channel("stranger", PASSWORD, &stranger)),
    )?;
    refused(&lab, "guess", &["401", "Unauthorized"])?;
    refused(&lab, "stranger", &["certificate", "UnknownIssuer"])?;
    lab.ask(0, &["alert", "test", "good"])?;
    wait_until("Alertmanager to tell of the test", WITHIN, || match webhooks(&recorder).as_slice() {
        [told] if told.body["commonLabels"]["channel"] == "good" => Ok(()),
        told => Err(format!("{told:?}")),
    })?;
    Ok(Completion::Completed)
}

fn webhooks(recorder: &Receiver) -> Vec<Received> {
    let mut all = recorder.all();
    all.retain(|request| request.path == "/theirs/webhook");
    all
}
