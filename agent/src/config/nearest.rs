//! "Did you mean …?": the known word that a mistyped one is nearest to.

/// Edits between two words that still count as a slip of the fingers, for each three letters of the longer one.
const EDITS_PER_THREE_LETTERS: usize = 1;

/// The nearest of `known`, unless none is near.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|k| (distance(word, k), k))
        .filter(|(d, k)| *d <= EDITS_PER_THREE_LETTERS * k.len().max(word.len()).div_ceil(3))
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// How many letters must be put in, taken out, replaced or swapped with their neighbour.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j - 1] + same).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_near_and_other_words_are_not() {
        let known = ["seeds", "expect", "zone"];
        assert_eq!(nearest("seds", known.into_iter()), Some("seeds"));
        assert_eq!(nearest("exepct", known.into_iter()), Some("expect"));
        assert_eq!(nearest("colour", known.into_iter()), None);
        assert_eq!(distance("abcd", "abdc"), 1);
    }
}
