//! Names of things: one newtype each, so that the compiler keeps a node apart from a term.
//!
//! Random identities are 64 bits, shown as 16 hexadecimal digits; counters are shown as numbers and stay below 2^53.

use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// The text wasn't 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" isn't an id: 16 hexadecimal digits are expected")]
pub struct ParseIdError(pub String);

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
                match u64::from_str_radix(text, 16) {
                    Ok(id) if digits => Ok(Self(id)),
                    _ => Err(ParseIdError(text.to_owned())),
                }
            }
        }
    };
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

random_id!(
    /// A node, for the life of its data directory; never its address.
    NodeId
);
random_id!(
    /// A cluster, made once by its founder; in every message.
    ClusterId
);
random_id!(
    /// One life of an agent's process.
    SessionId
);
random_id!(
    /// One boot of a host's kernel: 64 bits of the kernel's own random boot id.
    BootId
);
random_id!(
    /// One run of a workload's process tree: new with each move or restart.
    InstanceId
);
random_id!(
    /// One founding set: drawn by its founder, never taken up again.
    SetId
);
random_id!(
    /// A client's request, so that a repeated one is answered and not done again.
    RequestId
);

counter!(
    /// The permission of one boot of one node to run workloads: the index of the log entry that issued it. Zero: none.
    LeaseEpoch
);
counter!(
    /// The fencing token of a placement: only ever grows, over the whole cluster.
    Generation
);
counter!(
    /// Counts the changes of the set of living members.
    ViewEpoch
);
counter!(
    /// Gossip's own counter, by which a node refutes what is said of it.
    Incarnation
);
counter!(
    /// A failure's id: the index of the log entry that opened it.
    FailureId
);

/// A position in the replicated log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    pub term: u64,
    pub index: u64,
}

/// Bits of a generation below the count of disaster recoveries; 12 + 41 = 53 bits in all.
const GENERATION_BITS: u32 = 41;

impl Generation {
    /// The first generation handed out after `recoveries` uses of `raft recover`.
    #[must_use]
    pub const fn floor(recoveries: u64) -> Self {
        assert!(recoveries < 1 << 12, "more disaster recoveries than a generation can count");
        Self((recoveries << GENERATION_BITS) + 1)
    }

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_as_they_were_shown() {
        let id = NodeId(0x00ab_cdef_0123_4567);
        assert_eq!(id.to_string(), "00abcdef01234567");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("abc".parse::<NodeId>().is_err());
        assert!("+0abcdef01234567".parse::<NodeId>().is_err());
    }

    #[test]
    fn a_recovery_outruns_every_generation_before_it() {
        let long_ago = Generation(Generation::floor(0).0 + (1 << 40));
        assert!(Generation::floor(1) > long_ago);
        assert!(Generation::floor(4_095).0 < 1 << 53);
    }
}
