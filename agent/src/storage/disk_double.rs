//! A disk that forgets: bytes written since the last sync live apart, and a crash keeps of each such write all, a
//! torn prefix, or nothing, as a seed decides. With `swallow_syncs` it plays the program that forgot its fsync.

use redb::StorageBackend;
use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

#[derive(Debug)]
enum Unsynced {
    Write { offset: usize, data: Vec<u8> },
    Resize(usize),
}

#[derive(Debug, Default)]
struct Platter {
    synced: Vec<u8>,
    /// What the running program sees: synced bytes with all later writes on top.
    seen: Vec<u8>,
    unsynced: Vec<Unsynced>,
    power_lost: bool,
}

/// One disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiskDouble {
    platter: Arc<Mutex<Platter>>,
    swallow_syncs: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    /// Writes and syncs fail from this count on; zero: never.
    lose_power_at: Arc<AtomicU64>,
}

impl DiskDouble {
    pub(crate) fn swallow_syncs(&self, yes: bool) {
        self.swallow_syncs.store(yes, Ordering::SeqCst);
    }

    /// The power goes during the n-th operation from now.
    pub(crate) fn lose_power_after(&self, operations: u64) {
        self.lose_power_at.store(self.writes.load(Ordering::SeqCst) + operations, Ordering::SeqCst);
    }

    /// What a new boot finds; each unsynced write by itself survives, is torn, or is gone.
    pub(crate) fn crash(&self, seed: u64) -> Self {
        let mut platter = self.platter.lock().unwrap();
        platter.power_lost = true;
        let mut dice = Dice(seed);
        let mut found = platter.synced.clone();
        for change in &platter.unsynced {
            match (dice.roll(3), change) {
                (0, _) => {}
                (fate, Unsynced::Write { offset, data }) => {
                    let kept = if fate == 1 { data.len() } else { dice.roll(data.len() as u64 + 1) as usize };
                    overwrite(&mut found, *offset, &data[..kept]);
                }
                (_, Unsynced::Resize(len)) => found.resize(*len, 0),
            }
        }
        let platter = Platter { synced: found.clone(), seen: found, unsynced: Vec::new(), power_lost: false };
        Self { platter: Arc::new(Mutex::new(platter)), ..Self::default() }
    }

    fn step(&self, platter: &mut Platter) -> io::Result<()> {
        let count = self.writes.fetch_add(1, Ordering::SeqCst);
        let at = self.lose_power_at.load(Ordering::SeqCst);
        platter.power_lost |= at != 0 && count >= at;
        if platter.power_lost { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }
}

impl StorageBackend for DiskDouble {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter.lock().unwrap();
        let from = offset as usize;
        let bytes = platter.seen.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.platter.lock().unwrap();
        self.step(&mut platter)?;
        platter.seen.resize(len as usize, 0);
        platter.unsynced.push(Unsynced::Resize(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.platter.lock().unwrap();
        self.step(&mut platter)?;
        if !self.swallow_syncs.load(Ordering::SeqCst) {
            platter.synced = platter.seen.clone();
            platter.unsynced.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.platter.lock().unwrap();
        // The write during which the power goes is on its way all the same.
        overwrite(&mut platter.seen, offset as usize, data);
        platter.unsynced.push(Unsynced::Write { offset: offset as usize, data: data.to_vec() });
        self.step(&mut platter)
    }
}

/// Bytes beyond the end count only when the file was made longer first, as on a real disk after a lost resize.
fn overwrite(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

/// splitmix64: small, and the same on every machine.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}
