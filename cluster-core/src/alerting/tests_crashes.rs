//! Leaders are killed at random moments, with a provider that counts: no alert is lost, and none is told more often than
//! promised.

use super::*;
use crate::{
    ledger::{AlertingConfig, Channel, NotificationState, Phase, Route},
    recovery::harness::Play,
};
use std::collections::BTreeMap;

const SEEDS: u64 = 120;
const ALERTS: u64 = 6;
const CHANNELS: [(&str, &str); 4] =
    [("hook", "webhook"), ("screen", "console"), ("chat", "slack"), ("pager", "pagerduty")];

/// Splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// Alerts fire and end, channels answer late, and leaders fall. Returns how many fell.
fn act(play: &mut Play, dice: &mut Dice) -> usize {
    for (name, _) in CHANNELS {
        play.answers_after.insert(name.to_owned(), 10 + dice.roll(150));
    }
    let mut crashes = 0;
    for n in 0..ALERTS {
        play.raise("Disk", &format!("disk {n}"), &[]);
        play.run(10 * dice.roll(40));
        if dice.roll(2) == 0 {
            play.new_leader();
            crashes += 1;
        }
        play.run(10 * dice.roll(150));
    }
    for n in 0..ALERTS {
        play.end(&format!("disk {n}"));
        play.run(10 * dice.roll(30));
        if dice.roll(3) == 0 {
            play.new_leader();
            crashes += 1;
        }
    }
    play.run(300_000);
    crashes
}

#[test]
fn whenever_leaders_fall_each_alert_arrives_and_no_more_than_promised() {
    let mut repeated = 0;
    for seed in 0..SEEDS {
        let mut play = Play::new(&["", "", ""]);
        let channels = CHANNELS.map(|(name, kind)| (name.to_owned(), Channel::new(kind, 5_000))).into();
        let all = CHANNELS.map(|(name, _)| name.to_owned()).to_vec();
        play.alerting(AlertingConfig { channels, routes: vec![Route::to(all)], ..AlertingConfig::default() });
        let crashes = act(&mut play, &mut Dice(seed));
        let mut sendings: BTreeMap<u64, usize> = BTreeMap::new();
        for got in &play.got {
            *sendings.entry(got.id).or_default() += 1;
        }
        let twice: usize = sendings.values().map(|count| count - 1).sum();
        // One crash cuts off at most what flies: each of it may be repeated once.
        assert!(
            twice <= crashes * CHANNELS.len() * outbox::MAX_IN_FLIGHT,
            "seed {seed}: {twice} repetitions"
        );
        repeated += twice;
        for (channel, kind) in CHANNELS {
            let keyed = Channel::new(kind, 0).is_keyed();
            let mut seen: BTreeMap<(u64, Phase), usize> = BTreeMap::new();
            let mut known = BTreeSet::new();
            for got in play.got.iter().filter(|got| got.message.channel == channel) {
                let again = !known.insert(got.id);
                assert!(!again || keyed || got.message.maybe_repeated, "seed {seed}: {channel} isn't warned");
                // The provider drops what has an id that it knows.
                for told in got.message.told.iter().filter(|_| !(again && keyed)) {
                    *seen.entry(*told).or_default() += 1;
                }
            }
            for alert in play.ledger.alerts.keys() {
                for phase in [Phase::Firing, Phase::Resolved] {
                    let count = seen.get(&(*alert, phase)).copied().unwrap_or(0);
                    let most = if keyed { 1 } else { 1 + crashes };
                    assert!(
                        (1..=most).contains(&count),
                        "seed {seed}: {alert} {phase:?} on {channel}: {count}"
                    );
                    let told = play.ledger.alerts[alert].told(channel, phase).expect("told");
                    assert_eq!(told.state, NotificationState::Sent, "seed {seed}");
                    assert!(count == 1 || told.maybe_repeated, "seed {seed}: a repetition is marked");
                }
                let first = |phase| {
                    let tells = |got: &&crate::recovery::harness::Got| {
                        got.message.channel == channel && got.message.told.contains(&(*alert, phase))
                    };
                    play.got.iter().position(|got| tells(&got))
                };
                assert!(first(Phase::Firing) < first(Phase::Resolved), "seed {seed}: {channel}");
            }
        }
        assert!(play.ledger.messages.is_empty(), "seed {seed}");
    }
    assert!(repeated > 20, "the seeds hit the moments that matter: {repeated}");
}
