//! SMPP: bytes as the specification has them, and a strict SMSC in this process.

use super::*;
use crate::notify::{
    dispatch::{Kind, deliver as deliver_kind},
    message::tests::{message, notice},
    stand_in,
};
use rusmpp::pdus::{BindTransmitterResp, SubmitSmResp};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};
use tokio_rustls::TlsAcceptor;

const WITHIN: Duration = Duration::from_secs(5);

/// What the SMSC says to a message: a status, or nothing.
type Rules = Arc<dyn Fn(usize, &SubmitSm) -> Option<CommandStatus> + Send + Sync>;
type Taken = Arc<Mutex<Vec<SubmitSm>>>;

/// Lets `holdfast` in with `secret08`, asks whether the line stands, and answers messages as `rules` say.
struct Smsc {
    address: SocketAddr,
    taken: Taken,
    unbinds: Arc<Mutex<usize>>,
}

impl Smsc {
    async fn start(
        rules: impl Fn(usize, &SubmitSm) -> Option<CommandStatus> + Send + Sync + 'static,
    ) -> Self {
        Self::with(rules, None).await
    }

    async fn with(
        rules: impl Fn(usize, &SubmitSm) -> Option<CommandStatus> + Send + Sync + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (taken, unbinds, rules) =
            (Taken::default(), Arc::<Mutex<usize>>::default(), Arc::new(rules) as Rules);
        let smsc = Self { address, taken: taken.clone(), unbinds: unbinds.clone() };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let stream: Box<dyn Stream> = match &tls {
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => continue,
                    },
                    None => Box::new(stream),
                };
                tokio::spawn(serve(stream, rules.clone(), taken.clone(), unbinds.clone()));
            }
        });
        smsc
    }

    fn taken(&self) -> Vec<SubmitSm> {
        self.taken.lock().unwrap().clone()
    }
}

