//! Alerts, and what became of their notifications.

use super::{View, timestamp, unless_empty};
use cluster_core::ledger::{Alert, Notification, NotificationState, Phase, Severity};
use holdfast_proto::v1;

/// A notification that failed counts against the cluster's health for so long after its alert ended.
const FAILED_NOTICE_MATTERS_MS: u64 = 3_600_000;

impl View<'_> {
    #[must_use]
    pub fn alert(&self, id: u64, alert: &Alert) -> v1::Alert {
        v1::Alert {
            id: id.to_string(),
            alert: alert.name.clone(),
            severity: match alert.severity {
                Severity::Info => v1::Severity::Info,
                Severity::Warning => v1::Severity::Warning,
                Severity::Critical => v1::Severity::Critical,
            }
            .into(),
            status: match alert.ends_at {
                None => v1::AlertStatus::Firing,
                Some(_) => v1::AlertStatus::Resolved,
            }
            .into(),
            dedup_key: alert.dedup_key.clone(),
            failure_id: alert.failure.map(|id| id.0),
            labels: alert.labels.clone().into_iter().collect(),
            summary: alert.summary.clone(),
            starts_at: Some(timestamp(alert.starts_at)),
            ends_at: alert.ends_at.map(timestamp),
            notifications: alert.notifications.iter().map(|n| self.notification(n)).collect(),
            description: alert.description.clone(),
        }
    }

    fn notification(&self, notification: &Notification) -> v1::Notification {
        v1::Notification {
            channel: notification.channel.clone(),
            status: match notification.phase {
                Phase::Firing => v1::AlertStatus::Firing,
                Phase::Resolved => v1::AlertStatus::Resolved,
            }
            .into(),
            state: match notification.state {
                NotificationState::Pending => v1::NotificationState::Pending,
                NotificationState::Sent => v1::NotificationState::Sent,
                NotificationState::Failed => v1::NotificationState::Failed,
                NotificationState::Suppressed => v1::NotificationState::Suppressed,
            }
            .into(),
            attempts: notification.attempts,
            sent_at: notification.sent_at.map(timestamp),
            by: notification.by.map(|id| self.name(id)),
            reason: unless_empty(&notification.reason),
            maybe_repeated: notification.maybe_repeated,
        }
    }

    pub(super) fn alerts_firing(&self) -> usize {
        self.ledger.alerts.values().filter(|a| a.ends_at.is_none()).count()
    }

    /// Notifications that people should have got and did not: given up, or refused and still being tried.
    pub(super) fn notifications_failed(&self) -> Vec<(&Alert, &Notification)> {
        let matters = |alert: &Alert| {
            alert.ends_at.is_none_or(|end| self.ledger.clock.since_ms(end) < FAILED_NOTICE_MATTERS_MS)
        };
        let undelivered = |n: &Notification| match n.state {
            NotificationState::Failed => true,
            NotificationState::Pending => n.attempts > 0 && !n.reason.is_empty(),
            NotificationState::Sent | NotificationState::Suppressed => false,
        };
        let alerts = self.ledger.alerts.values().filter(|a| matters(a));
        alerts
            .flat_map(|a| a.notifications.iter().map(move |n| (a, n)))
            .filter(|(_, n)| undelivered(n))
            .collect()
    }
}
