//! Stand-ins for providers, on loopback: each test gives the provider's rules, and finds what came in here.
//!
//! What a rule recomputes it does with the hash's crate itself, not with our `sign`. Not here: any provider's rules.

use super::http::Answer;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri},
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// As it came.
    pub raw_query: String,
    /// Decoded.
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub body: String,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Status, headers, body.
pub type Reply = (u16, Vec<(&'static str, String)>, String);

pub fn reply(status: u16, body: &str) -> Reply {
    (status, Vec::new(), body.to_owned())
}

pub struct StandIn {
    /// Without a slash at its end.
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl StandIn {
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

type Rules = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

/// Answers every request as `rules` say.
pub async fn start(rules: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> StandIn {
    let received = Arc::new(Mutex::new(Vec::new()));
    let state = (Arc::new(rules) as Rules, received.clone());
    let router = Router::new().fallback(take).with_state(state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    StandIn { url, received }
}

async fn take(
    State((rules, all)): State<(Rules, Arc<Mutex<Vec<Received>>>)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, String) {
    let raw_query = uri.query().unwrap_or_default().to_owned();
    let whole = reqwest::Url::parse(&format!("http://x{uri}")).unwrap();
    let received = Received {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: whole.query_pairs().into_owned().collect(),
        raw_query,
        headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let (status, headers, body) = rules(&received);
    all.lock().unwrap().push(received);
    (StatusCode::from_u16(status).unwrap(), header_map(&headers), body)
}

fn header_map(headers: &[(&'static str, String)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, String)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    headers.iter().map(pair).collect()
}

/// For `judge` alone.
pub fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Answer { status, headers: header_map(&headers), body: body.as_bytes().to_vec() }
}

pub fn mac(key: impl AsRef<[u8]>, message: impl AsRef<[u8]>) -> [u8; 32] {
    hmac_sha256::HMAC::mac(message, key)
}

pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex(hmac_sha256::Hash::hash(bytes.as_ref()))
}

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A server's TLS with a certificate of its own for 127.0.0.1, and that certificate as PEM.
pub fn tls() -> (Arc<ServerConfig>, String) {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let chain = vec![CertificateDer::from(own.cert.der().to_vec())];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (Arc::new(config), own.cert.pem())
}

pub trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

pub fn encrypted(stream: TcpStream, config: &Arc<ServerConfig>) -> Box<dyn Stream> {
    Box::new(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream))
}

/// A server below HTTP: `serve` gets each connection, one after the other, on a thread of its own.
pub fn tcp(mut serve: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            serve(stream);
        }
    });
    address
}