async fn serve(stream: Box<dyn Stream>, rules: Rules, taken: Taken, unbinds: Arc<Mutex<usize>>) {
    let mut framed = Framed::new(stream, CommandCodec::new());
    let first = framed.next().await.unwrap().unwrap();
    let Some(Pdu::BindTransmitter(bind)) = first.pdu() else { panic!("{first:?}") };
    assert_eq!(bind.interface_version, InterfaceVersion::Smpp3_4);
    assert_eq!((bind.addr_ton, bind.addr_npi), (Ton::Unknown, Npi::Unknown));
    let status = match (bind.system_id.to_string().as_str(), bind.password.to_string().as_str()) {
        ("holdfast", "secret08") if bind.system_type.to_string() == "ALERT" => CommandStatus::EsmeRok,
        ("holdfast", "secret08") => CommandStatus::EsmeRinvsystyp,
        ("holdfast", _) => CommandStatus::EsmeRinvpaswd,
        ("full", _) => CommandStatus::Other(0x0400),
        _ => CommandStatus::EsmeRinvsysid,
    };
    if status != CommandStatus::EsmeRok {
        // A header alone, as many SMSCs have it.
        let header = [16, 0x8000_0002, u32::from(status), first.sequence_number()];
        let bytes: Vec<u8> = header.into_iter().flat_map(u32::to_be_bytes).collect();
        framed.get_mut().write_all(&bytes).await.unwrap();
        return;
    }
    let answer = BindTransmitterResp::builder().system_id(field("SMSC")).build();
    framed.send(Command::new(status, first.sequence_number(), answer)).await.unwrap();
    framed.send(Command::new(CommandStatus::EsmeRok, 1, Pdu::EnquireLink)).await.unwrap();
    let mut stands = false;
    while let Some(Ok(command)) = framed.next().await {
        let sequence = command.sequence_number();
        match command.pdu().unwrap() {
            Pdu::EnquireLinkResp => stands = true,
            Pdu::SubmitSm(submit) => {
                let nth = taken.lock().unwrap().len();
                taken.lock().unwrap().push(submit.clone());
                let Some(status) = rules(nth, submit) else { continue };
                let answer = SubmitSmResp::builder().message_id(field("id1")).build();
                framed.send(Command::new(status, sequence, answer)).await.unwrap();
            }
            Pdu::Unbind => {
                assert!(stands, "nobody said that the line stands");
                *unbinds.lock().unwrap() += 1;
                let _ = framed.send(Command::new(CommandStatus::EsmeRok, sequence, Pdu::UnbindResp)).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn config(server: SocketAddr, to: &[&str]) -> Config {
    Config {
        server: server.to_string(),
        tls: Tls::None,
        ca: None,
        system_id: "holdfast".into(),
        password: Secret::new("secret08"),
        system_type: Some("ALERT".into()),
        from: Some("Holdfast".into()),
        to: to.iter().map(|number| (*number).to_owned()).collect(),
    }
}

fn saying(text: &str) -> Message {
    let mut message = message(vec![notice(1)]);
    text.clone_into(&mut message.words.text);
    message
}

async fn send(config: &Config, text: &str, within: Duration) -> Result<String, Refused> {
    deliver_kind(&Kind::Smpp(config.clone()), &saying(text), within).await
}

fn ok(_: usize, _: &SubmitSm) -> Option<CommandStatus> {
    Some(CommandStatus::EsmeRok)
}

#[tokio::test]
async fn a_session_looks_as_the_specification_has_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config(listener.local_addr().unwrap(), &["+8613800000000"]);
    let sending = tokio::spawn(async move { send(&config, "n1 [down]", Duration::from_secs(1)).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = async |expected: &[u8]| {
        use tokio::io::AsyncReadExt as _;
        let mut bytes = vec![0; expected.len()];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, expected);
        let mut answer = vec![0, 0, 0, 17];
        answer.extend([0x80, 0, 0, bytes[7], 0, 0, 0, 0]);
        answer.extend([&bytes[12..16], b"\0"].concat());
        stream.write_all(&answer).await.unwrap();
    };
    // Length, bind_transmitter, status, sequence; then 3.4, and no range of addresses.
    let bind = b"\0\0\0\x2c\0\0\0\x02\0\0\0\0\0\0\0\x01holdfast\0secret08\0ALERT\0\x34\0\0\0";
    read(bind).await;
    let header = b"\0\0\0\x3f\0\0\0\x04\0\0\0\0\0\0\0\x02";
    let body = b"\0\x05\0Holdfast\0\x01\x018613800000000\0\0\0\0\0\0\0\0\0\0\x09n1 (down)";
    read(&[&header[..], body].concat()).await;
    // unbind
    read(b"\0\0\0\x10\0\0\0\x06\0\0\0\0\0\0\0\x03").await;
    assert_eq!(sending.await.unwrap().unwrap(), "1 of 1 numbers accepted");
}

#[tokio::test]
async fn chinese_and_long_texts_arrive_in_parts_for_each_number() {
    let smsc = Smsc::start(ok).await;
    let config = config(smsc.address, &["+8613800000000", "13800000001"]);
    let text = "主机失联".repeat(40);
    assert_eq!(send(&config, &text, WITHIN).await.unwrap(), "2 of 2 numbers accepted");
    let taken = smsc.taken();
    assert_eq!(taken.len(), 6);
    for (to, ton) in [("8613800000000", Ton::International), ("13800000001", Ton::Unknown)] {
        let parts: Vec<_> = taken.iter().filter(|sm| sm.destination_addr.to_string() == to).collect();
        let mut whole = Vec::new();
        for (number, part) in (1..).zip(&parts) {
            assert_eq!((part.dest_addr_ton, part.dest_addr_npi), (ton, Npi::Isdn));
            assert_eq!((part.source_addr_ton, part.source_addr_npi), (Ton::Alphanumeric, Npi::Unknown));
            assert_eq!((u8::from(part.esm_class), part.data_coding), (0x40, DataCoding::Ucs2));
            let octets = part.short_message().to_vec();
            assert_eq!((&octets[..3], &octets[4..6]), (&[5, 0, 3][..], &[3, number][..]));
            assert_eq!(octets[3], parts[0].short_message().to_vec()[3]);
            assert!(octets.len() <= 140);
            whole.extend(octets[6..].chunks(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]])));
        }
        assert_eq!(String::from_utf16(&whole).unwrap(), text);
    }
    // Which nobody waits for.
    let unbound = async {
        while *smsc.unbinds.lock().unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WITHIN, unbound).await.expect("the session is unbound");
}

#[tokio::test]
async fn each_number_has_its_own_fate() {
    let smsc = Smsc::start(|_, sm| {
        let known = !sm.destination_addr.to_string().ends_with('9');
        Some(if known { CommandStatus::EsmeRok } else { CommandStatus::EsmeRinvdstadr })
    })
    .await;
    let some = send(&config(smsc.address, &["+8613800000000", "+8613800000009"]), "n1", WITHIN).await;
    let some = some.unwrap_err();
    assert!(!some.retry && some.heard, "{some}");
    let expected = "1 of 2 numbers accepted; not +8613800000009: refused with 0x0B; mend the number";
    assert!(some.reason.contains(expected), "{some}");
    let none = send(&config(smsc.address, &["+8613800000009"]), "n1", WITHIN).await.unwrap_err();
    assert!(!none.retry && !none.heard, "{none}");
}

#[tokio::test]
async fn what_is_too_fast_is_sent_again_in_time_or_later() {
    // One a second, as small accounts have it.
    let smsc = Smsc::start(|nth, _| {
        Some(if nth == 1 { CommandStatus::EsmeRthrottled } else { CommandStatus::EsmeRok })
    })
    .await;
    let two = config(smsc.address, &["+8613800000000", "+8613800000001"]);
    assert_eq!(send(&two, "n1", WITHIN).await.unwrap(), "2 of 2 numbers accepted");
    assert_eq!(smsc.taken().len(), 3);

    let full = Smsc::start(|_, _| Some(CommandStatus::EsmeRmsgqful)).await;
    let refused = send(&config(full.address, &["+8613800000000"]), "n1", Duration::from_millis(500)).await;
    let refused = refused.unwrap_err();
    assert_eq!((refused.retry, refused.after), (true, Some(THROTTLED_FOR)), "{refused}");
    assert!(refused.reason.contains("0x14"), "{refused}");
    assert_eq!(full.taken().len(), 1, "it was pressed");
}

#[tokio::test]
async fn who_is_not_let_in_hears_what_to_mend() {
    let smsc = Smsc::start(ok).await;
    let right = config(smsc.address, &["+8613800000000"]);
    let password = Config { password: Secret::new("wrong"), ..right.clone() };
    let system_id = Config { system_id: "nobody".into(), ..right.clone() };
    let system_type = Config { system_type: None, ..right.clone() };
    for (config, key, code) in [
        (password, "`password`", "0x0E"),
        (system_id, "`system_id`", "0x0F"),
        (system_type, "`system_type`", "0x53"),
    ] {
        let refused = send(&config, "n1", WITHIN).await.unwrap_err();
        assert!(!refused.retry && refused.reason.contains(&format!("{code}; mend {key}")), "{refused}");
        assert!(refused.reason.contains(&smsc.address.to_string()), "{refused}");
    }
    let unknown = send(&Config { system_id: "full".into(), ..right }, "n1", WITHIN).await.unwrap_err();
    assert!(unknown.retry && unknown.reason.contains("0x400"), "{unknown}");
    assert!(smsc.taken().is_empty());
}

#[tokio::test]
async fn one_number_s_silence_does_not_hide_what_became_of_another() {
    let smsc = Smsc::start(|_, sm| {
        (!sm.destination_addr.to_string().ends_with('9')).then_some(CommandStatus::EsmeRok)
    })
    .await;
    let config = config(smsc.address, &["+8613800000009", "+8613800000000"]);
    let refused = send(&config, "n1", Duration::from_millis(600)).await.unwrap_err();
    assert!(refused.reason.contains("1 of 2 numbers accepted; not +8613800000009: no answer"), "{refused}");
    assert!(refused.heard && !refused.retry);
}

#[tokio::test]
async fn who_is_silent_closes_early_or_is_no_smsc_is_tried_again() {
    use std::io::{Read as _, Write as _};
    let silent = stand_in::tcp(|_| std::thread::sleep(Duration::from_secs(1)));
    let closing = stand_in::tcp(|mut stream| drop(stream.read(&mut [0; 1024])));
    let other = stand_in::tcp(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let closing_later = Smsc::start(|_, _| panic!("gone")).await.address;
    for (server, says) in [
        (silent, "no answer from"),
        (closing, "broke off"),
        (other, "isn't SMPP"),
        (closing_later, "0 of 1 numbers accepted"),
        ("127.0.0.1:1".parse().unwrap(), "can't be reached"),
    ] {
        let refused = send(&config(server, &["+8613800000000"]), "n1", Duration::from_millis(700)).await;
        let refused = refused.unwrap_err();
        assert!(refused.retry && !refused.heard, "{refused}");
        let closed = says == "broke off" && refused.reason.contains("closed the connection");
        assert!(refused.reason.contains(says) || closed, "{refused}");
        assert!(refused.reason.contains(&server.to_string()), "{refused}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read() {
    use std::io::{Read as _, Write as _};
    let endless = stand_in::tcp(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"\x7f\xff\xff\xff\x80\0\0\x02\0\0\0\0\0\0\0\x01");
        while stream.write_all(&[b'a'; 4096]).is_ok() {}
    });
    let refused = send(&config(endless, &["+8613800000000"]), "n1", WITHIN).await.unwrap_err();
    assert!(refused.retry && refused.reason.contains("Maximum command length"), "{refused}");
}

#[tokio::test]
async fn within_tls_only_its_own_authority_is_believed() {
    let (server, pem) = stand_in::tls();
    let smsc = Smsc::with(ok, Some(TlsAcceptor::from(server))).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, pem).unwrap();
    let ca = Some(path.display().to_string());
    let config = Config { tls: Tls::Implicit, ca, ..config(smsc.address, &["+8613800000000"]) };
    assert_eq!(send(&config, "n1", WITHIN).await.unwrap(), "1 of 1 numbers accepted");
    std::fs::write(&path, stand_in::tls().1).unwrap();
    let other = send(&config, "n1", WITHIN).await.unwrap_err();
    assert!(
        other.retry && other.reason.contains("TLS failed") && other.reason.contains("certificate"),
        "{other}"
    );
    let plain = Smsc::start(ok).await;
    let plain =
        send(&Config { server: plain.address.to_string(), ..config }, "n1", WITHIN).await.unwrap_err();
    assert!(plain.reason.contains("tls = \"none\""), "{plain}");
    assert_eq!(smsc.taken().len(), 1);
}

#[test]
fn the_sender_s_kind_follows_from_how_it_is_written() {
    for (from, expected) in [
        ("Holdfast", (Ton::Alphanumeric, Npi::Unknown, "Holdfast")),
        ("+15005550006", (Ton::International, Npi::Isdn, "15005550006")),
        ("10690", (Ton::NetworkSpecific, Npi::Unknown, "10690")),
        ("106901234567", (Ton::Unknown, Npi::Isdn, "106901234567")),
        ("+", (Ton::Alphanumeric, Npi::Unknown, "+")),
    ] {
        assert_eq!(source(from), expected);
    }
}

#[test]
fn what_has_no_room_in_the_protocol_is_refused_first() {
    let good = config("127.0.0.1:1".parse().unwrap(), &["+8613800000000"]);
    assert_eq!(good.check(), Ok(()));
    assert_eq!(Config { from: None, system_type: None, ..good.clone() }.check(), Ok(()));
    let long = "x".repeat(20);
    for (bad, key) in [
        (Config { system_id: long.clone(), ..good.clone() }, "`system_id`"),
        (Config { system_id: "主机".into(), ..good.clone() }, "`system_id`"),
        (Config { system_type: Some(long.clone()), ..good.clone() }, "`system_type`"),
        (Config { from: Some(long), ..good.clone() }, "`from`"),
        (Config { from: Some("+12345678901234567".into()), ..good.clone() }, "`from`"),
        (Config { to: Vec::new(), ..good }, "`to`"),
    ] {
        let why = bad.check().unwrap_err();
        assert!(why.contains(key), "{why}");
    }
    check_password("secret08").unwrap();
    let why = check_password("secret089").unwrap_err();
    assert!(why.contains("`password` must have 1 to 8") && !why.contains("secret089"), "{why}");
}

#[test]
fn the_port_follows_tls() {
    let config = |tls| Config { tls, server: "smsc".into(), ..config("127.0.0.1:1".parse().unwrap(), &[]) };
    assert_eq!(config(Tls::Implicit).address(), "smsc:3550");
    assert_eq!(config(Tls::None).address(), "smsc:2775");
}
