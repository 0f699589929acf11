//! Mail to a server in this process: with each kind of TLS, with logins, and with whatever servers refuse.

use super::*;
use crate::notify::{
    dispatch::{Kind, deliver as deliver_kind},
    message::tests::{message, notice, resolved},
    stand_in::{self, Stream},
};
use rustls::ServerConfig;
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

const WITHIN: Duration = Duration::from_secs(10);
// printf '\0me\0pass-word-1' | base64
const LOGIN: &str = "AUTH PLAIN AG1lAHBhc3Mtd29yZC0x";

type Mails = Arc<Mutex<Vec<String>>>;

/// A server that answers as its commands' arguments ask: a recipient `450-x@…` gets 450.
struct Server {
    starttls: bool,
    login: bool,
    tls: Option<Arc<ServerConfig>>,
    /// What it says at the end of a mail.
    verdict: &'static str,
}

impl Server {
    fn start(self, implicit: bool) -> (SocketAddr, Mails) {
        let mails = Mails::default();
        let kept = mails.clone();
        let address = stand_in::tcp(move |stream| {
            let tls = self.tls.as_ref();
            let upgrade = stream.try_clone().unwrap();
            let first: Box<dyn Stream> =
                if implicit { stand_in::encrypted(stream, tls.unwrap()) } else { Box::new(stream) };
            let wants_tls = self.talk(first, "220 test ESMTP\r\n", self.starttls, &kept);
            if wants_tls {
                self.talk(stand_in::encrypted(upgrade, tls.unwrap()), "", false, &kept);
            }
        });
        (address, mails)
    }

    /// Until the end, or until STARTTLS: then `true`.
    fn talk(&self, stream: Box<dyn Stream>, greeting: &str, starttls: bool, mails: &Mails) -> bool {
        let mut stream = BufReader::new(stream);
        let _ = stream.get_mut().write_all(greeting.as_bytes());
        let mut open = !self.login;
        loop {
            let _ = stream.get_mut().flush();
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return false;
            }
            let line = line.trim_end();
            let answer = match line {
                _ if line.starts_with("EHLO") && starttls => "250-test\r\n250 STARTTLS".to_owned(),
                _ if line.starts_with("EHLO") => {
                    "250-test\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN".to_owned()
                }
                "STARTTLS" => "220 go on".to_owned(),
                _ if starttls => "530 5.7.0 Must issue a STARTTLS command first".to_owned(),
                LOGIN => {
                    open = true;
                    "235 2.7.0 Authentication successful".to_owned()
                }
                _ if line.starts_with("AUTH") => "535 5.7.8 Error: authentication failed".to_owned(),
                _ if !open => "530 5.7.0 Authentication required".to_owned(),
                _ if line.starts_with("RCPT TO:<450-") => "450 4.2.0 greylisted".to_owned(),
                _ if line.starts_with("RCPT TO:<550-") => "550 5.1.1 no such user".to_owned(),
                "DATA" => "354 go on".to_owned(),
                "QUIT" => "221 bye".to_owned(),
                _ => "250 2.0.0 Ok".to_owned(),
            };
            let _ = stream.get_mut().write_all(format!("{answer}\r\n").as_bytes());
            if line == "STARTTLS" {
                return true;
            }
            if line == "DATA" {
                mails.lock().unwrap().push(mail(&mut stream));
                let _ = stream.get_mut().write_all(format!("{}\r\n", self.verdict).as_bytes());
            }
        }
    }
}

fn mail(stream: &mut BufReader<Box<dyn Stream>>) -> String {
    let mut mail = String::new();
    while !mail.ends_with("\r\n.\r\n") {
        assert_ne!(stream.read_line(&mut mail).unwrap(), 0, "the mail broke off");
    }
    mail
}

fn plain() -> Server {
    Server { starttls: false, login: false, tls: None, verdict: "250 2.0.0 Ok: queued as 4" }
}

fn config(address: SocketAddr, to: &[&str]) -> Config {
    Config {
        host: address.ip().to_string(),
        port: Some(address.port()),
        tls: Tls::None,
        username: None,
        password: None,
        from: "Holdfast <alerts@example.org>".into(),
        to: to.iter().map(|to| (*to).to_owned()).collect(),
        ca: None,
    }
}

async fn send(config: &Config, message: &Message) -> Result<String, Refused> {
    deliver_kind(&Kind::Smtp(config.clone()), message, WITHIN).await
}

