//! Streams to servers below HTTP: where they listen, and TLS that trusts as `http` does.
//!
//! Not here: what is said over them (a file a channel), and the deadline: dropping the future gives up.

use super::{
    Refused,
    http::{authority_of, set_up_tls},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{
        CertificateDer, ServerName,
        pem::{self, PemObject as _},
    },
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// `HOST:PORT` of what may have been written without its port.
#[must_use]
pub fn address(server: &str, port: u16) -> String {
    let has_port = server.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
    });
    if has_port { server.to_owned() } else { format!("{server}:{port}") }
}

/// TLS from the first byte, with the one whom `address` names. `ca` is a PEM file with the only authorities to be
/// believed; without it they are the host's.
///
/// # Errors
/// For now: this host lacks what it needs, or the server can't show that it is meant.
pub async fn encrypt(
    stream: TcpStream,
    address: &str,
    ca: Option<&str>,
) -> Result<TlsStream<TcpStream>, Refused> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|_| Refused::for_good(format!("{host} isn't a host's name; mend `server`")))?;
    let connector = TlsConnector::from(Arc::new(trusting(ca).await?));
    connector.connect(name, stream).await.map_err(|cause| {
        let text = format!("{address}: TLS failed: {cause}; a server without it wants tls = \"none\"");
        Refused::for_now(text)
    })
}

async fn trusting(ca: Option<&str>) -> Result<ClientConfig, Refused> {
    let authorities = match ca {
        Some(path) => Some(authority_of(path, authorities).await?),
        None => None,
    };
    set_up_tls(move || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match authorities {
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    roots.add(authority)?;
                }
                builder.with_root_certificates(roots)
            }
            None => builder.with_platform_verifier()?,
        };
        Ok::<_, rustls::Error>(builder.with_no_client_auth())
    })
    .await
}

fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_has_a_default() {
        for (server, address_of) in [
            ("zabbix", "zabbix:10051"),
            ("zabbix:99", "zabbix:99"),
            ("[::1]", "[::1]:10051"),
            ("[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(address(server, 10_051), address_of);
        }
    }

    #[test]
    fn a_file_without_an_authority_is_none() {
        assert!(matches!(authorities(b"hello"), Err(pem::Error::NoItemsFound)));
    }
}
