//! The account of availability.

use super::View;
use cluster_core::time::WallTime;
use holdfast_proto::v1;

impl View<'_> {
    #[must_use]
    pub fn availability(&self, by: v1::AvailabilityBy, since: Option<WallTime>) -> Vec<v1::Availability> {
        let _ = (by, since);
        Vec::new()
    }
}
