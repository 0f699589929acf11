//! The local socket between a keeper and its agent: packets, whole or not at all, under a path of any length.
//!
//! It lies in the guards' directory, which is the owner's alone to change; who is at the other end is asked of the kernel.
//! Sockets' paths end at 108 bytes, so the directory is opened and named by its descriptor.
//!
//! Nothing here waits. Not here: what is said (`protocol`).

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind,
        connect, listen, recv, send, socket_with, sockopt,
    },
};
use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::Path,
};

const NAME: &str = "keeper.sock";
const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
/// Agents that wait to be accepted: one, and one that comes after it.
const BACKLOG: i32 = 4;

/// Runs `with` on the socket's address in `dir`.
fn at<T>(dir: &Path, with: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<T>) -> io::Result<T> {
    let dir = fs::File::open(dir)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()))?;
    Ok(with(&address)?)
}

fn unix_socket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)
}

/// The keeper's end, for agents to connect to. Takes the place of a socket that an earlier keeper left.
pub fn serve(dir: &Path) -> io::Result<OwnedFd> {
    match fs::remove_file(dir.join(NAME)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = unix_socket()?;
    at(dir, |address| bind(&socket, address))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The next agent that wants to speak, if any.
pub fn accept(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    match accept_with(listener, FLAGS) {
        Ok(agent) => Ok(Some(agent)),
        Err(Errno::WOULDBLOCK | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The agent's end; `None` when no keeper listens.
pub fn dial(dir: &Path) -> io::Result<Option<OwnedFd>> {
    let socket = unix_socket()?;
    match at(dir, |address| connect(&socket, address)) {
        Ok(()) => Ok(Some(socket)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The process at the other end (the one that called `serve`, seen from an agent), by the kernel's word.
/// Another user's is refused.
pub fn peer(socket: impl AsFd) -> io::Result<u32> {
    let peer = sockopt::socket_peercred(socket)?;
    let me = rustix::process::geteuid();
    if peer.uid != me && !peer.uid.is_root() {
        let uid = peer.uid.as_raw();
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it runs as user {uid}")));
    }
    Ok(peer.pid.as_raw_nonzero().get().cast_unsigned())
}

/// False when it can't leave at once: it is dropped then.
pub fn put(socket: impl AsFd, packet: &[u8]) -> io::Result<bool> {
    match send(socket, packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(_) => Ok(true),
        Err(Errno::WOULDBLOCK | Errno::INTR | Errno::NOBUFS) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Got<'a> {
    Packet(&'a [u8]),
    Nothing,
    /// The other end is closed.
    End,
}

/// The next packet; a longer one than `buffer` comes cut short, and doesn't read.
pub fn get(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Got<'_>> {
    match recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
        Ok((0, _)) | Err(Errno::CONNRESET) => Ok(Got::End),
        Ok((length, _)) => Ok(Got::Packet(&buffer[..length])),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(Got::Nothing),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_stay_whole_under_a_long_path_and_the_end_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("d".repeat(200));
        fs::create_dir(&dir).unwrap();
        assert!(dial(&dir).unwrap().is_none(), "nobody listens yet");
        let listener = serve(&dir).unwrap();
        let agent = dial(&dir).unwrap().unwrap();
        let keeper = accept(&listener).unwrap().unwrap();
        assert_eq!(peer(&agent).unwrap(), std::process::id());
        assert_eq!(peer(&keeper).unwrap(), std::process::id());
        assert!(put(&agent, b"one").unwrap() && put(&agent, b"two").unwrap());
        let mut buffer = [0; 16];
        assert_eq!(get(&keeper, &mut buffer).unwrap(), Got::Packet(b"one"));
        assert_eq!(get(&keeper, &mut buffer).unwrap(), Got::Packet(b"two"));
        assert_eq!(get(&keeper, &mut buffer).unwrap(), Got::Nothing);
        drop(agent);
        assert_eq!(get(&keeper, &mut buffer).unwrap(), Got::End);
        drop(listener);
        assert!(dial(&dir).unwrap().is_none(), "a socket that was left behind is nobody");
        serve(&dir).unwrap();
    }

    #[test]
    fn who_does_not_read_makes_nobody_wait() {
        let dir = tempfile::tempdir().unwrap();
        let listener = serve(dir.path()).unwrap();
        let agent = dial(dir.path()).unwrap().unwrap();
        let _keeper = accept(&listener).unwrap().unwrap();
        let dropped = (0..100_000).find(|_| !put(&agent, &[0; 100]).unwrap());
        assert!(dropped.is_some());
    }
}
