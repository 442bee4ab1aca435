//! Hashes what the operator names, tells how it goes, and fetches again what is damaged if that is wanted.
//!
//! ```text
//! what is named ── Queue ── check ──┬── good
//!                    ▲              └── damaged: aside, some at a time: who names them? ── refetch ── told
//!                    └── what a manifest names, as far as it is held
//! ```

mod queue;
mod refetch;
mod told;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use self::queue::{Item, Queue};
use self::told::Counts;
use super::check::{Checked, Damage};
use super::names::NamedBy;
use super::scrub::tell_damage;
use super::{Cache, Shelves};
use crate::clock::Time;
use crate::oci::{Digest, Reference};
use crate::policy::eviction::Content;
use crate::policy::naming::{Chosen, Names};
use crate::policy::scrub::{Sample, Whole};
use crate::store::Shelf;

pub use self::told::{DamagedObject, Mended, VerifyEvent, VerifyProgress, VerifySummary};

/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long it may take to look through the records of all manifests: a million objects take seconds.
const LOOK_THROUGH: Duration = Duration::from_secs(60);
/// Most damaged objects that wait until it is looked up who names them.
const MOST_WAITING: usize = 64;

/// What is to be verified.
#[derive(Clone, Debug)]
pub enum Verifiable {
    /// Everything held.
    Everything,
    /// These.
    Of(Vec<VerifyTarget>),
}

/// One thing that is to be verified.
#[derive(Clone, Debug)]
pub enum VerifyTarget {
    /// What a reference leads to, with all that is held of it.
    Reference(Chosen, Reference),
    /// One object, wherever it stands.
    Digest(Digest),
}

/// How it is to be verified.
#[derive(Clone, Debug)]
pub struct Verify {
    /// What.
    pub what: Verifiable,
    /// Only some of it.
    pub sample: Option<Sample>,
    /// Most bytes read per second.
    pub rate: u64,
    /// Fetch damaged objects again.
    pub refetch: bool,
    /// Which registries there are.
    pub names: Arc<Names>,
}

/// Something damaged that nobody was told of yet.
struct Found {
    item: Item,
    damage: Damage,
}

/// One run.
struct Run<'a> {
    cache: Cache,
    verify: Verify,
    events: &'a Sender<VerifyEvent>,
    counts: Counts,
    began: Time,
    told: Time,
    found: Vec<Found>,
}

impl Cache {
    /// Names of what is to be verified and is not held, nor kept as damaged; empty if all is well.
    ///
    /// # Errors
    /// If the disk does not tell in time.
    pub async fn not_held(&self, what: &Verifiable) -> io::Result<Vec<String>> {
        let Verifiable::Of(targets) = what else {
            return Ok(Vec::new());
        };
        let (shelves, targets) = (self.shelves.clone(), targets.clone());
        let look = move || {
            let missing = targets
                .iter()
                .filter(|target| shelves.starts_of(target).is_empty());
            Ok(missing.map(ToString::to_string).collect())
        };
        self.shelves.disk.health().looking(look).await
    }

    /// Verifies, and tells how it goes; the last event is the summary.
    ///
    /// Cancel-safe: dropped, it stops at once; what was found damaged by then is aside.
    pub async fn verify(&self, verify: Verify, events: &Sender<VerifyEvent>) {
        let now = self.clock.now();
        let run = Run {
            // What this run spends is counted apart.
            cache: Self {
                spent: Arc::new(AtomicU64::new(0)),
                ..self.clone()
            },
            verify,
            events,
            counts: Counts::default(),
            began: now,
            told: now,
            found: Vec::new(),
        };
        Box::pin(run.drive()).await;
    }
}

