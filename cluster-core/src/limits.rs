//! Every bound of the ledger, by name, with what happens at it. Not here: times (see timing.rs).

/// Events kept; at the limit the oldest is forgotten.
pub const EVENTS_MAX: usize = 10_000;

/// Failures kept; at the limit the oldest recovered one is folded into its subject's totals. Those that are not
/// recovered are always kept: there is at most one for each node and each slot.
pub const FAILURES_MAX: usize = 10_000;
/// Subjects with totals of folded failures; at the limit one that is no longer listed is forgotten, else the first.
pub const FOLDED_MAX: usize = 20_000;
/// Evidence of one failure, all lines together; the rest is cut off.
pub const EVIDENCE_BYTES: usize = 4_096;
/// Lines of evidence of one failure; the rest is dropped.
pub const EVIDENCE_LINES: usize = 64;
/// Steps of one failure; at the limit the second goes, so that the first and the latest stay.
pub const STEPS_MAX: usize = 32;
/// Alerts that one failure names; more are raised but not linked.
pub const FAILURE_ALERTS_MAX: usize = 16;

/// How long a repeated request is answered with the first one's reply.
pub const REQUEST_MEMORY_MS: u64 = 10 * 60 * 1_000;
/// Requests remembered; at the limit the oldest is forgotten.
pub const REQUESTS_MAX: usize = 10_000;

/// Nodes listed, dead ones too; at the limit a new one is refused.
pub const NODES_MAX: usize = 16_384;
/// Processes whose node was removed under them; at the limit the oldest is forgotten, and could join anew.
pub const REMOVED_MAX: usize = 1_000;
/// How long a node that died or left stays listed; then the leader has it forgotten.
pub const NODE_GONE_LISTED_MS: u64 = 24 * 60 * 60 * 1_000;
/// Epochs that ended and are remembered; at the limit nothing is placed until older ones are safe.
pub const REVOCATIONS_MAX: usize = 16_384;
/// Deaths of one node whose times are kept; at the limit the oldest is forgotten.
pub const DEATHS_MAX: usize = 8;
/// Promises kept with a revocation, one a voter; the rest is dropped.
pub const PROMISES_MAX: usize = 16;

/// Workloads, those that are being deleted too; at the limit a new one is refused.
pub const WORKLOADS_MAX: usize = 10_000;
/// Replicas of one workload; more are refused.
pub const REPLICAS_MAX: u32 = 1_000;
/// Slots of all workloads together; an apply that would exceed it is refused.
pub const SLOTS_MAX: usize = 50_000;
/// Planned stops remembered of a workload; at the limit the oldest is forgotten and counts as up-time.
pub const PAUSES_MAX: usize = 64;
/// Named ports of one workload; more are refused.
pub const PORTS_MAX: usize = 32;
/// The command line, and the environment, of one workload; more is refused.
pub const COMMAND_BYTES: usize = 65_536;
pub const ENVIRONMENT_BYTES: usize = 65_536;

