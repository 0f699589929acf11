//! One direction of a TCP connection that carries small messages, one a segment: what arrives when, under loss.
//!
//! Modelled after Linux, for thin streams: in order; a tail loss probe, then retransmission time-outs from 200 ms and a
//! round trip on, doubled each time (RFC 6298; RFC 8985, section 7); a congestion window of one segment after a time-out, so
//! that later messages wait; a hole is repaired at once when something sent later is acknowledged (RACK); a lost
//! acknowledgement costs a needless retransmission, which delivers nothing twice. `calibrate` holds it against measured
//! figures. Both ends are in one struct. Not modelled: bandwidth, receive windows, delayed acknowledgements.
//!
//! Not here: the queue of events, what is carried, and connecting (`streams`).

use super::net::Path;
use crate::sim::rng::Rng;
use std::collections::VecDeque;

const MS: u64 = 1_000_000;
/// The least retransmission time-out, beyond the round trip.
const RTO_MIN: u64 = 200 * MS;
const RTO_MAX: u64 = 120_000 * MS;
/// Segments on their way at first, and at most: as many as ten need no more.
const WINDOW: u32 = 10;

/// What is to be queued for the lane; each comes back by the method of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    Arrive(u32),
    Acked,
    Timer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unsent,
    Flying,
    Lost,
    /// The sender knows that it arrived.
    Acked,
}

#[derive(Debug)]
struct Segment<M> {
    message: Option<M>,
    bytes: u32,
    state: State,
    arrived: bool,
    sent_at: u64,
}

/// Counts what went over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub segments: u64,
    pub bytes: u64,
    pub acks: u64,
}

#[derive(Debug)]
pub struct Lane<M> {
    segments: VecDeque<Segment<M>>,
    /// The number of `segments[0]`.
    first: u32,
    /// The next number that the receiver's application gets.
    expected: u32,
    window: u32,
    backoff: u32,
    /// A tail loss probe is out, so the next time-out is a real one.
    probed: bool,
    deadline: u64,
    timer_queued: bool,
    pub traffic: Traffic,
}

impl<M> Default for Lane<M> {
    fn default() -> Self {
        Self {
            segments: VecDeque::new(),
            first: 0,
            expected: 0,
            window: WINDOW,
            backoff: 0,
            probed: false,
            deadline: 0,
            timer_queued: false,
            traffic: Traffic::default(),
        }
    }
}

