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

/// What was opened.
pub(in crate::cache) enum Opened {
    /// At the upstream, or at an alternate.
    Registry(Incoming),
    /// On the shared shelf.
    Shared(Object),
}

impl Opened {
    /// Where in the blob the first byte belongs that comes.
    pub(in crate::cache) fn start(&self) -> u64 {
        match self {
            Self::Registry(incoming) => incoming.start,
            Self::Shared(object) => object.start,
        }
    }

    /// The length of the whole, if it was told.
    pub(in crate::cache) fn total(&self) -> Option<u64> {
        match self {
            Self::Registry(incoming) => incoming.total,
            Self::Shared(object) => Some(object.total),
        }
    }

    /// Who gives it.
    pub(in crate::cache) fn giver(&self) -> Giver {
        match self {
            Self::Registry(incoming) => incoming.alternate.map_or(Giver::Upstream, Giver::Alternate),
            Self::Shared(_) => Giver::Shared,
        }
    }

    /// The next piece; `None` at the end. Cancel-safe.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        match self {
            Self::Registry(incoming) => incoming.chunk().await,
            Self::Shared(object) => {
                let piece = object.chunk().await;
                piece.map_err(|fault| Refusal::Unreachable(format!("the shared shelf: {fault}")))
            }
        }
    }
}