/// Alerts kept; at the limit the oldest that is over and settled goes, and if there is none a new one is refused.
pub const ALERTS_MAX: usize = 4_096;
/// Posted alerts that fire at once; more are refused, so that the cluster's own find room.
pub const POSTED_ALERTS_MAX: usize = 1_024;
/// Posted alerts that one entry extends; more are refused.
pub const POSTED_AT_ONCE_MAX: usize = 512;
/// How long a posted alert may last without being extended; longer is cut to it.
pub const POSTED_LASTS_MAX_MS: u64 = 24 * 60 * 60 * 1_000;
/// Channels and routes of the alerting configuration; more are refused.
pub const CHANNELS_MAX: usize = 64;
pub const ROUTES_MAX: usize = 64;
/// Settings of one channel, and texts of one of them (recipients, arguments); more are refused.
pub const SETTINGS_MAX: usize = 32;
pub const CHANNEL_TEXTS_MAX: usize = 128;
/// A channel's template; longer ones are refused.
pub const TEMPLATE_BYTES: usize = 16 * 1024;
/// Base of the links by which failures are acknowledged, a part of many messages; longer ones are refused.
pub const ACK_URL_BYTES: usize = 256;
/// Inhibitions, schedules, maintenances and rules of the alerting configuration, each; more are refused.
pub const ALERTING_PARTS_MAX: usize = 64;
/// Escalations of one route; more are refused.
pub const ESCALATIONS_MAX: usize = 8;
/// Labels that one group or inhibition compares; more are refused.
pub const COMPARED_LABELS_MAX: usize = 16;
/// A condition's text; longer ones are refused.
pub const CONDITION_BYTES: usize = 2_048;
/// Waits, intervals and rates of alerting; longer ones are refused.
pub const ALERTING_WAIT_MAX_MS: u64 = 31 * 24 * 60 * 60 * 1_000;
/// How often a watchdog may expect a sign of life; others are refused.
pub const WATCHDOG_EVERY_MS: core::ops::RangeInclusive<u64> = 10_000..=60 * 60 * 1_000;
/// Attempts that a channel's rate may count; more are refused.
pub const RATE_MESSAGES_MAX: u32 = 1_000;
/// Alerts that one message tells; the others are told by the next.
pub const MESSAGE_ALERTS_MAX: usize = 512;
/// Messages that wait to be sent; at the limit another is refused, and queued once there is room.
pub const MESSAGES_MAX: usize = 8_192;
/// How long a provider may ask for silence; longer is cut to it.
pub const QUIET_MAX_MS: u64 = 15 * 60 * 1_000;
/// Silences, those that are over too; at the limit a new one is refused.
pub const SILENCES_MAX: usize = 256;
/// How long a silence stays listed after its end.
pub const SILENCE_LISTED_MS: u64 = 24 * 60 * 60 * 1_000;
/// Matchers of one silence; more are refused.
pub const MATCHERS_MAX: usize = 16;
/// Attempts at one notification; after the last it has failed.
pub const NOTIFICATION_ATTEMPTS_MAX: u32 = 24;
/// Failed attempts in a row after which a channel is only tried, and what waits there goes to its failover.
pub const CHANNEL_FAILURES_MAX: u32 = 3;
/// How long a message waits on a channel that keeps failing before its failover gets it.
pub const FAILOVER_AFTER_MS: u64 = 5 * 60 * 1_000;
/// How far ahead an intent may reach; more is refused.
pub const SEND_WITHIN_MAX_MS: u64 = 60_000;

/// Names of workloads, zones, channels, ports and label keys; longer ones are refused.
pub const NAME_BYTES: usize = 63;
/// Who asked; the rest is cut off.
pub const ACTOR_BYTES: usize = 256;
/// Names of nodes: a host's name may be so long.
pub const NODE_NAME_BYTES: usize = 64;
/// Paths, addresses and the values of labels; longer ones are refused.
pub const VALUE_BYTES: usize = 4_096;
/// Labels of a node or an alert; more are refused.
pub const LABELS_MAX: usize = 64;
/// One sentence (summaries, reasons, details); the rest is cut off.
pub const SENTENCE_BYTES: usize = 1_024;
/// An alert's description; the rest is cut off.
pub const DESCRIPTION_BYTES: usize = 8_192;

/// The largest number that users may see: JSON readers keep integers exact below 2^53.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// At most `max` bytes of `text`, cut between characters.
#[must_use]
pub fn clip(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// At most `EVIDENCE_LINES` lines of at most `EVIDENCE_BYTES` together.
#[must_use]
pub fn clip_evidence(lines: &[String]) -> Vec<String> {
    let mut left = EVIDENCE_BYTES;
    let mut kept = Vec::new();
    for line in lines.iter().take(EVIDENCE_LINES) {
        let line = clip(line, left);
        left -= line.len();
        if !line.is_empty() {
            kept.push(line);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(clip("aé", 2), "a");
        assert_eq!(clip("aé", 3), "aé");
        let evidence = clip_evidence(&vec!["é".repeat(1_000); 9]);
        assert_eq!(evidence.iter().map(String::len).sum::<usize>(), EVIDENCE_BYTES);
        assert_eq!(evidence.len(), 3);
    }
}
