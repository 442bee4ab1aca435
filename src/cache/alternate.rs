//! Content from alternate sources: a manifest that would be bought, and a blob that the upstream cannot give.
//!
//! A digest says what the bytes must be, so it does not matter who gives them.

use super::PATIENCE;
use super::download::Download;
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
        let verify = |fetched| self.is_it(&digest, fetched);
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

    fn is_it(&self, wanted: &Digest, fetched: Fetched) -> Option<Held> {
        if Digest::of(wanted.algorithm(), &fetched.bytes) != *wanted {
            let repository = &self.repository;
            tracing::warn!(%repository, digest = %wanted, "an alternate sent another manifest than was asked for");
            self.shelves.metrics.integrity_failure(Place::Manifest);
            return None;
        }
        let manifest = Manifest::parse(fetched.bytes, fetched.label.as_ref()).ok()?;
        Some(Held::manifest(manifest))
    }
}

impl Download {
    /// Opens the blob from a byte on, unless that has been done.
    pub(super) async fn open_anywhere(&self, from: u64) -> Result<Incoming, Refusal> {
        let opened = self.opened();
        if from == 0
            && let Some(incoming) = opened
        {
            return Ok(incoming);
        }
        let fill = &self.fill;
        let upstream = fill.upstream.as_ref().map_err(Clone::clone)?;
        open_anywhere(upstream, &fill.repository.path, &fill.digest, Want::From(from)).await
    }

    /// What an alternate gave broke off, or was wrong; nothing if it was the upstream.
    pub(super) fn blame(&self, alternate: Option<usize>, wrong: bool) {
        if let (Some(alternate), Ok(upstream)) = (alternate, &self.fill.upstream) {
            upstream.alternate_failed(alternate, &self.fill.digest, wrong);
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
