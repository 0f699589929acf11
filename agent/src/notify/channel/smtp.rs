//! E-mail: text and HTML in one mail, in one transaction for all who get it.
//!
//! A refused recipient doesn't keep the mail from the others. With `starttls` no password and no word of an alert
//! goes out before TLS. Not here: a queue; a mail server that is away is tried again as any channel is.

use super::mail;
use crate::notify::{
    Refused,
    http::{authority_of, innermost, set_up_tls, shown},
    message::Message,
    secret::Secret,
};
use cluster_core::time::WallTime;
use lettre::{
    Address,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailBodyParameter, MailParameter},
    },
};

/// Of the text and of the HTML, each.
pub const ROOM_BYTES: usize = 100_000;
const RECIPIENTS_MAX: usize = 100;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Begins in the clear and must become TLS at once; port 587.
    #[default]
    StartTls,
    /// TLS from the first byte; port 465.
    Implicit,
    /// Port 25.
    None,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub host: String,
    /// `Tls`'s own unless given.
    pub port: Option<u16>,
    pub tls: Tls,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// `alerts@example.org`, or `Holdfast <alerts@example.org>`.
    pub from: String,
    pub to: Vec<String>,
    /// PEM file with the only authority to be believed.
    pub ca: Option<String>,
}

impl Config {
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            Tls::StartTls => 587,
            Tls::Implicit => 465,
            Tls::None => 25,
        })
    }

    /// # Errors
    /// A sentence: an address is bad, or there is none.
    pub fn check(&self) -> Result<(), String> {
        mail::address(&self.from)?;
        if self.to.is_empty() || self.to.len() > RECIPIENTS_MAX {
            return Err(format!("`to` must have 1 to {RECIPIENTS_MAX} addresses, not {}", self.to.len()));
        }
        if self.username.is_some() != self.password.is_some() {
            return Err("an smtp channel has both `username` and `password`, or neither".to_owned());
        }
        self.to.iter().try_for_each(|to| mail::address(to).map(|_| ()))
    }
}

/// # Errors
/// The server can't be reached, or it refuses the sender, somebody or the mail.
pub async fn deliver(config: &Config, message: &Message, now: WallTime) -> Result<String, Refused> {
    config.check().map_err(Refused::for_good)?;
    let mail = mail::build(config, message, now).map_err(Refused::for_good)?;
    let mut connection = connect(config).await?;
    let sent = transact(&mut connection, config, &mail).await;
    // Whatever it says to that, the mail's fate is known.
    let _ = connection.quit().await;
    sent
}

async fn connect(config: &Config) -> Result<AsyncSmtpConnection, Refused> {
    let me = ClientId::default();
    let server = (config.host.as_str(), config.port());
    let said = |what| move |error: Error| said(config, what, &error);
    let tls = match config.tls {
        Tls::None => None,
        Tls::StartTls | Tls::Implicit => Some(tls(config).await?),
    };
    let implicit = if config.tls == Tls::Implicit { tls.clone() } else { None };
    let mut connection = AsyncSmtpConnection::connect_tokio1(server, None, &me, implicit, None)
        .await
        .map_err(said("the connection"))?;
    if let (Tls::StartTls, Some(tls)) = (config.tls, tls) {
        if !connection.can_starttls() {
            let text = format!(
                "{} offers no STARTTLS; nothing is sent in the clear unless tls = \"none\"",
                at(config)
            );
            return Err(Refused::for_now(text));
        }
        connection.starttls(tls, &me).await.map_err(said("STARTTLS"))?;
    }
    if let (Some(user), Some(password)) = (&config.username, &config.password) {
        let credentials = Credentials::new(user.clone(), password.expose().to_owned());
        connection
            .auth(&[Mechanism::Plain, Mechanism::Login], &credentials)
            .await
            .map_err(said("the login"))?;
    }
    Ok(connection)
}

async fn transact(
    connection: &mut AsyncSmtpConnection,
    config: &Config,
    mail: &[u8],
) -> Result<String, Refused> {
    let said = |what| move |error: Error| said(config, what, &error);
    let from = mail::address(&config.from).map_err(Refused::for_good)?;
    let eight_bit = connection.server_info().supports_feature(Extension::EightBitMime);
    let parameters =
        if eight_bit { vec![MailParameter::Body(MailBodyParameter::EightBitMime)] } else { Vec::new() };
    connection.command(Mail::new(Some(from), parameters)).await.map_err(said("the sender"))?;
    let mut refused = Vec::new();
    for to in &config.to {
        let address: Address = mail::address(to).map_err(Refused::for_good)?;
        match connection.command(Rcpt::new(address, Vec::new())).await {
            Ok(_) => {}
            Err(error) if error.status().is_some() => refused.push(self::said(config, to, &error)),
            Err(error) => return Err(self::said(config, to, &error)),
        }
    }
    if refused.len() == config.to.len() {
        let retry = refused.iter().any(|refused| refused.retry);
        return Err(Refused { retry, ..Refused::for_now(listed(&refused)) });
    }
    connection.command(Data).await.map_err(said("the mail"))?;
    let response = connection.message(mail).await.map_err(said("the mail"))?;
    let words = shown(&response.message().collect::<Vec<_>>().join(" "));
    if refused.is_empty() {
        return Ok(format!("{} {words}", response.code()));
    }
    // The others have it: nothing is repeated, and who hasn't is named.
    let told = config.to.len() - refused.len();
    let reason = format!("{told} of {} got it; {}", config.to.len(), listed(&refused));
    Err(Refused { heard: true, ..Refused::for_good(reason) })
}

/// Reads the host's certificates, or the channel's own authority.
async fn tls(config: &Config) -> Result<TlsParameters, Refused> {
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(path) = &config.ca {
        let authority = authority_of(path, Certificate::from_pem).await?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    set_up_tls(move || builder.build_rustls()).await
}

/// 5xx is for good, and so is a login that the server doesn't know how to take.
fn said(config: &Config, what: &str, error: &Error) -> Refused {
    let retry = !error.is_permanent() && !error.is_client();
    let (at, why) = (at(config), shown(&innermost(error)));
    let reason = match error.status() {
        Some(code) => format!("{at} refused {what}: {code} {why}"),
        // It said nothing: it isn't there, or its certificate isn't one to be believed.
        None => format!("{at}: {what} failed: {why}"),
    };
    Refused { retry, ..Refused::for_now(reason) }
}

fn at(config: &Config) -> String {
    format!("{}:{}", config.host, config.port())
}

fn listed(refused: &[Refused]) -> String {
    refused.iter().take(10).map(|refused| refused.reason.clone()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
#[path = "smtp_tests.rs"]
mod tests;
