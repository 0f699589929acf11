//! Other people's programs against the real agent; one that isn't installed is ignored, with the reason, and with
//! `CI=true` a failure.

#[path = "peers/alertmanager.rs"]
mod alertmanager;
#[path = "peers/link.rs"]
mod link;
#[path = "peers/mail.rs"]
mod mail;
#[path = "peers/paging.rs"]
mod paging;
#[path = "peers/prometheus.rs"]
mod prometheus;
#[path = "peers/reflection.rs"]
mod reflection;
#[path = "peers/smpp.rs"]
mod smpp;
#[path = "peers/zabbix.rs"]
mod zabbix;

use holdfast_tests::lab::{Lab, LabError, Plan, stamp};
use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    stamp::run_if_asked();
    let mut arguments = Arguments::from_args();
    // Two cores: several at once would only make each other late.
    arguments.test_threads = Some(1);
    let trials = vec![
        Trial::ignorable_test("python_reads_the_status_by_reflection", reflection::reads_the_status),
        Trial::ignorable_test("postfix_takes_mails_over_starttls_and_implicit_tls", mail::both_kinds_of_tls),
        Trial::ignorable_test("postfix_and_its_certificate_can_say_no", mail::refusals),
        Trial::ignorable_test("a_resolved_mail_is_threaded_under_the_firing_one", mail::threads),
        Trial::ignorable_test("alertmanager_shows_what_fires_and_no_longer_what_ended", alertmanager::shows),
        Trial::ignorable_test(
            "alertmanager_wants_a_password_and_is_known_by_its_certificate",
            alertmanager::guarded,
        ),
        Trial::ignorable_test("paging_requests_look_as_alertmanagers_do", paging::look_alike),
        Trial::ignorable_test(
            "prometheus_tells_three_agents_and_people_are_told_once",
            prometheus::tells_three_agents,
        ),
        Trial::ignorable_test("an_smsc_takes_texts_in_both_alphabets", smpp::takes_texts),
        Trial::ignorable_test("zabbix_keeps_the_value", zabbix::keeps_the_value),
        Trial::ignorable_test(
            "a_link_opened_with_curl_acknowledges_and_ends_escalations",
            link::acknowledges,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A cluster of one, whose leader sends through these channels.
fn cluster(alerts: &str) -> Result<Lab, LabError> {
    let mut lab = Lab::new(Plan { hosts: 1, expect: 1, namespaces: false })?;
    lab.found()?;
    lab.apply_alerts(0, alerts)?;
    Ok(lab)
}

/// `alert test` must be refused, and say all of this.
fn refused(lab: &Lab, channel: &str, says: &[&str]) -> Result<(), LabError> {
    let done = lab.cli(0, &["alert", "test", channel])?;
    if done.code == Some(1) && says.iter().all(|word| done.stderr.contains(word)) {
        return Ok(());
    }
    Err(LabError::Broken(format!("{channel} should have been refused with {says:?}, not {done:?}")))
}

fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), LabError> {
    if holds { Ok(()) } else { Err(LabError::Broken(otherwise())) }
}
