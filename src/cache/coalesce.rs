//! One question at a time: whoever asks while it is in the air gets the same answer.
//!
//! For short exchanges (a HEAD, a manifest); what streams is a fill. The question is asked by a task of the
//! cache's own, so a client that leaves takes nobody's answer away.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

type Open<K, V> = Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>;

/// Questions in the air, by key.
pub(super) struct Coalesce<K, V> {
    open: Open<K, V>,
    tasks: TaskTracker,
}

impl<K, V> Coalesce<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Self {
            open: Arc::default(),
            tasks,
        }
    }

    /// The answer to `question`, or to the one that is already in the air for `key`; and whether it was
    /// another's. `None` if the task that asked panicked.
    ///
    /// Cancel-safe: the question goes on when the caller goes away.
    pub(super) async fn ask<F>(&self, key: &K, question: impl FnOnce() -> F) -> (Option<V>, bool)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (mut answer, joined) = self.join(key, question);
        let arrived = answer.wait_for(Option::is_some).await;
        (arrived.ok().and_then(|value| value.clone()), joined)
    }

    fn join<F>(&self, key: &K, question: impl FnOnce() -> F) -> (watch::Receiver<Option<V>>, bool)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = open.get(key) {
            return (answer.clone(), true);
        }
        let (sender, answer) = watch::channel(None);
        open.insert(key.clone(), answer.clone());
        let closing = Closing {
            open: self.open.clone(),
            key: key.clone(),
        };
        let question = question();
        self.tasks.spawn(async move {
            let value = question.await;
            drop(closing);
            sender.send_replace(Some(value));
        });
        (answer, false)
    }
}

/// Takes the question off the list, also when its task panics.
struct Closing<K: Eq + Hash, V> {
    open: Open<K, V>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Closing<K, V> {
    fn drop(&mut self) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}
