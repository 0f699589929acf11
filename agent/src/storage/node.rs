//! `node.json`: who this data directory is, for its whole life, and what it has pledged. Not the cluster's state: the
//! ledger has that, and an address is never part of an identity.

use super::{StorageError, files};
use cluster_core::{
    founding::{Candidate, Pledge},
    ids::{ClusterId, NodeId, SetId},
    ledger::Role,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const NODE_FILE: &str = "node.json";
const FORMAT: u32 = 1;

/// Identities are written as text of 16 hexadecimal digits, as people see them everywhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node: NodeId,
    pub name: String,
    /// The name of the cluster from the configuration.
    pub cluster: String,
    /// `None` until this node has founded or joined.
    pub cluster_id: Option<ClusterId>,
    pub pledge: Option<Pledge>,
    /// This node has a log of its cluster, and may have voted by it: one that is gone is missed.
    pub has_log: bool,
    /// Gossip's counter, kept so that a restarted node speaks with a newer one at once.
    pub incarnation: u64,
    /// Milliseconds since 1970, by this host's clock.
    pub created_at_ms: u64,
}

/// The file of one data directory. Everything blocks.
#[derive(Clone, Debug)]
pub struct NodeFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    node_id: String,
    name: String,
    cluster: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pledge: Option<StoredPledge>,
    #[serde(default)]
    has_log: bool,
    incarnation: u64,
    created_at_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPledge {
    set: String,
    founder: String,
    members: BTreeMap<String, StoredCandidate>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCandidate {
    address: String,
    zone: String,
    witness: bool,
}

/// Read before the rest, so that a newer file is called newer and not damaged.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl NodeFile {
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(NODE_FILE) }
    }

    /// `None` for a directory without an identity.
    pub fn load(&self) -> Result<Option<Identity>, StorageError> {
        files::read_if_there(&self.path)?.map(|bytes| self.parse(&bytes)).transpose()
    }

    /// As [`load`](Self::load), and refuses the identity of another node or another cluster.
    pub fn load_for(&self, name: &str, cluster: &str) -> Result<Option<Identity>, StorageError> {
        let Some(found) = self.load()? else { return Ok(None) };
        let foreign = |theirs: String, ours: String, fix| {
            Err(StorageError::Foreign { path: self.path.clone(), theirs, ours, fix })
        };
        if found.cluster != cluster {
            let fix = "set cluster back in the configuration, or give this agent another data_dir";
            return foreign(format!("cluster \"{}\"", found.cluster), format!("cluster \"{cluster}\""), fix);
        }
        if found.name != name {
            let fix = "set name back in the configuration, or give this agent another data_dir";
            return foreign(format!("node \"{}\"", found.name), format!("node \"{name}\""), fix);
        }
        Ok(Some(found))
    }

    /// Returns after the fsync of the file and of its directory.
    pub fn save(&self, identity: &Identity) -> Result<(), StorageError> {
        let stored = Stored {
            format: FORMAT,
            node_id: identity.node.to_string(),
            name: identity.name.clone(),
            cluster: identity.cluster.clone(),
            cluster_id: identity.cluster_id.map(|id| id.to_string()),
            pledge: identity.pledge.as_ref().map(stored_pledge),
            has_log: identity.has_log,
            incarnation: identity.incarnation,
            created_at_ms: identity.created_at_ms,
        };
        let mut text = serde_json::to_vec_pretty(&stored).expect("strings and numbers always become JSON");
        text.push(b'\n');
        files::replace(&self.path, &[&text])
    }

    fn parse(&self, bytes: &[u8]) -> Result<Identity, StorageError> {
        let json = |error: serde_json::Error| StorageError::damaged(&self.path, error.to_string());
        let FormatOnly { format: found } = serde_json::from_slice(bytes).map_err(json)?;
        if found > FORMAT {
            return Err(StorageError::TooNew { path: self.path.clone(), found, known: FORMAT });
        }
        let stored: Stored = serde_json::from_slice(bytes).map_err(json)?;
        let id = |text: &str| {
            text.parse::<NodeId>().map_err(|error| StorageError::damaged(&self.path, error.to_string()))
        };
        let pledge = match stored.pledge {
            None => None,
            Some(pledge) => Some(Pledge {
                set: SetId(id(&pledge.set)?.0),
                founder: id(&pledge.founder)?,
                members: pledge
                    .members
                    .into_iter()
                    .map(|(member, candidate)| Ok((id(&member)?, candidate_of(candidate))))
                    .collect::<Result<_, StorageError>>()?,
            }),
        };
        Ok(Identity {
            node: id(&stored.node_id)?,
            name: stored.name,
            cluster: stored.cluster,
            cluster_id: stored.cluster_id.map(|text| id(&text)).transpose()?.map(|id| ClusterId(id.0)),
            pledge,
            has_log: stored.has_log,
            incarnation: stored.incarnation,
            created_at_ms: stored.created_at_ms,
        })
    }
}

