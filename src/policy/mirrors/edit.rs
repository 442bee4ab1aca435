//! From what a file says to what it should say, and back.
//!
//! What a file was before is kept beside it, and decides on the way back: if nobody else has changed the file
//! since, it becomes what it was, to the byte; else only what is marked is taken out.

use super::{How, Piece, block, json};
use crate::oci::Digest;

/// What a marked text begins with.
pub(super) const MARK: &str = "# Written by `seawall mirror-config`";
/// Hex digits of the mark's hash: an edit by hand is found out, no forgery.
const SHORT: usize = 16;

/// What stands on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// The file.
    pub now: Option<&'a str>,
    /// The file as it was before anything of ours came into it.
    pub before: Option<&'a str>,
    /// What was put into it, where it cannot say so itself (JSON has no comments).
    pub record: Option<&'a str>,
}

/// What is to be done about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It is as it should be.
    Nothing,
    /// Write it, after what is kept beside it.
    Write {
        /// The file.
        text: String,
        /// What was put into it.
        record: Option<String>,
        /// What it was, if nothing of ours was in it.
        backup: Option<String>,
    },
    /// Take it away.
    Delete,
}

/// Why a file cannot be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// What was written was changed since.
    #[error(
        "what `seawall mirror-config` wrote there was changed by hand since; take the change elsewhere, remove what \
         is marked, and run this again"
    )]
    ByHand,
    /// It says something else about the same thing.
    #[error("it has `{0}` already; remove that, or add the mirror to it by hand")]
    Taken(String),
    /// It does not read as what it should be.
    #[error("it is not understood: {0}; put it right first, or add the mirror by hand")]
    Unreadable(String),
}

/// A file that says `piece` and nothing else, without a mark: what people are shown.
pub fn shown(piece: &Piece) -> String {
    match piece.how {
        How::Yaml => block::below_key(&piece.text),
        How::Whole | How::Toml | How::Json | How::Flags => piece.text.clone(),
    }
}

/// What makes the file say `piece`. Nothing to do if it does.
///
/// # Errors
/// See [`Trouble`].
pub fn put(piece: &Piece, found: Found<'_>) -> Result<Edit, Trouble> {
    let now = found.now.unwrap_or_default();
    let (text, record) = match piece.how {
        How::Flags => return Ok(Edit::Nothing),
        How::Whole => {
            if found.now.map(of_ours) == Some(Ours::Changed) {
                return Err(Trouble::ByHand);
            }
            (marked(&piece.text), None)
        }
        How::Toml | How::Yaml => (block::put(piece, now)?, None),
        How::Json => {
            let (text, record) = json::put(&piece.text, now, found.record)?;
            (text, Some(record))
        }
    };
    if found.now == Some(text.as_str()) {
        return Ok(Edit::Nothing);
    }
    let foreign = match piece.how {
        How::Whole => of_ours(now) == Ours::No,
        How::Toml | How::Yaml => block::take(now)?.is_none(),
        How::Json | How::Flags => found.record.is_none(),
    };
    let backup = found.now.filter(|_| foreign).map(str::to_owned);
    Ok(Edit::Write { text, record, backup })
}

/// What makes the file what it would be had nothing ever been put into it. Nothing to do if nothing was.
///
/// # Errors
/// See [`Trouble`].
pub fn take(piece: &Piece, found: Found<'_>) -> Result<Edit, Trouble> {
    let Some(now) = found.now else {
        return Ok(Edit::Nothing);
    };
    let before = found.before.filter(|before| !before.is_empty());
    let text = match piece.how {
        How::Flags => return Ok(Edit::Nothing),
        How::Whole => match of_ours(now) {
            Ours::No => return Ok(Edit::Nothing),
            Ours::Changed => return Err(Trouble::ByHand),
            Ours::Whole => before.unwrap_or_default().to_owned(),
        },
        How::Toml | How::Yaml => match block::take(now)? {
            None => return Ok(Edit::Nothing),
            // Cutting a block out may leave a line end that was not there.
            Some(text) => before
                .filter(|before| before.trim_end() == text.trim_end())
                .map_or(text, str::to_owned),
        },
        How::Json => match json::take(now, found.before, found.record)? {
            None => return Ok(Edit::Nothing),
            Some(text) => text,
        },
    };
    Ok(match text.is_empty() {
        true => Edit::Delete,
        false => Edit::Write {
            text,
            record: None,
            backup: None,
        },
    })
}

/// Whether a text is one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ours {
    /// As it was written.
    Whole,
    /// Changed since.
    Changed,
    /// It never was.
    No,
}

/// A whole file with its mark.
pub(super) fn marked(text: &str) -> String {
    format!("{}\n{text}", mark(text))
}

/// The line that says whose the text below it is, and by its hash that it is as it was written.
pub(super) fn mark(text: &str) -> String {
    let hash = Digest::sha256(text.as_bytes()).hex();
    format!(
        "{MARK}, which removes it with --remove unless it was changed ({})",
        &hash[..SHORT]
    )
}

/// Whether a whole file is one of ours.
pub(super) fn of_ours(text: &str) -> Ours {
    match text.split_once('\n') {
        Some((first, rest)) if first == mark(rest) => Ours::Whole,
        _ if text.starts_with(MARK) => Ours::Changed,
        _ => Ours::No,
    }
}
