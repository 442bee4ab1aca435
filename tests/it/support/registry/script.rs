//! How the answers to one path differ from faithful ones.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use seawall::oci::ByteRange;

/// How bounded ranges (`bytes=1-2`) are answered. Others are answered faithfully.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Chunks {
    /// As they should be.
    #[default]
    Given,
    /// With 200 and everything.
    Ignored,
    /// With this status and nothing else.
    Refused(u16),
    /// The connection breaks after this many bytes.
    Cut(usize),
    /// One byte is another: the one at this offset of the blob, if it is among them.
    Flipped(u64),
    /// The header tells a range that begins one byte later.
    Shifted,
    /// The header tells another length of the whole.
    OfLength(u64),
}

/// What is different; nothing, by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// Answer with this status and nothing else.
    pub(crate) status: Option<StatusCode>,
    /// More headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Wait before answering.
    pub(crate) delay: Duration,
    /// Bytes sent at a time; 64 KiB if zero.
    pub(crate) chunk: usize,
    /// Wait before each piece of the body.
    pub(crate) pace: Duration,
    /// Break the connection after this many bytes of the body.
    pub(crate) cut_after: Option<usize>,
    /// Send nothing more after this many bytes of the body, and leave the connection open.
    pub(crate) stall_after: Option<usize>,
    /// Flip one bit of the byte at this offset.
    pub(crate) flip: Option<usize>,
    /// Answer a Range request with 200 and everything.
    pub(crate) ignore_range: bool,
    /// How chunks are answered.
    pub(crate) chunks: Chunks,
    /// Leave these headers out.
    pub(crate) without: Vec<&'static str>,
    /// Serve this body instead of the real one.
    pub(crate) body: Option<Bytes>,
    /// How many requests this holds for; `None` means all.
    pub(crate) times: Option<usize>,
}

impl Script {
    /// An answer that says how much is left of a hundred in an hour.
    pub(crate) fn told(remaining: u64) -> Self {
        Self {
            headers: vec![
                ("ratelimit-limit", "100;w=3600".to_owned()),
                ("ratelimit-remaining", format!("{remaining};w=3600")),
            ],
            ..Self::default()
        }
    }

    /// A mebibyte at a time, each after a pause.
    pub(crate) fn paced(pace: Duration) -> Self {
        Self {
            chunk: 1 << 20,
            pace,
            ..Self::default()
        }
    }

    /// The same for a request, which may be for a chunk.
    pub(super) fn for_request(mut self, request: &HeaderMap) -> Self {
        let range = request.get(header::RANGE);
        if range.is_none_or(|range| range.as_bytes().ends_with(b"-")) {
            self.chunks = Chunks::Given;
        }
        match self.chunks {
            Chunks::Ignored => self.ignore_range = true,
            Chunks::Refused(status) => self.status = StatusCode::from_u16(status).ok(),
            Chunks::Cut(bytes) => self.cut_after = Some(bytes),
            Chunks::Flipped(at) => self.flip = usize::try_from(at).ok(),
            Chunks::Given | Chunks::Shifted | Chunks::OfLength(_) => {}
        }
        self
    }

    /// The header of a range of the whole.
    pub(super) fn content_range(&self, ByteRange { start, end }: ByteRange, total: u64) -> String {
        match self.chunks {
            Chunks::Shifted => format!("bytes {}-{}/{total}", start + 1, end + 1),
            Chunks::OfLength(other) => format!("bytes {start}-{end}/{other}"),
            _ => format!("bytes {start}-{end}/{total}"),
        }
    }
}
