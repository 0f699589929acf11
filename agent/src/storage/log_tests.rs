//! The log file on a real directory: what is read back, and what each kind of damage says.

use super::{
    StorageError,
    log::{FORMAT_MARK, LogFile, MARKS, Recovered, Write},
};
use std::path::Path;

fn append(first: u64, bodies: &[&[u8]]) -> Write {
    Write::Append { first, entries: bodies.iter().map(|b| b.to_vec()).collect() }
}

async fn filled(path: &Path) {
    let (log, recovered) = LogFile::open(path, false).unwrap();
    assert_eq!(recovered, Recovered::default());
    log.write(Write::Vote(b"vote 1".to_vec())).await.unwrap();
    log.write(append(0, &[b"a", b"b", b"c", b"d"])).await.unwrap();
    log.write(Write::TruncateFrom(3)).await.unwrap();
    log.write(append(3, &[b"D", b"E"])).await.unwrap();
    log.write(Write::Purge { upto: 1, mark: b"upto 1".to_vec() }).await.unwrap();
    log.write(Write::Vote(b"vote 2".to_vec())).await.unwrap();
    log.note_committed(b"3".to_vec());
    log.close().await;
    assert!(matches!(log.write(Write::TruncateFrom(0)).await, Err(StorageError::Closed { .. })));
}

#[tokio::test]
async fn everything_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    filled(&path).await;
    let (log, recovered) = LogFile::open(&path, true).unwrap();
    let want = Recovered {
        vote: Some(b"vote 2".to_vec()),
        committed: Some(b"3".to_vec()),
        purged: Some(b"upto 1".to_vec()),
        entries: vec![(2, b"c".to_vec()), (3, b"D".to_vec()), (4, b"E".to_vec())],
    };
    assert_eq!(recovered, want);
    log.close().await;
}

#[tokio::test]
async fn a_file_that_must_be_there_is_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    let error = LogFile::open(&path, true).err().unwrap();
    assert!(error.to_string().contains("must not vote"), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    let (log, _) = LogFile::open(&path, false).unwrap();
    assert!(matches!(LogFile::open(&path, false), Err(StorageError::InUse { .. })));
    log.close().await;
}

#[tokio::test]
async fn a_newer_format_asks_for_a_newer_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    filled(&path).await;
    let db = redb::Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(MARKS).unwrap().insert(FORMAT_MARK, 2_u32.to_le_bytes().as_slice()).unwrap();
    txn.commit().unwrap();
    drop(db);
    assert!(matches!(LogFile::open(&path, false), Err(StorageError::TooNew { found: 2, .. })));
}

/// Whatever byte is changed, the file is either refused by name or holds exactly what was written: never less,
/// never something else.
#[tokio::test]
async fn a_changed_byte_is_refused_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    filled(&path).await;
    let (log, want) = LogFile::open(&path, true).unwrap();
    log.close().await;
    let good = std::fs::read(&path).unwrap();
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let mut refused = 0;
    for at in used.iter().step_by(used.len() / 150 + 1) {
        let mut bad = good.clone();
        bad[*at] ^= 0x41;
        std::fs::write(&path, &bad).unwrap();
        match LogFile::open(&path, true) {
            Ok((log, recovered)) => {
                assert_eq!(recovered, want, "byte {at}");
                log.close().await;
            }
            Err(error) => {
                assert!(error.to_string().contains("log.redb"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "only {refused} changes were refused");

    for len in [0, 1, 100, 4_096, good.len() / 2] {
        std::fs::write(&path, &good[..len]).unwrap();
        assert!(LogFile::open(&path, true).is_err(), "cut to {len}");
    }
}
