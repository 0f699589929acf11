//! The two marks: how many of a subject's observers must agree. A function of how many it has, and of nothing else.
//!
//! At H of them its death is certain enough; up to L it is noise; between the two something goes on that more reports
//! will settle (Rapid, Suresh et al., USENIX ATC 2018, section 4.2). The higher H, the more bad observers it takes to
//! kill a healthy node, and the more good ones may be gone before a dead one is missed; docs/adr/0008-cut.md weighs it.

/// Of a subject with so many distinct observers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    pub high: usize,
    pub low: usize,
    /// Under no answers is a subject dead with fewer.
    majority: usize,
}

impl Marks {
    pub fn of(observers: usize) -> Self {
        let majority = observers / 2 + 1;
        let (high, low) = match observers {
            0 | 1 => (1, 0),
            2 | 3 => (2, 1),
            4 => (3, 1),
            5..=9 => (majority, 2),
            _ => (9, 3),
        };
        Self { high, low, majority }
    }

    /// How many must say so once all were asked and `answers` of them said anything: four fifths of these, and never
    /// less than a majority of the observers.
    pub fn polled(self, answers: usize) -> usize {
        (answers * 4).div_ceil(5).max(self.majority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_as_the_design_has_them() {
        let table: Vec<(usize, usize)> =
            (1..=10).map(Marks::of).map(|marks| (marks.high, marks.low)).collect();
        assert_eq!(table, [(1, 0), (2, 1), (2, 1), (3, 1), (3, 2), (4, 2), (4, 2), (5, 2), (5, 2), (9, 3)]);
    }

    #[test]
    fn no_single_observer_ever_kills_where_there_are_two() {
        assert!((2..=10).all(|k| Marks::of(k).high >= 2 && Marks::of(k).low < Marks::of(k).high));
        assert!((2..=10).all(|k| (0..=k).all(|answers| Marks::of(k).polled(answers) >= 2)));
    }

    #[test]
    fn a_poll_wants_four_fifths_and_a_majority() {
        assert_eq!(Marks::of(10).polled(10), 8);
        assert_eq!(Marks::of(10).polled(9), 8);
        assert_eq!(Marks::of(10).polled(4), 6, "silence abstains, but not all of it");
    }
}
