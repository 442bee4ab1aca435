//! Progress for people: bars that are drawn over on a terminal, lines elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use super::colours::Tone;
use super::look::Look;
use super::words::{clean, cut, size, wait};
use crate::clock::{Clock, Time};

/// Characters of a bar.
const BAR: usize = 24;
/// Most letters of a name, and how many it keeps before the bar is left out for it.
const NAME: (usize, usize) = (44, 16);
/// How often the bars are drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Most bars at once: more than are worked on at a time.
const MAX_BARS: usize = 8;
/// How far back the rate looks.
const RATE_OVER: Duration = Duration::from_secs(5);

/// Something under way.
#[derive(Clone, Debug, Default)]
struct Line {
    word: String,
    done: u64,
    total: u64,
    /// Bytes that had come at some moments of late.
    seen: VecDeque<(Time, u64)>,
}

/// Draws what is under way.
pub(super) struct Progress {
    clock: Clock,
    terminal: bool,
    look: Look,
    /// What is drawn, by name.
    lines: BTreeMap<String, Line>,
    /// Lines that stand on the terminal and are drawn over next.
    drawn: usize,
    last: Option<Time>,
}

impl Progress {
    /// Progress on standard error: standard output belongs to what was asked for.
    pub(super) fn on_stderr() -> Self {
        let stderr = std::io::stderr();
        Self {
            clock: Clock::start(),
            terminal: stderr.is_terminal(),
            look: Look::of(&stderr),
            lines: BTreeMap::new(),
            drawn: 0,
            last: None,
        }
    }

    /// How far something is. Elsewhere than on a terminal nothing is said before it is over.
    pub(super) fn moved(&mut self, name: &str, word: &str, done: u64, total: u64) {
        let line = self.lines.entry(name.to_owned()).or_default();
        (line.word, line.done, line.total) = (word.to_owned(), done, total);
        let now = self.clock.now();
        if self.terminal && self.last.is_none_or(|last| now.since(last) >= DRAW_EVERY) {
            self.last = Some(now);
            self.draw(now);
        }
    }

    /// Something is over; `text` stays.
    pub(super) fn over(&mut self, name: &str, tone: Tone, text: &str) {
        self.lines.remove(name);
        let text = format!("{}\n", self.look.colours.paint(tone, &clean(text)));
        self.write(&text);
        if self.terminal {
            self.draw(self.clock.now());
        }
    }

    /// One line that the next takes the place of; nothing elsewhere than on a terminal.
    pub(super) fn say(&mut self, text: &str) {
        if self.terminal {
            let room = self.look.width.unwrap_or(usize::MAX);
            self.write(&format!("{}\n", cut(&clean(text), room)));
            self.drawn = 1;
        }
    }

    /// Takes away what is drawn.
    pub(super) fn end(&mut self) {
        self.lines.clear();
        self.write("");
    }

