//! Fetches what was damaged again: blobs as pulls do, manifests by the lowest rank there is.

use crate::cache::{Asker, Body, Cache, Failure};
use crate::policy::budget::PREFETCH;
use crate::policy::eviction::Content;
use crate::policy::naming::Chosen;
use crate::store::Shelf;

/// The number under which a run asks, among clients: no address and no rule has it.
const CLIENT: u64 = (u64::MAX >> 1) - 1;
/// Most repositories that are asked for one object.
const MOST_SOURCES: usize = 3;

impl Cache {
    /// Fetches an object from the first of these that gives it, and keeps it. Returns how many bytes that took.
    ///
    /// Cancel-safe: a download that nobody else reads ends as those whose readers left.
    ///
    /// # Errors
    /// Why that cannot be done, in words.
    pub(super) async fn refetch(&self, content: &Content, sources: &[Chosen]) -> Result<u64, String> {
        let mut why = "nobody is known who names it; the next pull fetches it again".to_owned();
        for chosen in sources.iter().take(MOST_SOURCES) {
            let fetched = match content.shelf {
                Shelf::Blobs => Box::pin(self.refetch_blob(chosen, content)).await,
                Shelf::Manifests => Box::pin(self.refetch_manifest(chosen, content)).await,
            };
            match fetched {
                Ok(bytes) if self.is_kept(content).await => return Ok(bytes),
                Ok(_) => {
                    why = "it was fetched but could not be kept: the disk refused it, or there is no room"
                        .to_owned();
                }
                Err(failure) => why = failure.public.into_owned(),
            }
        }
        Err(why)
    }

    async fn refetch_manifest(&self, chosen: &Chosen, content: &Content) -> Result<u64, Failure> {
        let (held, _) = self.fetch(chosen, content.digest, &self.lowest()).await?;
        Ok(held.bytes.len() as u64)
    }

    async fn refetch_blob(&self, chosen: &Chosen, content: &Content) -> Result<u64, Failure> {
        let served = self.blob(chosen, &content.digest, &self.lowest()).await?;
        let mut bytes = 0;
        if let Body::Filling(following) = served.body {
            let mut reader = following.read(None);
            while let Some(piece) = reader
                .next(u64::MAX)
                .await
                .map_err(|broken| Failure::broken(&broken))?
            {
                bytes += piece.length();
            }
        }
        self.landed(&content.digest).await;
        Ok(bytes)
    }

    async fn is_kept(&self, content: &Content) -> bool {
        let (shelves, content) = (self.shelves.clone(), *content);
        let look = move || Ok(shelves.disk.holds(content.shelf, &content.digest));
        let looked = self.shelves.disk.health().looking(look).await;
        looked.unwrap_or(false)
    }

    /// Who asks: somebody who waits for no turn and spends only what would expire unused.
    fn lowest(&self) -> Asker {
        Asker {
            tier: PREFETCH,
            client: CLIENT,
            deadline: self.clock.now(),
        }
    }
}
