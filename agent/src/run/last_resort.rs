//! The last resort of a host that is cut off: it can tell the cluster nothing, and the cluster can't tell for it, so it
//! says on the spot what happened here, and once more when that is over. Never over the network.
//!
//! `Watch` is when to speak, `LastResort` how. Not here: ending what runs here (the guards do, by the lease).

use crate::{
    config,
    notify::{
        body::rfc3339,
        channel::{exec, local},
    },
};
use cluster_core::time::{Instant, WallTime};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};

/// Without a leader for so long, a host is cut off, whether or not anything ran on it.
const ALONE_FOR: Duration = Duration::from_secs(30);
/// What ends with the lease ends within this: one message tells it all.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);
/// A leader that is known for so long is there to stay.
const BACK_FOR: Duration = Duration::from_secs(5);
/// One run of the command; then it is killed.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// No leader is known since then.
    CutOff(WallTime),
    Over(WallTime),
}

/// Speaks once when the host is cut off, and once when it isn't any more.
#[derive(Debug, Default)]
pub struct Watch {
    /// Since when no leader is known.
    alone: Option<(Instant, WallTime)>,
    /// Since when something stands still here, as the lease ran out.
    stopped: Option<Instant>,
    back: Option<Instant>,
    told: bool,
}

impl Watch {
    /// `stopped`: something that ran here was ended with the lease, and doesn't run again yet.
    pub fn look(&mut self, now: Instant, wall: WallTime, leader: bool, stopped: bool) -> Option<Say> {
        self.stopped = if stopped { self.stopped.or(Some(now)) } else { None };
        if leader {
            return self.hears(now);
        }
        self.back = None;
        let (since, since_wall) = *self.alone.get_or_insert((now, wall));
        let settled = self.stopped.is_some_and(|at| now.since(at) >= SETTLES_WITHIN);
        if self.told || !(settled || now.since(since) >= ALONE_FOR) {
            return None;
        }
        self.told = true;
        Some(Say::CutOff(since_wall))
    }

    fn hears(&mut self, now: Instant) -> Option<Say> {
        if !self.told {
            self.alone = None;
            return None;
        }
        let back = *self.back.get_or_insert(now);
        if now.since(back) < BACK_FOR {
            return None;
        }
        let (_, since) = self.alone?;
        *self = Self { stopped: self.stopped, ..Self::default() };
        Some(Say::Over(since))
    }
}

pub struct LastResort {
    config: config::LastResort,
    node: String,
    cluster: String,
    watch: Watch,
}

impl LastResort {
    #[must_use]
    pub fn new(config: config::LastResort, node: String, cluster: String) -> Self {
        Self { config, node, cluster, watch: Watch::default() }
    }

    /// `stopped`: the instances that were ended with the lease, as people call them.
    pub fn look(&mut self, now: Instant, wall: WallTime, leader: bool, stopped: &BTreeSet<String>) {
        if let Some(say) = self.watch.look(now, wall, leader, !stopped.is_empty()) {
            let (text, body) = words(say, wall, &self.node, &self.cluster, stopped);
            tracing::error!("{text}");
            // Two a cut at most, each with its own end.
            tokio::spawn(speak(self.config.clone(), body));
        }
    }
}

/// A sentence, and a line of JSON.
fn words(
    say: Say,
    wall: WallTime,
    node: &str,
    cluster: &str,
    stopped: &BTreeSet<String>,
) -> (String, String) {
    let (status, since, text) = match say {
        Say::CutOff(since) => {
            let names = stopped.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let names = if names.is_empty() { "nothing".to_owned() } else { names };
            let at = rfc3339(since);
            (
                "firing",
                since,
                format!("this host is cut off: it knows no leader since {at}; stopped: {names}"),
            )
        }
        Say::Over(since) => {
            let at = rfc3339(since);
            ("resolved", since, format!("this host knows a leader again; it was cut off since {at}"))
        }
    };
    let body = json!({
        "alert": "CutOff", "status": status, "node": node, "cluster": cluster,
        "since": rfc3339(since), "at": rfc3339(wall), "stopped": stopped, "summary": text,
    });
    (text, body.to_string())
}

