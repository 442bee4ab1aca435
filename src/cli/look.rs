//! How answers look where they are shown.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use super::colours::Colours;

/// Colours and room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Whether there are colours.
    pub(super) colours: Colours,
    /// Letters in a line, on a terminal. Elsewhere there is no end to a line: scripts cut for themselves.
    pub(super) width: Option<usize>,
}

impl Look {
    /// What standard output can show.
    pub(super) fn of_stdout() -> Self {
        Self::of(&std::io::stdout())
    }

    /// What a stream can show.
    pub(super) fn of(stream: &(impl IsTerminal + AsFd)) -> Self {
        let size = rustix::termios::tcgetwinsize(stream).ok();
        let columns = size.map(|size| usize::from(size.ws_col));
        Self {
            colours: Colours::of(stream),
            width: columns.filter(|columns| *columns > 0),
        }
    }

    /// For a pipe or a file.
    pub(super) const fn plain() -> Self {
        Self {
            colours: Colours::None,
            width: None,
        }
    }
}
