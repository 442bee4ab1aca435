//! What a warm tells: how far each image is, and in the end what all of it cost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum WarmEvent {
    /// How far an image is.
    Image(WarmImage),
    /// It is over.
    Summary(WarmSummary),
}

/// How far an image is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmImage {
    /// What the operator wrote.
    pub image: String,
    /// What happens to it.
    pub state: WarmState,
    /// Bytes of it that are held by now.
    pub done: u64,
    /// Bytes of it, as far as is known by now.
    pub total: u64,
    /// Bytes of it that were held before.
    pub held: u64,
    /// Why it waits, or was missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When asking again may succeed, in milliseconds since the Unix epoch, if it was missed for now only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<u64>,
}

/// What happens to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WarmState {
    /// It has not been begun.
    Queued,
    /// Its manifests are looked for.
    Resolving,
    /// Its blobs are fetched.
    Fetching,
    /// Its upstream asked for a pause.
    Waiting,
    /// All that was wanted of it is held.
    Held,
    /// Something of it could not be had.
    Missed,
}

/// What a warm came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmSummary {
    /// Images that were asked for.
    pub images: usize,
    /// Counted requests that were spent.
    pub counted: u64,
    /// Requests that cost no budget: tags and lists asked about, blobs.
    pub free: u64,
    /// Bytes that were fetched.
    pub fetched: u64,
    /// Bytes that were held before, or that somebody else was fetching.
    pub held: u64,
    /// The images of which something is missing.
    pub missed: Vec<Missed>,
}

/// An image of which something is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// What the operator wrote.
    pub image: String,
    /// What is missing, and why.
    pub why: String,
    /// When asking again may succeed, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<u64>,
}

/// How far all images are.
pub(super) struct Board(Mutex<Vec<(WarmImage, bool)>>);

impl Board {
    pub(super) fn new(names: impl Iterator<Item = String>) -> Self {
        let queued = names.map(|image| {
            let image = WarmImage {
                image,
                state: WarmState::Queued,
                done: 0,
                total: 0,
                held: 0,
                why: None,
                again: None,
            };
            (image, true)
        });
        Self(Mutex::new(queued.collect()))
    }

    /// Changes what is told of an image.
    pub(super) fn note(&self, index: usize, change: impl FnOnce(&mut WarmImage)) {
        if let Some((image, changed)) = self.lock().get_mut(index) {
            change(image);
            *changed = true;
        }
    }

    /// The images that have changed since this was asked last.
    pub(super) fn changed(&self) -> Vec<WarmImage> {
        let mut images = self.lock();
        let changed = images.iter_mut().filter(|(_, changed)| *changed);
        changed
            .map(|(image, changed)| {
                *changed = false;
                image.clone()
            })
            .collect()
    }

    /// The images that did not come to be held.
    pub(super) fn missed(&self) -> Vec<Missed> {
        let images = self.lock();
        let missed = images.iter().filter(|(image, _)| image.state != WarmState::Held);
        missed
            .map(|(image, _)| Missed {
                image: image.image.clone(),
                why: image
                    .why
                    .clone()
                    .unwrap_or_else(|| "an internal error; the log of the cache tells more".to_owned()),
                again: image.again,
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(WarmImage, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was spent.
pub(super) struct Tally {
    counted: Arc<AtomicU64>,
    free: AtomicU64,
    fetched: AtomicU64,
    held: AtomicU64,
}

impl Tally {
    pub(super) fn new(counted: Arc<AtomicU64>) -> Self {
        Self {
            counted,
            free: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }

    pub(super) fn asked(&self) {
        self.free.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fetched(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn held(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn summary(&self, images: usize, missed: Vec<Missed>) -> WarmSummary {
        WarmSummary {
            images,
            counted: self.counted.load(Ordering::Relaxed),
            free: self.free.load(Ordering::Relaxed),
            fetched: self.fetched.load(Ordering::Relaxed),
            held: self.held.load(Ordering::Relaxed),
            missed,
        }
    }
}
