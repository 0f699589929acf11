//! Aligned columns without borders.

use super::text::{Tone, clean};

/// Between two columns.
const GAP: &str = "  ";

/// One cell: a text and how it is meant.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        let text: String = text.into();
        Self { text: clean(&text).into_owned(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

/// Rows under headings; every row has as many cells as there are headings.
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        assert_eq!(N, self.headings.len(), "a row has a cell for each heading");
        self.rows.push(cells.into());
    }

    /// Lines that end with a line's end, indented by `indent` spaces.
    #[must_use]
    pub fn render(&self, indent: usize, color: bool) -> String {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|i| {
                let cells = self.rows.iter().map(|row| row[i].text.chars().count());
                cells.max().unwrap_or(0).max(self.headings[i].chars().count())
            })
            .collect();
        let headings: Vec<Cell> = self.headings.iter().map(|h| Cell::toned(*h, Tone::Heading)).collect();
        let mut out = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            // Nothing to align after the last cell that says something: no spaces at a line's end.
            let filled = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |i| i + 1);
            out.push_str(&" ".repeat(indent));
            for (i, cell) in row.iter().take(filled).enumerate() {
                out.push_str(&cell.tone.paint(&cell.text, color));
                if i + 1 < filled {
                    out.push_str(&" ".repeat(widths[i] - cell.text.chars().count()));
                    out.push_str(GAP);
                }
            }
            out.push('\n');
        }
        out
    }
}

/// `NAME  value` lines, for `show`.
#[must_use]
pub fn facts(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{name:<width$}{GAP}{}\n", clean(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_headings() {
        let mut table = Table::new(&["NAME", "STATE", "NOTE"]);
        table.row(["a".into(), Cell::toned("dead", Tone::Bad), "x".into()]);
        table.row(["längster".into(), "alive".into(), "".into()]);
        assert_eq!(
            table.render(2, false),
            "  NAME      STATE  NOTE\n  a         dead   x\n  längster  alive\n"
        );
    }

    #[test]
    fn colour_takes_no_room() {
        let mut table = Table::new(&["A", "B"]);
        table.row([Cell::toned("x", Tone::Bad), "y".into()]);
        assert_eq!(table.render(0, true), "\x1b[1mA\x1b[0m  \x1b[1mB\x1b[0m\n\x1b[1;31mx\x1b[0m  y\n");
    }

    #[test]
    fn a_strangers_text_cannot_steer_the_terminal() {
        let mut table = Table::new(&["A"]);
        table.row(["\x1b[2J\n".into()]);
        assert_eq!(table.render(0, false), "A\n\u{fffd}[2J\u{fffd}\n");
    }
}
