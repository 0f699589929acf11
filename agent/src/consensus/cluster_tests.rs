//! Three voters in one process: what the cluster promises while voters die, are cut off, return late or all restart.

use super::{
    ConsensusError, PROPOSALS_IN_FLIGHT, ProposeError, Role, Settings,
    settings::{CHUNK_BYTES, COMMAND_BYTES},
    test_cluster::{Cluster, command},
};
use cluster_core::ids::NodeId;
use std::time::{Duration, Instant};

fn as_it_comes(_: &mut Settings) {}

/// Twice as patient, so that a busy machine doesn't elect by itself where a test says that nobody does.
fn patient(settings: &mut Settings) {
    settings.timings.election_min *= 2;
    settings.timings.election_max *= 2;
}

fn compact_soon(settings: &mut Settings) {
    settings.snapshot_every = 200;
    settings.keep_entries = 20;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_reach_every_voter_and_only_the_leader_takes_them() {
    let cluster = Cluster::three(as_it_comes, 0).await;
    let leader = cluster.leader().await;
    let (at, reply) = cluster.on(leader).propose(command(7)).await.unwrap();
    assert_eq!(reply, at.index.to_le_bytes());
    assert!(cluster.on(leader).read_index().await.unwrap() >= at);
    cluster.until("all applied it", |c| c.nodes.keys().all(|id| c.seen(*id).contains(&7))).await;
    for (id, node) in &cluster.nodes {
        assert_eq!(node.witness.log.lock().unwrap()[&at.index], command(7));
        assert_eq!(*node.witness.voters.lock().unwrap(), [1, 2, 3].map(NodeId));
        assert!(node.consensus.is_initialized());
        if *id == leader {
            continue;
        }
        let refused = node.consensus.propose(command(8)).await.unwrap_err();
        let expected = (leader, format!("addr-{}", leader.0));
        assert!(matches!(refused, ProposeError::NotLeader { leader: Some(to) } if to == expected));
        assert!(matches!(node.consensus.confirm_leader().await, Err(ConsensusError::NotLeader { .. })));
    }
    let too_long = cluster.on(leader).propose(vec![1; COMMAND_BYTES + 1]).await;
    assert!(matches!(too_long, Err(ProposeError::TooLarge { .. })));
    cluster.on(leader).propose([command(9), vec![0; COMMAND_BYTES - 8]].concat()).await.unwrap();
    let status = cluster.on(leader).status();
    assert_eq!((status.role, status.leader, status.voters.len()), (Role::Leader, Some(leader), 3));
    assert!(status.voter_config.is_some() && !status.joint && status.failure.is_none());
    cluster.stop().await;
}

/// How long until a write is accepted again after the leader is gone, with or without the others' evidence.
async fn failover(tune: fn(&mut Settings), with_hint: bool) -> Duration {
    let mut cluster = Cluster::three(tune, 0).await;
    cluster.write(1).await;
    let leader = cluster.leader().await;
    // Its lease on the followers is fresh.
    tokio::time::sleep(Duration::from_millis(150)).await;
    cluster.cut(leader);
    let start = Instant::now();
    if with_hint {
        for (_, node) in cluster.nodes.iter().filter(|(id, _)| **id != leader) {
            node.consensus.leader_is_gone(leader);
        }
    }
    cluster.write(2).await;
    let took = start.elapsed();
    assert_ne!(cluster.leader().await, leader);
    cluster.kill(leader).await;
    cluster.heal();
    cluster.write(3).await;
    cluster.start(leader).await;
    cluster.until("the old leader caught up", |c| c.seen(leader).len() == 3).await;
    cluster.stop().await;
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_voters_go_on_without_a_silent_leader() {
    let took = failover(as_it_comes, false).await;
    println!("silent leader: next write after {took:?}");
    assert!(took > Duration::from_millis(400), "its lease wasn't waited for: {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_of_the_leaders_end_saves_the_wait() {
    // A lease so long that no machine is too slow to tell the two apart.
    let very_patient = |settings: &mut Settings| {
        settings.timings.election_min = Duration::from_secs(10);
        settings.timings.election_max = Duration::from_secs(20);
    };
    let took = failover(very_patient, true).await;
    println!("leader known to be gone: next write after {took:?}");
    assert!(took < Duration::from_secs(10), "no faster than the lease: {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_voters_wrong_evidence_unseats_nobody() {
    let cluster = Cluster::three(patient, 0).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let term = cluster.on(leader).confirm_leader().await.unwrap();
    for number in 0..10 {
        cluster.on(follower).leader_is_gone(leader);
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.on(leader).propose(command(number)).await.unwrap();
    }
    assert_eq!(cluster.on(leader).confirm_leader().await.unwrap(), term);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_was_cut_off_returns_without_unseating_the_leader() {
    let cluster = Cluster::three(patient, 0).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let term = cluster.on(leader).confirm_leader().await.unwrap();
    cluster.cut(follower);
    cluster.write(1).await;
    // Several election time-outs: without pre-vote its term would have grown by as many.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.on(follower).status().term, term);
    cluster.heal();
    cluster.until("it caught up", |c| c.seen(follower).contains(&1)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(cluster.on(leader).confirm_leader().await.unwrap(), term);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_cut_off_knows_that_it_cant_be_sure() {
    let cluster = Cluster::three(|s| s.propose_timeout = Duration::from_secs(2), 0).await;
    let old = cluster.leader().await;
    cluster.write(1).await;
    cluster.cut(old);
    let lost = cluster.on(old).propose(command(99));
    let (lost, new) = tokio::join!(lost, cluster.leader());
    assert!(matches!(lost, Err(ProposeError::TimedOut(_))), "{lost:?}");
    assert!(cluster.on(old).confirm_leader().await.is_err());
    assert!(cluster.on(old).read_index().await.is_err());
    let at = cluster.write(2).await;
    cluster.heal();
    cluster.until("it follows", |c| c.seen(old).contains(&2)).await;
    assert!(cluster.nodes.keys().all(|id| !cluster.seen(*id).contains(&99)));
    let told = cluster.nodes[&old].witness.log.lock().unwrap().clone();
    assert_eq!(told[&at.index], command(2));
    assert!(!told.values().any(|c| *c == command(99)), "the observer wasn't told of the truncation");
    assert_ne!(new, old);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_followers_takes_a_bounded_number_of_writes() {
    let cluster = Cluster::three(|s| s.propose_timeout = Duration::from_millis(300), 0).await;
    let leader = cluster.leader().await;
    cluster.cut(leader);
    let lone = cluster.on(leader);
    let all =
        futures::future::join_all((0..PROPOSALS_IN_FLIGHT as u64).map(|n| lone.propose(command(n)))).await;
    assert!(all.iter().all(|r| matches!(r, Err(ProposeError::TimedOut(_)))));
    // Their callers have given up; they are still on their way.
    assert!(matches!(lone.propose(command(0)).await, Err(ProposeError::Overloaded { .. })));
    cluster.heal();
    cluster.write(1).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_all_voters_keeps_every_acknowledged_write() {
    let mut cluster = Cluster::three(compact_soon, 0).await;
    let mut written = 0;
    for _ in 0..3 {
        let leader = cluster.leader().await;
        for _ in 0..150 {
            cluster.on(leader).propose(command(written)).await.unwrap();
            written += 1;
        }
        for id in [1, 2, 3].map(NodeId) {
            cluster.kill(id).await;
        }
        for id in [1, 2, 3].map(NodeId) {
            cluster.start(id).await;
            let told = cluster.nodes[&id].witness.voters.lock().unwrap().clone();
            assert_eq!(told, [1, 2, 3].map(NodeId), "voters are told before anything else happens");
        }
        let leader = cluster.leader().await;
        cluster.on(leader).read_index().await.unwrap();
        assert_eq!(cluster.seen(leader).len() as u64, written);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_lags_behind_the_log_gets_the_snapshot_in_pieces() {
    let mut cluster = Cluster::three(compact_soon, 5 * CHUNK_BYTES / 2).await;
    let leader = cluster.leader().await;
    let late = cluster.follower().await;
    cluster.cut(late);
    for number in 0..600 {
        cluster.on(leader).propose(command(number)).await.unwrap();
    }
    cluster.until("the log was compacted", |c| c.on(leader).status().log_len < 300).await;
    cluster.heal();
    cluster.until("it caught up", |c| c.seen(late).len() == 600).await;
    assert!(!cluster.nodes[&late].witness.installed.lock().unwrap().is_empty());
    cluster.kill(late).await;
    cluster.start(late).await;
    cluster.until("it has kept what it was sent", |c| c.seen(late).len() == 600).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_bounded_over_many_writes() {
    const WRITES: u64 = 30_000;
    let cluster = Cluster::three(|s| s.snapshot_every = 2_000, 0).await;
    let leader = cluster.on(cluster.leader().await).clone();
    let start = Instant::now();
    let writers: Vec<_> = (0..200_u64)
        .map(|writer| {
            let leader = leader.clone();
            tokio::spawn(async move {
                for number in (writer..WRITES).step_by(200) {
                    leader.propose(command(number)).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    println!("{WRITES} writes in {:?}", start.elapsed());
    cluster
        .until("every log is short", |c| {
            c.nodes.values().all(|n| n.consensus.status().log_len < 2_000 + 500 + 2_000)
        })
        .await;
    for id in cluster.nodes.keys() {
        let size = std::fs::metadata(cluster.dir_of(*id).join(super::store::LOG_FILE)).unwrap().len();
        assert!(size < 64 << 20, "{id}: {size} bytes");
        cluster.until("all applied", |c| c.seen(*id).len() as u64 == WRITES).await;
    }
    cluster.stop().await;
}

struct Nobody;
impl super::Transport for Nobody {
    fn call(
        &self,
        target: NodeId,
        _: String,
        _: super::RaftRpc,
        _: Vec<u8>,
        _: Duration,
    ) -> futures::future::BoxFuture<'_, Result<Vec<u8>, super::TransportError>> {
        panic!("{target} doesn't exist");
    }
}

#[tokio::test]
async fn one_voter_in_memory_is_a_cluster() {
    use super::{Consensus, Store, test_cluster};
    let witness = std::sync::Arc::new(test_cluster::Witness::default());
    let machine = Box::new(test_cluster::Numbers::default());
    let settings = Settings::new(NodeId(5), Store::Memory);
    let alone =
        Consensus::open(settings, machine, witness, std::sync::Arc::new(Nobody), test_cluster::unnoted());
    let alone = alone.await.unwrap();
    assert!(!alone.is_initialized());
    let asleep = (alone.status(), alone.propose(command(1)).await, alone.confirm_leader().await);
    assert_eq!(*asleep.0, super::Status::default(), "nothing runs for who has no log");
    assert!(matches!(asleep.1, Err(ProposeError::NotLeader { leader: None })), "{:?}", asleep.1);
    assert!(matches!(asleep.2, Err(ConsensusError::NotLeader { leader: None })), "{:?}", asleep.2);
    let stranger = alone.initialize([(NodeId(6), String::new())].into()).await;
    assert!(matches!(stranger, Err(ConsensusError::NotAmongVoters)), "{stranger:?}");
    alone.initialize([(NodeId(5), "here".to_owned())].into()).await.unwrap();
    let mut watch = alone.watch();
    watch.wait_for(|status| status.role == Role::Leader).await.unwrap();
    alone.propose(command(1)).await.unwrap();
    alone.trigger_snapshot().await.unwrap();
    watch.wait_for(|status| status.snapshot.is_some()).await.unwrap();
    alone.shutdown().await;
    assert!(matches!(alone.propose(command(2)).await, Err(ProposeError::Stopped(_))));
    assert_eq!(alone.status().role, Role::Stopped);
}

#[tokio::test]
async fn who_never_took_part_has_no_log_and_who_does_is_noted_first() {
    use super::{Consensus, Store, test_cluster};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raft");
    let (noted, notes) = std::sync::mpsc::channel();
    let open = |must_exist| {
        let (log, noted) = (path.join(super::store::LOG_FILE), noted.clone());
        let begun: super::Begun = Box::new(move || {
            noted.send(log.exists()).unwrap();
            Box::pin(std::future::ready(Ok(())))
        });
        let settings = Settings::new(NodeId(5), Store::Directory { path: path.clone(), must_exist });
        let machine = Box::new(test_cluster::Numbers::default());
        let witness = std::sync::Arc::new(test_cluster::Witness::default());
        Consensus::open(settings, machine, witness, std::sync::Arc::new(Nobody), begun)
    };
    // Twice: it may start again, too.
    for _ in 0..2 {
        let idle = open(false).await.unwrap();
        assert!(!path.exists() && notes.try_recv().is_err(), "it has no vote");
        idle.shutdown().await;
        let late = idle.initialize([(NodeId(5), "here".to_owned())].into()).await;
        assert!(matches!(late, Err(ConsensusError::Stopped(_))), "{late:?}");
    }
    let founder = open(false).await.unwrap();
    founder.initialize([(NodeId(5), "here".to_owned())].into()).await.unwrap();
    assert_eq!(notes.try_recv(), Ok(true), "noted once the log is there");
    founder.shutdown().await;
    std::fs::remove_dir_all(&path).unwrap();
    assert!(open(true).await.is_err(), "a log that was noted is missed");
}
