//! Zabbix: the message's text as the value of a trapper item, over Zabbix's own framing of JSON on TCP.
//!
//! Not here: TLS to the server, and compression: we send none, so none comes back.

use crate::notify::{Refused, http::shown, message::Message, tcp, words};
use cluster_core::time::WallTime;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

pub const PORT: u16 = 10_051;
/// A text item holds 64 KiB.
pub const ROOM_BYTES: usize = 60_000;
const MAGIC: &[u8; 4] = b"ZBXD";
/// Protocol 1: neither compressed nor a large packet.
const FLAGS: u8 = 1;
/// Before the JSON.
pub const HEADER_BYTES: usize = 13;
const ANSWER_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `HOST` or `HOST:PORT`.
    pub server: String,
    /// As the server names it.
    pub host: String,
    /// Of an item of type "Zabbix trapper".
    pub key: String,
}

/// All bytes that go out.
#[must_use]
pub fn request(config: &Config, message: &Message, now: WallTime) -> Vec<u8> {
    let (clock, ns) = (now.0 / 1000, now.0 % 1000 * 1_000_000);
    let value = words::cut(&message.words.text, ROOM_BYTES);
    frame(&json!({
        "request": "sender data",
        "data": [{"host": config.host, "key": config.key, "value": value, "clock": clock, "ns": ns}],
        "clock": clock,
        "ns": ns,
    }))
}

/// `answer` is all bytes that came back. The server says "success" even of values that it didn't take, so its count
/// decides. A value of the wrong type counts as taken: the item must be of a text type.
///
/// # Errors
/// Not Zabbix's framing, or the value wasn't taken.
pub fn judge(config: &Config, answer: &[u8]) -> Result<String, Refused> {
    let Some(body) = unframe(answer) else {
        let start = shown(&String::from_utf8_lossy(answer));
        return Err(Refused::for_now(format!("answered \"{start}\", which isn't Zabbix's protocol")));
    };
    let info = shown(body["info"].as_str().unwrap_or_default());
    match (body["response"].as_str(), count(&info, "processed"), count(&info, "failed")) {
        (Some("success"), Some(1..), Some(0)) => Ok(info),
        (Some("success"), ..) => Err(Refused::for_good(format!(
            "answered \"{info}\": it has no trapper item {} on a host {} that this host may write",
            config.key, config.host
        ))),
        _ => Err(Refused::for_good(format!("answered \"{}\"", shown(&body.to_string())))),
    }
}

/// # Errors
/// The server can't be reached or doesn't take the value.
pub async fn deliver(config: &Config, message: &Message, now: WallTime) -> Result<String, Refused> {
    let server = tcp::address(&config.server, PORT);
    let exchange = async {
        let mut stream = TcpStream::connect(&server).await?;
        stream.write_all(&request(config, message, now)).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES as u64).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = exchange
        .await
        .map_err(|cause| Refused::for_now(format!("the Zabbix server {server} can't be reached: {cause}")))?;
    judge(config, &answer).map_err(|refused| refused.said_by(&format!("the Zabbix server {server}")))
}

/// `ZBXD`, flags, length and a reserved word, little endian, then the JSON.
fn frame(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = u32::try_from(body.len()).expect("the room for words keeps it far below 4 GiB");
    let mut bytes = MAGIC.to_vec();
    bytes.push(FLAGS);
    bytes.extend(length.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(body.into_bytes());
    bytes
}

fn unframe(bytes: &[u8]) -> Option<Value> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
    let length = u32::from_le_bytes(header[5..9].try_into().ok()?);
    if &header[..4] != MAGIC || header[4] != FLAGS {
        return None;
    }
    serde_json::from_slice(body.get(..usize::try_from(length).ok()?)?).ok()
}

/// From "processed: 1; failed: 0; total: 1; seconds spent: 0.000055".
fn count(info: &str, name: &str) -> Option<u64> {
    let mut fields = info.split(';').filter_map(|field| field.split_once(':'));
    fields.find(|(field, _)| field.trim() == name)?.1.trim().parse().ok()
}

#[cfg(test)]
#[path = "zabbix_tests.rs"]
mod tests;
