//! Room: how much there is, and what goes to make some.

use std::io;
use std::time::Duration;

use super::aside::{Partial, unfinished_name};
use super::books::{Answer, NotKept, Tally};
use super::{Disk, Space};
use crate::clock::Time;
use crate::oci::Digest;
use crate::policy::eviction::{Content, Facts, Shelf};
use crate::store::crash::{self, Point};
use crate::store::files;

/// Times room is made before a fill goes without: others may take what was made for it.
const ROUNDS: usize = 16;
/// Most choices of what goes for one who wants room, whatever others do meanwhile: of small files, some 16 million.
const MOST_CHOICES: usize = 16_384;

/// How long a fill waits for room: clients wait for it, and what takes 5 s is taken for a slow disk. Some 20,000 small
/// files go in that time.
const ROOM_PATIENCE: Duration = Duration::from_secs(2);
/// Changes told at a time, to be written down together: some 2 MB.
const MOST_CHANGES: usize = 16_384;

/// How the shelf stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Most bytes at the moment: less than configured if the file system has no room for so much.
    pub capacity: u64,
    /// Bytes held.
    pub held: u64,
    /// Bytes set aside for what is unfinished, or damaged, or has lost its name and is still open.
    pub reserved: u64,
    /// Bytes free on the file system.
    pub free: u64,
    /// What stands on [`Shelf::Blobs`] and [`Shelf::Manifests`].
    pub shelves: [Tally; 2],
    /// True while it is not known yet what the directory holds.
    pub rebuilding: bool,
}

impl Disk {
    /// True if an unfinished file of a digest is known of, which takes room. Touches no file.
    pub fn has_begun(&self, digest: &Digest) -> bool {
        let name = unfinished_name(digest);
        self.books.lock().asides.contains_key(&name)
    }

    /// As [`Self::make_room`], touching no file: `None` if something has to go for it.
    pub fn take_free_room(&self, partial: &Partial, bytes: u64) -> Option<Result<(), NotKept>> {
        match self.books.lock().reserve_free(partial.name(), bytes)? {
            Answer::Granted => Some(Ok(())),
            Answer::Never(why) => Some(Err(why)),
            Answer::Evict(_) | Answer::Drop(_) => None,
        }
    }

    /// Sets bytes aside for an unfinished file, so that it may grow to `bytes`; makes room if it has to. Blocks, for
    /// some 2 s at most on a disk that is well.
    ///
    /// # Errors
    /// Why there is no room. [`NotKept::Making`] if so many files would have to go that it takes longer: what went by
    /// then has gone, and who asks again goes on behind it.
    pub fn make_room(&self, partial: &Partial, bytes: u64) -> Result<(), NotKept> {
        self.make_room_until(partial, bytes, self.clock.now() + ROOM_PATIENCE)
    }

    /// As [`Self::make_room`], but past `deadline` nothing more goes than what was chosen before.
    fn make_room_until(&self, partial: &Partial, bytes: u64, deadline: Time) -> Result<(), NotKept> {
        if let Some(done) = self.take_free_room(partial, bytes) {
            return done;
        }
        let was_late = self.clock.now() > deadline;
        let _making = self.books.making_room();
        if !was_late && self.clock.now() > deadline {
            // Others took so long to make theirs.
            return Err(NotKept::Making);
        }
        let mut rounds = 0;
        for _ in 0..MOST_CHOICES {
            let (answer, is_part) = {
                let mut state = self.books.lock();
                (state.reserve(partial.name(), bytes), state.index.was_cut())
            };
            rounds += match answer {
                Answer::Granted => return Ok(()),
                Answer::Never(why) => return Err(why),
                Answer::Evict(victims) => {
                    let is_stuck = self.evict(&victims) == 0 && !victims.is_empty();
                    usize::from(is_stuck || !is_part)
                }
                Answer::Drop(names) => {
                    self.drop_asides(&names);
                    1
                }
            };
            if rounds >= ROUNDS {
                break;
            }
            if self.clock.now() > deadline {
                return Err(NotKept::Making);
            }
        }
        Err(NotKept::InUse)
    }

