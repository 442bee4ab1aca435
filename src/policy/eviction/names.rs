//! From names to slots, in some thirty bytes per name: a map of hashes, since the names stand in the entries.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use super::Content;
use super::entries::{Entries, Slot};
use super::parts::Parts;

/// Which slot something stands in.
#[derive(Debug, Default)]
pub(super) struct Names<S = RandomState> {
    /// By the hash of the name. Its key is secret, so nobody can choose digests that meet.
    first: Parts<u64, Slot>,
    /// Those whose hash was taken by another.
    others: HashMap<Content, Slot>,
    hashes: S,
}

impl<S: BuildHasher> Names<S> {
    /// The hash that stands for a name.
    pub(super) fn hash(&self, content: &Content) -> u64 {
        self.hashes.hash_one(content)
    }

    /// The slot of a name.
    pub(super) fn find(&self, entries: &Entries, content: &Content) -> Option<Slot> {
        let hash = self.hash(content);
        let first = self.first.of(hash).get(&hash).copied();
        let first = first.filter(|slot| entries.at(*slot).content == *content);
        first.or_else(|| self.others.get(content).copied())
    }

    /// Adds a name that is not there.
    pub(super) fn add(&mut self, content: Content, slot: Slot) {
        let hash = self.hash(&content);
        match self.first.of_mut(hash).entry(hash) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(slot);
            }
            std::collections::hash_map::Entry::Occupied(_) => {
                self.others.insert(content, slot);
            }
        }
    }

    /// Takes a name out, and answers its slot.
    pub(super) fn remove(&mut self, entries: &Entries, content: &Content) -> Option<Slot> {
        let hash = self.hash(content);
        let first = self.first.of(hash).get(&hash).copied();
        if let Some(slot) = first.filter(|slot| entries.at(*slot).content == *content) {
            self.first.of_mut(hash).remove(&hash);
            return Some(slot);
        }
        self.others.remove(content)
    }
}

/// Hashes what is a hash already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, half: u32) {
        // The map looks at both ends of a hash; half of one has to be spread over them.
        self.0 = u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, btree_map};

    use proptest::prelude::*;

    use super::super::Shelf;
    use super::super::entries::Entry;
    use super::super::tests::{content, facts};
    use super::*;

    /// Hashes everything to one of two.
    #[derive(Default)]
    struct Few;

    impl BuildHasher for Few {
        type Hasher = Two;

        fn build_hasher(&self) -> Two {
            Two(0)
        }
    }

    struct Two(u64);

    impl Hasher for Two {
        fn finish(&self) -> u64 {
            self.0 & 1
        }

        fn write(&mut self, bytes: &[u8]) {
            self.0 += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        }
    }

    proptest! {
        #[test]
        fn names_whose_hashes_meet_are_told_apart(names in proptest::collection::vec((0..20_u64, any::<bool>()), 1..99)) {
            let mut index = Names::<Few>::default();
            let mut entries = Entries::default();
            let mut model = BTreeMap::new();
            for (name, add) in names {
                let name = content(Shelf::Blobs, name);
                if !add {
                    prop_assert_eq!(index.remove(&entries, &name), model.remove(&name));
                } else if let btree_map::Entry::Vacant(place) = model.entry(name) {
                    let slot = entries.add(Entry::new(name, facts(1), 0));
                    index.add(name, slot);
                    place.insert(slot);
                }
                for name in (0..20).map(|name| content(Shelf::Blobs, name)) {
                    prop_assert_eq!(index.find(&entries, &name), model.get(&name).copied());
                }
            }
        }
    }
}
