//! Bodies on their way: counted, timed, and held against what their headers promise.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderName};
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body;
use tokio::time::timeout;

use super::Refusal;

/// Longest time for a body that is read whole (a manifest, a token, a page of tags).
const WHOLE_BODY: Duration = Duration::from_secs(60);

/// A blob's bytes on their way, unverified.
pub struct Incoming {
    /// Where in the blob the first byte of this body belongs: as wanted, or 0 if the upstream
    /// ignored the range.
    pub start: u64,
    /// The length of the whole blob, if the upstream said it.
    pub total: Option<u64>,
    /// Which alternate gives it; `None`: the upstream itself.
    pub alternate: Option<usize>,
    pub(super) body: Counted,
}

impl Incoming {
    /// The next piece; `None` at the end. A body that ends before its Content-Length is an error.
    ///
    /// Cancel-safe: a piece is either returned or still to come.
    ///
    /// # Errors
    /// [`Refusal::Unreachable`] if the body breaks off, stalls, or is not as long as promised.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        self.body.chunk().await
    }
}

/// A body and how much of it is to come.
pub(super) struct Counted {
    body: body::Incoming,
    promised: Option<u64>,
    received: u64,
    idle: Duration,
}

impl Counted {
    /// `promised` is the length in bytes, if anything said it; `idle` the longest time between two pieces.
    pub(super) fn new(body: body::Incoming, promised: Option<u64>, idle: Duration) -> Self {
        Self {
            body,
            promised,
            received: 0,
            idle,
        }
    }

    /// The next piece. Cancel-safe.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let frame = match timeout(self.idle, self.body.frame()).await {
                Err(_) => return Err(self.broken(&format!("nothing came for {:?}", self.idle))),
                Ok(Some(Err(error))) => return Err(self.broken(&error.to_string())),
                Ok(None) => return self.end(),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(piece) = frame.into_data() else {
                continue; // trailers
            };
            if piece.is_empty() {
                continue;
            }
            self.received += piece.len() as u64;
            if self.promised.is_some_and(|promised| self.received > promised) {
                return Err(self.broken("it is longer than announced"));
            }
            return Ok(Some(piece));
        }
    }

    fn end(&self) -> Result<Option<Bytes>, Refusal> {
        match self.promised {
            Some(promised) if promised != self.received => Err(self.broken("it ended early")),
            _ => Ok(None),
        }
    }

    fn broken(&self, why: &str) -> Refusal {
        let of = self
            .promised
            .map(|promised| format!(" of {promised}"))
            .unwrap_or_default();
        Refusal::Unreachable(format!(
            "the body broke off after {}{of} bytes: {why}",
            self.received
        ))
    }
}

/// Reads a body whole, if it is at most `limit` bytes long; `what` names it in the error.
pub(super) async fn read_whole(
    response: Response<body::Incoming>,
    limit: u64,
    idle: Duration,
    what: &str,
) -> Result<Bytes, Refusal> {
    identity(response.headers())?;
    let promised = number(response.headers(), CONTENT_LENGTH);
    let long = |found: u64| {
        Refusal::Unusable(format!(
            "{what} of {found} bytes or more; at most {limit} are accepted"
        ))
    };
    if let Some(promised) = promised.filter(|promised| *promised > limit) {
        return Err(long(promised));
    }
    let mut counted = Counted::new(response.into_body(), promised, idle);
    let read = async {
        let mut whole = BytesMut::new();
        while let Some(piece) = counted.chunk().await? {
            let length = whole.len() as u64 + piece.len() as u64;
            if length > limit {
                return Err(long(length));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    };
    let late = || Refusal::Unreachable(format!("{what} did not arrive within {WHOLE_BODY:?}"));
    timeout(WHOLE_BODY, read).await.unwrap_or_else(|_| Err(late()))
}

/// Refuses bodies that are not what their digest names (F018).
pub(super) fn identity(headers: &HeaderMap) -> Result<(), Refusal> {
    match text(headers, CONTENT_ENCODING) {
        None => Ok(()),
        Some(coding) if coding.trim().is_empty() || coding.trim().eq_ignore_ascii_case("identity") => Ok(()),
        Some(_) => Err(Refusal::Unusable(
            "a Content-Encoding was used that was not asked for".to_owned(),
        )),
    }
}

/// A header as text.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A header as a number.
pub(super) fn number(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

/// `Content-Range: bytes 5-9/10`: first and last byte, and the whole's length unless that is `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) total: Option<u64>,
}

impl ContentRange {
    /// Reads the header; `None` if it is missing, malformed or contradicts itself.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(text(headers, CONTENT_RANGE)?)
    }

    fn parse(value: &str) -> Option<Self> {
        let (unit, rest) = value.trim().split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let (start, end) = range.split_once('-')?;
        let parsed = Self {
            start: start.parse().ok()?,
            end: end.parse().ok()?,
            total: match total {
                "*" => None,
                total => Some(total.parse().ok()?),
            },
        };
        let fits = parsed.start <= parsed.end && parsed.total.is_none_or(|total| parsed.end < total);
        (unit.eq_ignore_ascii_case("bytes") && fits).then_some(parsed)
    }

    /// True if it ends with the whole's last byte.
    pub(super) fn is_tail(&self) -> bool {
        self.total.is_none_or(|total| self.end == total - 1)
    }
}

#[cfg(test)]
mod tests;
