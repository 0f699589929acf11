//! The workload's stdout and stderr: one pipe, read by the guard into the slot's bounded stream.
//!
//! Output never stands in the lease's way: a read never waits, a round is bounded, and what the disk refuses is
//! counted and dropped.

use crate::workload::{logs::Writer, spec::LogLimits};
use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
};

const READ_BYTES: usize = 64 << 10;
/// Reads of one round: between rounds the lease is looked at.
const MAX_READS_A_ROUND: u32 = 16;

pub struct Output {
    /// `None` once every writer is gone.
    read_end: Option<OwnedFd>,
    write_end: Option<OwnedFd>,
    writer: Writer,
    /// Bytes that couldn't be stored since the last that could, and why.
    lost: Option<(u64, io::Error)>,
    buffer: Vec<u8>,
}

impl Output {
    pub fn open(dir: &Path, limits: LogLimits) -> io::Result<Self> {
        let writer = Writer::open(dir, limits).map_err(|e| {
            io::Error::new(e.kind(), format!("cannot store output in {}: {e}", dir.display()))
        })?;
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors, which are owned by nobody else. Only the reading end mustn't block.
        let (read_end, write_end) = unsafe {
            if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
                return Err(io::Error::last_os_error());
            }
            if libc::fcntl(ends[0], libc::F_SETFL, libc::O_NONBLOCK) != 0 {
                return Err(io::Error::last_os_error());
            }
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        };
        let (read_end, write_end) = (Some(read_end), Some(write_end));
        Ok(Self { read_end, write_end, writer, lost: None, buffer: vec![0; READ_BYTES] })
    }

    /// What the workload writes to. Only before `close_write_end`.
    pub fn write_fd(&self) -> RawFd {
        self.write_end.as_ref().expect("the workload is started once").as_raw_fd()
    }

    pub fn close_write_end(&mut self) {
        self.write_end = None;
    }

    /// For poll(2), which ignores −1.
    pub fn poll_fd(&self) -> RawFd {
        self.read_end.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Stores what is there, up to a round's worth.
    pub fn drain(&mut self) {
        for _ in 0..MAX_READS_A_ROUND {
            let Some(fd) = &self.read_end else { return };
            // SAFETY: the buffer has that length.
            let got = unsafe { libc::read(fd.as_raw_fd(), self.buffer.as_mut_ptr().cast(), READ_BYTES) };
            match usize::try_from(got) {
                Ok(0) => self.read_end = None,
                Ok(bytes) => self.store(bytes),
                Err(_) => return, // nothing there now
            }
        }
    }

    /// What was still in the pipe when the tree ended.
    pub fn finish(&mut self) {
        self.drain();
    }

    fn store(&mut self, bytes: usize) {
        let mut result = Ok(());
        if let Some((lost, why)) = &self.lost {
            result =
                self.writer.write(format!("\n[holdfast: {lost} bytes of output lost: {why}]\n").as_bytes());
        }
        match result.and_then(|()| self.writer.write(&self.buffer[..bytes])) {
            Ok(()) => self.lost = None,
            Err(why) => {
                let before = self.lost.take().map_or(0, |(lost, _)| lost);
                self.lost = Some((before + bytes as u64, why));
            }
        }
    }
}
