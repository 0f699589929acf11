//! The network between hosts: loss of the whole, of single hosts, one-way cuts, partitions, and how long a packet takes.
//!
//! Not here: packets that wait for each other (`tcp`), who is up.

use crate::sim::rng::Rng;

/// A chance in 2^32; `CERTAIN` and above always happens.
pub type Chance = u64;
pub const CERTAIN: Chance = 1 << 32;

#[must_use]
pub fn percent(percent: u64) -> Chance {
    percent * CERTAIN / 100
}

/// The way from one host to another, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    pub loss: Chance,
    pub loss_back: Chance,
    least: u64,
    spread: u64,
}

impl Path {
    #[must_use]
    pub fn new(loss: Chance, loss_back: Chance, delay: (u64, u64)) -> Self {
        Self { loss, loss_back, least: delay.0, spread: delay.1 - delay.0 }
    }

    pub fn delay(&self, rng: &mut Rng) -> u64 {
        self.least + if self.spread == 0 { 0 } else { rng.next() % self.spread }
    }

    #[must_use]
    pub fn round_trip(&self) -> u64 {
        2 * self.least + self.spread
    }

    /// Whether neither a packet nor its answer is lost.
    pub fn and_back(&self, rng: &mut Rng) -> bool {
        !rng.chance(self.loss) && !rng.chance(self.loss_back)
    }
}

/// What one host adds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Port {
    /// Of its own packets, each way.
    pub loss: Chance,
    /// Nothing comes in; nothing goes out.
    pub deaf: bool,
    pub mute: bool,
    /// Packets pass between hosts of one side only.
    pub side: u8,
    pub up: bool,
}

impl Port {
    /// Whether its packets pass as the others' do.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.up && !self.deaf && !self.mute && self.side == 0 && self.loss < CERTAIN / 2
    }
}

#[derive(Debug)]
pub struct Net {
    /// Everywhere, each way.
    pub loss: Chance,
    /// One way, in nanoseconds: from, to.
    pub delay: (u64, u64),
    pub ports: Vec<Port>,
}

impl Net {
    #[must_use]
    pub fn new(hosts: usize, loss: Chance) -> Self {
        Self { loss, delay: (200_000, 2_000_000), ports: vec![Port { up: true, ..Port::default() }; hosts] }
    }

    fn one_way(&self, from: u32, to: u32) -> Chance {
        let (a, b) = (&self.ports[from as usize], &self.ports[to as usize]);
        if a.mute || b.deaf || a.side != b.side || !a.up || !b.up {
            return CERTAIN;
        }
        let passes = |p: Chance| CERTAIN - p.min(CERTAIN);
        // Three chances to get through, each below 2^32 + 1.
        let two = u64::try_from((u128::from(passes(self.loss)) * u128::from(passes(a.loss))) >> 32)
            .expect("a chance");
        let all = u64::try_from((u128::from(two) * u128::from(passes(b.loss))) >> 32).expect("a chance");
        CERTAIN - all
    }

    #[must_use]
    pub fn path(&self, from: u32, to: u32) -> Path {
        Path::new(self.one_way(from, to), self.one_way(to, from), self.delay)
    }

    /// Whether packets pass at all, in both directions.
    #[must_use]
    pub fn connects(&self, a: u32, b: u32) -> bool {
        self.one_way(a, b) < CERTAIN && self.one_way(b, a) < CERTAIN
    }
}
