//! Progress for people: bars that are drawn over on a terminal, lines elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use super::colours::{Colours, Tone};
use super::words::size;
use crate::clock::{Clock, Time};

/// Characters of a bar.
const BAR: u64 = 24;
/// How often the bars are drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Most bars at once: more than are worked on at a time.
const MAX_BARS: usize = 8;
/// How far back the rate looks.
const RATE_OVER: Duration = Duration::from_secs(5);

/// Something under way.
#[derive(Clone, Debug)]
struct Line {
    word: String,
    done: u64,
    total: u64,
}

/// Draws what is under way.
pub(super) struct Progress {
    clock: Clock,
    terminal: bool,
    colours: Colours,
    /// What is drawn, by name.
    lines: BTreeMap<String, Line>,
    /// Lines that stand on the terminal and are drawn over next.
    drawn: usize,
    last: Option<Time>,
    /// Bytes that had come at some moments of late.
    seen: std::collections::VecDeque<(Time, u64)>,
    /// Bytes that came for what is over.
    over: u64,
}

impl Progress {
    /// Progress on standard error: standard output belongs to what was asked for.
    pub(super) fn on_stderr() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            clock: Clock::start(),
            terminal,
            colours: match terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()) {
                true => Colours::Ansi,
                false => Colours::None,
            },
            lines: BTreeMap::new(),
            drawn: 0,
            last: None,
            seen: std::collections::VecDeque::new(),
            over: 0,
        }
    }

    /// How far something is. Elsewhere than on a terminal nothing is said before it is over.
    pub(super) fn moved(&mut self, name: &str, word: &str, done: u64, total: u64) {
        let word = word.to_owned();
        self.lines.insert(name.to_owned(), Line { word, done, total });
        let now = self.clock.now();
        if self.terminal && self.last.is_none_or(|last| now.since(last) >= DRAW_EVERY) {
            self.last = Some(now);
            self.draw(now);
        }
    }

    /// Something is over; `text` stays.
    pub(super) fn over(&mut self, name: &str, tone: Tone, text: &str) {
        if let Some(line) = self.lines.remove(name) {
            self.over += line.done;
        }
        let text = format!("{}\n", self.colours.paint(tone, text));
        self.write(&text);
        if self.terminal {
            self.draw(self.clock.now());
        }
    }

    /// Takes the bars away.
    pub(super) fn end(&mut self) {
        self.lines.clear();
        self.write("");
    }

    fn draw(&mut self, now: Time) {
        let done = self.over + self.lines.values().map(|line| line.done).sum::<u64>();
        self.seen.push_back((now, done));
        while self
            .seen
            .front()
            .is_some_and(|(at, _)| now.since(*at) > RATE_OVER)
        {
            self.seen.pop_front();
        }
        let rate = self.seen.front().map_or(0.0, |(at, before)| {
            let seconds = now.since(*at).as_secs_f64().max(0.1);
            done.saturating_sub(*before) as f64 / seconds
        });
        let mut text = String::new();
        let mut drawn = 0;
        for (name, line) in self.lines.iter().take(MAX_BARS) {
            text.push_str(&bar(name, line, rate, self.colours));
            text.push('\n');
            drawn += 1;
        }
        self.write(&text);
        self.drawn = drawn;
    }

    /// Writes over what was drawn. A terminal that went away is no failure.
    fn write(&mut self, text: &str) {
        let mut out = std::io::stderr().lock();
        let up = match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        };
        self.drawn = 0;
        let _ = out
            .write_all(format!("{up}{text}").as_bytes())
            .and_then(|()| out.flush());
    }
}

/// One line: name, bar, bytes, rate, time left.
fn bar(name: &str, line: &Line, rate: f64, colours: Colours) -> String {
    let full = line
        .done
        .min(line.total)
        .saturating_mul(BAR)
        .checked_div(line.total)
        .unwrap_or(0);
    let gauge = format!(
        "{}{}",
        "━".repeat(full as usize),
        "─".repeat((BAR - full) as usize)
    );
    let left = match line.total.saturating_sub(line.done) {
        0 => String::new(),
        _ if rate < 1.0 => String::new(),
        left => format!(
            "  {} left",
            span(Duration::from_secs_f64((left as f64 / rate).min(1e9)))
        ),
    };
    let short: String = match name.chars().count() {
        0..=44 => name.to_owned(),
        count => format!("…{}", name.chars().skip(count - 43).collect::<String>()),
    };
    let figures = match line.total {
        0 => String::new(),
        total => format!(
            "  {} of {}  {}/s{left}",
            size(line.done),
            size(total),
            size(rate as u64)
        ),
    };
    format!(
        "{short:<44} {} {}{figures}",
        colours.paint(Tone::Good, &gauge),
        line.word
    )
}

/// A span of time for people.
pub(super) fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_bytes_rate_and_time_left() {
        let line = Line {
            word: "fetching".to_owned(),
            done: 50 << 20,
            total: 100 << 20,
        };
        let text = bar(
            "docker.io/library/alpine:3.20",
            &line,
            (10 << 20) as f64,
            Colours::None,
        );
        assert!(
            text.contains(&format!("{}{}", "━".repeat(12), "─".repeat(12))),
            "{text}"
        );
        assert!(
            text.ends_with("fetching  50.0 MiB of 100 MiB  10.0 MiB/s  5 s left"),
            "{text}"
        );
    }

    #[test]
    fn spans_are_short() {
        for (seconds, text) in [(5, "5 s"), (300, "5 min"), (86_400, "24 h"), (864_000, "10 days")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
