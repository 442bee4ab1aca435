//! A table of what was measured: medians with their spread, ratios, and the goal beside each ratio.
//!
//! A goal that is missed is marked and nothing more: wall times are for people to judge.

use std::fmt::Write as _;

use crate::machine::median;

/// What a figure ought to be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
}

impl Goal {
    fn words(self, value: f64) -> String {
        let (sign, goal, met) = match self {
            Self::AtLeast(goal) => ('≥', goal, value >= goal),
            Self::AtMost(goal) => ('≤', goal, value <= goal),
        };
        let mark = if met { "met" } else { "MISSED" };
        format!("{sign} {goal}: {mark}")
    }
}

/// One line: what was measured of each contestant, a value for each round.
pub(crate) struct Row {
    name: String,
    digits: usize,
    values: Vec<Vec<f64>>,
    ratios: Vec<(usize, Goal)>,
    itself: Option<Goal>,
}

impl Row {
    /// A line without goals; `digits` after the point.
    pub(crate) fn new(name: impl Into<String>, digits: usize, contestants: usize) -> Self {
        Self {
            name: name.into(),
            digits,
            values: vec![Vec::new(); contestants],
            ratios: Vec::new(),
            itself: None,
        }
    }

    /// What the first contestant's figure divided by that of contestant `other` ought to be.
    pub(crate) fn to(mut self, other: usize, goal: Goal) -> Self {
        self.ratios.push((other, goal));
        self
    }

    /// What the first contestant's figure itself ought to be.
    pub(crate) fn itself(mut self, goal: Goal) -> Self {
        self.itself = Some(goal);
        self
    }

    /// Notes the figure of a contestant's turn.
    pub(crate) fn push(&mut self, contestant: usize, value: f64) {
        self.values[contestant].push(value);
    }

    /// The median of Seawall's figure divided by the other's, turns side by side.
    fn ratio(&self, other: usize) -> Option<f64> {
        let pairs = self.values.first()?.iter().zip(self.values.get(other)?);
        let ratio = median(pairs.map(|(this, other)| this / other));
        ratio.is_finite().then_some(ratio)
    }

    fn cell(&self, contestant: usize) -> String {
        let values = &self.values[contestant];
        let digits = self.digits;
        let middle = median(values.iter().copied());
        if middle.is_nan() {
            return String::new();
        }
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{middle:.digits$} [{least:.digits$}–{most:.digits$}]")
    }
}

/// Lines about the same contestants; Seawall is the first of them.
pub(crate) struct Table {
    title: &'static str,
    contestants: Vec<&'static str>,
    rows: Vec<Row>,
}

impl Table {
    /// A table without lines.
    pub(crate) fn new(title: &'static str, contestants: &[&'static str]) -> Self {
        Self {
            title,
            contestants: contestants.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds lines.
    pub(crate) fn add(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
    }

    /// The table in Markdown, its columns aligned.
    pub(crate) fn print(&self) -> String {
        let mut lines = vec![self.head()];
        lines.extend(self.rows.iter().map(|row| self.line(row)));
        let used = |column: &usize| lines[1..].iter().any(|line| !line[*column].is_empty());
        let columns: Vec<usize> = (0..lines[0].len()).filter(used).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let mut text = format!("### {}\n\n", self.title);
        for (number, line) in lines.iter().enumerate() {
            for column in &columns {
                let width = width(*column).unwrap_or(0);
                let _ = write!(text, "| {:<width$} ", line[*column]);
            }
            text.push_str("|\n");
            if number == 0 {
                for column in &columns {
                    let _ = write!(text, "|{:-<1$}", "", width(*column).unwrap_or(0) + 2);
                }
                text.push_str("|\n");
            }
        }
        text
    }

    fn head(&self) -> Vec<String> {
        let mut head = vec!["median [spread]".to_owned()];
        head.extend(self.contestants.iter().map(|name| (*name).to_owned()));
        head.push("goal".to_owned());
        head.extend(self.contestants[1..].iter().map(|name| format!("of {name}")));
        head
    }

    fn line(&self, row: &Row) -> Vec<String> {
        let mut line = vec![row.name.clone()];
        line.extend((0..self.contestants.len()).map(|contestant| row.cell(contestant)));
        let itself = median(row.values[0].iter().copied());
        line.push(row.itself.map_or_else(String::new, |goal| goal.words(itself)));
        for other in 1..self.contestants.len() {
            let goal = row.ratios.iter().find(|(of, _)| *of == other);
            line.push(match (row.ratio(other), goal) {
                (Some(ratio), Some((_, goal))) => format!("{ratio:.2} ({})", goal.words(ratio)),
                (Some(ratio), None) => format!("{ratio:.2}"),
                (None, _) => String::new(),
            });
        }
        line
    }
}
