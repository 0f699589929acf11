//! Which agent a command asks, with which certificate, and where its answer goes.

use super::{args::ClientArgs, error::CliError, text::View};
use crate::{
    config::{self, LocalAgent},
    json,
    security::{Tls, TlsFiles},
    wire::cli_client::{CliClient, ClientError},
};
use std::{future::Future, io::Write as _, net::SocketAddr, path::Path};

const DEFAULT_ADDRESS: &str = "127.0.0.1:7400";
/// Pages of one list that are followed; more means that the agent goes in circles.
const PAGES: usize = 10_000;

/// What one command works with. It connects only when it asks: a mistake in a file needs no agent to be told.
pub struct Session {
    args: ClientArgs,
    pub view: View,
}

impl Session {
    pub fn new(args: ClientArgs) -> Self {
        Self { args, view: View::of_this_terminal() }
    }

    pub fn json(&self) -> bool {
        self.args.json
    }

    pub async fn connect(&self) -> Result<CliClient, CliError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let target = target(&self.args, variable, Path::new(config::AGENT_FILE))?;
        let tls = match &target.tls {
            None => None,
            Some(files) => Some(Tls::load(files).map_err(|e| CliError::Failed(e.to_string()))?),
        };
        Ok(CliClient::connect(&target.address, tls.as_ref()).await?)
    }

    /// Prints an answer: the object itself as JSON, or what `text` makes of it.
    pub fn answer<M: json::Public>(
        &self,
        message: &M,
        text: impl FnOnce(&M) -> String,
    ) -> Result<(), CliError> {
        if self.json() { print(&format!("{}\n", json::object(message))) } else { print(&text(message)) }
    }

    /// As `answer`, for a list under its name.
    pub fn answer_list<M: json::Public>(
        &self,
        name: &str,
        items: &[M],
        text: impl FnOnce(&[M]) -> String,
    ) -> Result<(), CliError> {
        if self.json() { print(&format!("{}\n", json::list(name, items))) } else { print(&text(items)) }
    }

    /// After a command whose answer says nothing: a sentence, or an empty object.
    pub fn done(&self, sentence: &str) -> Result<(), CliError> {
        if self.json() { print("{}\n") } else { print(&format!("{sentence}\n")) }
    }
}

/// Writes to standard output at once: whoever follows a stream sees each line as it comes.
pub fn print(text: &str) -> Result<(), CliError> {
    print_bytes(text.as_bytes())
}

pub fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Joins all pages of a list. `fetch` gets a page's token and gives its items and the next token.
pub async fn pages<T, F: Future<Output = Result<(Vec<T>, String), ClientError>>>(
    mut fetch: impl FnMut(String) -> F,
) -> Result<Vec<T>, CliError> {
    let mut all = Vec::new();
    let mut token = String::new();
    for _ in 0..PAGES {
        let (items, next) = fetch(token.clone()).await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        if next == token {
            break;
        }
        token = next;
    }
    Err(CliError::Failed("the agent's list has no end; ask another agent with --addr".into()))
}

#[derive(Debug, PartialEq, Eq)]
struct Target {
    address: String,
    tls: Option<TlsFiles>,
}

/// Flags first, then variables, then the file of the agent on this host, then the default.
fn target(
    args: &ClientArgs,
    variable: impl Fn(&str) -> Option<String>,
    local_file: &Path,
) -> Result<Target, CliError> {
    let address = args.addr.clone().or_else(|| variable("HOLDFAST_ADDR"));
    let path = |flag: &Option<std::path::PathBuf>, name: &str| {
        flag.clone().or_else(|| variable(name).map(Into::into))
    };
    let files =
        (path(&args.ca, "HOLDFAST_CA"), path(&args.cert, "HOLDFAST_CERT"), path(&args.key, "HOLDFAST_KEY"));
    let tls = match files {
        (Some(ca), Some(cert), Some(key)) => Some(TlsFiles { ca, cert, key }),
        (None, None, None) => None,
        _ => {
            let what = "--ca, --cert and --key (or HOLDFAST_CA, HOLDFAST_CERT, HOLDFAST_KEY) go together; give all three";
            return Err(CliError::Usage(what.into()));
        }
    };
    let local = match (&address, &tls) {
        (Some(_), Some(_)) => LocalAgent::default(),
        // Somebody who says whom to ask isn't stopped by a mistake in a file about somebody else.
        (Some(_), None) => config::local_agent(local_file).unwrap_or_default().unwrap_or_default(),
        (None, _) => config::local_agent(local_file)?.unwrap_or_default(),
    };
    let tls = tls.or_else(|| local.tls.clone());
    let address = address.unwrap_or_else(|| local_address(&local, tls.is_some()));
    Ok(Target { address, tls })
}

