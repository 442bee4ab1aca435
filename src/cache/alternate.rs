//! Content from alternate sources: a manifest that would be bought, and a blob that the upstream cannot give.
//!
//! A digest says what the bytes must be, so it does not matter who gives them.

use super::PATIENCE;
use super::download::{Download, Giver, Opened};
use super::spend::Order;
use crate::oci::{Digest, Manifest, Reference, RepositoryPath};
use crate::policy::budget::PREFETCH;
use crate::store::Held;
use crate::telemetry::metrics::Place;
use crate::telemetry::metrics::spending::Avoided;
use crate::upstream::{Fetched, Incoming, Refusal, Upstream, Want};

impl Order {
    /// The manifest from an alternate, verified, and the alternate's URL: it costs nothing. A tag is the
    /// upstream's own to tell.
    pub(super) async fn elsewhere(&self) -> Option<(Digest, Held, String)> {
        let Reference::Digest(digest) = self.reference else {
            return None;
        };
        let verify = |fetched| self.is_it(&digest, fetched, Place::Manifest);
        let path = &self.repository.path;
        // Nobody waits for what is prefetched.
        let deadline = match self.asker.tier {
            PREFETCH => self.clock.now() + PATIENCE,
            _ => self.asker.deadline,
        };
        let found = self.upstream.manifest_elsewhere(path, &digest, deadline, verify);
        let (held, url) = Box::pin(found).await?;
        self.count_received(held.bytes.len());
        self.shelves
            .metrics
            .spending
            .avoided(&self.label, Avoided::Alternate);
        Some((digest, held, url.to_owned()))
    }

    /// The manifest, if what another source than the upstream gave is the one that was asked for.
    pub(super) fn is_it(&self, wanted: &Digest, fetched: Fetched, place: Place) -> Option<Held> {
        if Digest::of(wanted.algorithm(), &fetched.bytes) != *wanted {
            let repository = &self.repository;
            let source = match place {
                Place::Shared => "the shared shelf",
                Place::Manifest | Place::Upstream | Place::Disk => "an alternate",
            };
            tracing::warn!(%repository, digest = %wanted, source, "it gave another manifest than was asked for");
            self.shelves.metrics.integrity_failure(place);
            return None;
        }
        let manifest = Manifest::parse(fetched.bytes, fetched.label.as_ref()).ok()?;
        Some(Held::manifest(manifest))
    }
}

impl Download {
    /// Opens the blob from a byte on, unless that has been done: on the shared shelf, else at the upstream, else at an
    /// alternate that may have it.
    pub(super) async fn open_anywhere(&self, from: u64) -> Result<Opened, Refusal> {
        let begun = self.begun();
        if from == 0
            && let Some(incoming) = begun
        {
            return Ok(incoming.into());
        }
        if let Some(opened) = Box::pin(self.open_shared(from)).await {
            return Ok(opened);
        }
        let fill = &self.fill;
        let upstream = fill.upstream.as_ref().map_err(Clone::clone)?;
        let opening = open_anywhere(upstream, &fill.repository.path, &fill.digest, Want::From(from));
        opening.await.map(Opened::from)
    }

    /// What an alternate gave broke off, or was wrong, or what the shared shelf gave broke off; nothing if it was the
    /// upstream.
    pub(super) fn blame(&self, giver: Giver, wrong: bool) {
        match (giver, &self.fill.upstream) {
            (Giver::Alternate(alternate), Ok(upstream)) => {
                upstream.alternate_failed(alternate, &self.fill.digest, wrong);
            }
            (Giver::Shared, _) if !wrong => self.shelf_broke(),
            (Giver::Upstream | Giver::Alternate(_) | Giver::Shared, _) => {}
        }
    }
}

/// Opens a blob at the upstream, else at an alternate that may have it.
pub(super) async fn open_anywhere(
    upstream: &Upstream,
    path: &RepositoryPath,
    digest: &Digest,
    want: Want,
) -> Result<Incoming, Refusal> {
    let refused = match upstream.blob(path, digest, want).await {
        Ok(incoming) => return Ok(incoming),
        Err(refused) => refused,
    };
    let elsewhere = upstream.blob_elsewhere(path, digest, want, &refused);
    Box::pin(elsewhere).await.ok_or(refused)
}