/// The file first: it takes no time.
async fn speak(config: config::LastResort, body: String) {
    if let Some(path) = config.file
        && let Err(refused) = local::append(path, body.clone()).await
    {
        tracing::error!("last_resort.file: {refused}");
    }
    if config.command.is_empty() {
        return;
    }
    match tokio::time::timeout(COMMAND_TIMEOUT, exec::run(&config.command, &[], &format!("{body}\n"))).await {
        Ok(Ok(_)) => {}
        Ok(Err(refused)) => tracing::error!("last_resort.command: {refused}"),
        Err(_) => tracing::error!("last_resort.command: killed, as it took {} s", COMMAND_TIMEOUT.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: u64 = 1_700_000_000_000;

    /// `(from, to, leader, stopped)` in milliseconds, looked at four times a second; what is said when.
    fn story(parts: &[(u64, u64, bool, bool)]) -> Vec<(u64, Say)> {
        let mut watch = Watch::default();
        let mut said = Vec::new();
        for (from, to, leader, stopped) in parts {
            for ms in (*from..*to).step_by(250) {
                let wall = WallTime(WALL + ms);
                let say = watch.look(Instant::from_millis(ms), wall, *leader, *stopped);
                said.extend(say.map(|say| (ms, say)));
            }
        }
        said
    }

    fn at(ms: u64) -> WallTime {
        WallTime(WALL + ms)
    }

    #[test]
    fn an_election_is_no_news() {
        assert_eq!(
            story(&[(0, 5_000, true, false), (5_000, 34_750, false, false), (34_750, 99_000, true, false)]),
            []
        );
    }

    #[test]
    fn what_stopped_is_told_once_all_of_it_has() {
        let said = story(&[
            (0, 5_000, true, false),
            (5_000, 6_000, false, false),
            (6_000, 60_000, false, true),
            (60_000, 70_000, true, true),
            (70_000, 99_000, true, false),
        ]);
        assert_eq!(said, [(8_000, Say::CutOff(at(5_000))), (65_000, Say::Over(at(5_000)))]);
    }

    #[test]
    fn a_lease_that_a_leader_took_back_is_the_leaders_to_tell() {
        assert_eq!(story(&[(0, 90_000, true, true)]), []);
    }

    #[test]
    fn a_host_without_work_speaks_after_half_a_minute() {
        let said = story(&[(0, 90_000, false, false)]);
        assert_eq!(said, [(30_000, Say::CutOff(at(0)))]);
    }

    #[test]
    fn a_leader_that_comes_and_goes_is_the_same_cut() {
        let said = story(&[
            (0, 40_000, false, false),
            (40_000, 44_000, true, false),
            (44_000, 80_000, false, false),
            (80_000, 99_000, true, false),
            (99_000, 140_000, false, false),
        ]);
        let expected =
            [(30_000, Say::CutOff(at(0))), (85_000, Say::Over(at(0))), (129_000, Say::CutOff(at(99_000)))];
        assert_eq!(said, expected);
    }

    #[test]
    fn the_words() {
        let stopped = BTreeSet::from(["counter".to_owned(), "web/1".to_owned()]);
        let (text, body) = words(Say::CutOff(at(0)), at(8_000), "n2", "shop", &stopped);
        assert_eq!(
            text,
            "this host is cut off: it knows no leader since 2023-11-14T22:13:20.000Z; stopped: counter, web/1"
        );
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["status"], &body["stopped"][1]), (&json!("firing"), &json!("web/1")));
        assert_eq!((&body["node"], &body["at"]), (&json!("n2"), &json!("2023-11-14T22:13:28.000Z")));
        let (text, _) = words(Say::CutOff(at(0)), at(0), "n2", "shop", &BTreeSet::new());
        assert!(text.ends_with("stopped: nothing"), "{text}");
        let (text, body) = words(Say::Over(at(0)), at(9_000), "n2", "shop", &BTreeSet::new());
        assert!(text.contains("knows a leader again") && body.contains("\"resolved\""));
    }

    #[tokio::test]
    async fn it_is_said_in_the_file_and_to_the_command() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (file, copy) = (path("said.jsonl"), path("copy"));
        let command = vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("cat >> {copy}")];
        let config = config::LastResort { command, file: Some(file.clone()) };
        speak(config.clone(), "{\"a\":1}".to_owned()).await;
        speak(config, "{\"a\":2}".to_owned()).await;
        for said in [file, copy] {
            assert_eq!(std::fs::read_to_string(said).unwrap(), "{\"a\":1}\n{\"a\":2}\n");
        }
    }
}
