//! The archives in which image layouts travel: POSIX tar (ustar and pax), as far as plain files go.
//!
//! Written: plain files without owner or time, so that the same files make the same bytes. Read, piece by piece as
//! the bytes come: what other tools write (ustar, pax, GNU long names and sizes). Links, devices and sparse files
//! have no place in an image layout and are refused, as are names that would leave it.

mod fields;
mod write;

use std::fmt;

use bytes::{Buf, Bytes};

use self::fields::{header_name, number, octal, records, text};
pub use self::write::{END, header, padding};

/// Bytes of a block; everything is padded to whole ones.
const BLOCK: usize = 512;
/// Most bytes of a long name, or of pax records.
const MAX_EXTRA: u64 = 64 * 1024;
/// Most entries of one archive.
const MAX_ENTRIES: usize = 200_000;

/// Why bytes are not an archive that is read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TarError {
    /// They do not begin as an archive does, or go on as one.
    #[error("this is no tar archive, or it is damaged at byte {0}")]
    Header(u64),
    /// They are compressed.
    #[error("the archive is compressed ({0}); unpack it first, for example: {0} -dc FILE | seawall import -")]
    Compressed(&'static str),
    /// They end in the middle.
    #[error("the archive ends in the middle, after {0} bytes; it was cut off")]
    Truncated(u64),
    /// A name leaves the archive's folder, or is none.
    #[error("the archive has an entry with the name `{0}`, which would lie outside of it")]
    Name(String),
    /// An entry is no plain file and no folder.
    #[error("`{name}` in the archive is {kind}; only plain files and folders are read")]
    Kind {
        /// The entry's name.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// A long name or a set of records is longer than any that is meant.
    #[error("the archive has a header of {0} bytes; at most 65536 are read")]
    TooLong(u64),
    /// There are too many entries.
    #[error("the archive has more than 200000 entries")]
    TooMany,
}

/// What an archive holds, in its order.
#[derive(Clone, PartialEq, Eq)]
pub enum Item {
    /// A file begins.
    File {
        /// Its name, without `./` in front.
        name: String,
        /// Its length in bytes.
        size: u64,
    },
    /// Bytes of the file that began last.
    Data(Bytes),
    /// The archive ends.
    End,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, size } => write!(f, "File({name}, {size})"),
            Self::Data(bytes) => write!(f, "Data({})", bytes.len()),
            Self::End => f.write_str("End"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A header comes next.
    Header,
    /// So many bytes of something about the next header are still to come.
    Extra {
        kind: u8,
        left: u64,
        pad: usize,
    },
    /// So many bytes of a file are still to come.
    Data {
        left: u64,
        pad: usize,
    },
    /// So many bytes are of no interest.
    Skip {
        left: u64,
    },
    Ended,
}

/// Reads an archive as its bytes come.
#[derive(Debug)]
pub struct TarReader {
    state: State,
    /// What has come of a header, or of something about one.
    gathered: Vec<u8>,
    name: Option<String>,
    size: Option<u64>,
    zeros: usize,
    entries: usize,
    /// Bytes read so far.
    at: u64,
}

impl Default for TarReader {
    fn default() -> Self {
        Self {
            state: State::Header,
            gathered: Vec::new(),
            name: None,
            size: None,
            zeros: 0,
            entries: 0,
            at: 0,
        }
    }
}

impl TarReader {
    /// The next item, if `input` has enough for it; what was read is taken off `input`.
    ///
    /// # Errors
    /// [`TarError`]; nothing can be read after that.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Item>, TarError> {
        while !input.is_empty() || matches!(self.state, State::Data { left: 0, .. }) {
            match self.state {
                State::Ended => {
                    // What follows the end is padding.
                    self.at += input.len() as u64;
                    input.clear();
                }
                State::Skip { left } => {
                    let taken = self.take(input, left).len() as u64;
                    self.state = match left - taken {
                        0 => State::Header,
                        left => State::Skip { left },
                    };
                }
                State::Data { left: 0, pad } => self.state = skip(pad as u64),
                State::Data { left, pad } => {
                    let data = self.take(input, left);
                    let left = left - data.len() as u64;
                    self.state = State::Data { left, pad };
                    return Ok(Some(Item::Data(data)));
                }
                State::Extra { kind, left, pad } => {
                    let part = self.take(input, left);
                    self.gathered.extend_from_slice(&part);
                    self.state = match left - part.len() as u64 {
                        0 => {
                            self.learn(kind)?;
                            skip(pad as u64)
                        }
                        left => State::Extra { kind, left, pad },
                    };
                }
                State::Header => {
                    let part = self.take(input, (BLOCK - self.gathered.len()) as u64);
                    self.gathered.extend_from_slice(&part);
                    if self.gathered.len() == BLOCK {
                        let block = std::mem::take(&mut self.gathered);
                        if let Some(item) = self.header(&block)? {
                            return Ok(Some(item));
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// Checks that nothing is missing, when no more bytes come.
    ///
    /// # Errors
    /// [`TarError::Truncated`] if something is.
    pub fn finish(&self) -> Result<(), TarError> {
        match self.state {
            State::Ended => Ok(()),
            // Some tools leave the blocks of the end out.
            State::Header if self.gathered.is_empty() && self.entries > 0 => Ok(()),
            _ => Err(TarError::Truncated(self.at)),
        }
    }

    fn take(&mut self, input: &mut Bytes, most: u64) -> Bytes {
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(input.remaining());
        self.at += len as u64;
        input.split_to(len)
    }

    /// Reads one header block.
    fn header(&mut self, block: &[u8]) -> Result<Option<Item>, TarError> {
        let start = self.at - BLOCK as u64;
        if block.iter().all(|byte| *byte == 0) {
            self.zeros += 1;
            if self.zeros == 2 {
                self.state = State::Ended;
                return Ok(Some(Item::End));
            }
            return Ok(None);
        }
        if start == 0 {
            compressed(block)?;
        }
        let stated = octal(&block[148..156]).ok_or(TarError::Header(start))?;
        let sum = block.iter().enumerate().map(|(at, byte)| match at {
            148..156 => u64::from(b' '),
            _ => u64::from(*byte),
        });
        if self.zeros > 0 || sum.sum::<u64>() != stated {
            return Err(TarError::Header(start));
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(TarError::TooMany);
        }
        let size = number(&block[124..136]).ok_or(TarError::Header(start))?;
        let kind = block[156];
        if matches!(kind, b'x' | b'g' | b'L' | b'K') {
            if size > MAX_EXTRA {
                return Err(TarError::TooLong(size));
            }
            let (left, pad) = (size, padding(size));
            self.state = match left {
                0 => State::Header,
                left => State::Extra { kind, left, pad },
            };
            return Ok(None);
        }
        self.entry(kind, size, block)
    }

    /// A file or folder begins.
    fn entry(&mut self, kind: u8, size: u64, block: &[u8]) -> Result<Option<Item>, TarError> {
        let size = self.size.take().unwrap_or(size);
        let name = self.name.take().unwrap_or_else(|| header_name(block));
        let kind = match kind {
            b'0' | 0 | b'7' if !name.ends_with('/') => None,
            b'5' | b'0' | 0 => {
                inside(&name)?;
                self.state = skip(size.saturating_add(padding(size) as u64));
                return Ok(None);
            }
            b'1' => Some("a hard link"),
            b'2' => Some("a symbolic link"),
            b'S' => Some("a sparse file"),
            b'3' | b'4' => Some("a device"),
            b'6' => Some("a pipe"),
            _ => Some("of an unknown kind"),
        };
        if let Some(kind) = kind {
            return Err(TarError::Kind { name, kind });
        }
        let name = inside(&name)?;
        let pad = padding(size);
        self.state = State::Data { left: size, pad };
        Ok(Some(Item::File { name, size }))
    }

    /// Reads what was gathered about the next header.
    fn learn(&mut self, kind: u8) -> Result<(), TarError> {
        let gathered = std::mem::take(&mut self.gathered);
        match kind {
            b'L' => self.name = Some(text(&gathered)),
            // A long link name: the link itself comes next, and is refused.
            b'x' => {
                for (key, value) in records(&gathered).ok_or(TarError::Header(self.at))? {
                    match key.as_str() {
                        "path" => self.name = Some(value),
                        "size" => {
                            let size = value.parse().map_err(|_| TarError::Header(self.at))?;
                            self.size = Some(size);
                        }
                        key if key.starts_with("GNU.sparse.") => {
                            let name = self.name.clone().unwrap_or_default();
                            let kind = "a sparse file";
                            return Err(TarError::Kind { name, kind });
                        }
                        _ => {}
                    }
                }
            }
            // Records for all entries tell nothing that matters here.
            _ => {}
        }
        Ok(())
    }
}

const fn skip(left: u64) -> State {
    match left {
        0 => State::Header,
        left => State::Skip { left },
    }
}

/// Refuses what is a compressed file.
fn compressed(block: &[u8]) -> Result<(), TarError> {
    for (magic, tool) in [
        (&b"\x1f\x8b"[..], "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\xfd7zXZ", "xz"),
        (b"BZh", "bzip2"),
    ] {
        if block.starts_with(magic) {
            return Err(TarError::Compressed(tool));
        }
    }
    Ok(())
}

/// A name without `./`, if it stays inside of the archive's folder.
fn inside(name: &str) -> Result<String, TarError> {
    let plain = name.trim_start_matches("./").trim_end_matches('/');
    let wrong = name.starts_with('/')
        || name.contains(['\0', '\\'])
        || plain.split('/').any(|part| part == ".." || part == ".");
    match wrong || (plain.is_empty() && !matches!(name, "." | "./")) {
        true => Err(TarError::Name(name.chars().take(200).collect())),
        false => Ok(plain.to_owned()),
    }
}

#[cfg(test)]
mod tests;
