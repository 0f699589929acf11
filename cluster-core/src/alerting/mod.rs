//! Alerting: from failures to notifications, each exactly as often as it must be. Not here: talking to providers.
