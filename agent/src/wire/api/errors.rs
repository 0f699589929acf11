//! Canonical status codes with `google.rpc.ErrorInfo`: a word for programs, a sentence for people.

use crate::shared::ProposeError;
use cluster_core::{ids::FailureId, ledger::Rejection};
use std::collections::HashMap;
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Of every `ErrorInfo` that this project makes.
pub const DOMAIN: &str = "holdfast";
/// Where the leader is, in the metadata of an answer that could not come from it.
pub const LEADER_METADATA: &str = "holdfast-leader";

/// `reason` is UPPER_SNAKE; `message` a sentence that says what to do.
#[must_use]
pub fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

#[must_use]
pub fn invalid(reason: &str, message: impl Into<String>) -> Status {
    status(Code::InvalidArgument, reason, message)
}

#[must_use]
pub fn node_not_found(name: &str) -> Status {
    let text = format!("there is no node \"{name}\"; `holdfast node list` shows all");
    status(Code::NotFound, "NODE_NOT_FOUND", text)
}

#[must_use]
pub fn failure_not_found(id: FailureId) -> Status {
    let text = format!("there is no failure {id}; `holdfast failure list` shows all that are kept");
    status(Code::NotFound, "FAILURE_NOT_FOUND", text)
}

#[must_use]
pub fn workload_not_found(name: &str) -> Status {
    let text = format!("there is no workload \"{name}\"; `holdfast workload list` shows all");
    status(Code::NotFound, "WORKLOAD_NOT_FOUND", text)
}

/// The leader is known, and whoever needed it could not get an answer from it.
#[must_use]
pub fn leader_unreachable(name: &str, address: &str, cause: &str) -> Status {
    let text =
        format!("the leader {name} at {address} can't be reached: {cause}; try again, or ask it directly");
    with_leader(Code::Unavailable, "LEADER_UNREACHABLE", text, address)
}

#[must_use]
pub fn no_leader() -> Status {
    let text = "there is no leader now; try again in a moment, and see `holdfast status`";
    status(Code::Unavailable, "NO_LEADER", text)
}

#[must_use]
pub fn rejection(rejection: &Rejection) -> Status {
    status(rejection_code(&rejection.reason), &rejection.reason, rejection.message.clone())
}

/// By the word's manner, so that a new reason of the ledger needs no entry here.
fn rejection_code(reason: &str) -> Code {
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if has(&["NOT_FOUND", "UNKNOWN", "NO_SUCH"]) {
        Code::NotFound
    } else if has(&["EXISTS", "TAKEN", "ALREADY_FOUNDED"]) {
        Code::AlreadyExists
    } else if has(&["INVALID", "MALFORMED"]) {
        Code::InvalidArgument
    } else if has(&["TOO_MANY", "TOO_LARGE", "FULL"]) {
        Code::ResourceExhausted
    } else {
        Code::FailedPrecondition
    }
}

#[must_use]
pub fn propose(error: &ProposeError) -> Status {
    let text = error.to_string();
    match error {
        ProposeError::NoLeader { .. } => status(Code::Unavailable, "NO_LEADER", text),
        ProposeError::Unreachable { address, .. } => {
            with_leader(Code::Unavailable, "LEADER_UNREACHABLE", text, address)
        }
        ProposeError::Overloaded { .. } => status(Code::ResourceExhausted, "OVERLOADED", text),
        ProposeError::Timeout(_) => status(Code::DeadlineExceeded, "TIMEOUT", text),
        ProposeError::Stopping => status(Code::Unavailable, "STOPPING", text),
    }
}

fn with_leader(code: Code, reason: &str, text: String, address: &str) -> Status {
    let fields = HashMap::from([("leader".to_owned(), address.to_owned())]);
    let details = ErrorDetails::with_error_info(reason, DOMAIN, fields);
    let mut metadata = MetadataMap::new();
    if let Ok(value) = address.parse() {
        metadata.insert(LEADER_METADATA, value);
    }
    Status::with_error_details_and_metadata(code, text, details, metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::ids::NodeId;
    use std::time::Duration;

    fn reason(status: &Status) -> String {
        let info = status.get_details_error_info().expect("every error has one");
        assert_eq!(info.domain, DOMAIN);
        info.reason
    }

    #[test]
    fn a_rejection_keeps_its_word_and_its_sentence() {
        let cases = [
            ("NOT_FOUND", Code::NotFound),
            ("NAME_TAKEN", Code::AlreadyExists),
            ("INVALID", Code::InvalidArgument),
            ("TOO_MANY_NODES", Code::ResourceExhausted),
            ("NOT_DRAINED", Code::FailedPrecondition),
            ("VERSION_MISMATCH", Code::FailedPrecondition),
        ];
        for (word, code) in cases {
            let status = rejection(&Rejection { reason: word.into(), message: "a sentence".into() });
            assert_eq!((status.code(), status.message()), (code, "a sentence"), "{word}");
            assert_eq!(reason(&status), word);
        }
    }

    #[test]
    fn an_unanswered_command_says_where_the_leader_is() {
        let unreachable = ProposeError::Unreachable {
            leader: NodeId(1),
            address: "10.0.0.1:7400".into(),
            detail: "connection refused".into(),
        };
        let status = propose(&unreachable);
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "LEADER_UNREACHABLE"));
        assert_eq!(status.metadata().get(LEADER_METADATA).expect("it is known"), "10.0.0.1:7400");
        let cases = [
            (ProposeError::NoLeader { detail: "an election".into() }, Code::Unavailable, "NO_LEADER"),
            (ProposeError::Overloaded { limit: 3 }, Code::ResourceExhausted, "OVERLOADED"),
            (ProposeError::Timeout(Duration::from_secs(1)), Code::DeadlineExceeded, "TIMEOUT"),
            (ProposeError::Stopping, Code::Unavailable, "STOPPING"),
        ];
        for (error, code, word) in cases {
            let status = propose(&error);
            assert_eq!((status.code(), reason(&status).as_str()), (code, word));
            assert!(status.metadata().get(LEADER_METADATA).is_none());
        }
    }
}
