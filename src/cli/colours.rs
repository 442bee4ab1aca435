//! Colours of the terminal, by what they say.

use std::io::IsTerminal;

/// Whether the picture has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    /// For a terminal.
    Ansi,
    /// For a pipe or a file, or who wants none.
    None,
}

/// What a colour says.
#[derive(Clone, Copy)]
pub(super) enum Tone {
    Name,
    Good,
    Warning,
    Bad,
    Faint,
}

impl Colours {
    /// Those that standard output can show.
    pub(super) fn of_stdout() -> Self {
        Self::of(&std::io::stdout())
    }

    /// Those that a stream can show, unless `NO_COLOR` is set.
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        match stream.is_terminal() && !plain {
            true => Self::Ansi,
            false => Self::None,
        }
    }

    /// The text in the colour of a tone.
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Name => "1",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
        };
        match self {
            Self::Ansi if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Ansi | Self::None => text.to_owned(),
        }
    }
}
