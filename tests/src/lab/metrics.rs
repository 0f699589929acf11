//! What many agents' `/metrics` say, asked without a process for each question.

use super::{Lab, command, error::LabError};
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const ANSWERS_WITHIN: Duration = Duration::from_millis(1_500);
/// An agent that doesn't vote answers after its pause; one after the other, two hundred would take seconds.
const ASKED_AT_ONCE: usize = 20;

/// By the name as it is written there, labels and all.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    values: BTreeMap<String, f64>,
}

impl Metrics {
    #[must_use]
    pub fn value(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or(f64::NAN)
    }

    #[must_use]
    pub fn nodes(&self, state: &str) -> usize {
        // A count; NaN becomes 0.
        self.value(&format!("holdfast_nodes{{state=\"{state}\"}}")) as usize
    }

    #[must_use]
    pub fn view(&self) -> u64 {
        self.value("holdfast_view_epoch") as u64
    }

    #[must_use]
    pub fn has_leader(&self) -> bool {
        self.value("holdfast_has_leader") > 0.0
    }

    #[must_use]
    pub fn leads(&self) -> bool {
        self.value("holdfast_leader") > 0.0
    }

    #[must_use]
    pub fn term(&self) -> u64 {
        self.value("holdfast_term") as u64
    }

    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|l| !l.starts_with('#'));
        let values = lines.filter_map(|l| {
            let (name, value) = l.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self { values: values.collect() }
    }
}

impl Lab {
    /// Of these hosts, `ASKED_AT_ONCE` at a time; `None` where nobody answers.
    pub fn metrics(&self, hosts: &[usize]) -> Result<Vec<Option<Metrics>>, LabError> {
        let namespace = self.network.as_ref().map(super::network::Network::hub);
        let ask = |hosts: &[usize]| -> Result<Vec<Option<Metrics>>, LabError> {
            // A thread of its own for each: it moves into the hub for good.
            namespace.as_deref().map_or(Ok(()), command::move_thread)?;
            Ok(hosts.iter().map(|h| scrape(&self.hosts[*h].http)).collect())
        };
        let share = hosts.len().div_ceil(ASKED_AT_ONCE).max(1);
        std::thread::scope(|scope| {
            let asking: Vec<_> = hosts.chunks(share).map(|share| scope.spawn(|| ask(share))).collect();
            let mut answers = Vec::with_capacity(hosts.len());
            for asked in asking {
                let panicked = |_| LabError::Broken("the thread that asks for metrics panicked".into());
                answers.extend(asked.join().map_err(panicked)??);
            }
            Ok(answers)
        })
    }
}

fn scrape(address: &str) -> Option<Metrics> {
    let address: SocketAddr = address.parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWERS_WITHIN).ok()?;
    stream.set_read_timeout(Some(ANSWERS_WITHIN)).ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.starts_with("HTTP/1.1 200").then(|| Metrics::parse(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_labels() {
        let metrics = Metrics::parse("# HELP x\nholdfast_nodes{state=\"alive\"} 7\nholdfast_view_epoch 3\n");
        assert_eq!((metrics.nodes("alive"), metrics.nodes("dead"), metrics.view()), (7, 0, 3));
    }
}
