//! A purge, carried out: tags first, then the manifests, then the blobs.
//!
//! Whatever it is interrupted at leaves content that nothing names, and nothing that names what is gone. Files lose
//! their names only: who reads one reads on. A download under way goes on: it is paid for, and somebody waits for
//! it; what it brings is held again, and the next purge finds it.

use std::io;
use std::sync::Arc;

use super::{Cache, Shelves};
use crate::clock::Time;
use crate::policy::eviction::Shelf;
use crate::policy::retention::{Item, Plan, Purge, plan};
use crate::store::blocking;

/// Records forgotten before the writer is waited for: half of what it lets wait.
const BATCH: usize = 4096;

/// What a purge came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// What it removed.
    pub plan: Plan,
    /// Files that could not be removed; the log says why.
    pub failed: usize,
}

/// Why a purge was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The plan is another by now.
    #[error("the plan has changed since: it is {} now", .0.fingerprint())]
    Changed(Plan),
    /// The disk cannot be listed.
    #[error("the cache directory cannot be read: {0}")]
    Disk(#[from] io::Error),
}

impl Cache {
    /// What a purge would remove now. Cancel-safe.
    ///
    /// # Errors
    /// [`PurgeError::Disk`] if the disk cannot be listed.
    pub async fn plan_purge(&self, purge: Purge) -> Result<Plan, PurgeError> {
        let (shelves, now) = (self.shelves.clone(), self.clock.now());
        Ok(blocking(move || shelves.plan(&purge, now)).await?)
    }

    /// Removes what a purge removes now; if a fingerprint is given, only if that is the plan of that name.
    ///
    /// Not cancel-safe in effect: it goes on when the caller goes away.
    ///
    /// # Errors
    /// [`PurgeError`]; nothing was removed then.
    pub async fn purge(&self, purge: Purge, fingerprint: Option<String>) -> Result<Purged, PurgeError> {
        let (shelves, now) = (self.shelves.clone(), self.clock.now());
        let purged = blocking(move || {
            // One purge at a time, and nothing is locked between its plan and its end.
            let _still = shelves.keeper.still();
            let plan = shelves.plan(&purge, now)?;
            if fingerprint.is_some_and(|fingerprint| fingerprint != plan.fingerprint()) {
                return Ok(Err(PurgeError::Changed(plan)));
            }
            let failed = shelves.apply(&plan);
            Ok(Ok(Purged { plan, failed }))
        });
        purged.await?
    }
}

impl Shelves {
    fn plan(self: &Arc<Self>, purge: &Purge, now: Time) -> io::Result<Plan> {
        let catalog = self.catalog()?;
        Ok(plan(&catalog, &self.keeper.holds(), purge, now))
    }

    /// Removes what goes. Returns how many files could not be removed. Blocks.
    fn apply(&self, plan: &Plan) -> usize {
        self.forget(plan, |item| matches!(item, Item::Tag(..)));
        self.forget(plan, |item| matches!(item, Item::Manifest(..)));
        let mut failed = 0;
        for content in plan.files() {
            self.memory.remove(&content.digest);
            if content.shelf == Shelf::Manifests {
                // Pulls that are not written down yet would bring its record back.
                self.records.forget_pulls(&content.digest);
            }
            if let Err(error) = self.disk.remove(&content) {
                tracing::warn!(digest = %content.digest, %error, "a file could not be purged");
                failed += 1;
            }
            // A reader of the file may have put it back.
            self.memory.remove(&content.digest);
        }
        failed
    }

    /// Forgets records, and waits until they are forgotten on disk too.
    fn forget(&self, plan: &Plan, which: impl Fn(&Item) -> bool) {
        let items = plan.goes.iter().map(|going| &going.item);
        for (count, item) in items.filter(|item| which(item)).enumerate() {
            match item {
                Item::Tag(repository, tag) => self.records.remove_tag(repository, tag),
                Item::Manifest(Some(repository), digest) => self.records.remove_held(repository, digest),
                Item::Manifest(None, _) | Item::Blob(_) => {}
            }
            if count % BATCH == BATCH - 1 {
                self.records.flush();
            }
        }
        self.records.flush();
    }
}
