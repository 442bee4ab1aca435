//! A blob that was opened somewhere: whoever gives it, its bytes come alike.

use bytes::Bytes;

use crate::net::bucket::Object;
use crate::upstream::{Incoming, Refusal};

/// Who gives bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cache) enum Giver {
    /// The upstream.
    Upstream,
    /// Its alternate of this number.
    Alternate(usize),
    /// The shared shelf.
    Shared,
}

/// Where something was opened.
enum Place {
    /// At the upstream, or at an alternate.
    Registry(Incoming),
    /// On the shared shelf.
    Shared(Object),
}

/// What was opened.
pub(in crate::cache) struct Opened {
    place: Place,
    /// The next piece, if it was looked at before it was taken.
    peeked: Option<Result<Option<Bytes>, Refusal>>,
}

impl From<Incoming> for Opened {
    fn from(incoming: Incoming) -> Self {
        Self {
            place: Place::Registry(incoming),
            peeked: None,
        }
    }
}

impl From<Object> for Opened {
    fn from(object: Object) -> Self {
        Self {
            place: Place::Shared(object),
            peeked: None,
        }
    }
}

impl Opened {
    /// Where in the blob the first byte belongs that comes.
    pub(in crate::cache) fn start(&self) -> u64 {
        match &self.place {
            Place::Registry(incoming) => incoming.start,
            Place::Shared(object) => object.start,
        }
    }

    /// The length of the whole, if it was told.
    pub(in crate::cache) fn total(&self) -> Option<u64> {
        match &self.place {
            Place::Registry(incoming) => incoming.total,
            Place::Shared(object) => Some(object.total),
        }
    }

    /// Who gives it.
    pub(in crate::cache) fn giver(&self) -> Giver {
        match &self.place {
            Place::Registry(incoming) => incoming.alternate.map_or(Giver::Upstream, Giver::Alternate),
            Place::Shared(_) => Giver::Shared,
        }
    }

    /// The next piece, which is still to be taken; `None` if there is none.
    pub(super) async fn peek(&mut self) -> Option<Bytes> {
        let next = self.chunk().await;
        let piece = next.as_ref().ok().cloned().flatten();
        self.peeked = Some(next);
        piece
    }

    /// The next piece; `None` at the end. Cancel-safe.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        if let Some(peeked) = self.peeked.take() {
            return peeked;
        }
        match &mut self.place {
            Place::Registry(incoming) => incoming.chunk().await,
            Place::Shared(object) => {
                let piece = object.chunk().await;
                piece.map_err(|fault| Refusal::Unreachable(format!("the shared shelf: {fault}")))
            }
        }
    }
}
