//! Guards as real processes: does the tree die with the lease, live through the agent, and end as it is told?
//!
//! The binary is the real one, the workloads are shells that stamp /proc/uptime (CLOCK_BOOTTIME, to 10 ms) into a file.
//! What a machine can't do (change the user, make namespaces) is tested where it can, and said where it can't.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod rig;

use cluster_core::{
    ids::{BootId, LeaseEpoch},
    instance::{Cause, Exit, Outcome},
};
use holdfast::workload::{
    logs::{From, slot_dir},
    page::{self, DeadlinePage},
    spec::{Confinement, GuardEvent, GuardSpec, LogLimits, Namespace},
    state::{self, Phase, State},
    supervisor::{Adopted, SupervisorError},
    sys,
};
use rig::*;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};

/// Lets the lease run out under an escapist; nothing of it may stamp at or after the deadline.
async fn dies_before_the_deadline(mut rig: Rig, freeze_guard: bool) {
    let renewer = rig.renew();
    let spec = rig.spec(&["/bin/sh", "-c", ESCAPIST]);
    let (_, guard) = rig.run(&spec).await;
    rig.until_stamped().await;
    assert!(alive(&spec).len() >= 2, "the parent and the one that detached itself");
    if freeze_guard {
        // The last renewal that it can have taken up is at least this old; the page's own may be newer.
        signal(guard, rustix::process::Signal::STOP);
    }
    drop(renewer);
    let deadline_ms = rig.page.deadline().boot.as_millis();
    let (outcome, confirmed) = rig.ended().await;
    assert!(confirmed);
    assert!(matches!(outcome, Outcome::Ran { exit: Exit::Signal(9), .. }), "{outcome:?}");
    assert!(freeze_guard || outcome == killed(Cause::Deadline).0, "{outcome:?}");
    for name in ["stamps", "stamps.parent"] {
        let last = rig.last_stamp_ms(name).unwrap();
        println!("last stamp {} ms before the deadline", deadline_ms.saturating_sub(last));
        assert!(last + 10 < deadline_ms, "{name}: stamped at {last}, the lease ended at {deadline_ms}");
        assert!(last + 1_000 > deadline_ms || freeze_guard, "{name}: killed far too early, at {last}");
    }
    assert_eq!(alive(&spec), [0; 0]);
    assert!(!left_cgroup(&spec, &rig));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_tree_is_dead_before_the_deadline() {
    dies_before_the_deadline(Rig::new(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_guard_holds_the_deadline_too() {
    dies_before_the_deadline(Rig::new(), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_users_guard_holds_the_deadline_too() {
    if !is_root() {
        println!("every other test here is run by an ordinary user already");
        return;
    }
    let Some(rig) = as_nobody("exec \"$0\" \"$@\"") else { return };
    dies_before_the_deadline(rig, false).await;
}

/// A rig whose guards run as an ordinary user, started by this script, with the binary as its `$0`. For root only.
fn as_nobody(script: &str) -> Option<Rig> {
    let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    // A copy: the build's directory may be closed to others.
    let binary = dir.path().join("holdfast");
    fs::copy(env!("CARGO_BIN_EXE_holdfast"), &binary).unwrap();
    let wrapper = dir.path().join("wrapper");
    let text = format!(
        "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n\
         exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups sh -c '{script}' {} \"$@\"\n",
        binary.display()
    );
    fs::write(&wrapper, text).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let able = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/bin/sh", "-c", script])
        .args(["/bin/test", "-x"])
        .arg(&binary)
        .status();
    if !able.is_ok_and(|status| status.success()) {
        println!("not tested: setpriv(1) cannot start a guard that way here");
        return None;
    }
    let rig = Rig::with_exe(wrapper, dir);
    for dir in [rig.dir.path().to_owned(), rig.guards()] {
        std::os::unix::fs::chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    Some(rig)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_namespaces_it_says_unconfined_and_still_ends_what_detached_itself() {
    if !is_root() {
        println!("not tested: only root can take namespaces away from a guard");
        return;
    }
    let script = "exec unshare -r sh -c \"echo 0 >/proc/sys/user/max_pid_namespaces; \
                  echo 0 >/proc/sys/user/max_user_namespaces; exec \\\"\\$0\\\" \\\"\\$@\\\"\" \"$0\" \"$@\"";
    let Some(mut rig) = as_nobody(script) else { return };
    let _renewer = rig.renew();
    let spec = rig.spec(&["/bin/sh", "-c", ESCAPIST]);
    rig.supervisor.start(spec.clone()).unwrap();
    let (_, confinement) = rig.started().await;
    assert_eq!(confinement.namespace, Namespace::None, "{confinement:?}");
    assert!(!confinement.is_confined());
    assert!(confinement.missing.iter().any(|why| why.starts_with("unconfined: ")), "{confinement:?}");
    rig.until_stamped().await;
    rig.supervisor.stop(spec.instance, Duration::from_millis(50)).unwrap();
    assert_eq!(rig.ended().await, killed(Cause::Stopped));
    assert_eq!(alive(&spec), [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_guard_takes_its_tree_along() {
    let mut rig = Rig::new();
    let _renewer = rig.renew();
    let spec = rig.spec(&["/bin/sh", "-c", ESCAPIST]);
    let (_, guard) = rig.run(&spec).await;
    rig.until_stamped().await;
    signal(guard, rustix::process::Signal::KILL);
    assert_eq!(rig.proven_end().await, killed(Cause::GuardLost).0);
    assert_eq!(alive(&spec), [0; 0]);
    assert!(!left_cgroup(&spec, &rig));
    assert!(matches!(rig.state(&spec).phase, Phase::Ended { .. }), "on disk before it was told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_agent_adopts_what_runs() {
    let mut rig = Rig::new();
    let _renewer = rig.renew();
    let spec = rig.spec(&["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.01; done"]);
    let (pid, guard) = rig.run(&spec).await;
    let session = |pid: u32| {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed());
        rustix::process::getsid(pid).unwrap().as_raw_nonzero().get().cast_unsigned()
    };
    assert_eq!(session(guard), guard, "a session of its own: the agent's terminal can't end it");

    let mut rig = rig.next_agent();
    let adopted = rig.supervisor.adopt().await.unwrap();
    assert!(matches!(&adopted[..], [Adopted::Instance(found)] if **found == spec), "{adopted:?}");
    assert_eq!(rig.started().await.0, pid);
    assert!(matches!(rig.supervisor.start(spec.clone()), Err(SupervisorError::SlotTaken { .. })));
    assert!(matches!(rig.supervisor.forget(spec.instance).await, Err(SupervisorError::NotEnded(_))));
    rig.supervisor.stop(spec.instance, PATIENCE).unwrap();
    let end = (Outcome::Ran { exit: Exit::Code(0), cause: Cause::Stopped }, true);
    assert_eq!(rig.ended().await, end);

    // An end that nobody has dealt with is told to the next one again, until it is forgotten.
    let mut rig = rig.next_agent();
    assert_eq!(rig.supervisor.adopt().await.unwrap().len(), 1);
    assert_eq!(rig.ended().await, end);
    rig.supervisor.forget(spec.instance).await.unwrap();
    let rig = rig.next_agent();
    assert!(rig.supervisor.adopt().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_boot_or_a_dead_agent_left_is_settled() {
    let mut rig = Rig::new();
    let mut of_another_boot = State::starting(rig.spec(&["/bin/true"]));
    of_another_boot.spec.boot = BootId(1);
    // Pids that are in use now, by others: by this very process.
    let me = sys::ProcessId::of(std::process::id()).unwrap();
    of_another_boot.guard = Some(me);
    of_another_boot.init = Some(me);
    of_another_boot.phase = Phase::Running { workload: me, started_at: holdfast::clock::wall() };
    of_another_boot.confinement =
        Some(Confinement { namespace: Namespace::Pid, cgroup: None, missing: Vec::new() });
    of_another_boot.write(&rig.guards()).unwrap();
    let mut reused = of_another_boot.clone();
    reused.spec = rig.spec(&["/bin/true"]);
    let other = sys::ProcessId { start_ticks: me.start_ticks - 1, ..me };
    (reused.guard, reused.init) = (Some(other), Some(other));
    reused.write(&rig.guards()).unwrap();
    let never_guarded = State::starting(rig.spec(&["/bin/true"]));
    never_guarded.write(&rig.guards()).unwrap();

    assert_eq!(rig.supervisor.adopt().await.unwrap().len(), 3);
    let mut ends = BTreeMap::new();
    for _ in 0..3 {
        match rig.event().await {
            GuardEvent::Ended { instance, outcome, confirmed: true } => drop(ends.insert(instance, outcome)),
            other => panic!("{other:?}"),
        }
    }
    let lost = Outcome::Ran { exit: Exit::Signal(9), cause: Cause::GuardLost };
    assert!(matches!(ends[&of_another_boot.spec.instance], Outcome::Ran { exit: Exit::Signal(9), .. }));
    assert!(
        ends[&reused.spec.instance] == lost || matches!(ends[&reused.spec.instance], Outcome::Ran { .. })
    );
    assert!(matches!(ends[&never_guarded.spec.instance], Outcome::StartFailed(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_state_file_is_named_and_never_taken_for_an_end() {
    let mut rig = Rig::new();
    let _renewer = rig.renew();
    let spec = rig.spec(&["/bin/sleep", "1000"]);
    rig.run(&spec).await;
    let path = state::path(&rig.guards(), spec.instance);
    let whole = fs::read(&path).unwrap();
    let rig = rig.next_agent();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let found = rig.supervisor.adopt().await.unwrap();
    let [Adopted::Damaged { instance, guarded: true, error }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(*instance, spec.instance);
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    // Its guard obeys the page all the same.
    rig.page.revoke();
    until("the tree's end", || alive(&spec).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_epoch_or_boot_starts_nothing() {
    for (epoch, boot) in [(LeaseEpoch(4), None), (EPOCH, Some(BootId(1)))] {
        let mut rig = Rig::new();
        let foreign = DeadlinePage::create_or_open(&rig.guards(), epoch, boot.unwrap_or(rig.boot)).unwrap();
        foreign.extend(page::deadline_in(LEASE));
        if epoch != EPOCH {
            fs::rename(page::path(&rig.guards(), epoch), page::path(&rig.guards(), EPOCH)).unwrap();
        }
        let spec = rig.spec(&["/bin/sh", "-c", ESCAPIST]);
        rig.supervisor.start(spec.clone()).unwrap();
        let (outcome, confirmed) = rig.ended().await;
        let Outcome::StartFailed(why) = outcome else { panic!("{outcome:?}") };
        assert!(confirmed && why.contains("no lease of epoch 3"), "{why}");
        assert_eq!(rig.last_stamp_ms("stamps.parent"), None, "it never ran");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_epoch_ends_its_trees_at_once() {
    let mut rig = Rig::new();
    let _renewer = rig.renew();
    let spec = rig.spec(&["/bin/sh", "-c", ESCAPIST]);
    rig.run(&spec).await;
    rig.until_stamped().await;
    let began = Instant::now();
    rig.page.revoke();
    assert_eq!(rig.ended().await, killed(Cause::Deadline));
    println!("ended and told {:?} after the revocation", began.elapsed());
    assert_eq!(alive(&spec), [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_stop_asks_first_then_kills() {
    let mut rig = Rig::new();
    let _renewer = rig.renew();
    let polite = rig.spec(&["/bin/sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.01; done"]);
    rig.run(&polite).await;
    rig.supervisor.stop(polite.instance, PATIENCE).unwrap();
    assert_eq!(rig.ended().await, (Outcome::Ran { exit: Exit::Code(4), cause: Cause::Stopped }, true));

    let deaf = rig.spec(&["/bin/sh", "-c", ESCAPIST]);
    rig.run(&deaf).await;
    rig.until_stamped().await;
    rig.supervisor.stop(deaf.instance, Duration::from_secs(3_600)).unwrap();
    rig.supervisor.stop(deaf.instance, Duration::from_millis(100)).unwrap();
    assert_eq!(rig.ended().await, killed(Cause::Stopped));
    assert_eq!(alive(&deaf), [0; 0]);

    // Told before it is ready to listen: it stops all the same, started or not.
    let hasty = rig.spec(&["/bin/sh", "-c", ESCAPIST]);
    rig.supervisor.start(hasty.clone()).unwrap();
    rig.supervisor.kill(hasty.instance).unwrap();
    while !matches!(rig.event().await, GuardEvent::Ended { confirmed: true, .. }) {}
    assert_eq!(alive(&hasty), [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_lease_ends_a_grace_may_ask_first() {
    let mut rig = Rig::new();
    let renewer = rig.renew();
    let command = ["/bin/sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.01; done"];
    let spec = GuardSpec { isolation_grace_ms: 1_000, ..rig.spec(&command) };
    rig.run(&spec).await;
    drop(renewer);
    assert_eq!(rig.ended().await, (Outcome::Ran { exit: Exit::Code(5), cause: Cause::Deadline }, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_is_seen_soon_with_its_output_in_bounded_files() {
    let mut rig = Rig::new();
    let _renewer = rig.renew();
    let script = "while [ ! -e \"$STAMPS\" ]; do sleep 0.01; done; echo out; echo err >&2; \
                  echo $HOLDFAST_WORKLOAD $HOLDFAST_GENERATION $HOLDFAST_NODE $HOLDFAST_ADDR $CARGO; \
                  cut -d' ' -f1 /proc/uptime; exit 3";
    let spec = rig.spec(&["sh", "-c", script]);
    let (pid, guard) = rig.run(&spec).await;
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(comm.trim(), "sh", "the pid is the host's");
    let score = |pid| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(score(pid).trim(), "0");
    let missing = rig.state(&spec).confinement.unwrap().missing;
    let exempt = score(guard).trim() == "-1000";
    assert_eq!(exempt, !missing.iter().any(|why| why.contains("OOM")), "{missing:?}");
    println!("could not be had here: {missing:?}");
    let status = fs::read_to_string(format!("/proc/{guard}/status")).unwrap();
    let resident: Vec<_> =
        status.lines().filter(|l| l.starts_with("Rss") || l.starts_with("VmRSS")).collect();
    println!("guard: {resident:?}; {}", rig.state(&spec).confinement.unwrap());
    fs::write(rig.dir.path().join("stamps"), "").unwrap();
    assert_eq!(rig.ended().await, (Outcome::Ran { exit: Exit::Code(3), cause: Cause::Exited }, true));
    let noticed_ms = holdfast::clock::now().boot.as_millis();
    let output = rig.supervisor.logs("web", spec.index, From::Tail(10_000), 10_000).await.unwrap();
    let text = String::from_utf8(output.bytes).unwrap();
    let (kept, stamp) = text.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(kept, "out\nerr\nweb 7 n1 127.0.0.1:7400");
    let exited_ms: u64 = stamp.replace('.', "").parse::<u64>().unwrap() * 10;
    println!("exit noticed after at most {} ms", noticed_ms - exited_ms);
    assert!(noticed_ms - exited_ms < 1_000);

    let flood = "i=0; while [ $i -lt 2000 ]; do echo line $i of a flood; i=$((i+1)); done";
    let limits = LogLimits { segment_bytes: 4_096, segments: 2 };
    let spec = GuardSpec { logs: limits, ..rig.spec(&["sh", "-c", flood]) };
    rig.supervisor.start(spec.clone()).unwrap();
    while !matches!(rig.event().await, GuardEvent::Ended { .. }) {}
    let tail = rig.supervisor.logs("web", spec.index, From::Tail(21), 100).await.unwrap();
    assert_eq!(String::from_utf8(tail.bytes).unwrap(), "line 1999 of a flood\n");
    let files = fs::read_dir(slot_dir(&rig.guards(), "web", spec.index)).unwrap();
    let kept_bytes: u64 = files.map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert!((4_096..=8_192).contains(&kept_bytes), "{kept_bytes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_start_says_which_key_and_what_to_do() {
    let mut rig = Rig::new();
    let _renewer = rig.renew();
    let plain = rig.dir.path().join("plain");
    fs::write(&plain, "echo no interpreter").unwrap();
    let plain = plain.to_str().unwrap().to_owned();
    let missing = rig.spec(&["/no/such/program"]);
    let unfound = rig.spec(&["no-such-program"]);
    let closed = rig.spec(&[&plain]);
    let dir = GuardSpec { working_dir: Some("/no/such/dir".into()), ..rig.spec(&["/bin/true"]) };
    let user = GuardSpec { user: Some("no-such-user".into()), ..rig.spec(&["/bin/true"]) };
    let name = GuardSpec { workload: "../../etc".into(), ..rig.spec(&["/bin/true"]) };
    let cases = [
        (missing, vec!["workload.web.exec.command", "/no/such/program", "isn't on this node"]),
        (unfound, vec!["workload.web.exec.command", "no-such-program", "isn't on this node"]),
        (closed, vec!["workload.web.exec.command", &plain, "may not execute"]),
        (dir, vec!["workload.web.exec.working_dir", "/no/such/dir"]),
        (user, vec!["workload.web.exec.user", "no-such-user"]),
        (name, vec!["../../etc"]),
    ];
    for (spec, words) in cases {
        rig.supervisor.start(spec).unwrap();
        let (outcome, confirmed) = rig.ended().await;
        let Outcome::StartFailed(why) = outcome else { panic!("{outcome:?}") };
        assert!(confirmed && words.iter().all(|word| why.contains(word)), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_runs_a_workload_as_its_user() {
    if !is_root() {
        println!("not tested: only root may become another user");
        return;
    }
    let mut rig = Rig::new();
    let _renewer = rig.renew();
    let script = "cut -d: -f1 /etc/passwd >/dev/null; id -u; id -g; umask; pwd; echo $HOME";
    let spec = GuardSpec {
        user: Some(NOBODY.to_string()),
        working_dir: Some("/usr".into()),
        ..rig.spec(&["sh", "-c", script])
    };
    rig.supervisor.start(spec.clone()).unwrap();
    while !matches!(rig.event().await, GuardEvent::Ended { .. }) {}
    let output = rig.supervisor.logs("web", spec.index, From::Offset(0), 10_000).await.unwrap();
    let text = String::from_utf8(output.bytes).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines[0], lines[3]), ("65534", "/usr"), "{text}");
}
