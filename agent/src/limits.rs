//! Every maximum of the agent that isn't a machine's own, and what happens at it.

use std::time::Duration;

/// A gRPC message larger than this is refused by either side (`RESOURCE_EXHAUSTED`).
pub const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Calls that one connection may have under way; more wait in HTTP/2.
pub const STREAMS_PER_CONNECTION: u32 = 256;
/// Channels kept to other agents; the one unused for longest goes, and closes when its last stream ends.
pub const PEER_CHANNELS: usize = 64;
/// Trying to connect is given up after this; the next call tries again. A call that gives up sooner leaves the attempt to
/// the next one: a handshake that is slow because all are busy isn't begun anew.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that answers no HTTP/2 ping for so long is disconnected. Only a backstop: heartbeats find who is gone, and
/// the kernel drops a connection that acknowledges nothing.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// A connection whose peer acknowledges nothing that was sent for so long is dropped by the kernel. Longer, and it takes
/// as long until a healed network is noticed, as retransmissions back off; shorter, and loss alone tears connections.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(6);
/// What a sender may have under way before the receiver has read it: in one stream, and in one connection.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// A fresh connection that tells whether a peer's agent is there, its question included.
pub const DIAL_TIMEOUT: Duration = Duration::from_millis(250);
/// Fresh connections under way, for this agent's own opinions and for those who asked for help; more aren't made.
pub const DIALS_IN_FLIGHT: usize = 128;
/// Others' questions for help or an account of what is heard, under way; more are refused.
pub const QUESTIONS_IN_FLIGHT: usize = 128;
/// An asked helper or observer answers within this, or its answer comes too late to count.
pub const OPINION_TIMEOUT: Duration = Duration::from_millis(500);
/// A report that a voter takes no sooner is given up: a newer one follows.
pub const REPORT_TIMEOUT: Duration = Duration::from_millis(400);
/// A client's request takes no longer than this on its way through an agent, forwarding included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// An agent that isn't the leader waits so long for the leader's status before it answers from gossip.
pub const STATUS_FORWARD_TIMEOUT: Duration = Duration::from_millis(600);
/// Objects of a list in one answer, at most and by default; the rest is paged.
pub const PAGE_SIZE: usize = 500;
/// Commands of one agent that may wait for the leader; more are refused (`RESOURCE_EXHAUSTED`).
pub const PROPOSALS_IN_FLIGHT: usize = 1_024;
/// Events that the main loop may be behind; producers wait.
pub const LOOP_QUEUE: usize = 4_096;
/// Followers (and event watchers) may be so many entries behind before they are sent to the start.
pub const FEED_ENTRIES: usize = 4_096;
/// A request that finds no leader waits so long for one, an election's time, before it is refused.
pub const LEADER_WAIT: Duration = Duration::from_millis(1_500);
/// Events of an answer that are taken out of the ledger at once.
pub const EVENTS_AT_ONCE: usize = 256;
/// How often a followed log is looked at for more.
pub const LOG_POLL: Duration = Duration::from_millis(250);
/// Where the end of a log begins when nobody says, and the most that may be asked for.
pub const LOG_TAIL_BYTES: u64 = 64 * 1024;
pub const LOG_TAIL_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// One piece of a log on the wire.
pub const LOG_CHUNK_BYTES: usize = 256 * 1024;
/// A workload file's specifications in one apply; more are refused.
pub const SPECS_PER_APPLY: usize = 1_000;
/// Requests that the HTTP address answers at once; more are refused (503).
pub const HTTP_REQUESTS: usize = 64;
/// Nothing that is served over HTTP takes longer.
pub const HTTP_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A larger body is refused; only posted alerts have one that is read.
pub const HTTP_BODY_BYTES: usize = 64 * 1024;
/// A larger list of posted alerts is refused (413).
pub const ALERT_BODY_BYTES: usize = 1024 * 1024;
/// Alerts of one post; more are refused (400). Prometheus posts up to 256 at once.
pub const ALERTS_PER_POST: usize = cluster_core::limits::POSTED_AT_ONCE_MAX;
/// A posted alert's label; the rest is cut off.
pub const ALERT_LABEL_BYTES: usize = 1_024;
/// A posted alert that doesn't say when it ends lasts so long; whoever posts does so again before.
pub const ALERT_LASTS: Duration = Duration::from_secs(5 * 60);
/// Entries of one post that are written at once.
pub const ALERT_ENTRIES_IN_FLIGHT: usize = 32;
/// An acknowledgement by link that isn't written by then is called failed: sooner than the request would end.
pub const LINK_WRITE_TIMEOUT: Duration = Duration::from_secs(4);
/// Until it is applied here, too; after that the page doesn't say by whom.
pub const LINK_APPLY_TIMEOUT: Duration = Duration::from_millis(500);
/// `/healthz` fails when the agent's loop has not turned for so long.
pub const LOOP_STALLED_AFTER: Duration = Duration::from_secs(3);
/// `/readyz` fails when the ledger here is so many committed entries behind.
pub const LEDGER_BEHIND: u64 = 1_000;
/// A leader that is silent for longer, or that no majority has answered for longer, isn't called one any more.
pub const LEADER_SILENT_FOR: Duration = Duration::from_millis(2_500);