impl Run<'_> {
    async fn drive(mut self) {
        let shelves = self.cache.shelves.clone();
        let mut queue = Queue::default();
        if let Err(error) = queue.begin(&shelves, &self.verify.what).await {
            let why =
                format!("what is named cannot be looked up: {error}; see to the disk, then verify it again");
            self.counts.unreadable.push(why);
        }
        while let Some(item) = queue.next(&shelves, self.cache.clock).await {
            let sample = self.verify.sample;
            if sample.is_none_or(|sample| sample.takes(&item.content.digest)) {
                self.check(item.clone(), queue.known).await;
            }
            if item.content.shelf == Shelf::Manifests {
                // What a damaged manifest names is known again once it has been fetched.
                if self.verify.refetch && self.is_found(&item.content) {
                    self.settle().await;
                }
                if let Err(error) = queue.follow(&shelves, &item).await {
                    let digest = item.content.digest;
                    let why = format!("what {digest} names cannot be looked up: {error}; verify it again");
                    self.counts.unreadable.push(why);
                }
            }
            self.tell(queue.known).await;
        }
        self.settle().await;
        let summary = std::mem::take(&mut self.counts).summary(
            self.cache.clock.now().since(self.began),
            self.cache.spent.load(Ordering::Relaxed),
            self.verify.sample,
        );
        self.send(VerifyEvent::Summary(summary)).await;
    }

    async fn check(&mut self, item: Item, known: Whole) {
        let rate = self.verify.rate.max(1) as f64;
        let hashed = AtomicU64::new(0);
        let rest = |bytes: u64| {
            hashed.fetch_add(bytes, Ordering::Relaxed);
            Duration::from_secs_f64(bytes as f64 / rate)
        };
        let (checked, read) = match item.aside {
            Some(size) => (Checked::Damaged(Damage::earlier(size)), 0),
            None => {
                let shelves = self.cache.shelves.clone();
                let mut checking = Box::pin(shelves.check(item.content, rest));
                loop {
                    // What is long takes its time, and who asked wants to see it move.
                    tokio::select! {
                        checked = &mut checking => break checked,
                        () = tokio::time::sleep(TELL_EVERY) => {
                            self.tell_progress(hashed.load(Ordering::Relaxed), known).await;
                        }
                    }
                }
            }
        };
        self.counts.bytes += read;
        match checked {
            Checked::Missing => {}
            Checked::Good => self.counts.objects += 1,
            Checked::Unreadable(why) => {
                self.counts.objects += 1;
                self.counts.unreadable.push(why);
            }
            Checked::Damaged(damage) => {
                self.counts.objects += 1;
                self.found.push(Found { item, damage });
                if self.found.len() >= MOST_WAITING {
                    self.settle().await;
                }
            }
        }
    }

    fn is_found(&self, content: &Content) -> bool {
        self.found.iter().any(|found| found.item.content == *content)
    }

    /// Tells of everything damaged so far, after it was fetched again if that is wanted.
    async fn settle(&mut self) {
        if self.found.is_empty() {
            return;
        }
        let found = std::mem::take(&mut self.found);
        let wanted: HashSet<Digest> = found.iter().map(|found| found.item.content.digest).collect();
        let shelves = self.cache.shelves.clone();
        let look = move || Ok(shelves.names_of(&wanted));
        let names = self.cache.shelves.disk.health().working(LOOK_THROUGH, look).await;
        let names = names.unwrap_or_else(|error| {
            tracing::warn!(%error, "who names what is damaged cannot be looked up");
            HashMap::new()
        });
        for Found { item, damage } in found {
            let named = names.get(&item.content.digest);
            let content = match (item.aside, named) {
                (Some(_), Some(named)) => Content {
                    shelf: named.shelf,
                    ..item.content
                },
                _ => item.content,
            };
            if item.aside.is_none() {
                tell_damage(&content, &damage, named);
            }
            let mended = match (damage.restored, self.verify.refetch) {
                (true, _) => Ok(Mended::Restored),
                (false, false) => Ok(Mended::Aside),
                (false, true) => self.refetch(&content, item.from.as_ref(), named).await,
            };
            let object = DamagedObject::new(&content, &damage, named, mended);
            self.counts.damaged(&object);
            self.send(VerifyEvent::Damaged(object)).await;
        }
    }

    async fn refetch(
        &mut self,
        content: &Content,
        from: Option<&Chosen>,
        named: Option<&NamedBy>,
    ) -> Result<Mended, String> {
        let others = named.into_iter().flat_map(|named| &named.repositories);
        let others = others.filter_map(|repository| {
            let entry = self.verify.names.entry(&repository.registry)?;
            let repository = repository.clone();
            Some(Chosen { entry, repository })
        });
        let sources: Vec<Chosen> = from.cloned().into_iter().chain(others).collect();
        let fetched = Box::pin(self.cache.refetch(content, &sources)).await?;
        self.counts.fetched += fetched;
        Ok(Mended::Fetched)
    }

    /// Tells how it goes, if it was not told of late.
    async fn tell(&mut self, known: Whole) {
        if self.cache.clock.now().since(self.told) >= TELL_EVERY {
            self.settle().await;
            self.tell_progress(0, known).await;
        }
    }

    /// Tells how far it is, with so many bytes of the object that is being hashed.
    async fn tell_progress(&mut self, more: u64, known: Whole) {
        let now = self.cache.clock.now();
        self.told = now;
        let bytes = self.counts.bytes + more;
        let seconds = now.since(self.began).as_secs_f64().max(0.001);
        let progress = VerifyProgress {
            objects: self.counts.objects,
            bytes,
            of_objects: known.objects.max(self.counts.objects),
            of_bytes: known.bytes.max(bytes),
            rate: (bytes as f64 / seconds) as u64,
            damaged: self.counts.damaged,
        };
        self.send(VerifyEvent::Progress(progress)).await;
    }

    async fn send(&self, event: VerifyEvent) {
        // Whoever asked may have gone: then this run is about to be dropped.
        let _ = self.events.send(event).await;
    }
}

