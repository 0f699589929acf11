//! A sign of life to a watchdog, as services in the manner of healthchecks take it: its page is asked for, and any
//! 2xx is enough. Not here: when, and whether anybody could be told (cluster-core's `alerting`).

use super::{Refused, http, secret::Secret};
use cluster_core::ledger::SecretRef;
use std::time::Duration;

/// # Errors
/// The URL isn't where it should be, or its host said no, or nothing in time.
pub async fn sign(url: &SecretRef, within: Duration) -> Result<(), Refused> {
    let url = Secret::read(url).await?;
    let request = http::Request::get(url.expose());
    let asking = http::exchange(&request, None, http::judge);
    match tokio::time::timeout(within, asking).await {
        Ok(answer) => answer.map(|_| ()),
        Err(_) => Err(Refused::no_answer(&http::host(url.expose()), within)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::stand_in::{self, reply};

    #[tokio::test]
    async fn its_page_is_asked_for_and_the_token_stays_hidden() {
        let server = stand_in::start(|_| reply(200, "OK")).await;
        let url = SecretRef::Inline(format!("{}/ping/token-of-mine", server.url));
        sign(&url, Duration::from_secs(5)).await.unwrap();
        let got = server.received().remove(0);
        assert_eq!((got.method.as_str(), got.path.as_str()), ("GET", "/ping/token-of-mine"));
        let gone = stand_in::start(|got| reply(404, &format!("no {}", got.path))).await;
        let url = SecretRef::Inline(format!("{}/ping/token-of-mine", gone.url));
        let refused = sign(&url, Duration::from_secs(5)).await.unwrap_err();
        assert!(refused.reason.contains("404") && !refused.reason.contains("token-of-mine"), "{refused}");
        let missing = SecretRef::File("/no/such/url".to_owned());
        assert!(sign(&missing, Duration::from_secs(5)).await.unwrap_err().reason.contains("/no/such/url"));
    }
}