fn stored_pledge(pledge: &Pledge) -> StoredPledge {
    let candidate = |c: &Candidate| StoredCandidate {
        address: c.address.clone(),
        zone: c.zone.clone(),
        witness: c.role == Role::Witness,
    };
    StoredPledge {
        set: pledge.set.to_string(),
        founder: pledge.founder.to_string(),
        members: pledge.members.iter().map(|(id, c)| (id.to_string(), candidate(c))).collect(),
    }
}

fn candidate_of(stored: StoredCandidate) -> Candidate {
    let role = if stored.witness { Role::Witness } else { Role::Member };
    Candidate { address: stored.address, zone: stored.zone, role }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(address: &str, role: Role) -> Candidate {
        Candidate { address: address.to_owned(), zone: "cellar".to_owned(), role }
    }

    fn identity() -> Identity {
        Identity {
            node: NodeId(0xab),
            name: "n1".to_owned(),
            cluster: "lab".to_owned(),
            cluster_id: Some(ClusterId(7)),
            pledge: Some(Pledge {
                set: SetId(0xfeed),
                founder: NodeId(1),
                members: [
                    (NodeId(1), candidate("n1:7400", Role::Member)),
                    (NodeId(0xab), candidate("n2:7400", Role::Witness)),
                ]
                .into(),
            }),
            has_log: true,
            incarnation: 3,
            created_at_ms: 1_700_000_000_000,
        }
    }

    fn saved() -> (tempfile::TempDir, NodeFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = NodeFile::new(dir.path());
        assert_eq!(file.load_for("n1", "lab").unwrap(), None);
        file.save(&identity()).unwrap();
        (dir, file)
    }

    #[test]
    fn it_reads_back_as_it_was_saved() {
        let (_dir, file) = saved();
        assert_eq!(file.load_for("n1", "lab").unwrap(), Some(identity()));
        let plain = Identity { cluster_id: None, pledge: None, ..identity() };
        file.save(&plain).unwrap();
        assert_eq!(file.load().unwrap(), Some(plain));
    }

    #[test]
    fn another_name_or_cluster_is_refused_with_the_key_to_set() {
        let (_dir, file) = saved();
        let name = file.load_for("n2", "lab").unwrap_err().to_string();
        assert!(name.contains("node \"n1\"") && name.contains("set name back"), "{name}");
        let cluster = file.load_for("n1", "prod").unwrap_err().to_string();
        assert!(cluster.contains("cluster \"lab\"") && cluster.contains("set cluster back"), "{cluster}");
    }

    #[test]
    fn damage_and_a_newer_format_are_told_apart() {
        let (_dir, file) = saved();
        let good = std::fs::read_to_string(&file.path).unwrap();
        let newer = good.replace("\"format\": 1", "\"format\": 2, \"later\": true");
        std::fs::write(&file.path, newer).unwrap();
        assert!(matches!(file.load(), Err(StorageError::TooNew { found: 2, .. })));
        for bad in [&good[..good.len() / 2], "", "[]", &good.replace("00000000000000ab", "ab")] {
            std::fs::write(&file.path, bad).unwrap();
            assert!(matches!(file.load(), Err(StorageError::Damaged { .. })), "{bad}");
        }
    }
}
