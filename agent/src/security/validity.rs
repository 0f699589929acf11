//! How long the certificate that this agent shows is believed.
//!
//! An authority's own end isn't looked at by those who believe it (RFC 5280, 6.1.1: of a trust anchor only name and key
//! count).

use cluster_core::time::WallTime;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::FromDer as _;

/// Near the end is less than this, or than a quarter of the certificate's life, which is less for those that are
/// renewed every few days.
const NEAR: u64 = 14 * 24 * 3_600;

/// Of each certificate of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validity(Vec<Window>);

/// Seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    begins: u64,
    ends: u64,
}

impl Validity {
    /// Certificates whose dates can't be read are left out.
    #[must_use]
    pub fn of(chain: &[CertificateDer<'_>]) -> Self {
        Self(chain.iter().filter_map(window).collect())
    }

    /// When the first of those ends whose end is near or over, in seconds since the epoch.
    #[must_use]
    pub fn near(&self, now: WallTime) -> Option<u64> {
        self.0.iter().filter(|window| window.is_near(now.0 / 1_000)).map(|window| window.ends).min()
    }
}

impl Window {
    fn is_near(&self, now: u64) -> bool {
        let left = self.ends.saturating_sub(now);
        left == 0 || left < NEAR.min(self.ends.saturating_sub(self.begins) / 4)
    }
}

fn window(der: &CertificateDer<'_>) -> Option<Window> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let seconds = |at: i64| u64::try_from(at).unwrap_or_default();
    Some(Window {
        begins: seconds(validity.not_before.timestamp()),
        ends: seconds(validity.not_after.timestamp()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    /// From day 1,000 on.
    fn lasting(days: u64) -> Validity {
        Validity(vec![Window { begins: 1_000 * DAY, ends: (1_000 + days) * DAY }])
    }

    fn after(days: u64) -> WallTime {
        WallTime((1_000 + days) * DAY * 1_000)
    }

    #[test]
    fn the_end_is_near_for_two_weeks_or_for_a_quarter_of_a_short_life() {
        let ends = |days: u64| Some((1_000 + days) * DAY);
        assert_eq!((lasting(365).near(after(351)), lasting(365).near(after(352))), (None, ends(365)));
        assert_eq!(
            (lasting(4).near(after(3)), lasting(4).near(WallTime(after(3).0 + 1_000))),
            (None, ends(4))
        );
        assert_eq!((lasting(4).near(after(4)), lasting(4).near(after(9))), (ends(4), ends(4)));
    }

    #[test]
    fn of_a_chain_each_is_looked_at() {
        let made = |from, to| {
            let mut params = rcgen::CertificateParams::new(vec!["n1".to_owned()]).unwrap();
            (params.not_before, params.not_after) = (from, to);
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
        };
        let day = |day| rcgen::date_time_ymd(2030, 3, day);
        let chain = [
            made(day(1), day(5)),
            made(rcgen::date_time_ymd(2020, 1, 1), day(8)),
            CertificateDer::from(vec![1]),
        ];
        let on = |at: u8| WallTime(u64::try_from(day(at).unix_timestamp()).unwrap() * 1_000);
        let ends = |at: u8| Some(on(at).0 / 1_000);
        let near = |at| Validity::of(&chain).near(on(at));
        assert_eq!((near(3), near(5)), (ends(8), ends(5)), "a short-lived one hides no other");
        assert_eq!(Validity::of(&chain[..1]).near(on(3)), None);
    }
}
