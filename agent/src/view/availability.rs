//! The account of availability on the wire.

use super::View;
use cluster_core::{
    availability::{Availability, By, availability},
    time::WallTime,
};
use holdfast_proto::v1;

impl View<'_> {
    /// Nodes and workloads when nobody says by what.
    #[must_use]
    pub fn availability(&self, by: v1::AvailabilityBy, since: Option<WallTime>) -> Vec<v1::Availability> {
        let kinds: &[(By, &str)] = match by {
            v1::AvailabilityBy::Unspecified => &[(By::Node, "node"), (By::Workload, "workload")],
            v1::AvailabilityBy::Node => &[(By::Node, "node")],
            v1::AvailabilityBy::Workload => &[(By::Workload, "workload")],
            v1::AvailabilityBy::Zone => &[(By::Zone, "zone")],
        };
        // The ledger's clock never runs back; this host's may lag behind it.
        let now = self.now.max(self.ledger.clock);
        let accounts = kinds.iter().flat_map(|(by, kind)| {
            availability(self.ledger, *by, since, now).into_iter().map(|account| one(kind, account))
        });
        accounts.collect()
    }
}

fn one(kind: &str, account: Availability) -> v1::Availability {
    v1::Availability {
        subject: Some(v1::Subject { kind: kind.to_owned(), name: account.name }),
        failures: account.failures,
        mtbf_ms: account.mtbf_ms,
        mttr_ms: account.mttr_ms,
        availability: account.availability,
        uptime_ratio: account.uptime_ratio,
        observed_ms: account.observed_ms,
    }
}
