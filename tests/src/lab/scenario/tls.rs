//! Who isn't of the cluster's authority gets nothing: no answer, no membership. Who soon won't be is told of.

use super::{SETTLES, THREE_HERE, in_lab};
use crate::lab::{
    LabError,
    certificates::Authority,
    report::{Report, Run},
    wait::wait_until,
};
use std::time::Duration;

/// The command line's exit code when no agent answers.
const NO_ANSWER: i32 = 3;
/// And an hour: for those who round down.
const ENDS_AFTER: Duration = Duration::from_hours(3 * 24 + 1);

pub fn run(report: &mut Report, _count: usize) -> Result<(), LabError> {
    in_lab(THREE_HERE, |lab| {
        let mut run = Run::new("a client's certificates");
        let ours = lab.authority.issue(&["another-client"])?;
        let known = lab.cli_as(&ours, 0, &["status"])?;
        run.check(known.code == Some(0), || format!("a good certificate is refused: {known:?}"));
        let other = Authority::new(&lab.directory().join("other-authority"))?;
        let theirs = other.issue(&["client"])?;
        // It believes our agents, but shows what the other authority signed.
        let mixed = crate::lab::certificates::Files { ca: ours.ca.clone(), ..theirs.clone() };
        for (what, files) in [("of another authority", &mixed), ("and belief of another authority", &theirs)]
        {
            let answer = lab.cli_as(files, 0, &["status", "--json"])?;
            run.check(answer.code == Some(NO_ANSWER) && answer.stdout.is_empty(), || {
                format!("a certificate {what} got {answer:?}")
            });
        }
        let bare = lab.cli_without_tls(0, &["status", "--json"])?;
        run.check(bare.code == Some(NO_ANSWER) && bare.stdout.is_empty(), || {
            format!("without TLS got {bare:?}")
        });
        report.add(run);

        let mut run = Run::new("a certificate that ends in three days");
        lab.route_alerts(0)?;
        let lasting = lab.authority.issue(&["n3", "127.0.0.1"])?;
        let ending = lab.authority.issue_ending(&["n3", "127.0.0.1"], ENDS_AFTER)?;
        for (files, status) in [(&ending, "firing"), (&lasting, "resolved")] {
            lab.hosts[2].terminate()?;
            lab.reconfigure_tls(2, files)?;
            lab.start(2)?;
            let about = || lab.receiver.about("CertificateExpiring", "n3", status);
            wait_until("n3's certificate to be told", SETTLES, about)?;
        }
        let told = lab.receiver.all();
        run.check(told.len() == 2, || format!("{} messages", told.len()));
        report.add(run);

        let mut run = Run::new("an agent's certificate");
        lab.hosts[2].terminate()?;
        let intruder = other.issue(&["n3", "127.0.0.1"])?;
        lab.reconfigure_tls(2, &crate::lab::certificates::Files { ca: ours.ca, ..intruder })?;
        lab.start(2)?;
        // Its host answers, so it is no dead node; but no agent speaks there that belongs to the cluster.
        let status = lab.until(0, "the intruder to be missed", SETTLES, |s| {
            s.node("n3").is_some_and(|n| n.state == "dead" || n.agent != "up") && s.voters_online == 2
        })?;
        run.check(status.voters_online == 2, || format!("{} voters online", status.voters_online));
        report.add(run);
        Ok(())
    })
}
