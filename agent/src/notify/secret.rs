//! Secrets of channels: read on the host that sends, when it sends, and never shown.

use super::Refused;
use cluster_core::ledger::SecretRef;
use std::fmt;
use tokio::io::AsyncReadExt as _;

/// A secret's file is read no further than this.
const SECRET_BYTES: u64 = 64 * 1024;

/// Can be used, not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Secret {
    /// # Errors
    /// It isn't where it should be on this host.
    pub async fn read(from: &SecretRef) -> Result<Self, Refused> {
        let text = match from {
            SecretRef::File(path) => read_file(path).await?,
            SecretRef::Env(name) => std::env::var(name).map_err(|cause| {
                let text =
                    format!("the secret's variable {name} can't be read: {cause}; set it for the agent");
                Refused::for_good(text)
            })?,
            SecretRef::Inline(text) => text.clone(),
        };
        Ok(Self::new(&text))
    }

    /// Without the line end that a file has.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Worth another try: a file may be put there, and another leader has its own.
async fn read_file(path: &str) -> Result<String, Refused> {
    let read = async {
        let mut text = String::new();
        tokio::fs::File::open(path).await?.take(SECRET_BYTES).read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    read.await.map_err(|cause| {
        Refused::for_now(format!(
            "the secret's file {path} can't be read on this host: {cause}; put it on every host that may lead"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_is_read_where_it_lies_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hook");
        std::fs::write(&path, "whsec_c2VjcmV0\n").unwrap();
        let secret = Secret::read(&SecretRef::File(path.display().to_string())).await.unwrap();
        assert_eq!(secret.expose(), "whsec_c2VjcmV0");
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
        let inline = SecretRef::Inline("whsec_c2VjcmV0".into());
        assert!(!format!("{inline:?}").contains("c2VjcmV0"));
    }

    #[tokio::test]
    async fn a_missing_secret_says_where_it_was_looked_for() {
        let missing = Secret::read(&SecretRef::File("/no/such/secret".into())).await.unwrap_err();
        assert!(missing.retry && missing.reason.contains("/no/such/secret"));
        let unset = Secret::read(&SecretRef::Env("HOLDFAST_NO_SUCH".into())).await.unwrap_err();
        assert!(unset.reason.contains("HOLDFAST_NO_SUCH"));
    }
}