impl<M> Lane<M> {
    /// Messages that the receiver doesn't have yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.segments.len() - usize::try_from(self.expected - self.first).expect("in memory")
    }

    pub fn send(
        &mut self,
        now: u64,
        message: M,
        bytes: u32,
        path: &Path,
        rng: &mut Rng,
        out: &mut Vec<(u64, Wake)>,
    ) {
        let segment =
            Segment { message: Some(message), bytes, state: State::Unsent, arrived: false, sent_at: now };
        self.segments.push_back(segment);
        self.pump(now, path, rng, out);
    }

    /// The receiver has segment `number`. What the application gets by that, in order.
    pub fn arrive(
        &mut self,
        now: u64,
        number: u32,
        path: &Path,
        rng: &mut Rng,
        out: &mut Vec<(u64, Wake)>,
        mut deliver: impl FnMut(M),
    ) {
        if let Some(segment) = number.checked_sub(self.first).and_then(|i| self.segments.get_mut(i as usize))
        {
            segment.arrived = true;
        }
        while let Some(next) = self.segments.get_mut((self.expected - self.first) as usize) {
            if !next.arrived {
                break;
            }
            self.expected += 1;
            deliver(next.message.take().expect("each is delivered once"));
        }
        self.traffic.acks += 1;
        if rng.chance(path.loss_back) {
            self.arm(now, path, out);
        } else if self.something_waits() {
            out.push((now + path.delay(rng), Wake::Acked));
        } else {
            // Nothing hangs on the moment at which this acknowledgement arrives.
            self.acked(now, path, rng, out);
        }
    }

    fn something_waits(&self) -> bool {
        self.backoff > 0
            || self.segments.iter().any(|s| matches!(s.state, State::Lost | State::Unsent) || !s.arrived)
    }

    /// The sender learns all that arrived so far.
    pub fn acked(&mut self, now: u64, path: &Path, rng: &mut Rng, out: &mut Vec<(u64, Wake)>) {
        let mut newest = None;
        for segment in self.segments.iter_mut().filter(|s| s.arrived && s.state != State::Acked) {
            segment.state = State::Acked;
            newest = newest.max(Some(segment.sent_at));
        }
        let Some(newest) = newest else { return };
        while self.first < self.expected && self.segments.front().is_some_and(|s| s.state == State::Acked) {
            self.segments.pop_front();
            self.first += 1;
        }
        (self.backoff, self.probed) = (0, false);
        self.window = (self.window + 1).min(WINDOW);
        let reordered = path.round_trip() / 4;
        for segment in self.segments.iter_mut().filter(|s| s.state == State::Flying) {
            if segment.sent_at + reordered < newest {
                segment.state = State::Lost;
            }
        }
        self.deadline = now + RTO_MIN + path.round_trip();
        self.pump(now, path, rng, out);
        if self.segments.iter().any(|s| s.state == State::Flying) {
            self.arm_again(now, out);
        }
    }

    pub fn timer(&mut self, now: u64, path: &Path, rng: &mut Rng, out: &mut Vec<(u64, Wake)>) {
        self.timer_queued = false;
        let outstanding = |s: &Segment<M>| matches!(s.state, State::Flying | State::Lost);
        if !self.segments.iter().any(outstanding) {
            return;
        }
        if now < self.deadline {
            self.arm_again(now, out);
            return;
        }
        let rto = RTO_MIN + path.round_trip();
        if !self.probed && self.backoff == 0 {
            self.probed = true;
            self.deadline = now + rto;
            let last = self.segments.iter().rposition(outstanding).expect("there is one");
            self.transmit(now, last, path, rng, out);
        } else {
            for segment in self.segments.iter_mut().filter(|s| s.state == State::Flying) {
                segment.state = State::Lost;
            }
            self.window = 1;
            self.backoff += 1;
            self.deadline = now + (rto << self.backoff.min(20)).min(RTO_MAX);
            let first = self.segments.iter().position(|s| s.state == State::Lost).expect("there is one");
            self.transmit(now, first, path, rng, out);
        }
        self.arm_again(now, out);
    }

    /// Sends what is lost, then what is new, as far as the window goes.
    fn pump(&mut self, now: u64, path: &Path, rng: &mut Rng, out: &mut Vec<(u64, Wake)>) {
        let flying = self.segments.iter().filter(|s| s.state == State::Flying).count();
        let mut room = (self.window as usize).saturating_sub(flying);
        for wanted in [State::Lost, State::Unsent] {
            for i in 0..self.segments.len() {
                if room == 0 {
                    return;
                }
                if self.segments[i].state == wanted {
                    self.transmit(now, i, path, rng, out);
                    room -= 1;
                }
            }
        }
    }

    fn transmit(&mut self, now: u64, i: usize, path: &Path, rng: &mut Rng, out: &mut Vec<(u64, Wake)>) {
        let number = self.first + u32::try_from(i).expect("few segments");
        let segment = &mut self.segments[i];
        (segment.state, segment.sent_at) = (State::Flying, now);
        self.traffic.segments += 1;
        self.traffic.bytes += u64::from(segment.bytes);
        if rng.chance(path.loss) {
            self.arm(now, path, out);
        } else {
            out.push((now + path.delay(rng), Wake::Arrive(number)));
        }
    }

    /// A timer is needed only once something was lost: until then acknowledgements always come first.
    fn arm(&mut self, now: u64, path: &Path, out: &mut Vec<(u64, Wake)>) {
        if !self.timer_queued {
            self.deadline = self.deadline.max(now + RTO_MIN + path.round_trip());
            self.arm_again(now, out);
        }
    }

    fn arm_again(&mut self, now: u64, out: &mut Vec<(u64, Wake)>) {
        if !self.timer_queued {
            self.timer_queued = true;
            out.push((self.deadline.max(now), Wake::Timer));
        }
    }
}