/// One header, unfolded.
fn header(mail: &str, name: &str) -> String {
    let unfolded = mail.replace("\r\n ", " ");
    let head = unfolded.split("\r\n\r\n").next().unwrap_or_default();
    let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_mail_has_what_filters_and_threads_go_by() {
    let (address, mails) = plain().start(false);
    let config = config(address, &["a@example.org", "B <b@example.org>"]);
    assert_eq!(send(&config, &message(vec![notice(1)])).await.unwrap(), "250 2.0.0 Ok: queued as 4");
    send(&config, &message(vec![notice(1)])).await.unwrap();
    let fired = |node| message(vec![notice(node)]).id;
    let over = Message { answers: vec![fired(1)], ..message(vec![resolved(1)]) };
    send(&config, &over).await.unwrap();
    let answers = vec![fired(1), fired(2)];
    let group = Message { id: "a group: of two".into(), answers, ..message(vec![resolved(1), resolved(2)]) };
    send(&config, &group).await.unwrap();
    let mails = mails.lock().unwrap();
    let id = "<0000000000000005-17-firing@example.org>";
    assert_eq!(header(&mails[0], "Message-ID"), id);
    assert_eq!(header(&mails[1], "Message-ID"), id, "a repeat keeps its id");
    assert_eq!(header(&mails[0], "In-Reply-To"), "");
    assert_eq!(header(&mails[2], "Message-ID"), "<0000000000000005-17-resolved@example.org>");
    assert_eq!((header(&mails[2], "In-Reply-To"), header(&mails[2], "References")), (id.into(), id.into()));
    let both = format!("{id} <0000000000000005-18-firing@example.org>");
    assert_eq!(header(&mails[3], "References"), both);
    assert_eq!(header(&mails[3], "Message-ID").len(), "<@example.org>".len() + 64);
    assert_eq!(header(&mails[0], "Auto-Submitted"), "auto-generated");
    assert_eq!(header(&mails[0], "Subject"), "[FIRING] NodeDead: n1 is dead: checkout moved to n2 (shop)");
    assert_eq!(header(&mails[0], "To"), "a@example.org, B <b@example.org>");
    assert!(header(&mails[0], "Date").ends_with("+0000"), "{}", header(&mails[0], "Date"));
    assert!(header(&mails[0], "Content-Type").starts_with("multipart/alternative"));
    assert!(mails[0].contains("text/plain") && mails[0].contains("text/html"), "{}", mails[0]);
}

#[tokio::test]
async fn tls_is_required_and_the_server_must_be_who_it_should_be() {
    let (tls, pem) = stand_in::tls();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    for (wanted, implicit) in [(Tls::StartTls, false), (Tls::Implicit, true)] {
        let server = Server { starttls: !implicit, login: true, tls: Some(tls.clone()), ..plain() };
        let (address, mails) = server.start(implicit);
        let good = Config {
            tls: wanted,
            ca: Some(ca.display().to_string()),
            username: Some("me".into()),
            password: Some(Secret::new("pass-word-1")),
            ..config(address, &["a@example.org"])
        };
        send(&good, &message(vec![notice(1)])).await.unwrap();
        let bad = Config { password: Some(Secret::new("pass-word-2")), ..good.clone() };
        let refused = send(&bad, &message(vec![notice(1)])).await.unwrap_err();
        assert!(!refused.retry && refused.reason.contains("refused the login: 535"), "{refused}");
        assert!(!format!("{refused} {bad:?}").contains("pass-word"), "{refused}");
        let unknown = send(&Config { ca: None, ..good }, &message(vec![notice(1)])).await.unwrap_err();
        assert!(unknown.retry && unknown.reason.to_lowercase().contains("cert"), "{unknown}");
        assert_eq!(mails.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn without_starttls_not_a_word_goes_out() {
    let (address, mails) = plain().start(false);
    let config = Config { tls: Tls::StartTls, ..config(address, &["a@example.org"]) };
    let refused = send(&config, &message(vec![notice(1)])).await.unwrap_err();
    assert!(refused.retry && refused.reason.contains("offers no STARTTLS"), "{refused}");
    assert!(mails.lock().unwrap().is_empty());
}

#[tokio::test]
async fn one_refused_recipient_doesn_t_keep_the_mail_from_others() {
    let (address, mails) = plain().start(false);
    let to = async |to: &[&str]| send(&config(address, to), &message(vec![notice(1)])).await;
    let some = to(&["550-a@example.org", "b@example.org", "450-c@example.org"]).await.unwrap_err();
    assert!(!some.retry && some.reason.starts_with("1 of 3 got it"), "{some}");
    assert!(some.reason.contains("550-a@example.org: 550") && some.reason.contains("greylisted"), "{some}");
    assert_eq!(mails.lock().unwrap().len(), 1);
    assert!(to(&["550-a@example.org", "450-c@example.org"]).await.unwrap_err().retry);
    assert!(!to(&["550-a@example.org"]).await.unwrap_err().retry);
    assert_eq!(mails.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_mail_is_for_now_or_for_good() {
    for (verdict, retry) in
        [("451 4.3.0 try later", true), ("552 5.2.2 over quota", false), ("554 5.7.1 spam", false)]
    {
        let (address, _) = Server { verdict, ..plain() }.start(false);
        let refused =
            send(&config(address, &["a@example.org"]), &message(vec![notice(1)])).await.unwrap_err();
        assert_eq!(refused.retry, retry, "{refused}");
        assert!(refused.reason.contains(verdict.split_once(' ').unwrap().1), "{refused}");
    }
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let refused = send(&config(nobody, &["a@example.org"]), &message(vec![notice(1)])).await.unwrap_err();
    assert!(refused.retry && refused.reason.starts_with("127.0.0.1:1: the connection failed: "), "{refused}");
}

#[test]
fn bad_addresses_are_found_before_anything_is_sent() {
    let address = "127.0.0.1:1".parse().unwrap();
    for (from, to) in
        [("no address", "a@example.org"), ("a@example.org", "a@"), ("a@example.org", "a@b\r\nBcc: c@d")]
    {
        let bad = Config { from: from.into(), ..config(address, &[to]) };
        assert!(bad.check().unwrap_err().contains("isn't a mail address"), "{from} {to}");
    }
    assert!(config(address, &[]).check().is_err());
    let half = Config { username: Some("me".into()), ..config(address, &["a@example.org"]) };
    assert!(half.check().unwrap_err().contains("`password`"));
    for (tls, port) in [(Tls::StartTls, 587), (Tls::Implicit, 465), (Tls::None, 25)] {
        assert_eq!(Config { tls, port: None, ..config(address, &[]) }.port(), port);
    }
}
