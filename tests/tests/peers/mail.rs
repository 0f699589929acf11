//! Mail through a real Postfix, read back from a real mailbox.

use super::{check, cluster, refused};
use holdfast_tests::{
    lab::{LabError, certificates::Authority},
    peers::{
        installed::{is_root, unless_ci},
        mail::{self, MailServer, PASSWORD, USER},
        trouble,
    },
};
use libtest_mimic::{Completion, Failed};
use serde_json::Value;
use std::path::Path;

pub fn both_kinds_of_tls() -> Result<Completion, Failed> {
    with_server(|server| {
        let starttls = channel("early", "starttls", server.starttls_port, PASSWORD, &server.ca);
        let implicit = channel("late", "implicit", server.implicit_port, PASSWORD, &server.ca);
        let lab = cluster(&format!("{starttls}{implicit}language = \"zh\"\n"))?;
        lab.ask(0, &["alert", "test", "early"])?;
        let first = server.until_there_are(1)?.remove(0);
        lab.ask(0, &["alert", "test", "late"])?;
        let second = server.until_there_are(2)?.remove(1);

        for mail in [&first, &second] {
            is(mail, "from", "Holdfast <alerts@example.com>")?;
            is(mail, "to", USER)?;
            is(mail, "auto-submitted", "auto-generated")?;
            check(!text(mail, "date").is_empty(), || format!("no date in {mail}"))?;
            check(mail["in-reply-to"].is_null(), || format!("a thread of its own: {mail}"))?;
        }
        is(&first, "subject", "[FIRING] Test: Test of channel early (lab)")?;
        says(&first, "text/plain", "An operator asked for this; nothing is wrong.")?;
        says(&first, "text/html", "<html lang=\"en\">")?;
        // Postfix writes down how each came: with a login, and over TLS.
        says_how(&first)?;

        is(&second, "subject", "[告警] 测试 Test: Test of channel late (lab)")?;
        says(&second, "text/plain", "开始于")?;
        says(&second, "text/html", "<b>提示 测试 Test</b>")?;
        says_how(&second)
    })
}

pub fn refusals() -> Result<Completion, Failed> {
    with_server(|server| {
        let port = server.starttls_port;
        let strangers = tempfile::tempdir().map_err(LabError::io("make a directory"))?;
        Authority::named("a stranger", strangers.path())?;
        let stranger = strangers.path().join("ca.pem");
        let mut channels = channel("good", "starttls", port, PASSWORD, &server.ca)
            + &channel("guess", "starttls", port, "battery staple", &server.ca)
            + &channel("early_stranger", "starttls", port, PASSWORD, &stranger)
            + &channel("late_stranger", "implicit", server.implicit_port, PASSWORD, &stranger)
            + &channel("nobody", "starttls", port, PASSWORD, &server.ca).replace(USER, "nobody@example.com");
        // The login is still the one that exists.
        channels = channels.replace("username = \"nobody@", "username = \"ops@");
        // The certificate is for the address alone.
        channels +=
            &channel("other_name", "starttls", port, PASSWORD, &server.ca).replace("127.0.0.1", "localhost");
        let lab = cluster(&channels)?;

        lab.ask(0, &["alert", "test", "good"])?;
        refused(&lab, "guess", &["refused the login", "535", "authentication failed"])?;
        refused(&lab, "early_stranger", &["STARTTLS failed: invalid peer certificate: UnknownIssuer"])?;
        refused(&lab, "late_stranger", &["the connection failed: invalid peer certificate: UnknownIssuer"])?;
        refused(&lab, "other_name", &["certificate", "localhost"])?;
        refused(&lab, "nobody", &["nobody@example.com", "550"])?;
        server.stop_postfix();
        refused(&lab, "good", &["the connection failed", "Connection refused"])?;
        server.until_there_are(1).map(drop)
    })
}

pub fn threads() -> Result<Completion, Failed> {
    with_server(|server| {
        let mail = channel("mail", "starttls", server.starttls_port, PASSWORD, &server.ca);
        let lab = cluster(&format!("{mail}[[route]]\nchannels = [\"mail\"]\n"))?;
        trouble::begin(&lab)?;
        let firing = server.until_there_are(1)?.remove(0);
        trouble::end(&lab)?;
        let resolved = server.until_there_are(2)?.remove(1);

        let starts = |mail: &Value, start: &str| {
            let subject = text(mail, "subject");
            check(subject.starts_with(start), || format!("\"{subject}\" doesn't begin with \"{start}\""))
        };
        starts(&firing, "[FIRING] CrashLoop: checkout keeps failing")?;
        starts(&resolved, "[RESOLVED] CrashLoop: checkout serves again")?;
        says(&firing, "text/plain", "exited with code 1")?;
        let id = text(&firing, "message-id");
        check(id.ends_with("@example.com>"), || format!("a strange Message-ID: {id}"))?;
        check(text(&resolved, "message-id") != id, || "both have one Message-ID".to_owned())?;
        is(&resolved, "in-reply-to", id)?;
        is(&resolved, "references", id)
    })
}

fn with_server(test: impl FnOnce(&mut MailServer) -> Result<(), LabError>) -> Result<Completion, Failed> {
    if let Some(why) = mail::missing() {
        return unless_ci(why);
    }
    if !is_root() {
        return Ok(Completion::ignored_with("Postfix and Dovecot start as root only"));
    }
    let mut server = MailServer::start()?;
    test(&mut server).map_err(|error| format!("{error}\nPostfix's log:\n{}", server.log()))?;
    Ok(Completion::Completed)
}

fn channel(name: &str, tls: &str, port: u16, password: &str, ca: &Path) -> String {
    format!(
        "[channel.{name}]\ntype = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"{tls}\"\nusername = \
         \"{USER}\"\npassword = \"{password}\"\nfrom = \"Holdfast <alerts@example.com>\"\nto = [\"{USER}\"]\nca = \
         {ca:?}\n"
    )
}

fn text<'a>(mail: &'a Value, header: &str) -> &'a str {
    mail[header].as_str().unwrap_or_default()
}

fn is(mail: &Value, header: &str, wanted: &str) -> Result<(), LabError> {
    check(text(mail, header) == wanted, || format!("{header} should be \"{wanted}\" in {mail}"))
}

/// One part is of this type and of UTF-8, and has these words.
fn says(mail: &Value, kind: &str, words: &str) -> Result<(), LabError> {
    let mut parts = mail["parts"].as_array().into_iter().flatten();
    let found = parts.any(|part| {
        part["type"] == kind
            && part["charset"] == "utf-8"
            && part["text"].as_str().is_some_and(|text| text.contains(words))
    });
    check(found, || format!("no {kind} in UTF-8 says \"{words}\" in {mail}"))
}

/// ESMTPSA: extended SMTP with TLS and a login (RFC 3848).
fn says_how(mail: &Value) -> Result<(), LabError> {
    check(text(mail, "received").contains("with ESMTPSA"), || format!("not with TLS and a login: {mail}"))
}
