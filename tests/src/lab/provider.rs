//! A provider in trouble: it takes webhooks as the lab's receiver does, but does other things first, until it is mended.
//!
//! Not here: one that always does well (`receiver`), and a network in trouble (`network`).

use super::{
    certificates::Files,
    error::LabError,
    receiver::{self, LOOK_EVERY, Received},
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Taken,
    /// No answer, and the connection stays.
    Silence,
    /// 429, with a `Retry-After` of so many seconds.
    Busy(u64),
    /// 500.
    Error,
    /// The connection is closed before any answer.
    Closed,
    /// The connection is closed in the middle of the answer's first line.
    HalfAnAnswer,
}

#[derive(Clone, Debug)]
pub struct Attempt {
    pub request: Received,
    pub manner: Manner,
}

/// What comes first; then everything is taken.
type Troubles = Box<dyn Iterator<Item = Manner> + Send>;

pub struct Provider {
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub address: SocketAddr,
}

struct State {
    troubles: Troubles,
    tls: Option<Arc<ServerConfig>>,
    attempts: Vec<Attempt>,
}

impl Provider {
    /// On loopback; with a certificate it wants TLS.
    pub fn start(
        troubles: impl Iterator<Item = Manner> + Send + 'static,
        certificate: Option<&Files>,
    ) -> Result<Self, LabError> {
        let tls = certificate.map(server_config).transpose()?;
        let state = State { troubles: Box::new(troubles), tls, attempts: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let stop = Arc::new(AtomicBool::new(false));
        let (listener, address) = receiver::bind(([127, 0, 0, 1], 0).into())?;
        let (serving, stopped) = (state.clone(), stop.clone());
        let thread = std::thread::spawn(move || serve(&listener, &serving, &stopped));
        Ok(Self { state, stop, thread: Some(thread), address })
    }

    /// From now on it takes everything, with this certificate if it has one.
    pub fn mend(&self, certificate: Option<&Files>) -> Result<(), LabError> {
        let tls = certificate.map(server_config).transpose()?;
        let mut state = self.state.lock().expect("no holder panics");
        state.troubles = Box::new(std::iter::empty());
        state.tls = tls;
        Ok(())
    }

    #[must_use]
    pub fn wants_tls(&self) -> bool {
        self.state.lock().expect("no holder panics").tls.is_some()
    }

    /// All requests that came through, oldest first.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.state.lock().expect("no holder panics").attempts.clone()
    }

    /// Those that it took.
    #[must_use]
    pub fn taken(&self) -> Vec<Received> {
        let attempts = self.attempts().into_iter();
        attempts.filter(|attempt| attempt.manner == Manner::Taken).map(|attempt| attempt.request).collect()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of its own was printed already.
            let _ended = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, state: &Arc<Mutex<State>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let state = state.clone();
                std::thread::spawn(move || {
                    // The sender's error, which it tells itself.
                    let _failed = converse(stream, &state);
                });
            }
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// One request, then the connection is closed.
fn converse(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    receiver::prepare(&stream)?;
    let tls = state.lock().expect("no holder panics").tls.clone();
    let mut stream: Box<dyn Stream> = match tls {
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
            Box::new(StreamOwned::new(connection, stream))
        }
        None => Box::new(stream),
    };
    let Some(request) = receiver::receive(&mut stream)? else { return Ok(()) };
    let manner = {
        let mut state = state.lock().expect("no holder panics");
        let manner = state.troubles.next().unwrap_or(Manner::Taken);
        state.attempts.push(Attempt { request, manner });
        manner
    };
    match manner {
        Manner::Taken => receiver::answer(&mut stream)?,
        Manner::Silence => until_closed(&mut stream),
        Manner::Busy(seconds) => write!(
            stream,
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n"
        )?,
        Manner::Error => {
            stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops")?;
        }
        Manner::Closed => {}
        Manner::HalfAnAnswer => stream.write_all(b"HTTP/1.1 20")?,
    }
    stream.flush()
}

/// The sender gives up first; while it doesn't, a read that ends late is no end.
fn until_closed(stream: &mut impl Read) {
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn server_config(files: &Files) -> Result<Arc<ServerConfig>, LabError> {
    let broken = |why: String| LabError::Broken(format!("can't use {:?}: {why}", files.cert));
    let chain = CertificateDer::pem_file_iter(&files.cert).and_then(Iterator::collect);
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| broken(e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain.map_err(|_| rustls::Error::NoCertificatesPresented)?, key)
        })
        .map_err(|e| broken(e.to_string()))?;
    Ok(Arc::new(config))
}
