//! One alert for many channels at once, most of whose providers are in trouble: that hang, that are busy, that fail, that
//! break off, that nobody can trust.
//!
//! What must hold: who does well is told in time; who does well later is told then, under the same id; the others are
//! seen to fail, and are told once they are mended. Nothing is lost, and nothing comes twice.

use super::{SETTLES, THREE_HERE, in_lab};
use crate::lab::{
    Lab, LabError,
    certificates::{Authority, Files},
    provider::{Manner, Provider},
    receiver::{Received, SECRET},
    report::{Report, Run},
    wait::wait_until,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    iter::{empty, repeat, repeat_n},
    time::{Duration, SystemTime},
};

/// A provider that does well is told of everything within this, whatever the others do.
const IN_TIME: Duration = Duration::from_secs(2);
/// As one provider asks for it.
const RETRY_AFTER_S: u64 = 3;
const HEALTHY: &str = "healthy";
/// Does well later, without anybody's help.
const PASSING: [&str; 3] = ["busy", "erring", "closing"];
/// Must be mended, and why their channels fail until then, in words that an operator finds.
const BROKEN: [(&str, &str); 4] = [
    ("stranger", "UnknownIssuer"),
    ("misnamed", "not valid for name"),
    ("expired", "expired"),
    ("hanging", "no answer from"),
];

pub fn run(report: &mut Report, count: usize) -> Result<(), LabError> {
    for _ in 0..count {
        in_lab(THREE_HERE, |lab| {
            let done = one_alert(lab)?;
            report.add(done);
            Ok(())
        })?;
    }
    Ok(())
}

fn one_alert(lab: &Lab) -> Result<Run, LabError> {
    let mut run = Run::new("one alert for eight channels");
    let street = Street::build(lab)?;
    lab.apply_alerts(0, &street.alerting())?;
    let began = SystemTime::now();
    trouble(lab, "/bin/false")?;

    street.until_taken(HEALTHY, "CrashLoop", "firing")?;
    for channel in PASSING {
        let told = street.until_taken(channel, "CrashLoop", "firing")?;
        run.took(channel, told.at.duration_since(began).ok());
    }
    // Those first that are seen to fail first: the longer it lasts, the longer their next attempt is away.
    for some in [&BROKEN[..3], &BROKEN[3..]] {
        for (channel, why) in some {
            until_seen_to_fail(lab, &street, channel, why)?;
            let told = street.taken(channel);
            run.check(told.is_empty(), || format!("{channel} took what it can't have got: {told:?}"));
        }
        some.iter().try_for_each(|(channel, _)| street.mend(channel))?;
        for (channel, _) in some {
            let told = street.until_taken(channel, "CrashLoop", "firing")?;
            run.took(channel, told.at.duration_since(began).ok());
        }
    }

    trouble(lab, "/bin/sleep\", \"3600")?;
    for channel in street.providers.keys() {
        street.until_taken(channel, "CrashLoop", "resolved")?;
    }
    lab.until(0, "all to be well again", SETTLES, |s| s.health == "healthy")?;
    wait_until("each provider to have taken an end for what fired there", SETTLES, || street.all_ended())?;
    street.check_ids(&mut run);
    street.check_retry_after(&mut run);
    let slowest = street.slowest_at_the_healthy(&mut run);
    run.took(HEALTHY, slowest);
    Ok(run)
}

/// The workload fails at once, for good, or doesn't.
fn trouble(lab: &Lab, command: &str) -> Result<(), LabError> {
    let text = format!(
        "[workload.checkout]\nexec.command = [\"{command}\"]\nrecovery.restart = {{ attempts = 0 }}\nrecovery.then = []\n"
    );
    lab.apply(0, "trouble.toml", &text)
}

/// Whoever does well is told of the channel that fails, and `status` and `alert list` say which one and why.
fn until_seen_to_fail(lab: &Lab, street: &Street, channel: &str, why: &str) -> Result<(), LabError> {
    wait_until(&format!("{HEALTHY} to hear that {channel} fails"), SETTLES, || {
        let about =
            |told: &Received| told.text("alert") == "ChannelFailing" && told.label("channel") == channel;
        let all = street.taken(HEALTHY);
        let told = all.iter().find(|told| about(told)).ok_or_else(|| format!("{} messages", all.len()))?;
        if told.text("summary").contains(why) { Ok(()) } else { Err(told.body.to_string()) }
    })?;
    for command in [["status"].as_slice(), &["alert", "list"]] {
        wait_until(&format!("{command:?} to say that {channel} fails: {why}"), SETTLES, || {
            let said = lab.cli(0, command).map_err(|e| e.to_string())?;
            let is_told = said.stdout.lines().any(|line| line.contains(channel) && line.contains(why));
            if is_told { Ok(()) } else { Err(format!("{said:?}")) }
        })?;
    }
    Ok(())
}

/// The alert, the channel that it is about, and its phase.
fn what(told: &Received) -> (String, String, String) {
    let about = if told.text("alert") == "ChannelFailing" { told.label("channel") } else { "" };
    (told.text("alert").to_owned(), about.to_owned(), told.text("status").to_owned())
}

