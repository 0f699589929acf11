//! Where alerts arrive: a tiny HTTP server that checks each one's Standard Webhooks signature and keeps what it got.
//! Its answer suits each provider whose request it is sent.

use super::{command, error::LabError};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

/// The secret that the lab's channel is given.
pub const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const LARGEST_BODY: usize = 1 << 20;
const SLOWEST_SENDER: Duration = Duration::from_secs(5);
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One notification.
#[derive(Clone, Debug)]
pub struct Received {
    pub at: SystemTime,
    /// With the query.
    pub path: String,
    pub webhook_id: String,
    pub signed: bool,
    pub body: Value,
}

impl Received {
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.body[key].as_str().unwrap_or_default()
    }

    #[must_use]
    pub fn label(&self, key: &str) -> &str {
        self.body["labels"][key].as_str().unwrap_or_default()
    }
}

pub struct Receiver {
    got: Arc<Mutex<Vec<Received>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub address: SocketAddr,
}

impl Receiver {
    /// Listens there, in that network namespace if one is given.
    pub fn start(address: SocketAddr, namespace: Option<PathBuf>) -> Result<Self, LabError> {
        let got = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, started) = mpsc::channel();
        let (keep, stopped) = (got.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let listener =
                namespace.map_or(Ok(()), |n| command::move_thread(&n)).and_then(|()| bind(address));
            match listener {
                Ok((listener, address)) => {
                    let _waited_for = ready.send(Ok(address));
                    serve(&listener, &keep, &stopped);
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
        let address = started.recv().map_err(|_| LabError::Broken("the receiver's thread died".into()))??;
        Ok(Self { got, stop, thread: Some(thread), address })
    }

    /// All so far, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Received> {
        self.got.lock().expect("no holder panics").clone()
    }

    /// When this alert about this node came.
    pub fn about(&self, alert: &str, node: &str, status: &str) -> Result<SystemTime, String> {
        let all = self.all();
        let is_it =
            |a: &&Received| a.text("alert") == alert && a.label("node") == node && a.text("status") == status;
        let found = all.iter().find(is_it).map(|a| a.at);
        found.ok_or_else(|| format!("no {status} {alert} about {node} among {} alerts", all.len()))
    }

    pub fn forget(&self) {
        self.got.lock().expect("no holder panics").clear();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of its own was printed already.
            let _ended = thread.join();
        }
    }
}

pub(super) fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), LabError> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listen().map_err(LabError::io(format!("listen on {address}")))
}

fn serve(listener: &TcpListener, keep: &Arc<Mutex<Vec<Received>>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            // A thread each: a sender that died in the middle must not hold up the others.
            Ok((stream, _)) => {
                let keep = keep.clone();
                std::thread::spawn(move || {
                    if prepare(&stream).is_err() {
                        return;
                    }
                    while let Ok(Some(received)) = receive(&stream) {
                        keep.lock().expect("no holder panics").push(received);
                        if answer(&stream).is_err() {
                            return;
                        }
                    }
                });
            }
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// A stream waits for its sender, but not for ever.
pub(super) fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(SLOWEST_SENDER))
}

/// `None` when the sender closed the connection.
pub(super) fn receive(stream: impl Read) -> std::io::Result<Option<Received>> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut id, mut timestamp, mut signature) = (0, String::new(), 0, String::new());
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "webhook-id" => id = value.to_owned(),
            "webhook-timestamp" => timestamp = value.parse().unwrap_or(0),
            "webhook-signature" => signature = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length.min(LARGEST_BODY)];
    reader.read_exact(&mut body)?;
    let expected = standardwebhooks::Webhook::new(SECRET).and_then(|w| w.sign(&id, timestamp, &body));
    Ok(Some(Received {
        at: SystemTime::now(),
        path,
        signed: expected.is_ok_and(|e| signature.split(' ').any(|s| s == e)),
        webhook_id: id,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }))
}

pub(super) fn answer(mut stream: impl Write) -> std::io::Result<()> {
    const BODY: &str = r#"{"result":"success"}"#;
    let length = BODY.len();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{BODY}").as_bytes())
}
