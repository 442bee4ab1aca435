//! One question at a time: whoever asks while it is in the air gets the same answer.
//!
//! For short exchanges (a HEAD, a manifest); what streams is a fill. The question is asked by a task of the
//! cache's own, so a client that leaves takes nobody's answer away.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::lock;
use crate::clock::Clock;
use crate::telemetry::trace::{self, Context};

type Open<K, V> = Arc<Mutex<HashMap<K, Asked<V>>>>;

/// A question in the air: what will be answered, and where it stands in the trace of who asked first.
struct Asked<V> {
    answer: watch::Receiver<Option<V>>,
    trace: Option<Context>,
}

/// Questions in the air, by key. Clones share them.
pub(super) struct Coalesce<K, V> {
    /// What asking is called in traces.
    name: &'static str,
    open: Open<K, V>,
    tasks: TaskTracker,
    clock: Clock,
}

impl<K, V> Clone for Coalesce<K, V> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            open: self.open.clone(),
            tasks: self.tasks.clone(),
            clock: self.clock,
        }
    }
}

impl<K, V> Coalesce<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(name: &'static str, tasks: TaskTracker, clock: Clock) -> Self {
        Self {
            name,
            open: Arc::default(),
            tasks,
            clock,
        }
    }

    /// As [`Self::join`], with the answer.
    ///
    /// Cancel-safe: the question goes on when the caller goes away.
    pub(super) async fn ask<F>(&self, key: &K, question: impl FnOnce() -> F) -> (Option<V>, bool)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (answer, joined) = self.join(key, question);
        (answer.arrived().await, joined)
    }

    /// What will be the answer to `question`, or to the one that is already in the air for `key`; and
    /// whether it is another's.
    pub(super) fn join<F>(&self, key: &K, question: impl FnOnce() -> F) -> (Answer<V>, bool)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let Ok(joined) = self.try_join(key, || Ok::<F, std::convert::Infallible>(question()));
        joined
    }

    /// True if this is in the air.
    pub(super) fn has(&self, key: &K) -> bool {
        lock(&self.open).contains_key(key)
    }

    /// As [`Self::join`], for a question that may not be asked now.
    ///
    /// # Errors
    /// What `question` says. Then none was asked, and none is in the air.
    pub(super) fn try_join<F, E>(
        &self,
        key: &K,
        question: impl FnOnce() -> Result<F, E>,
    ) -> Result<(Answer<V>, bool), E>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut open = lock(&self.open);
        if let Some(Asked { answer, trace }) = open.get(key) {
            trace::joined(trace.as_ref());
            return Ok((Answer(answer.clone()), true));
        }
        let question = question()?;
        let (sender, answer) = watch::channel(None);
        let asked = Asked {
            answer: answer.clone(),
            trace: trace::next(),
        };
        let (trace, name, clock) = (asked.trace.clone(), self.name, self.clock);
        open.insert(key.clone(), asked);
        let closing = Closing {
            open: self.open.clone(),
            key: key.clone(),
        };
        self.tasks.spawn(async move {
            let value = trace::told(trace, name, || clock.unix_nanos(), question).await;
            drop(closing);
            sender.send_replace(Some(value));
        });
        Ok((Answer(answer), false))
    }
}

/// An answer that is on its way.
pub(super) struct Answer<V>(watch::Receiver<Option<V>>);

impl<V: Clone> Answer<V> {
    /// The answer; `None` if the task that asked panicked.
    pub(super) async fn arrived(mut self) -> Option<V> {
        let arrived = self.0.wait_for(Option::is_some).await;
        arrived.ok().and_then(|value| value.clone())
    }
}

/// Takes the question off the list, also when its task panics.
struct Closing<K: Eq + Hash, V> {
    open: Open<K, V>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Closing<K, V> {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.key);
    }
}
