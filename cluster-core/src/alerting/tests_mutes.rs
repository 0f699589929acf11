//! Scripts of what nobody may hear of for now: inhibitions, silences, maintenances, and routes out of their hours.

use super::{
    tests_pipeline::{HOUR, config, muted, play, wall},
    *,
};
use crate::{
    ledger::{Inhibit, Maintenance, MatchOp, Matcher, Schedule, Silence},
    recovery::harness::Play,
    time::WallTime,
};

#[test]
fn an_inhibited_alert_is_told_when_its_source_is_over_and_fires_no_more_if_it_is_over_too() {
    let mut config = config(&[("hook", "webhook")]);
    config.inhibits = vec![Inhibit {
        source: "alert == 'RackDown'".to_owned(),
        target: "alert == 'Disk' || alert == 'RackDown'".to_owned(),
        equal: vec!["zone".to_owned(), "row".to_owned()],
    }];
    let mut play = play(config);
    play.raise("RackDown", "rack", &[("zone", "east")]);
    play.raise("Disk", "a", &[("zone", "east")]);
    play.raise("Disk", "b", &[("zone", "east")]);
    play.raise("Disk", "elsewhere", &[("zone", "west")]);
    play.run(2_000);
    assert_eq!(play.told_to("hook"), ["firing rack", "firing elsewhere"]);
    assert_eq!(muted(&play, "a"), "inhibited by RackDown");
    play.end("b");
    play.run(2_000);
    play.end("rack");
    play.run(2_000);
    assert_eq!(play.told_to("hook")[2..], ["resolved rack", "firing a"]);
    play.run(60_000);
    assert_eq!(play.told.len(), 4, "nobody hears of b: {:?}", play.told);
}

pub(super) fn silence(play: &Play, op: MatchOp, value: &str, for_ms: u64) -> Silence {
    Silence {
        matchers: vec![Matcher { label: "node".to_owned(), op, value: value.to_owned() }],
        starts_at: WallTime(wall(play)),
        ends_at: WallTime(wall(play) + for_ms),
        author: "ops".to_owned(),
        comment: "new disks".to_owned(),
    }
}

#[test]
fn a_silence_mutes_with_its_reason_until_it_ends() {
    let mut play = play(config(&[("hook", "webhook")]));
    play.raise("Disk", "before", &[("node", "n1")]);
    play.run(1_000);
    let silence = silence(&play, MatchOp::Matches, "n[0-3]", 60_000);
    play.commit(Body::SilenceAdded { silence });
    play.raise("Disk", "during", &[("node", "n1")]);
    play.raise("Disk", "other", &[("node", "n12")]);
    play.run(1_000);
    assert_eq!(
        play.told_to("hook"),
        ["firing before", "firing other"],
        "the expression is for the whole value"
    );
    assert!(muted(&play, "during").ends_with("by ops: new disks"));
    play.end("before");
    play.run(1_000);
    assert_eq!(play.told_to("hook")[2], "resolved before", "who was told is told of the end");
    play.run(60_000);
    assert_eq!(play.told_to("hook")[3..], ["firing during"]);
    assert_eq!(muted(&play, "during"), "");
}

#[test]
fn a_silence_that_is_ended_early_mutes_no_more() {
    let mut play = play(config(&[("hook", "webhook")]));
    let silence = silence(&play, MatchOp::NotEqual, "n9", HOUR);
    play.commit(Body::SilenceAdded { silence });
    let id = play.ledger.applied.index;
    play.raise("Disk", "a", &[]);
    play.run(5_000);
    assert!(play.told.is_empty());
    play.commit(Body::SilenceEnded { id });
    play.run(200);
    assert_eq!(play.told_to("hook"), ["firing a"]);
}

#[test]
fn a_maintenance_mutes_what_matches_while_it_lasts() {
    let mut config = config(&[("hook", "webhook")]);
    config.maintenances = vec![Maintenance {
        condition: Some("alert == 'Disk'".to_owned()),
        until: Some(WallTime(1_700_000_000_000 + 30_000)),
        comment: "sunday".to_owned(),
        ..Maintenance::default()
    }];
    let mut play = play(config);
    play.raise("Disk", "a", &[]);
    play.raise("Fan", "b", &[]);
    play.run(20_000);
    assert_eq!(
        (play.told_to("hook"), muted(&play, "a")),
        (vec!["firing b"], "maintenance \"sunday\"".to_owned())
    );
    play.run(10_500);
    assert_eq!(play.told_to("hook")[1], "firing a");
}

#[test]
fn outside_of_its_schedule_a_route_tells_nothing_new() {
    let mut config = config(&[("hook", "webhook")]);
    // The play begins on a Tuesday at 22:13:21 UTC.
    let schedule =
        Schedule { timezone: "UTC".to_owned(), days: vec![], from_minute: 22 * 60 + 14, to_minute: 23 * 60 };
    config.schedules = [("late".to_owned(), schedule)].into();
    config.routes[0].schedule = Some("late".to_owned());
    let mut play = play(config);
    play.raise("Disk", "a", &[]);
    play.raise("Disk", "b", &[]);
    play.run(5_000);
    assert_eq!(muted(&play, "a"), "outside of schedule \"late\"");
    play.end("b");
    play.run(35_000);
    assert_eq!(play.told_to("hook"), ["firing a"]);
}
