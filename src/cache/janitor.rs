//! What is done behind the clients' backs to keep the disk within its bounds: room is made before it is
//! needed, what changed is written down, and after a start the tree is walked.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Cache, Shelves};
use crate::oci::{Digest, Manifest};
use crate::policy::eviction::Content;
use crate::store::{Disk, Folder, Found, Records, blocking};

/// How often room is looked after. A disk of 1 GB/s writes 5 GB in between, which fills have set aside before.
const TICK: Duration = Duration::from_secs(5);
/// How often uses are written down: a crash forgets what was pulled in the last minute.
const WRITE_USES: Duration = Duration::from_secs(60);
/// How long after a walk that failed the next one begins.
const WALK_AGAIN: Duration = Duration::from_secs(60);
/// Most pulled manifests looked into at each tick; the rest waits for the next.
const MOST_PULLED: usize = 1000;

/// What a walk compares the tree with.
#[derive(Clone, Copy)]
enum Rows {
    /// What was written down: read folder by folder, it needs no memory.
    Written,
    /// What the index says.
    Indexed,
}

/// Tells the disk shelf what was written down of it.
pub(super) fn recall(disk: &Disk, records: &Records) {
    disk.recall(|each| records.objects(each));
    if disk.is_walked() {
        records.objects_are_complete();
    }
}

impl Cache {
    /// Looks after the disk until `stop`. Cancel-safe; what changed is written down when the cache is dropped.
    pub async fn tend(&self, stop: &CancellationToken) {
        let work = async {
            tokio::join!(self.keep_walked(), self.tidy_now_and_then());
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// Does nothing while nothing happens, but for looking whether others fill the disk.
    async fn tidy_now_and_then(&self) {
        let disk = &self.shelves.disk;
        let mut written = self.clock.now();
        loop {
            if disk.space().min_free == 0 && !disk.has_changes() {
                disk.stirred().await;
            }
            tokio::time::sleep(TICK).await;
            let now = self.clock.now();
            let with_uses = now.since(written) >= WRITE_USES;
            if with_uses {
                written = now;
            }
            self.tidy(with_uses).await;
        }
    }

    /// One round: uses are handed on to blobs, room is made, and what changed is written down.
    async fn tidy(&self, with_uses: bool) {
        let pulled = self.shelves.disk.take_pulled(MOST_PULLED);
        for digest in &pulled {
            self.hand_on(digest).await;
        }
        let shelves = self.shelves.clone();
        let tidied = blocking(move || {
            let measured = shelves.disk.measure();
            let evicted = shelves.disk.tidy();
            if evicted > 0 {
                tracing::info!(objects = evicted, "room was made");
            }
            shelves.disk.tidy_quarantine();
            shelves.write_down(with_uses);
            if with_uses {
                shelves.private.keep(shelves.disk.health());
                shelves.write_down_pulls();
            }
            measured
        });
        if let Err(error) = tidied.await {
            tracing::warn!(%error, "the cache directory could not be looked after");
        }
    }

    /// Who pulls a manifest is about to need its blobs: they are in use, even if its nodes have them already.
    async fn hand_on(&self, digest: &Digest) {
        let Some((held, _)) = self.held(digest).await else {
            return;
        };
        if let Ok(manifest) = Manifest::parse(held.bytes.clone(), held.manifest.as_ref()) {
            let blobs = manifest.blobs.iter().map(|blob| blob.digest);
            self.shelves.disk.used(blobs);
        }
    }

    /// Walks the tree after the start, and again whenever the directory was made anew: whatever it held may have gone.
    async fn keep_walked(&self) {
        let disk = &self.shelves.disk;
        let mut rows = Rows::Written;
        loop {
            while disk.is_walked() {
                disk.doubted().await;
                rows = Rows::Indexed;
            }
            if let Err(error) = self.walk(rows).await {
                tracing::warn!(%error, "the tree cannot be walked now; tried again");
                // All that was written down is in the index by now.
                rows = Rows::Indexed;
                tokio::time::sleep(WALK_AGAIN).await;
            }
        }
    }

    /// Compares the tree with what is known of it, folder by folder.
    async fn walk(&self, rows: Rows) -> std::io::Result<()> {
        let doubts = self.shelves.disk.doubts();
        let mut known = match rows {
            Rows::Written => None,
            Rows::Indexed => Some(self.shelves.disk.by_folder()),
        };
        let mut found = Found::default();
        for folder in Folder::all() {
            let shelves = self.shelves.clone();
            let rows = known
                .as_mut()
                .map(|known| known.remove(&folder).unwrap_or_default());
            found = found.and(blocking(move || shelves.compare(folder, rows)).await?);
        }
        let shelves = self.shelves.clone();
        let foreign = blocking(move || {
            let foreign = shelves.disk.count_foreign()?;
            if shelves.disk.walked(doubts) {
                shelves.write_down(false);
                shelves.records.objects_are_complete();
            }
            Ok(foreign)
        });
        let foreign = found.foreign + foreign.await?;
        let Found {
            adopted,
            gone,
            changed,
            ..
        } = found;
        tracing::info!(adopted, gone, changed, foreign, "the cache directory was walked");
        self.shelves.metrics.space.foreign(foreign);
        Ok(())
    }
}

impl Shelves {
    pub(super) fn compare(&self, folder: Folder, rows: Option<Vec<Content>>) -> std::io::Result<Found> {
        let Folder {
            shelf,
            algorithm,
            first,
        } = folder;
        let rows = rows.unwrap_or_else(|| self.records.objects_of(shelf, algorithm, first));
        self.disk.compare(folder, &rows)
    }

    /// Writes down some of what came and went, so that who waits for more of it does not wait for all. Blocks.
    pub(super) fn write_down_some(&self) {
        self.write_down_turn(false);
    }

    /// Writes down what came and went, and what was used if that is wanted. Blocks.
    pub(super) fn write_down(&self, with_uses: bool) {
        while self.write_down_turn(with_uses) {}
    }

    /// False if there is nothing to write down.
    fn write_down_turn(&self, with_uses: bool) -> bool {
        let changes = self.disk.take_changes(with_uses);
        let has_changed = !changes.is_empty();
        if has_changed {
            self.records.put_objects(changes, self.disk.teller());
        }
        has_changed
    }
}

impl Drop for Shelves {
    /// What came and went, and what was pulled, is written down before the records are closed.
    fn drop(&mut self) {
        self.write_down(true);
        self.write_down_pulls();
    }
}
