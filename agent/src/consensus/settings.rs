//! How a voter keeps time, where it stores, and when it compacts; and the limits of consensus, all by name.

use super::error::ConsensusError;
use cluster_core::ids::NodeId;
use openraft::SnapshotPolicy;
use std::{path::PathBuf, time::Duration};

/// Commands that wait for a majority at once; the next is refused as overloaded.
pub const PROPOSALS_IN_FLIGHT: usize = 1_024;
/// A longer command is refused.
pub const COMMAND_BYTES: usize = 1 << 20;
/// No message is longer, whatever it carries.
pub const MESSAGE_BYTES: usize = 4 << 20;
/// Entries of one append request stop here, or after the first one.
pub(crate) const APPEND_BYTES: usize = 2 << 20;
/// Piece of a snapshot in one message.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;
/// One piece of a snapshot must arrive, and the last one be installed, within this.
pub(crate) const CHUNK_TIMEOUT: Duration = Duration::from_secs(20);
/// An append of entries may take this long: far above a slow disk's sync, far below a person's patience.
pub(crate) const APPEND_TIMEOUT: Duration = Duration::from_secs(1);

const APPEND_ENTRIES: u64 = 512;
const APPENDS_QUEUED: u64 = 2_048;
/// A follower this far behind gets the snapshot and not the log.
const LAG_ENTRIES: u64 = 20_000;
/// Entries are purged in such steps, so that a commit that purges stays short.
const PURGED_AT_ONCE: u64 = 256;
/// Waits between attempts to reach a voter that has no connection.
const RECONNECT: &str = "50ms 100ms 200ms ..1s";

/// Where log, vote and snapshots live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// Forgotten at the end of the process; for a development cluster of one.
    Memory,
    /// `must_exist`: this node has voted in its cluster, so an absent log is an error and no fresh start.
    Directory { path: PathBuf, must_exist: bool },
}

/// The lease of a leader on its followers is `election_max`; silence is noticed after that lease plus a random time
/// between `election_min` and `election_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    pub heartbeat: Duration,
    pub election_min: Duration,
    pub election_max: Duration,
}

impl Timings {
    /// Silence of the leader's host → election after 0.6–0.8 s. A follower may be starved for 400 ms, four heartbeats,
    /// before its vote can be had, and a new leader needs a majority of such: a busy core alone doesn't unseat one.
    pub const LAN: Self = Self {
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(200),
        election_max: Duration::from_millis(400),
    };
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub node: NodeId,
    pub store: Store,
    pub timings: Timings,
    /// Entries after which a snapshot is taken; the log is purged behind it.
    pub snapshot_every: u64,
    /// Entries kept behind a snapshot, for followers that are a little late.
    pub keep_entries: u64,
    pub propose_timeout: Duration,
    pub read_timeout: Duration,
}

impl Settings {
    #[must_use]
    pub fn new(node: NodeId, store: Store) -> Self {
        Self {
            node,
            store,
            timings: Timings::LAN,
            snapshot_every: 10_000,
            keep_entries: 500,
            propose_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(2),
        }
    }

    pub(crate) fn config(&self) -> Result<openraft::Config, ConsensusError> {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let Timings { heartbeat, election_min, election_max } = self.timings;
        let config = openraft::Config {
            cluster_name: "holdfast".to_owned(),
            // How long a heartbeat's answer is waited for; `pace` keeps the interval.
            heartbeat_interval: ms(heartbeat),
            election_timeout_min: ms(election_min),
            election_timeout_max: ms(election_max),
            enable_pre_vote: Some(true),
            // A commit doesn't need the leader's own sync when others make the majority. So a leader that was killed may
            // find less in its log than it acknowledged; going on in its old term it would give the same log ids to
            // other entries. It begins as a follower, and whoever leads next has all that was acknowledged.
            enable_leader_restore: Some(false),
            // An old leader without a quorum falls silent for lease + election_max, so that its heartbeats can't
            // keep a connected majority from electing.
            quorum_loss_probe_interval: Some(2 * ms(election_max)),
            install_snapshot_timeout: ms(CHUNK_TIMEOUT),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.keep_entries,
            purge_batch_size: PURGED_AT_ONCE,
            replication_lag_threshold: LAG_ENTRIES,
            max_payload_entries: APPEND_ENTRIES,
            max_append_entries: Some(APPEND_ENTRIES),
            api_channel_size: Some(APPENDS_QUEUED),
            notification_channel_size: Some(APPENDS_QUEUED),
            backoff: RECONNECT.to_owned(),
            ..openraft::Config::default()
        };
        config.validate().map_err(|error| ConsensusError::Settings(error.to_string()))
    }
}
