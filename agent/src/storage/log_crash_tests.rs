//! Crashes at random points while appends and votes are acknowledged: nothing acknowledged may be missing afterwards.
//! And the test of the test: with syncs swallowed, the loss has to be found.

use super::{
    disk_double::{Dice, DiskDouble},
    log::{LogFile, Recovered, Write},
};
use std::sync::{Arc, Mutex};

/// What has been acknowledged so far: the vote, and how many entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Acknowledged {
    vote: u64,
    entries: u64,
}

fn body(index: u64) -> Vec<u8> {
    let mut body = index.to_le_bytes().to_vec();
    body.resize(40 + (index as usize * 37) % 300, index as u8);
    body
}

/// Keeps several writes in flight until the power goes.
async fn write_until_power_is_lost(log: &LogFile, start: Acknowledged, dice: &mut Dice) -> Acknowledged {
    let acknowledged = Arc::new(Mutex::new(start));
    let mut next = start;
    for _ in 0..400 {
        let is_vote = dice.roll(5) == 0;
        let write = if is_vote {
            next.vote += 1;
            Write::Vote(next.vote.to_le_bytes().to_vec())
        } else {
            let first = next.entries;
            next.entries += 1 + dice.roll(3);
            Write::Append { first, entries: (first..next.entries).map(body).collect() }
        };
        let (reached, into) = (next, acknowledged.clone());
        let done = Box::new(move |result: Result<(), _>| {
            if result.is_ok() {
                *into.lock().unwrap() = reached;
            }
        });
        log.submit(write, done).await.unwrap();
        if dice.roll(4) == 0 {
            tokio::task::yield_now().await;
        }
    }
    log.close().await;
    Arc::into_inner(acknowledged).expect("every write was answered").into_inner().unwrap()
}

/// What is missing of the acknowledged, or wrong; `None` when all is well.
fn loss(found: &Recovered, want: Acknowledged) -> Option<String> {
    let vote = found.vote.as_deref().map_or(0, |v| u64::from_le_bytes(v.try_into().unwrap()));
    if vote < want.vote {
        return Some(format!("vote {vote} found, {} acknowledged", want.vote));
    }
    if (found.entries.len() as u64) < want.entries {
        return Some(format!("{} entries found, {} acknowledged", found.entries.len(), want.entries));
    }
    found
        .entries
        .iter()
        .find(|(index, b)| *b != body(*index))
        .map(|(index, _)| format!("entry {index} differs"))
}

/// Some lives of one disk, each ended by a crash; the first loss, if there is one.
async fn lives(seed: u64, swallow: bool) -> Option<String> {
    let mut dice = Dice(seed);
    let mut disk = DiskDouble::default();
    let mut acknowledged = Acknowledged::default();
    for life in 0..4 {
        disk.swallow_syncs(false);
        let (log, found) = match LogFile::open_backend(disk.clone(), "double") {
            Ok(opened) => opened,
            Err(error) => return Some(format!("life {life}: {error}")),
        };
        if let Some(lost) = loss(&found, acknowledged) {
            return Some(format!("life {life}: {lost}"));
        }
        let start = Acknowledged { entries: found.entries.len() as u64, ..acknowledged };
        disk.swallow_syncs(swallow);
        disk.lose_power_after(1 + dice.roll(300));
        acknowledged = write_until_power_is_lost(&log, start, &mut dice).await;
        disk = disk.crash(dice.roll(u64::MAX));
    }
    None
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_in_a_crash() {
    for seed in 0..60 {
        assert_eq!(lives(seed, false).await, None, "seed {seed}");
    }
}

#[tokio::test]
async fn a_skipped_sync_is_found() {
    let mut found = 0;
    for seed in 0..20 {
        found += u32::from(lives(seed, true).await.is_some());
    }
    assert!(found >= 15, "only {found} of 20 runs without syncs lost something");
}

#[tokio::test]
async fn after_a_failed_write_nothing_is_acknowledged_any_more() {
    let disk = DiskDouble::default();
    let (log, _) = LogFile::open_backend(disk.clone(), "double").unwrap();
    log.write(Write::Vote(b"kept".to_vec())).await.unwrap();
    disk.lose_power_after(1);
    let first = log.write(Write::Vote(b"lost".to_vec())).await.unwrap_err();
    assert!(first.to_string().contains("the power is gone"), "{first}");
    let second = log.write(Write::Vote(b"lost too".to_vec())).await.unwrap_err();
    assert!(second.to_string().contains("restart the agent"), "{second}");
    log.close().await;
}
