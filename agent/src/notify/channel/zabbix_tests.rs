//! Zabbix: the published framing, and a stand-in for the server's trapper.

use super::*;
use crate::notify::{
    dispatch::{Kind, deliver as deliver_kind},
    message::tests::{message, notice},
    stand_in,
};
use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

const WITHIN: Duration = Duration::from_secs(5);

fn config(server: SocketAddr, key: &str) -> Config {
    Config { server: server.to_string(), host: "edge1".into(), key: key.into() }
}

/// Takes only host edge1's item `alert`, and says so as Zabbix 6.0 does.
fn server() -> SocketAddr {
    stand_in::tcp(|mut stream| {
        let mut header = [0; 13];
        stream.read_exact(&mut header).unwrap();
        let length = u32::from_le_bytes(header[5..9].try_into().unwrap());
        // Without its header Zabbix doesn't answer at all.
        if &header[..5] != b"ZBXD\x01" || header[9..] != [0; 4] {
            return;
        }
        let mut body = vec![0; length as usize];
        stream.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let known = |value: &&Value| {
            value["host"] == "edge1" && value["key"] == "alert" && value["value"].is_string()
        };
        let all = body["data"].as_array().unwrap();
        let taken = all.iter().filter(known).count();
        let failed = all.len() - taken;
        assert_eq!(body["request"], "sender data");
        let info =
            format!("processed: {taken}; failed: {failed}; total: {}; seconds spent: 0.000055", all.len());
        let answer = json!({"response": "success", "info": info}).to_string();
        let mut bytes = b"ZBXD\x01".to_vec();
        bytes.extend((answer.len() as u32).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(answer.into_bytes());
        // In two pieces, as the network may have it.
        stream.write_all(&bytes[..20]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        stream.write_all(&bytes[20..]).unwrap();
    })
}

#[test]
fn the_framing_is_the_published_one() {
    let json = r#"{"request":"sender data","data":[{"host":"edge1","key":"m","value":"3"}]}"#;
    assert_eq!(json.len(), 73);
    let value: Value = serde_json::from_str(json).unwrap();
    let framed = frame(&value);
    let header = [0x5a, 0x42, 0x58, 0x44, 0x01, 0x49, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(framed[..HEADER_BYTES], header);
    assert_eq!(unframe(&framed), Some(value));
}

#[test]
fn a_value_says_when_it_was() {
    let config = Config { server: "x".into(), host: "edge1".into(), key: "alert".into() };
    let bytes = request(&config, &message(vec![notice(1)]), WallTime(1_700_000_000_123));
    let body: Value = serde_json::from_slice(&bytes[HEADER_BYTES..]).unwrap();
    let text = message(vec![notice(1)]).words.text;
    let item =
        json!({"host": "edge1", "key": "alert", "value": text, "clock": 1_700_000_000, "ns": 123_000_000});
    let expected =
        json!({"request": "sender data", "data": [item], "clock": 1_700_000_000, "ns": 123_000_000});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn the_server_s_count_decides() {
    let server = server();
    let good = Kind::Zabbix(config(server, "alert"));
    let words = deliver_kind(&good, &message(vec![notice(1)]), WITHIN).await.unwrap();
    assert!(words.starts_with("processed: 1; failed: 0"), "{words}");
    deliver_kind(&good, &message((1..=200).map(notice).collect()), WITHIN).await.unwrap();
    let unknown =
        deliver_kind(&Kind::Zabbix(config(server, "other")), &message(vec![notice(1)]), WITHIN).await;
    let unknown = unknown.unwrap_err();
    assert!(!unknown.retry && unknown.reason.contains("trapper item other on a host edge1"), "{unknown}");
}

#[tokio::test]
async fn who_isn_t_zabbix_is_found_out() {
    let closing = stand_in::tcp(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
    });
    let other = stand_in::tcp(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    for server in [closing, other, "127.0.0.1:1".parse().unwrap()] {
        let sent =
            deliver_kind(&Kind::Zabbix(config(server, "alert")), &message(vec![notice(1)]), WITHIN).await;
        let refused = sent.unwrap_err();
        assert!(refused.retry && refused.reason.contains(&server.to_string()), "{refused}");
    }
}

#[test]
fn its_answers() {
    let config = Config { server: "x".into(), host: "h".into(), key: "k".into() };
    let of = |body: Value| judge(&config, &frame(&body));
    let refused = of(json!({"response": "failed", "info": "host [x] not found"})).unwrap_err();
    assert!(!refused.retry && refused.reason.contains("not found"), "{refused}");
    of(json!({"response": "success", "info": "processed: 0; failed: 0; total: 0"})).unwrap_err();
    of(json!({"response": "success"})).unwrap_err();
    let mut compressed = frame(&json!({}));
    compressed[4] = 3;
    assert!(judge(&config, &compressed).unwrap_err().retry);
    let cut_short = &frame(&json!({"response": "success", "info": "processed: 1; failed: 0"}))[..30];
    assert!(judge(&config, cut_short).unwrap_err().retry);
}
