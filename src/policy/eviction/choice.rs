//! Room in the index: what is granted, and what has to go first.

use super::entries::{Place, Slot};
use super::index::Index;
use super::run::{Chosen, Passed, Run};
use super::shares::{Kind, PerKind, guaranteed, low};
use super::{Content, Facts, LARGEST_PART, Room, Rules, on_disk};

impl Index {
    /// Sets bytes aside for a fill, in whole blocks. One that asks bit by bit must ask for whole blocks, or
    /// release in the same bits.
    pub fn reserve(&mut self, bytes: u64) -> Room {
        let (capacity, bytes) = (self.rules.capacity, on_disk(bytes));
        if bytes > capacity / LARGEST_PART {
            return Room::Never;
        }
        let wanted = self.held + self.set_aside() + bytes;
        if wanted <= capacity {
            self.reserved += bytes;
            return Room::Granted;
        }
        let fill = Some((Kind::of_fill(bytes), bytes));
        // What is leaving is not deducted: whoever made it leave wants the room.
        let need = wanted - capacity;
        if self.winnable(fill) < need {
            return Room::Never;
        }
        Room::Evict(self.choose(need, fill))
    }

    /// What has to go to come back to the low watermark; `None` below the high one, or if nothing may go. Ask again
    /// when it is gone: it may be a part, or empty, as [`Room::Evict`] may.
    pub fn excess(&mut self) -> Option<Vec<Content>> {
        if !self.is_over_the_mark() {
            return None;
        }
        let need = self.taken_for_good().saturating_sub(low(&self.rules));
        let need = need.min(self.winnable(None));
        (need > 0).then(|| self.choose(need, None))
    }

    /// Bytes that are held or set aside, but for those that are leaving.
    fn taken_for_good(&self) -> u64 {
        self.held - self.leaving + self.set_aside()
    }

    fn is_over_the_mark(&self) -> bool {
        self.taken_for_good() as f64 > self.rules.capacity as f64 * self.rules.high
    }

    /// What would go next, if room were needed and nothing pulled or stored until then; at most as much as is chosen
    /// at once. While there is room it says what would go if there were none: if no more might be held than is.
    /// Marks nothing.
    pub fn next_to_go(&self, count: usize) -> Vec<(Content, Facts)> {
        let next = self.preview(count).victims;
        let next = next.iter().map(|slot| self.entries.at(*slot));
        next.map(|entry| (entry.content, entry.facts)).collect()
    }

    pub(super) fn preview(&self, count: usize) -> Chosen {
        let full = match self.is_over_the_mark() {
            true => self.rules.capacity,
            false => (self.held as f64 / self.rules.low.clamp(0.01, 1.0)) as u64,
        };
        let rules = Rules {
            capacity: self.rules.capacity.min(full),
            ..self.rules
        };
        self.new_run(self.over(&rules, None), None).preview(count)
    }

    fn new_run(&self, over: PerKind<i128>, fill: Option<(Kind, u64)>) -> Run<'_> {
        Run::new(&self.entries, &self.shares, (self.run, self.bounds), over, fill)
    }

    /// What goes, so that `need` bytes are won; a part of it where the choice comes to its bound.
    fn choose(&mut self, need: u64, fill: Option<(Kind, u64)>) -> Vec<Content> {
        let over = self.over(&self.rules, fill);
        let Chosen {
            victims,
            passed,
            cut,
            looks,
        } = self.new_run(over, fill).choose(need);
        (self.looks, self.cut) = (looks, cut);
        let names = victims.iter().map(|slot| self.entries.at(*slot).content);
        let names = names.collect();
        for slot in victims {
            self.dismiss(slot);
        }
        for (kind, Passed { again, apart }) in Kind::ALL.into_iter().zip(passed.0) {
            for (slot, hits) in again {
                self.requeue(kind, slot, hits);
            }
            for slot in apart {
                self.set_apart(kind, slot);
            }
        }
        // One that was cut goes on with the next: what is marked is spared until there is enough.
        if !cut {
            self.run = self.run.wrapping_add(1).max(1);
        }
        names
    }

    fn dismiss(&mut self, slot: Slot) {
        let entry = self.entries.at(slot);
        let (bytes, kind, content, place) = (entry.on_disk(), entry.kind(), entry.content, entry.place);
        let share = &mut self.shares[kind];
        share.leave(&mut self.entries, slot);
        self.entries.at_mut(slot).place = Place::Leaving;
        self.leaving += bytes;
        if place == Place::Small {
            let most = share.small.count + share.main.count;
            share.ghost.add(self.names.hash(&content), most);
        }
    }

    fn requeue(&mut self, kind: Kind, slot: Slot, hits: u8) {
        let entry = self.entries.at_mut(slot);
        if entry.stays() {
            entry.hits = hits;
            self.shares[kind].transfer(&mut self.entries, slot, Place::Main);
        }
    }

    /// What was met while it was busy waits outside of the queues.
    fn set_apart(&mut self, kind: Kind, slot: Slot) {
        let entry = self.entries.at_mut(slot);
        if entry.place == Place::Small {
            // The uses so far brought it out of there.
            entry.hits = 0;
        }
        self.shares[kind].transfer(&mut self.entries, slot, Place::Apart);
    }

    /// By how many bytes each kind has more than it is guaranteed. A fill counts to its own kind; fills that
    /// run, those that wait for what is leaving, and orphans count to the large ones, as nearly all their bytes do.
    fn over(&self, rules: &Rules, fill: Option<(Kind, u64)>) -> PerKind<i128> {
        let guaranteed = guaranteed(rules);
        let mut over = PerKind::default();
        for kind in Kind::ALL {
            over[kind] = i128::from(self.shares[kind].bytes()) - i128::from(guaranteed[kind]);
        }
        over[Kind::Large] += i128::from(self.set_aside());
        if let Some((kind, bytes)) = fill {
            over[kind] += i128::from(bytes);
            over[Kind::Large] += i128::from(self.leaving);
        }
        over
    }

    /// The bytes that can be won without taking any kind below what it is guaranteed.
    fn winnable(&self, fill: Option<(Kind, u64)>) -> u64 {
        let over = self.over(&self.rules, fill);
        let shares = Kind::ALL.map(|kind| {
            let idle = self.shares[kind].bytes() - self.shares[kind].busy;
            over[kind].clamp(0, i128::from(idle)) as u64
        });
        shares.iter().sum()
    }
}
