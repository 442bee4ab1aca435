//! Hashes everything held again, over and over, behind everybody's back.
//!
//! The order is that of the tree: shelf, algorithm, digest. Where it stands is written down now and then, so that
//! a restart goes on from there; if that is lost, the pass begins anew. When to go on, and how fast, is decided
//! in [`crate::policy::scrub`].

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::check::{Checked, Damage};
use super::names::NamedBy;
use super::{Cache, Shelves};
use crate::clock::{Clock, Time};
use crate::policy::eviction::Content;
use crate::policy::scrub::{Pace, Whole, step, weight};
use crate::store::{Folder, ScrubRecord, Shelf, blocking};

/// The longest rest before it is looked again whether the cache has changed.
const NAP: Duration = Duration::from_secs(60);
/// How often it is written down how far it has come: a crash repeats a minute's work.
const WRITE_EVERY: Duration = Duration::from_secs(60);

impl Cache {
    /// Hashes everything held within the configured period, over and over, until `stop`; returns at once if that
    /// is not wanted. Cancel-safe.
    pub async fn scrub(&self, stop: &CancellationToken) {
        let Some(period) = self.options.scrub else {
            return;
        };
        tokio::select! {
            () = self.pass_after_pass(period) => {}
            () = stop.cancelled() => {}
        }
        self.shelves.write_scrub();
    }

    async fn pass_after_pass(&self, period: Duration) {
        while !self.shelves.disk.is_walked() {
            tokio::time::sleep(NAP).await;
        }
        let (mut walk, mut pace) = self.shelves.take_up(period, self.clock.now());
        let mut written = self.clock.now();
        loop {
            self.rest(&mut pace).await;
            match walk.next(&self.shelves, self.clock).await {
                Some(content) => self.look_at(content, period, &mut pace).await,
                None => {
                    self.shelves.end_pass(self.clock.now());
                    tokio::time::sleep(NAP).await;
                }
            }
            if self.clock.now().since(written) >= WRITE_EVERY {
                written = self.clock.now();
                self.shelves.write_scrub();
            }
        }
    }

    /// Waits for the next turn; as long as nothing is held, for that.
    async fn rest(&self, pace: &mut Pace) {
        loop {
            let whole = self.shelves.whole();
            let rest = match whole.objects {
                0 => NAP,
                _ => pace.rest(whole, self.clock.now()),
            };
            if rest.is_zero() {
                return;
            }
            tokio::time::sleep(rest.min(NAP)).await;
        }
    }

    async fn look_at(&self, content: Content, period: Duration, pace: &mut Pace) {
        let began = self.clock.now();
        let size = self.shelves.disk.facts(&content).map_or(0, |facts| facts.size);
        let shelves = self.shelves.clone();
        // One of the open files is the one that is hashed.
        let rest = |bytes| step(bytes, shelves.whole(), period, shelves.disk.users() > 1);
        let (checked, read) = self.shelves.check(content, rest).await;
        pace.hashed(size, began, self.shelves.whole(), self.clock.now());
        if !matches!(checked, Checked::Missing) {
            self.shelves.metrics.scrub.hashed(read);
        }
        let damage = match checked {
            Checked::Damaged(damage) => Some(damage),
            Checked::Good | Checked::Missing | Checked::Unreadable(_) => None,
        };
        let (owed, at) = pace.owed();
        {
            let mut record = self.shelves.scrub_record();
            record.cursor = write_cursor(&content);
            record.weight += weight(size);
            (record.owed, record.at) = (owed, at.as_millis());
            record.damaged += u64::from(damage.is_some());
        }
        if let Some(damage) = damage {
            let shelves = self.shelves.clone();
            let wanted = HashSet::from([content.digest]);
            let names = blocking(move || Ok(shelves.names_of(&wanted))).await;
            let names = names.unwrap_or_default();
            tell_damage(&content, &damage, names.get(&content.digest));
        }
    }
}

impl Shelves {
    /// Everything held, as far as a scrub is concerned.
    pub(super) fn whole(&self) -> Whole {
        let shelves = self.disk.standing().shelves;
        Whole {
            objects: shelves.iter().map(|shelf| shelf.objects).sum(),
            bytes: shelves.iter().map(|shelf| shelf.bytes).sum(),
        }
    }

    pub(super) fn scrub_record(&self) -> MutexGuard<'_, ScrubRecord> {
        self.scrub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the pass is, from 0 to 1.
    pub(super) fn scrub_progress(&self) -> f64 {
        let (done, whole) = (self.scrub_record().weight, self.whole().weight());
        done / whole.max(done).max(1.0)
    }

