//! How long the shown certificate is believed.

use cluster_core::time::WallTime;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::FromDer as _;

/// Near the end is less than this, or than a quarter of the certificate's life, which is less for those that are
/// renewed every few days.
const NEAR_HOURS: u64 = 14 * 24;

/// Seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    begins: u64,
    ends: u64,
}

impl Validity {
    /// Of the chain it is the first certificate to end, of the authorities, of which one is enough, the last. None when no
    /// date can be read.
    #[must_use]
    pub fn of(chain: &[CertificateDer<'_>], authorities: &[CertificateDer<'_>]) -> Option<Self> {
        let last = authorities.iter().filter_map(window).max_by_key(|window| window.ends);
        chain.iter().filter_map(window).chain(last).min_by_key(|window| window.ends)
    }

    /// Whole hours until the end, 0 after it. None while it isn't near.
    #[must_use]
    pub fn near(&self, now: WallTime) -> Option<u16> {
        let left = self.ends.saturating_sub(now.0 / 1_000);
        let near = (self.ends.saturating_sub(self.begins) / 4).min(NEAR_HOURS * 3_600);
        (left < near || left == 0).then(|| u16::try_from(left / 3_600).unwrap_or(u16::MAX))
    }
}

fn window(der: &CertificateDer<'_>) -> Option<Validity> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let seconds = |at: i64| u64::try_from(at).unwrap_or_default();
    Some(Validity {
        begins: seconds(validity.not_before.timestamp()),
        ends: seconds(validity.not_after.timestamp()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn lasting(days: u64) -> Validity {
        Validity { begins: 1_000 * DAY, ends: (1_000 + days) * DAY }
    }

    fn after(days: u64) -> WallTime {
        WallTime((1_000 + days) * DAY * 1_000)
    }

    #[test]
    fn the_end_is_near_for_two_weeks_or_for_a_quarter_of_a_short_life() {
        assert_eq!((lasting(365).near(after(351)), lasting(365).near(after(352))), (None, Some(13 * 24)));
        assert_eq!(
            (lasting(4).near(after(3)), lasting(4).near(WallTime(after(3).0 + 1_000))),
            (None, Some(23))
        );
        assert_eq!((lasting(4).near(after(4)), lasting(4).near(after(9))), (Some(0), Some(0)));
    }

    #[test]
    fn the_first_of_the_chain_counts_and_the_last_of_the_authorities() {
        let made = |year| {
            let mut params = rcgen::CertificateParams::new(vec!["n1".to_owned()]).unwrap();
            (params.not_before, params.not_after) =
                (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(year, 1, 1));
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
        };
        let ends = |chain: &[i32], authorities: &[i32]| {
            let [chain, authorities] =
                [chain, authorities].map(|years| years.iter().map(|year| made(*year)).collect::<Vec<_>>());
            Validity::of(&chain, &authorities).map(|validity| validity.ends / DAY / 365 + 1970)
        };
        assert_eq!(ends(&[2030, 2025], &[2040]), Some(2025));
        assert_eq!(ends(&[2030], &[2022, 2028]), Some(2028));
        assert_eq!(Validity::of(&[CertificateDer::from(vec![1])], &[]), None);
    }
}
