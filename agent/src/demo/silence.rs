//! The silence of a host without power, on a machine that has some.
//!
//! On loopback the kernel speaks for whoever died: it ends the dead agent's connections and refuses new ones, and a host
//! that refuses is a host that lives. So, before its processes are killed, the demo takes hold of their sockets
//! (`pidfd_getfd`, which a parent may do without privileges): connections stay open and say nothing. The listening
//! socket's queue is made as short as it can be and filled with connections of our own; whoever comes then is dropped
//! without an answer. Datagrams arrive in a buffer that nobody reads.
//!
//! Where the sockets can't be had, the ports are taken right after the kill, and the kernel speaks for a moment.
//!
//! Not here: killing. Dropping a `Silence` gives the ports back.

use super::processes;
use rustix::{
    net::{getsockname, listen, sockopt},
    process::{PidfdGetfdFlags, pidfd_getfd},
};
use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

/// The first connection fills the queue; each of the others must find it full, or take a place that was left.
const FILLERS: usize = 8;
/// The kernel answers a connection of its own host in microseconds, if at all.
const UNANSWERED: Duration = Duration::from_millis(25);

/// The ports of a host that has no power.
pub struct Silence {
    address: SocketAddr,
    // Before the sockets that they fill, so that none of ours waits on the port for its peer's end.
    fillers: Vec<TcpStream>,
    sockets: Vec<OwnedFd>,
    listens: bool,
    datagrams: bool,
}

impl Silence {
    /// Of a host whose agent is at `address`, while all its `processes` are stopped: the agent is the first of them.
    pub fn before_the_kill(processes: &[i32], address: SocketAddr) -> Self {
        let mut silence =
            Self { address, fillers: Vec::new(), sockets: Vec::new(), listens: false, datagrams: false };
        for (at, pid) in processes.iter().enumerate() {
            for socket in sockets_of(*pid) {
                silence.hold(socket, at == 0);
            }
        }
        if silence.listens {
            silence.fill();
        }
        silence
    }

    /// What couldn't be taken from the living.
    pub fn after_the_kill(&mut self) -> io::Result<()> {
        if !self.listens {
            let listener = TcpListener::bind(self.address)?;
            listen(&listener, 0)?;
            self.sockets.push(listener.into());
            self.listens = true;
            self.fill();
        }
        if !self.datagrams {
            self.sockets.push(UdpSocket::bind(self.address)?.into());
            self.datagrams = true;
        }
        Ok(())
    }

    /// Keeps the agent's sockets, and of the other processes what is on its port: a workload's own go with it.
    fn hold(&mut self, socket: OwnedFd, agents: bool) {
        let Some(local) = getsockname(&socket).ok().and_then(|a| SocketAddr::try_from(a).ok()) else {
            return;
        };
        let on_port = local == self.address;
        if !agents && !on_port {
            return;
        }
        if sockopt::socket_acceptconn(&socket).unwrap_or(false) {
            self.listens |= on_port && listen(&socket, 0).is_ok();
        } else if on_port && sockopt::socket_type(socket.as_fd()) == Ok(rustix::net::SocketType::DGRAM) {
            self.datagrams = true;
        }
        self.sockets.push(socket);
    }

    /// Until a connection isn't answered.
    fn fill(&mut self) {
        let answered = || TcpStream::connect_timeout(&self.address, UNANSWERED).ok();
        self.fillers = std::iter::from_fn(answered).take(FILLERS).collect();
    }
}

/// Duplicates of a process' sockets, as far as they may be had.
fn sockets_of(pid: i32) -> Vec<OwnedFd> {
    let Some(process) = processes::handle(pid) else { return Vec::new() };
    let Ok(listed) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let is_socket = |entry: &fs::DirEntry| {
        fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    let numbers = listed.flatten().filter(is_socket).filter_map(|e| e.file_name().to_str()?.parse().ok());
    numbers.filter_map(|number| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_setfd};
    use std::{
        io::{ErrorKind, Read as _},
        net::Ipv4Addr,
        process::{Child, Command},
    };

    const SOON: Duration = Duration::from_millis(100);

    fn anywhere() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    /// A process that has these and does nothing, as one that is stopped.
    fn owner_of(sockets: &[OwnedFd]) -> Child {
        for socket in sockets {
            fcntl_setfd(socket, FdFlags::empty()).unwrap();
        }
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    fn dials(address: SocketAddr) -> ErrorKind {
        TcpStream::connect_timeout(&address, SOON).unwrap_err().kind()
    }

    /// An unread port takes datagrams; where nobody listens the second one meets the kernel's refusal.
    fn sends_twice(address: SocketAddr) -> io::Result<()> {
        let sender = UdpSocket::bind(anywhere())?;
        sender.connect(address)?;
        sender.send(b"one")?;
        std::thread::sleep(UNANSWERED);
        sender.send(b"two").map(drop)
    }

    #[test]
    fn a_killed_process_neither_refuses_nor_says_goodbye() {
        let listener = TcpListener::bind(anywhere()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut peer = TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let datagrams = UdpSocket::bind(address).unwrap();
        let sockets: [OwnedFd; 3] = [listener.into(), accepted.into(), datagrams.into()];
        let mut owner = owner_of(&sockets);
        drop(sockets);

        let mut silence = Silence::before_the_kill(&[owner.id().try_into().unwrap()], address);
        owner.kill().unwrap();
        owner.wait().unwrap();
        assert_eq!(dials(address), ErrorKind::TimedOut);
        silence.after_the_kill().unwrap();
        assert!(silence.fillers.len() < FILLERS, "the queue never filled");
        peer.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        sends_twice(address).unwrap();

        drop(silence);
        assert_eq!(dials(address), ErrorKind::ConnectionRefused);
        TcpListener::bind(address).unwrap();
    }

    #[test]
    fn ports_of_a_process_that_is_gone_already_fall_silent() {
        let address = TcpListener::bind(anywhere()).unwrap().local_addr().unwrap();
        assert_eq!(dials(address), ErrorKind::ConnectionRefused);
        sends_twice(address).unwrap_err();
        let mut silence = Silence::before_the_kill(&[], address);
        silence.after_the_kill().unwrap();
        assert_eq!(dials(address), ErrorKind::TimedOut);
        sends_twice(address).unwrap();
        drop(silence);
        TcpListener::bind(address).unwrap();
    }
}
