//! Room that is set aside in the books, for unfinished files and for damaged ones.

use super::aside::Aside;
use super::books::{Answer, NotKept, State};
use crate::clock::Time;
use crate::policy::eviction::{LARGEST_PART, Room, on_disk};

impl State {
    /// As [`Self::reserve`], but chooses nothing to go: `None` if something would have to.
    pub(super) fn reserve_free(&mut self, name: &str, bytes: u64) -> Option<Answer> {
        let more = self.more(name, bytes);
        if more > 0 && self.missing(more) > 0 && self.complete && !self.is_too_long(bytes) {
            return None;
        }
        match self.reserve(name, bytes) {
            Answer::Evict(victims) => {
                victims.iter().for_each(|victim| self.reinstate(victim));
                None
            }
            Answer::Drop(_) | Answer::Never(NotKept::InUse) => None,
            answer => Some(answer),
        }
    }

    /// Sets bytes aside for an unfinished file, so that it has `bytes` in all.
    pub(super) fn reserve(&mut self, name: &str, bytes: u64) -> Answer {
        let more = self.more(name, bytes);
        if more == 0 {
            return Answer::Granted;
        }
        if !self.complete {
            return Answer::Never(NotKept::Rebuilding);
        }
        if self.is_too_long(bytes) {
            return Answer::Never(NotKept::TooLong);
        }
        if let Some(worthless) = self.droppable(more, |aside| aside.damaged) {
            return Answer::Drop(worthless);
        }
        match self.index.reserve(more) {
            Room::Granted => {
                self.asides.entry(name.to_owned()).or_default().reserved += more;
                Answer::Granted
            }
            Room::Evict(victims) => Answer::Evict(victims),
            Room::Never => match self.droppable(more, |aside| aside.open == 0) {
                Some(abandoned) => Answer::Drop(abandoned),
                None => Answer::Never(NotKept::InUse),
            },
        }
    }

    /// Sets bytes aside for a file that is there already; false if there is no room without an eviction.
    pub(super) fn set_aside(&mut self, name: String, aside: Aside) -> bool {
        let bytes = on_disk(aside.reserved);
        self.set_named(&aside, true);
        let fits = self.missing(bytes) == 0;
        let done = match fits.then(|| self.index.reserve(bytes)) {
            Some(Room::Granted) => {
                self.asides.insert(
                    name,
                    Aside {
                        reserved: bytes,
                        ..aside
                    },
                );
                true
            }
            Some(Room::Evict(victims)) => {
                victims.iter().for_each(|victim| self.reinstate(victim));
                false
            }
            Some(Room::Never) | None => false,
        };
        if !done {
            self.set_named(&aside, false);
        }
        done
    }

    /// A file beside the index has gone, or has become something held.
    pub(super) fn release(&mut self, name: &str) {
        if let Some(aside) = self.asides.remove(name) {
            self.index.release(aside.reserved);
            self.set_named(&aside, false);
        }
    }

    /// Whether readers of a file that was held have it counted as one beside the index.
    fn set_named(&mut self, aside: &Aside, named: bool) {
        if let Some(generation) = aside.generation {
            self.index.set_named(generation, named);
        }
    }

    /// The name of an unfinished file has gone, and somebody has it open: what it takes stays set aside. Answers how
    /// much that is, to be given back by [`Self::closed`].
    pub(super) fn unlinked(&mut self, name: &str, written: u64) -> u64 {
        let Some(aside) = self.asides.remove(name) else {
            return 0;
        };
        let keep = on_disk(written).min(aside.reserved);
        self.index.release(aside.reserved - keep);
        self.unlinked += keep;
        keep
    }

    /// Nobody has an unfinished file open any more whose name has gone.
    pub(super) fn closed(&mut self, bytes: u64) {
        self.unlinked -= bytes;
        self.index.release(bytes);
    }

    /// A fill gives its file up for now: what it has written stays set aside.
    pub(super) fn set_down(&mut self, name: &str, written: u64, now: Time) {
        if let Some(aside) = self.asides.get_mut(name) {
            aside.open = aside.open.saturating_sub(1);
            if aside.open == 0 {
                let keep = on_disk(written).min(aside.reserved);
                self.index.release(aside.reserved - keep);
                (aside.reserved, aside.since) = (keep, now);
            }
        }
    }

    /// Bytes that an unfinished file lacks.
    fn more(&self, name: &str, bytes: u64) -> u64 {
        let has = self.asides.get(name).map_or(0, |aside| aside.reserved);
        on_disk(bytes).saturating_sub(has)
    }

    /// Bytes that would have to go to make room for so many more.
    fn missing(&self, more: u64) -> u64 {
        let (held, reserved) = self.index.taken();
        let wanted = held.saturating_add(reserved).saturating_add(more);
        wanted.saturating_sub(self.capacity)
    }

    fn is_too_long(&self, bytes: u64) -> bool {
        on_disk(bytes) > self.capacity / LARGEST_PART
    }

    /// Files beside the index that would make the room that is missing, longest there first; `None` if enough
    /// is free, or there are none.
    fn droppable(&self, more: u64, which: impl Fn(&Aside) -> bool) -> Option<Vec<String>> {
        let mut missing = self.missing(more);
        let mut which: Vec<_> = self.asides.iter().filter(|(_, aside)| which(aside)).collect();
        which.sort_by_key(|(_, aside)| aside.since);
        let mut dropped = Vec::new();
        for (name, aside) in which {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(aside.reserved.max(1));
            dropped.push(name.clone());
        }
        (!dropped.is_empty()).then_some(dropped)
    }
}
