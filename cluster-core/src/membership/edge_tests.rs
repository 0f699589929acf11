//! The edge against a dumb twin that keeps every gap and works phi out from the definition.

use super::{edge::*, lab::TICK_MS, *};
use crate::timing::LAN;
use proptest::prelude::*;

/// -log10 of the chance that a heartbeat comes later than `quiet`: the tail of the normal distribution by its logistic
/// approximation (Bowling et al. 2009), in logarithms so that it doesn't underflow.
fn phi(gaps: &[f64], quiet: f64) -> f64 {
    let expected = LAN.heartbeat.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a few gaps")]
    let count = (gaps.len() + 1) as f64;
    let variance = 2.0 * gaps.iter().map(|g| (g - expected).max(0.0).powi(2)).sum::<f64>() / count;
    let deviation = variance.sqrt().max(expected * DEVIATION_MIN);
    let y = (quiet - expected) / deviation;
    let exponent = y * (1.5976 + 0.070_566 * y * y);
    (exponent + (-exponent).exp().ln_1p()) * core::f64::consts::LOG10_E
}

/// Asks the twin every half millisecond.
fn twin_odd_after(gaps: &[f64]) -> Duration {
    let recent = &gaps[gaps.len().saturating_sub(32)..];
    let odd = (0..4_000).map(|i| Duration::from_micros(i * 500)).find(|quiet| {
        *quiet >= LAN.suspect_ceiling
            || (*quiet >= LAN.suspect_floor && phi(recent, quiet.as_secs_f64()) >= 8.0)
    });
    odd.expect("the ceiling is within reach")
}

proptest! {
    #[test]
    fn agrees_with_its_dumb_twin(gaps in prop::collection::vec(TICK_MS..1_500u64, 1..80)) {
        let (mut now, mut edge, mut seen) = (Instant::ZERO, Edge::new(Instant::ZERO, &LAN), Vec::new());
        edge.heard(now, SessionId(1), 1, &LAN);
        for (seq, gap) in gaps.iter().enumerate() {
            now = now + Duration::from_millis(*gap);
            edge.heard(now, SessionId(1), seq as u64 + 2, &LAN);
            #[expect(clippy::cast_precision_loss, reason = "seconds")]
            seen.extend((*gap <= 1_000).then_some(*gap as f64 / 1_000.0));
            let (fast, dumb) = (edge.odd_at().since(now), twin_odd_after(&seen));
            let apart = fast.max(dumb) - fast.min(dumb);
            prop_assert!(apart <= Duration::from_millis(2), "{fast:?} or {dumb:?} after {seen:?}");
        }
    }

    /// What this agent slept through moves the moment by as much, never more, and a sign of life starts afresh.
    #[test]
    fn credit_moves_the_moment_by_what_was_slept(sleeps in prop::collection::vec(0u64..3_000, 0..6)) {
        let mut edge = Edge::new(Instant::ZERO, &LAN);
        edge.heard(Instant::ZERO, SessionId(1), 1, &LAN);
        let before = edge.odd_at();
        sleeps.iter().for_each(|ms| edge.credit(Duration::from_millis(*ms)));
        let slept = Duration::from_millis(sleeps.iter().sum());
        prop_assert_eq!(edge.odd_at(), before + slept);
        let later = Instant::from_millis(30_000);
        edge.vouched(later, LAN.suspect_floor);
        prop_assert_eq!(edge.odd_at(), later + LAN.suspect_floor);
    }
}