    fn draw(&mut self, now: Time) {
        let mut text = String::new();
        for line in self.lines.values_mut() {
            line.note(now);
        }
        for (name, line) in self.lines.iter().take(MAX_BARS) {
            text.push_str(&bar(name, line, line.rate(now), self.look));
            text.push('\n');
        }
        let others = self.lines.len().saturating_sub(MAX_BARS);
        if others > 0 {
            let told = format!("… and {others} more");
            text.push_str(&format!("{}\n", self.look.colours.paint(Tone::Faint, &told)));
        }
        self.write(&text);
        self.drawn = text.lines().count();
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

impl Line {
    fn note(&mut self, now: Time) {
        self.seen.push_back((now, self.done));
        while self
            .seen
            .front()
            .is_some_and(|(at, _)| now.since(*at) > RATE_OVER)
        {
            self.seen.pop_front();
        }
    }

    /// Bytes per second of late.
    fn rate(&self, now: Time) -> f64 {
        self.seen.front().map_or(0.0, |(at, before)| {
            let seconds = now.since(*at).as_secs_f64().max(0.1);
            self.done.saturating_sub(*before) as f64 / seconds
        })
    }
}

/// One line, no wider than the terminal: name, bar, bytes, rate, time left.
fn bar(name: &str, line: &Line, rate: f64, look: Look) -> String {
    let left = match line.total.saturating_sub(line.done) {
        0 => String::new(),
        _ if rate < 1.0 => String::new(),
        left => {
            let left = Duration::from_secs_f64((left as f64 / rate).min(1e9));
            format!("  {} left", wait(left))
        }
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
    let rest = format!("{}{figures}", line.word);
    let room = look.width.unwrap_or(usize::MAX);
    let beside = rest.chars().count() + 1;
    let has_gauge = room >= beside + BAR + 1 + NAME.1;
    let gauge = match has_gauge {
        true => format!("{} ", look.colours.paint(Tone::Good, &gauge(line))),
        false => String::new(),
    };
    let taken = beside + if has_gauge { BAR + 1 } else { 0 };
    let width = room.saturating_sub(taken).min(NAME.0);
    match width < NAME.1 {
        true => cut(&format!("{} {rest}", tail(&clean(name), NAME.1)), room),
        false => format!("{:<width$} {gauge}{rest}", tail(&clean(name), width)),
    }
}

fn gauge(line: &Line) -> String {
    let cells = u128::from(line.done.min(line.total)) * BAR as u128;
    let full = cells.checked_div(u128::from(line.total)).unwrap_or(0);
    let full = usize::try_from(full).unwrap_or(BAR);
    format!("{}{}", "━".repeat(full), "─".repeat(BAR - full))
}

/// The text, or as much of its end as there is room for: names differ there.
fn tail(text: &str, room: usize) -> String {
    match text.chars().count() {
        count if count <= room => text.to_owned(),
        count => {
            let kept = text.chars().skip(count + 1 - room);
            ['…'].into_iter().chain(kept).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::colours::Colours;

    const NAMED: &str = "docker.io/library/alpine:3.20";

    fn half() -> Line {
        Line {
            word: "fetching".to_owned(),
            done: 50 << 20,
            total: 100 << 20,
            seen: VecDeque::new(),
        }
    }

    fn drawn(width: Option<usize>, colours: Colours) -> String {
        bar(NAMED, &half(), (10 << 20) as f64, Look { colours, width })
    }

    #[test]
    fn a_bar_tells_bytes_rate_and_time_left() {
        let text = drawn(None, Colours::None);
        let gauge = format!("{}{}", "━".repeat(12), "─".repeat(12));
        let rest = "fetching  50.0 MiB of 100 MiB  10.0 MiB/s  5 s left";
        assert_eq!(text, format!("{NAMED:<44} {gauge} {rest}"));
    }

    #[test]
    fn a_bar_is_never_wider_than_the_terminal_and_gives_up_what_can_be_spared_first() {
        for width in 1..200 {
            let text = drawn(Some(width), Colours::None);
            assert!(text.chars().count() <= width, "{width}: {text}");
        }
        assert!(drawn(Some(100), Colours::None).contains('━'));
        let narrow = drawn(Some(80), Colours::None);
        assert!(!narrow.contains('━') && narrow.contains("5 s left"), "{narrow}");
        assert!(narrow.starts_with("…"), "{narrow}");
        assert!(narrow.contains("alpine:3.20 fetching"), "{narrow}");
    }

    #[test]
    fn each_line_has_its_own_rate_and_a_stalled_one_tells_no_time_left() {
        let at = Time::from_millis;
        let mut line = Line {
            done: 0,
            total: 100 << 20,
            ..half()
        };
        line.note(at(0));
        line.done = 10 << 20;
        line.note(at(1000));
        assert_eq!(line.rate(at(1000)) as u64, 10 << 20);
        for second in 2..10 {
            line.note(at(second * 1000));
        }
        assert_eq!(line.rate(at(9000)) as u64, 0);
        let look = Look::plain();
        assert!(bar(NAMED, &line, line.rate(at(9000)), look).ends_with("  0 B/s"));
    }
}
