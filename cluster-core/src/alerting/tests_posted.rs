//! Scripts of alerts that another system posts, and stops to post.

use super::*;
use crate::{
    ledger::{POSTED_PREFIX, Severity},
    recovery::harness::{Play, WALL},
    time::WallTime,
};

const MINUTE: u64 = 60_000;

/// Three nodes, alerts told to `hook`, and a leader that has led for some minutes.
fn shop() -> Play {
    let mut play = Play::new(&[""; 3]);
    play.channels(&["hook"]);
    play.run(3 * MINUTE);
    play
}

fn post(play: &mut Play, name: &str, lasts_ms: u64) {
    let valid_until = WallTime(WALL + play.now + lasts_ms);
    play.commit(Body::AlertPosted {
        name: name.to_owned(),
        severity: Severity::Warning,
        dedup_key: format!("{POSTED_PREFIX}1"),
        labels: [].into(),
        summary: "db-1 is full".to_owned(),
        description: String::new(),
        valid_until,
    });
}

fn extend(play: &mut Play, lasts_ms: u64) {
    let until = WallTime(WALL + play.now + lasts_ms);
    play.commit(Body::AlertsExtended { until: vec![(format!("{POSTED_PREFIX}1"), until)] });
}

#[test]
fn it_is_told_and_over_when_nobody_posts_it_any_more() {
    let mut play = shop();
    post(&mut play, "DiskFull", 5 * MINUTE);
    play.run(4 * MINUTE);
    extend(&mut play, 5 * MINUTE);
    play.run(5 * MINUTE - 1_000);
    assert_eq!(play.told, ["hook firing db-1 is full"]);
    play.run(2_000);
    assert_eq!(play.told_to("hook"), ["firing db-1 is full", "resolved db-1 is full"]);
    assert_eq!(play.count("ended: it wasn't posted again"), 1);
    assert!(play.refused.is_empty(), "{:?}", play.refused);
}

#[test]
fn the_rules_let_it_be_whatever_its_name() {
    let mut play = shop();
    post(&mut play, "NodeDead", 5 * MINUTE);
    play.run(4 * MINUTE);
    assert_eq!(play.told, ["hook firing db-1 is full"]);
}

#[test]
fn a_new_leader_lets_whoever_posts_have_a_turn() {
    let mut play = shop();
    post(&mut play, "DiskFull", MINUTE);
    play.run(MINUTE - 500);
    play.new_leader();
    play.run(60_000);
    assert_eq!(play.count("ended"), 0);
    extend(&mut play, MINUTE);
    play.run(59_000);
    assert_eq!(play.count("ended"), 0);
    play.run(2_000);
    assert_eq!(play.count("ended"), 1);
}
