//! What a script can do to hosts: kill, stop, pause and start them, take their power, cut them off.
//!
//! Not here: loss and delays, which are settings of the lab.

use super::*;

impl Lab {
    /// Cuts the network into these and the others; their streams end, as they do after a while.
    pub fn split(&mut self, apart: &[usize]) {
        for a in 0..self.hosts.len() {
            for b in 0..self.hosts.len() {
                if apart.contains(&a) != apart.contains(&b) {
                    self.cuts.insert((a, b));
                    if self.streams.remove(&(a, b)) {
                        self.put(self.now, b, Delivery::Member(Event::StreamEnded { peer: id(a) }));
                    }
                }
            }
        }
    }

    /// Both ends learn that their streams are over.
    pub fn break_streams(&mut self, host: usize, noticed: bool) {
        for other in 0..self.hosts.len() {
            if self.streams.remove(&(host, other)) && noticed {
                // What was said before is read before.
                let last = |a, b| self.last_arrival.get(&(a, b)).copied().unwrap_or_default();
                let last = last(host, other).max(last(other, host)).max(self.now);
                let at = last + Duration::from_millis(1);
                self.put(at, other, Delivery::Member(Event::StreamEnded { peer: id(host) }));
                self.put(at, host, Delivery::Member(Event::StreamEnded { peer: id(other) }));
            }
            self.streams.remove(&(other, host));
        }
    }

    /// The process ends; its host's kernel says so.
    pub fn kill(&mut self, host: usize) {
        self.break_streams(host, true);
        self.hosts[host].up = false;
    }

    /// Nothing says anything any more.
    pub fn power_off(&mut self, host: usize) {
        self.hosts[host].powered = false;
    }

    /// The agent's process stands still; its host and its keeper go on.
    pub fn stop(&mut self, host: usize, ms: u64) {
        self.hosts[host].stopped_at = Some(self.now);
        self.hosts[host].stopped_until = self.now + Duration::from_millis(ms);
    }

    pub fn pause(&mut self, host: usize, ms: u64) {
        self.hosts[host].paused_until = self.now + Duration::from_millis(ms);
    }

    /// The machine as it was when it lost power, its memory intact: for what no restart would explain.
    pub fn reconnect(&mut self, host: usize) {
        self.hosts[host].up = true;
        self.hosts[host].powered = true;
        self.put(self.now, host, Delivery::Tick);
    }

    /// A new life, that knows what the ledger knew and its last incarnation.
    pub fn start(&mut self, host: usize) {
        self.break_streams(host, true);
        let last = self.hosts[host].members.me();
        let me = record(host, last.incarnation.0 + 1, last.session.0 + 100);
        self.queue.retain(|_, (to, _)| *to != host);
        let keeper = self.hosts[host].keeper;
        let log = core::mem::take(&mut self.hosts[host].log);
        self.hosts[host] = Host { log, keeper, ..self.host(me) };
        let view = self.view.clone();
        self.put(self.now, host, Delivery::View(view));
        self.begin(host);
    }
}
