//! Tables for people: aligned, in the width there is.

use super::colours::{Colours, Tone};
use super::look::Look;
use super::words::{clean, cut};

/// Spaces between columns.
const GAP: usize = 2;
/// Letters that a name keeps however narrow the terminal is.
const LEAST: usize = 16;

/// A column.
#[derive(Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    right: bool,
    /// Left out where there is no room; the highest first, and 0 never.
    spare: u8,
}

impl Column {
    /// A column of names.
    pub(super) const fn left(title: &'static str) -> Self {
        Self {
            title,
            right: false,
            spare: 0,
        }
    }

    /// A column of figures.
    pub(super) const fn right(title: &'static str) -> Self {
        Self {
            title,
            right: true,
            spare: 0,
        }
    }

    /// One that is left out where there is no room, before those with a lower number.
    pub(super) const fn spare(self, spare: u8) -> Self {
        Self { spare, ..self }
    }
}

/// A table.
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(super) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, with a text for every column.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows
            .push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    /// Draws it; nothing if it has no rows.
    pub(super) fn draw(&self, look: Look) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let (columns, widths) = self.fit(look.width);
        let titles: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.title.to_owned())
            .collect();
        let mut out = self.line(&titles, &columns, &widths, |text, _| {
            look.colours.paint(Tone::Faint, &text)
        });
        for row in &self.rows {
            out += &self.line(row, &columns, &widths, |text, column| match column {
                0 => look.colours.paint(Tone::Name, &text),
                _ => text,
            });
        }
        out
    }

    /// The columns there is room for, and how wide each of all is.
    fn fit(&self, room: Option<usize>) -> (Vec<usize>, Vec<usize>) {
        let widest = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            let title = self.columns[column].title.chars().count();
            cells.max().unwrap_or(0).max(title)
        };
        let mut widths: Vec<usize> = (0..self.columns.len()).map(widest).collect();
        let mut columns: Vec<usize> = (0..self.columns.len()).collect();
        let Some(room) = room else {
            return (columns, widths);
        };
        let total = |columns: &[usize], widths: &[usize]| {
            columns.iter().map(|column| widths[*column] + GAP).sum::<usize>() - GAP
        };
        while total(&columns, &widths) > room {
            let spare = columns
                .iter()
                .copied()
                .max_by_key(|column| self.columns[*column].spare);
            let Some(spare) = spare.filter(|column| self.columns[*column].spare > 0) else {
                break;
            };
            columns.retain(|column| *column != spare);
        }
        let over = total(&columns, &widths).saturating_sub(room);
        widths[0] = widths[0].saturating_sub(over).max(LEAST.min(widths[0]));
        (columns, widths)
    }

    fn line(
        &self,
        cells: &[String],
        columns: &[usize],
        widths: &[usize],
        paint: impl Fn(String, usize) -> String,
    ) -> String {
        let mut out = String::new();
        for (place, column) in columns.iter().enumerate() {
            let (text, width) = (cut(&cells[*column], widths[*column]), widths[*column]);
            let fill = " ".repeat(width.saturating_sub(text.chars().count()));
            let last = place + 1 == columns.len();
            let painted = paint(text, *column);
            match (self.columns[*column].right, last) {
                (true, _) => out += &format!("{fill}{painted}"),
                (false, true) => out += &painted,
                (false, false) => out += &format!("{painted}{fill}"),
            }
            if !last {
                out += &" ".repeat(GAP);
            }
        }
        out.push('\n');
        out
    }
}

/// A line below a table.
pub(super) fn summary(text: &str, colours: Colours) -> String {
    format!("{}\n", colours.paint(Tone::Faint, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[
            Column::left("NAME"),
            Column::right("SIZE").spare(1),
            Column::left("FROM").spare(2),
        ]);
        table.row(["docker.io/library/alpine", "9 B", "docker.io"].map(str::to_owned));
        table.row(["a\u{1b}[31m", "10.0 MiB", "mirror"].map(str::to_owned));
        table
    }

    fn drawn(width: Option<usize>) -> String {
        table().draw(Look {
            colours: Colours::None,
            width,
        })
    }

    #[test]
    fn a_table_is_aligned_and_no_line_ends_with_spaces() {
        let picture = [
            "NAME                          SIZE  FROM",
            "docker.io/library/alpine       9 B  docker.io",
            "a\u{fffd}[31m                    10.0 MiB  mirror",
            "",
        ];
        assert_eq!(drawn(None), picture.join("\n"));
        assert_eq!(Table::new(&[Column::left("A")]).draw(Look::plain()), "");
    }

    #[test]
    fn a_narrow_terminal_leaves_out_what_can_be_spared_and_cuts_names() {
        assert_eq!(drawn(Some(200)), drawn(None));
        let narrow = drawn(Some(36));
        assert!(!narrow.contains("FROM") && narrow.contains("SIZE"), "{narrow}");
        let narrower = drawn(Some(20));
        let lines: Vec<&str> = narrower.lines().collect();
        assert_eq!(
            lines,
            ["NAME", "docker.io/library/a…", "a\u{fffd}[31m"].map(|line| line)
        );
        assert!(drawn(Some(1)).contains("docker.io/libra…"));
    }
}
