//! What must reach the disk however many changes wait: it stands beside their queue, and is written with the next
//! of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The newest value of each name that is not on disk yet.
#[derive(Debug)]
pub(super) struct Unwritten<V>(Arc<Mutex<HashMap<String, V>>>);

impl<V> Clone for Unwritten<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> Default for Unwritten<V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<V: Clone + PartialEq> Unwritten<V> {
    /// Has a value written, unless so many names wait already; false then.
    pub(super) fn put(&self, name: &str, value: V, most: usize) -> bool {
        let mut waiting = self.waiting();
        let fits = waiting.len() < most || waiting.contains_key(name);
        if fits {
            waiting.insert(name.to_owned(), value);
        }
        fits
    }

    /// Has a value not written after all if something is sent in its place. Nobody is told what waits between the two:
    /// they are of one moment.
    pub(super) fn give_way(&self, name: &str, send: impl FnOnce() -> bool) {
        let mut waiting = self.waiting();
        if send() {
            waiting.remove(name);
        }
    }

    /// Whether a value of a name waits.
    pub(super) fn has(&self, name: &str) -> bool {
        self.waiting().contains_key(name)
    }

    /// What is to be written now.
    pub(super) fn all(&self) -> Vec<(String, V)> {
        let waiting = self.waiting();
        let each = waiting.iter();
        each.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Those of these that are still to be written: none of them was taken back, or is newer by now.
    pub(super) fn still(&self, told: &[(String, V)]) -> Vec<(String, V)> {
        let waiting = self.waiting();
        let is_still = |(name, value): &&(String, V)| waiting.get(name) == Some(value);
        told.iter().filter(is_still).cloned().collect()
    }

    /// Whether others than these, which were told by [`Self::all`], are to be written.
    pub(super) fn has_others(&self, told: &[(String, V)]) -> bool {
        let waiting = self.waiting();
        let still = told
            .iter()
            .filter(|(name, value)| waiting.get(name) == Some(value));
        waiting.len() > still.count()
    }

    /// These are on disk. What is newer by now stays; so does what could not be written, for the next time.
    pub(super) fn written(&self, written: &[(String, V)]) {
        let mut waiting = self.waiting();
        for (name, value) in written {
            if waiting.get(name) == Some(value) {
                waiting.remove(name);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_what_waits_between_a_value_and_what_is_sent_in_its_place() {
        let unwritten = Unwritten::default();
        unwritten.put("tag", 1, 10);
        let sends = |sent| {
            assert!(unwritten.0.try_lock().is_err());
            sent
        };
        unwritten.give_way("tag", || sends(false));
        assert!(unwritten.has("tag"));
        unwritten.give_way("tag", || sends(true));
        assert!(!unwritten.has("tag"));
    }
}
