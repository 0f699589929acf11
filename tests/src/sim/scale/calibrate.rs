//! Whether the model of TCP behaves like TCP: the experiment of which figures were measured, played in the simulator.
//!
//! Measured between two Linux namespaces, frames dropped at random on receipt: 100 bytes every 400 ms on 20 connections
//! for 75 s or so; the gaps that the receiver sees. At 20 % each way 58 of 4,069 gaps were longer than 1.0 s, 19 longer
//! than 1.5 s, the longest 21 s, and 5 % of the time was staler than 1.0 s; at 30 %: 167 of 2,676, 101, 69 s, 34 %.

use super::{
    net::{Path, percent},
    queue::Queue,
    tcp::{Lane, Wake},
};
use crate::sim::rng::Rng;

const MS: u64 = 1_000_000;
const EVERY: u64 = 400 * MS;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gaps {
    pub count: u64,
    pub over_1000_ms: u64,
    pub over_1500_ms: u64,
    pub longest_ms: u64,
    /// Of the time, in thousandths, in which the newest message was older than 1.0 s.
    pub stale_permille: u64,
}

enum What {
    Send(usize),
    Wake(usize, Wake),
}

/// `connections` of them for `seconds`.
#[must_use]
pub fn measure(loss_percent: u64, connections: usize, seconds: u64, seed: u64) -> Gaps {
    let mut rng = Rng::new(seed);
    let path = Path::new(percent(loss_percent), percent(loss_percent), (50_000, 100_000));
    let mut lanes: Vec<Lane<()>> = (0..connections).map(|_| Lane::default()).collect();
    let mut heard = vec![0; connections];
    let (mut gaps, mut stale) = (Gaps::default(), 0);
    let mut queue = Queue::default();
    for connection in 0..connections {
        queue.push(rng.next() % EVERY, What::Send(connection));
    }
    let (end, mut out) = (seconds * 1_000 * MS, Vec::new());
    while let Some((now, what)) = queue.pop().filter(|(at, _)| *at < end) {
        let connection = match what {
            What::Send(connection) => {
                queue.push(now + EVERY, What::Send(connection));
                lanes[connection].send(now, (), 100, &path, &mut rng, &mut out);
                connection
            }
            What::Wake(connection, Wake::Arrive(number)) => {
                let deliver = |()| {
                    let gap = now - core::mem::replace(&mut heard[connection], now);
                    gaps.count += 1;
                    gaps.over_1000_ms += u64::from(gap > 1_000 * MS);
                    gaps.over_1500_ms += u64::from(gap > 1_500 * MS);
                    gaps.longest_ms = gaps.longest_ms.max(gap / MS);
                    stale += gap.saturating_sub(1_000 * MS);
                };
                lanes[connection].arrive(now, number, &path, &mut rng, &mut out, deliver);
                connection
            }
            What::Wake(connection, Wake::Acked) => {
                lanes[connection].acked(now, &path, &mut rng, &mut out);
                connection
            }
            What::Wake(connection, Wake::Timer) => {
                lanes[connection].timer(now, &path, &mut rng, &mut out);
                connection
            }
        };
        queue_all(&mut queue, connection, &mut out);
    }
    stale += heard.iter().map(|at| (end - at).saturating_sub(1_000 * MS)).sum::<u64>();
    gaps.stale_permille = stale / (end / 1_000 * connections as u64);
    gaps
}

fn queue_all(queue: &mut Queue<What>, connection: usize, out: &mut Vec<(u64, Wake)>) {
    for (at, wake) in out.drain(..) {
        queue.push(at, What::Wake(connection, wake));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_loss_every_message_comes_in_time() {
        let gaps = measure(0, 20, 75, 1);
        assert!(gaps.count > 3_700 && gaps.longest_ms < 402, "{gaps:?}");
        assert_eq!((gaps.over_1000_ms, gaps.stale_permille), (0, 0));
    }

    /// Against the measured figures, over many more connections than those had: shares within a factor of two.
    #[test]
    fn it_stalls_as_much_as_tcp_does() {
        for (loss, over_1000, over_1500, stale, of) in [(20, 58, 19, 50, 4_069), (30, 167, 101, 340, 2_676)] {
            let gaps = measure(loss, 400, 75, 7);
            let share = |count: u64| count * of / gaps.count;
            println!(
                "{loss} %: of {of} gaps {} over 1.0 s (measured {over_1000}), {} over 1.5 s ({over_1500}), \
                 longest {} ms, {} permille of the time stale ({stale}); {gaps:?}",
                share(gaps.over_1000_ms),
                share(gaps.over_1500_ms),
                gaps.longest_ms,
                gaps.stale_permille
            );
            let rough = |is: u64, was: u64| is * 2 >= was && is <= was * 2;
            assert!(rough(share(gaps.over_1000_ms), over_1000), "over 1.0 s at {loss} %");
            assert!(rough(share(gaps.over_1500_ms), over_1500), "over 1.5 s at {loss} %");
            assert!(rough(gaps.stale_permille, stale), "stale at {loss} %");
        }
    }
}
