//! An authority and the certificates it signs, made anew for each lab.

use super::error::LabError;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

/// The three files of an agent's `[tls]`, or of a client.
#[derive(Clone, Debug)]
pub struct Files {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Its files are kept in `directory`, which it makes.
    pub fn new(directory: &Path) -> Result<Self, LabError> {
        Self::named("lab authority", directory)
    }

    /// The same, called like this.
    pub fn named(name: &str, directory: &Path) -> Result<Self, LabError> {
        std::fs::create_dir_all(directory).map_err(LabError::io(format!("make {directory:?}")))?;
        let mut params = CertificateParams::new(Vec::<String>::new()).map_err(broken)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose issuer is called like its subject for self-signed.
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(broken)?).map_err(broken)?;
        let authority = Self { issuer, directory: directory.to_owned() };
        authority.write("ca.pem", &authority.issuer.pem())?;
        Ok(authority)
    }

    /// A certificate for these names and addresses; the first one names its files.
    pub fn issue(&self, names: &[&str]) -> Result<Files, LabError> {
        self.sign(names[0], params(names)?)
    }

    /// The same, long over.
    pub fn issue_expired(&self, names: &[&str]) -> Result<Files, LabError> {
        let mut params = params(names)?;
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        self.sign(&format!("{}-expired", names[0]), params)
    }

    /// The same, at its end after so long.
    pub fn issue_ending(&self, names: &[&str], after: Duration) -> Result<Files, LabError> {
        let mut params = params(names)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + after;
        self.sign(&format!("{}-ending", names[0]), params)
    }

    fn sign(&self, stem: &str, params: CertificateParams) -> Result<Files, LabError> {
        let key = KeyPair::generate().map_err(broken)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(broken)?;
        Ok(Files {
            ca: self.directory.join("ca.pem"),
            cert: self.write(&format!("{stem}.pem"), &certificate.pem())?,
            key: self.write(&format!("{stem}.key"), &key.serialize_pem())?,
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, LabError> {
        let path = self.directory.join(name);
        std::fs::write(&path, text).map_err(LabError::io(format!("write {path:?}")))?;
        Ok(path)
    }
}

fn params(names: &[&str]) -> Result<CertificateParams, LabError> {
    let all: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = CertificateParams::new(all).map_err(broken)?;
    params.distinguished_name.push(DnType::CommonName, names[0]);
    Ok(params)
}

fn broken(error: rcgen::Error) -> LabError {
    LabError::Broken(format!("can't make a certificate: {error}"))
}