/// The providers, by the channels that lead to them.
struct Street {
    providers: BTreeMap<&'static str, Provider>,
    /// A certificate as it should be.
    good: Files,
}

impl Street {
    fn build(lab: &Lab) -> Result<Self, LabError> {
        let here = "127.0.0.1";
        let good = lab.authority.issue(&["provider", here])?;
        let stranger = Authority::named("a stranger", &lab.directory().join("stranger"))?.issue(&[here])?;
        let misnamed = lab.authority.issue(&["elsewhere.example"])?;
        let expired = lab.authority.issue_expired(&[here])?;
        let providers = BTreeMap::from([
            (HEALTHY, Provider::start(empty(), None)?),
            ("busy", Provider::start([Manner::Busy(RETRY_AFTER_S)].into_iter(), None)?),
            ("erring", Provider::start(repeat_n(Manner::Error, 2), None)?),
            ("closing", Provider::start([Manner::Closed, Manner::HalfAnAnswer].into_iter(), None)?),
            ("hanging", Provider::start(repeat(Manner::Silence), None)?),
            ("stranger", Provider::start(empty(), Some(&stranger))?),
            ("misnamed", Provider::start(empty(), Some(&misnamed))?),
            ("expired", Provider::start(empty(), Some(&expired))?),
        ]);
        Ok(Self { providers, good })
    }

    /// One route to all of them.
    fn alerting(&self) -> String {
        let channel = |(name, provider): (&&str, &Provider)| {
            let address = provider.address;
            let (scheme, ca) = match provider.wants_tls() {
                true => ("https", format!("ca = {:?}\n", self.good.ca)),
                false => ("http", String::new()),
            };
            format!(
                "[channel.{name}]\ntype = \"webhook\"\nurl = \"{scheme}://{address}/hook\"\nsecret = \"{SECRET}\"\n{ca}"
            )
        };
        let channels: String = self.providers.iter().map(channel).collect();
        let names: Vec<&&str> = self.providers.keys().collect();
        format!("{channels}[[route]]\nchannels = {names:?}\n")
    }

    fn mend(&self, channel: &str) -> Result<(), LabError> {
        let provider = &self.providers[channel];
        provider.mend(provider.wants_tls().then_some(&self.good))
    }

    fn taken(&self, channel: &str) -> Vec<Received> {
        self.providers[channel].taken()
    }

    fn until_taken(&self, channel: &str, alert: &str, status: &str) -> Result<Received, LabError> {
        wait_until(&format!("{channel} to take that {alert} is {status}"), SETTLES, || {
            let all = self.providers[channel].attempts();
            let is_it = |told: &Received| told.text("alert") == alert && told.text("status") == status;
            let taken = self.taken(channel).into_iter().find(is_it);
            taken.ok_or_else(|| format!("{} attempts: {all:?}", all.len()))
        })
    }

    /// Of everything that fired at a provider its end came too.
    fn all_ended(&self) -> Result<(), String> {
        for (channel, provider) in &self.providers {
            let taken: BTreeSet<_> = provider.taken().iter().map(what).collect();
            let with = |status| {
                taken.iter().filter(move |(.., s)| s == status).map(|(alert, about, _)| (alert, about))
            };
            if !with("firing").eq(with("resolved")) {
                return Err(format!("{channel}: an end is missing: {taken:?}"));
            }
        }
        Ok(())
    }

    /// Everything came once; all attempts at one are under one id.
    fn check_ids(&self, run: &mut Run) {
        for (channel, provider) in &self.providers {
            let mut ids: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
            for attempt in provider.attempts() {
                ids.entry(what(&attempt.request)).or_default().insert(attempt.request.webhook_id);
            }
            run.check(ids.values().all(|ids| ids.len() == 1), || format!("{channel}: other ids: {ids:?}"));
            let taken: Vec<_> = provider.taken().iter().map(what).collect();
            let once: BTreeSet<_> = taken.iter().cloned().collect();
            run.check(once.len() == taken.len(), || format!("{channel}: told twice: {taken:?}"));
            run.check(provider.taken().iter().all(|told| told.signed), || format!("{channel}: unsigned"));
        }
    }

    fn check_retry_after(&self, run: &mut Run) {
        let attempts = self.providers["busy"].attempts();
        let asked = Duration::from_secs(RETRY_AFTER_S);
        let waited = attempts[1].request.at.duration_since(attempts[0].request.at);
        run.check(waited.as_ref().is_ok_and(|waited| *waited >= asked), || {
            format!("busy for {asked:?}, asked again after {waited:?}")
        });
    }

    /// From the moment at which something began or ended to the one at which it was told.
    fn slowest_at_the_healthy(&self, run: &mut Run) -> Option<Duration> {
        let all = self.taken(HEALTHY);
        let late = |told: &Received| {
            let from = if told.text("status") == "firing" { "starts_at" } else { "ends_at" };
            let at: jiff::Timestamp = told.text(from).parse().ok()?;
            told.at.duration_since(at.into()).ok()
        };
        let slowest = all.iter().filter_map(late).max();
        run.check(slowest.is_some_and(|slowest| slowest < IN_TIME), || {
            format!("{HEALTHY} waited for {slowest:?}")
        });
        slowest
    }
}