    /// Where the last process, or nobody, has left off.
    fn take_up(&self, period: Duration, now: Time) -> (Walk, Pace) {
        let mut record = self.scrub_record();
        let now = now.as_millis();
        if record.began == 0 {
            (record.began, record.at) = (now, now);
        }
        // Written down under a clock that was ahead.
        (record.began, record.at) = (record.began.min(now), record.at.min(now));
        let walk = Walk::new(read_cursor(&record.cursor));
        (
            walk,
            Pace::resume(period, record.owed, Time::from_millis(record.at)),
        )
    }

    fn end_pass(&self, now: Time) {
        let mut record = self.scrub_record();
        let took = now.since(Time::from_millis(record.began));
        tracing::info!(
            seconds = took.as_secs(),
            damaged = record.damaged,
            "everything held was hashed again"
        );
        *record = ScrubRecord {
            began: now.as_millis(),
            ended: now.as_millis(),
            owed: record.owed,
            at: record.at,
            ..ScrubRecord::default()
        };
    }

    fn write_scrub(&self) {
        self.records.put_scrub(&self.scrub_record());
    }
}

/// The one line about a damaged object.
pub(super) fn tell_damage(content: &Content, damage: &Damage, named: Option<&NamedBy>) {
    let digest = content.digest;
    let names = named.into_iter().flat_map(|named| &named.repositories);
    let names: Vec<String> = names.map(ToString::to_string).collect();
    let then = match damage.restored {
        true => "it was written anew from memory".to_owned(),
        false => format!(
            "it is fetched again when it is next pulled, or now by: seawall verify --digest {digest} --refetch"
        ),
    };
    tracing::warn!(
        %digest,
        size = damage.size,
        named_by = %if names.is_empty() { "nobody that is known".to_owned() } else { names.join(", ") },
        "a stored {} {} and was put aside; {then}",
        kind(content.shelf),
        damage.why,
    );
}

/// What stands on a shelf, in one word.
pub(super) const fn kind(shelf: Shelf) -> &'static str {
    match shelf {
        Shelf::Blobs => "blob",
        Shelf::Manifests => "manifest",
    }
}

fn write_cursor(content: &Content) -> String {
    format!("{} {}", kind(content.shelf), content.digest)
}

fn read_cursor(text: &str) -> Option<Content> {
    let (shelf, digest) = text.split_once(' ')?;
    let shelf = [Shelf::Blobs, Shelf::Manifests]
        .into_iter()
        .find(|each| kind(*each) == shelf)?;
    Some(Content {
        shelf,
        digest: digest.parse().ok()?,
    })
}

/// A way through everything held.
pub(super) struct Walk {
    folders: Vec<Folder>,
    /// The folder that is gone through.
    at: usize,
    /// What was come by last.
    cursor: Option<Content>,
    /// What is left of the folder, as it was listed then.
    listed: Option<(VecDeque<Content>, Time)>,
}

impl Walk {
    /// A way that goes on behind `cursor`, or begins.
    pub(super) fn new(cursor: Option<Content>) -> Self {
        let folders: Vec<Folder> = Folder::all().collect();
        let is_there = |folder: &Folder| {
            cursor.is_some_and(|content| {
                (folder.shelf, folder.algorithm) == (content.shelf, content.digest.algorithm())
                    && content.digest.as_bytes().first() == Some(&folder.first)
            })
        };
        Self {
            at: folders.iter().position(is_there).unwrap_or(0),
            folders,
            cursor,
            listed: None,
        }
    }

    /// The next object; `None` at the end, behind which it begins anew. Folders are compared with the index on the
    /// way, and listed again where it took its time.
    pub(super) async fn next(&mut self, shelves: &Arc<Shelves>, clock: Clock) -> Option<Content> {
        loop {
            let now = clock.now();
            let folder = *self.folders.get(self.at)?;
            let (mut listed, when) = match self.listed.take() {
                Some((listed, when)) if now.since(when) <= NAP => (listed, when),
                Some(_) => (self.list(shelves, folder, false).await, now),
                None => (self.list(shelves, folder, true).await, now),
            };
            if let Some(next) = listed.pop_front() {
                self.cursor = Some(next);
                self.listed = Some((listed, when));
                return Some(next);
            }
            self.at += 1;
            if self.at == self.folders.len() {
                (self.at, self.cursor) = (0, None);
                return None;
            }
        }
    }

    async fn list(&self, shelves: &Arc<Shelves>, folder: Folder, compare: bool) -> VecDeque<Content> {
        let (shelves, cursor) = (shelves.clone(), self.cursor);
        let list = blocking(move || {
            if compare {
                shelves.compare(folder, None)?;
            }
            shelves.disk.list(folder)
        });
        match list.await {
            Ok(all) => all
                .into_iter()
                .filter(|content| Some(*content) > cursor)
                .collect(),
            Err(error) => {
                tracing::warn!(%error, "a folder of the cache cannot be listed: its content is passed over");
                VecDeque::new()
            }
        }
    }
}