impl Shelves {
    /// Where to begin with a target: nothing if it is not held. Blocks.
    fn starts_of(&self, target: &VerifyTarget) -> Vec<Item> {
        let is_there = |content: &Content| {
            self.disk.facts(content).is_some() || self.disk.holds(content.shelf, &content.digest)
        };
        match target {
            VerifyTarget::Reference(chosen, reference) => {
                let digest = match reference {
                    Reference::Digest(digest) => Some(*digest),
                    Reference::Tag(tag) => {
                        let record = self.records.tag(&chosen.repository, tag);
                        record.map(|record| record.descriptor.digest)
                    }
                };
                let Some(digest) = digest else {
                    return Vec::new();
                };
                let content = Content {
                    shelf: Shelf::Manifests,
                    digest,
                };
                let is_held = is_there(&content);
                let item = Item {
                    content,
                    from: Some(chosen.clone()),
                    aside: self.disk.quarantined_size(&digest).filter(|_| !is_held),
                };
                (is_held || item.aside.is_some())
                    .then_some(item)
                    .into_iter()
                    .collect()
            }
            VerifyTarget::Digest(digest) => {
                let items = [Shelf::Blobs, Shelf::Manifests].map(|shelf| Item {
                    content: Content {
                        shelf,
                        digest: *digest,
                    },
                    from: None,
                    aside: None,
                });
                let held: Vec<Item> = items
                    .iter()
                    .filter(|item| is_there(&item.content))
                    .cloned()
                    .collect();
                match self.disk.quarantined_size(digest).filter(|_| held.is_empty()) {
                    Some(size) => vec![Item {
                        aside: Some(size),
                        ..items[0].clone()
                    }],
                    None => held,
                }
            }
        }
    }
}

impl std::fmt::Display for VerifyTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digest(digest) => write!(f, "{digest}"),
            Self::Reference(chosen, Reference::Tag(tag)) => write!(f, "{}:{tag}", chosen.repository),
            Self::Reference(chosen, Reference::Digest(digest)) => write!(f, "{}@{digest}", chosen.repository),
        }
    }
}

impl Damage {
    /// Something that was put aside before.
    fn earlier(size: u64) -> Self {
        Self {
            why: "was found damaged before".to_owned(),
            size,
            restored: false,
        }
    }
}
