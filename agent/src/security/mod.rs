//! TLS from configured files: what this agent shows, and whom it believes.
//!
//! Not here: making keys and certificates.

mod validity;

use std::path::{Path, PathBuf};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
pub use validity::Validity;

/// The three files of `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Loaded and checked.
#[derive(Clone)]
pub struct Tls {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
    validity: Validity,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("tls.{key} = \"{}\": {cause}; give the path of a readable PEM file", path.display())]
    Unreadable { key: &'static str, path: PathBuf, cause: std::io::Error },
    #[error("tls.{key} = \"{}\": {cause}; {fix}", path.display())]
    Invalid { key: &'static str, path: PathBuf, cause: String, fix: &'static str },
}

impl Tls {
    /// Reads and checks the three files: each must hold what its key says, and the private key must fit the
    /// certificate.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let ca = read("ca", &files.ca)?;
        let cert = read("cert", &files.cert)?;
        let key = read("key", &files.key)?;
        certificates("ca", &files.ca, &ca)?;
        let chain = certificates("cert", &files.cert, &cert)?;
        let validity = Validity::of(&chain);
        check_key(&files.key, &key, chain)?;
        Ok(Self { ca, cert, key, validity })
    }

    /// Of what was loaded, whatever became of the files since.
    #[must_use]
    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    /// For the server: a client without a certificate of our authority is refused.
    #[must_use]
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(Identity::from_pem(&self.cert, &self.key))
            .client_ca_root(Certificate::from_pem(&self.ca))
            .client_auth_optional(false)
    }

    /// For a client: shows our certificate, believes our authority alone, and expects `host` among the names of the
    /// other's.
    #[must_use]
    pub fn client(&self, host: &str) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(Identity::from_pem(&self.cert, &self.key))
            .ca_certificate(Certificate::from_pem(&self.ca))
            .domain_name(host)
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|cause| TlsError::Unreadable { key, path: path.into(), cause })
}

fn certificates(
    key: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<rustls_pki_types::CertificateDer<'static>>, TlsError> {
    use rustls_pki_types::pem::PemObject as _;
    let invalid = |cause: String| TlsError::Invalid {
        key,
        path: path.into(),
        cause,
        fix: "a PEM file with at least one certificate is needed",
    };
    let found = rustls_pki_types::CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| invalid(format!("{e:?}")))?;
    if found.is_empty() { Err(invalid("it holds no certificate".into())) } else { Ok(found) }
}

fn check_key(
    path: &Path,
    pem: &[u8],
    chain: Vec<rustls_pki_types::CertificateDer<'static>>,
) -> Result<(), TlsError> {
    use rustls_pki_types::pem::PemObject as _;
    let invalid = |cause: String, fix| TlsError::Invalid { key: "key", path: path.into(), cause, fix };
    let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(pem)
        .map_err(|e| invalid(format!("{e:?}"), "a PEM file with one private key is needed"))?;
    let provider = rustls::crypto::ring::default_provider();
    rustls::sign::CertifiedKey::from_der(chain, key, &provider)
        .map(|_| ())
        .map_err(|e| invalid(e.to_string(), "give the private key that tls.cert was made for"))
}
