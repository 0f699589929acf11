//! Whom a certificate names. That it is one of our authority's, TLS has checked.

use tonic::Request;
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

/// What the client's certificate calls it; None without TLS.
pub fn shown_names<Q>(request: &Request<Q>) -> Option<Vec<String>> {
    let chain = request.peer_certs()?;
    Some(chain.first().map(|certificate| certificate_names(certificate)).unwrap_or_default())
}

/// The common name first, then what the subject is called otherwise.
fn certificate_names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let mut names: Vec<String> = common.map(str::to_owned).collect();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        names.extend(alternatives.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
                Some((*name).to_owned())
            }
            _ => None,
        }));
    }
    names.retain(|name| !name.is_empty());
    names
}