    /// Comes back to the low watermark if the high one is passed. Blocks. Returns how many objects went.
    pub fn tidy(&self) -> usize {
        let mut went = 0;
        for _ in 0..MOST_CHOICES {
            // Who waits for room for a fill comes in between.
            let _making = self.books.making_room();
            let Some(victims) = self.books.lock().index.excess() else {
                break;
            };
            let gone = self.evict(&victims);
            went += gone;
            if gone == 0 && !victims.is_empty() {
                break;
            }
        }
        went
    }

    /// Looks how much the file system has left, and keeps its floor free. Blocks.
    ///
    /// # Errors
    /// If the file system cannot be asked.
    pub fn measure(&self) -> io::Result<()> {
        let system = rustix::fs::statvfs(&self.root)?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        let Space {
            capacity, min_free, ..
        } = self.space();
        let beside = self.aside_bytes();
        let mut state = self.books.lock();
        let (held, _) = state.index.taken();
        let nameless = state.index.orphaned().saturating_add(state.unlinked);
        let possible = held
            .saturating_add(beside)
            .saturating_add(nameless)
            .saturating_add(free)
            .saturating_sub(min_free);
        (state.free, state.capacity) = (free, capacity.min(possible));
        let capacity = state.capacity;
        state.index.set_capacity(capacity);
        Ok(())
    }

    /// How the shelf stands.
    pub fn standing(&self) -> Standing {
        let state = self.books.lock();
        let (held, reserved) = state.index.taken();
        Standing {
            capacity: state.capacity,
            held,
            reserved,
            free: state.free,
            shelves: state.tallies,
            rebuilding: !state.complete,
        }
    }

    /// Objects that were evicted since this was last asked for, by shelf.
    pub fn take_evicted(&self) -> [u64; 2] {
        std::mem::take(&mut self.books.lock().evicted)
    }

    /// Waits until something has to be written down.
    pub async fn stirred(&self) {
        self.books.stirred().await;
    }

    /// True if something has to be written down or handed on.
    pub fn has_changes(&self) -> bool {
        self.books.lock().has_changes()
    }

    /// What came and went since this was last asked for, each with what holds now; `None` for what is not held
    /// any more. What was only used is among it if that is wanted. Some of it at most, and nobody waits for more than a
    /// part of that; the rest is told the next time.
    pub fn take_changes(&self, with_uses: bool) -> Vec<(Content, Option<Facts>)> {
        let mut taken = Vec::new();
        while taken.len() < MOST_CHANGES {
            let more = self.books.lock().take_changes(with_uses);
            if more.is_empty() {
                break;
            }
            taken.extend(more);
        }
        taken
    }

    /// Manifests that were pulled since this was last asked for, at most so many; the rest is told the next time.
    pub fn take_pulled(&self, most: usize) -> Vec<Digest> {
        self.books.lock().take_pulled(most)
    }

    /// Blobs of a manifest that was pulled count as used themselves.
    pub fn used(&self, blobs: impl Iterator<Item = Digest>) {
        let now = self.clock.now();
        let mut state = self.books.lock();
        for digest in blobs {
            let shelf = Shelf::Blobs;
            state.used(&Content { shelf, digest }, now);
        }
    }

    /// Removes what was chosen to go. Returns how many went.
    fn evict(&self, victims: &[Content]) -> usize {
        let mut gone = 0;
        for content in victims {
            let _naming = self.books.naming(content);
            let stays = {
                let mut state = self.books.lock();
                // Somebody may have stored it anew, or wants it kept since it was chosen.
                let is_kept = state.keeps(content);
                if is_kept {
                    state.reinstate(content);
                }
                is_kept || state.index.facts(content).is_some()
            };
            if stays {
                continue;
            }
            let removed = match files::remove(&self.path(content.shelf, &content.digest)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => self.wrote("evict", Err(error)),
                _ => Ok(()),
            };
            let mut state = self.books.lock();
            match removed {
                Err(error) => {
                    tracing::debug!(digest = %content.digest, %error, "a file could not be evicted");
                    state.reinstate(content);
                }
                Ok(()) => {
                    crash::point(Point::Evicted);
                    state.remove(content);
                    state.evicted[content.shelf as usize] += 1;
                    gone += 1;
                }
            }
        }
        gone
    }

    fn drop_asides(&self, names: &[String]) {
        for name in names {
            tracing::info!(name, "an abandoned file makes room");
            self.remove_aside(name);
        }
    }
}

#[cfg(test)]
mod tests;