/// Where the agent of this host listens. With TLS its advertised address is better: certificates name that.
fn local_address(local: &LocalAgent, tls: bool) -> String {
    let listens = local.grpc.as_ref().and_then(|grpc| grpc.parse::<SocketAddr>().ok());
    match (listens, &local.advertise) {
        (_, Some(advertise)) if tls => advertise.clone(),
        (Some(grpc), None) if grpc.ip().is_unspecified() => format!("127.0.0.1:{}", grpc.port()),
        (Some(grpc), Some(advertise)) if grpc.ip().is_unspecified() => advertise.clone(),
        (Some(grpc), _) => grpc.to_string(),
        (None, Some(advertise)) => advertise.clone(),
        (None, None) => DEFAULT_ADDRESS.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(args: &ClientArgs, variables: &[(&str, &str)], file: &str) -> Result<Target, CliError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, file).unwrap();
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        target(args, variable, &path)
    }

    #[test]
    fn the_nearest_word_about_the_address_wins() {
        let none = ClientArgs::default();
        let flag = ClientArgs { addr: Some("f:1".into()), ..none.clone() };
        let variable = [("HOLDFAST_ADDR", "v:1")];
        let file = "listen.grpc = \"10.0.0.1:7500\"";
        assert_eq!(found(&flag, &variable, file).unwrap().address, "f:1");
        assert_eq!(found(&none, &variable, file).unwrap().address, "v:1");
        assert_eq!(found(&none, &[], file).unwrap().address, "10.0.0.1:7500");
        assert_eq!(found(&none, &[], "").unwrap().address, "127.0.0.1:7400");
        assert_eq!(found(&none, &[], "listen.grpc = \"0.0.0.0:7500\"").unwrap().address, "127.0.0.1:7500");
        let both = "listen = { grpc = \"0.0.0.0:7500\", advertise = \"web-1:7500\" }";
        assert_eq!(found(&none, &[], both).unwrap().address, "web-1:7500");
        let missing = target(&none, |_| None, Path::new("/none/agent.toml")).unwrap();
        assert_eq!(missing, Target { address: "127.0.0.1:7400".into(), tls: None });
    }

    #[test]
    fn certificates_come_in_threes() {
        let file = "listen = { grpc = \"10.0.0.1:7500\", advertise = \"web-1:7500\" }\n\
                    tls = { ca = \"/a\", cert = \"/b\", key = \"/c\" }";
        let local = found(&ClientArgs::default(), &[], file).unwrap();
        assert_eq!(local.address, "web-1:7500");
        assert_eq!(local.tls, Some(TlsFiles { ca: "/a".into(), cert: "/b".into(), key: "/c".into() }));
        let partial = ClientArgs { ca: Some("/x".into()), ..ClientArgs::default() };
        assert_eq!(found(&partial, &[], "").unwrap_err().exit_code(), 64);
        let rest = [("HOLDFAST_CERT", "/y"), ("HOLDFAST_KEY", "/z")];
        assert_eq!(found(&partial, &rest, "").unwrap().tls.unwrap().ca, Path::new("/x"));
    }

    #[test]
    fn a_mistake_in_the_local_file_is_told_unless_the_address_is_given() {
        let wrong = "listn = 1";
        assert!(
            found(&ClientArgs::default(), &[], wrong)
                .unwrap_err()
                .to_string()
                .contains("did you mean listen")
        );
        let flag = ClientArgs { addr: Some("f:1".into()), ..ClientArgs::default() };
        assert_eq!(found(&flag, &[], wrong).unwrap().address, "f:1");
    }

    #[tokio::test]
    async fn pages_are_followed_to_their_end_and_not_in_circles() {
        let fetch = |token: String| async move {
            Ok(match token.as_str() {
                "" => (vec![1, 2], "b".to_owned()),
                _ => (vec![3], String::new()),
            })
        };
        assert_eq!(pages(fetch).await.unwrap(), [1, 2, 3]);
        let circle = |_| async { Ok((vec![0], "x".to_owned())) };
        assert!(pages(circle).await.is_err());
    }
}
