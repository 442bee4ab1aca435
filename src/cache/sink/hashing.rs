//! The hash of a download, which is computed beside what else happens to its bytes and may lag behind it.
//!
//! ```text
//! read ──> batch ──┬─> write ──> readers
//!                  └─> queue ──> hash      a few batches behind at most
//! ```
//! SHA-256 is what takes longest where the upstream is near: while the reading, writing and hashing of each batch waited
//! for each other, the hashing stood still for a quarter of the time. No reader has the last bytes before all are hashed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

use super::super::lock;
use super::total_len;
use crate::oci::Hasher;

/// A hasher, and what waits for it. A thread is at work only while something does.
pub(in crate::cache) struct Hashing(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Told whenever a batch has been hashed.
    hashed: Notify,
}

struct State {
    /// Away while a thread is at work.
    hasher: Option<Hasher>,
    waiting: VecDeque<Arc<Vec<Bytes>>>,
    /// Bytes that are waiting, or being hashed.
    behind: u64,
}

impl Hashing {
    pub(in crate::cache) fn new(hasher: Hasher) -> Self {
        let state = State {
            hasher: Some(hasher),
            waiting: VecDeque::new(),
            behind: 0,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            hashed: Notify::new(),
        }))
    }

    /// Has a batch hashed, after those before.
    pub(in crate::cache) fn push(&self, batch: Arc<Vec<Bytes>>) {
        let mut state = lock(&self.0.state);
        state.behind += total_len(&batch);
        state.waiting.push_back(batch);
        if let Some(hasher) = state.hasher.take() {
            let shared = self.0.clone();
            tokio::task::spawn_blocking(move || shared.work(hasher));
        }
    }

    /// Bytes that are still to be hashed.
    pub(in crate::cache) fn behind(&self) -> u64 {
        lock(&self.0.state).behind
    }

    /// Waits until no more than `most` bytes are still to be hashed. Cancel-safe.
    pub(in crate::cache) async fn within(&self, most: u64) {
        loop {
            let hashed = self.0.hashed.notified();
            if self.behind() <= most {
                return;
            }
            hashed.await;
        }
    }

    /// What has been hashed, once that is all.
    pub(in crate::cache) async fn hasher(&self) -> Hasher {
        loop {
            let hashed = self.0.hashed.notified();
            if let Some(hasher) = &lock(&self.0.state).hasher {
                return hasher.clone();
            }
            hashed.await;
        }
    }
}

impl Shared {
    /// Hashes until nothing waits. Blocks.
    fn work(&self, mut hasher: Hasher) {
        loop {
            let batch = {
                let mut state = lock(&self.state);
                match state.waiting.pop_front() {
                    Some(batch) => batch,
                    None => {
                        state.hasher = Some(hasher);
                        break;
                    }
                }
            };
            for piece in batch.iter() {
                hasher.update(piece);
            }
            lock(&self.state).behind -= total_len(&batch);
            drop(batch);
            self.hashed.notify_waiters();
        }
        self.hashed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
