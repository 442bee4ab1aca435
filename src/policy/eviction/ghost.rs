//! What went lately, remembered by a few bytes each, so that what comes back is known to be wanted.

use std::collections::VecDeque;

use super::parts::Parts;

/// As many are remembered as a share holds, and at least so many: a share of a few large layers should know
/// more than those few.
const LEAST: usize = 128;

/// Most that are forgotten for each that is added: where a share has shrunk much, nobody waits for all of it.
const FORGOTTEN: usize = 2;

/// A bounded list of hashes, the oldest of which is forgotten.
///
/// Half of each hash is kept. Of a million, one stranger in four thousand then passes for known, and stands
/// in the wrong queue for one round.
#[derive(Debug, Default)]
pub(super) struct Ghost {
    order: VecDeque<u32>,
    /// By hash, the number it has in the order.
    numbers: Parts<u32, u32>,
    next: u32,
}

impl Ghost {
    /// Remembers a hash, and no more than `most` in all; where there are more already, one less than before.
    pub(super) fn add(&mut self, hash: u64, most: usize) {
        let hash = half(hash);
        self.order.push_back(hash);
        self.numbers.of_mut(hash).insert(hash, self.next);
        self.next = self.next.wrapping_add(1);
        for _ in 0..FORGOTTEN {
            if self.order.len() > most.max(LEAST) {
                self.forget();
            }
        }
    }

    /// Whether a hash was remembered. It no longer is.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        self.numbers.of_mut(half(hash)).remove(&half(hash)).is_some()
    }

    /// How many are remembered, those counted that came back since.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    fn forget(&mut self) {
        let oldest = self.next.wrapping_sub(self.order.len() as u32);
        let Some(hash) = self.order.pop_front() else {
            return;
        };
        // One that came back and went again stands in the order twice; its younger place counts.
        let numbers = self.numbers.of_mut(hash);
        if numbers.get(&hash) == Some(&oldest) {
            numbers.remove(&hash);
        }
    }
}

fn half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_that_shrinks_is_forgotten_bit_by_bit() {
        let mut ghost = Ghost::default();
        (0..1000_u64).for_each(|hash| ghost.add(hash << 32, 1000));
        ghost.add(1000 << 32, 200);
        assert_eq!(ghost.len(), 999);
        (0..900).for_each(|hash| ghost.add(hash << 32, 200));
        assert_eq!(ghost.len(), 200);
    }

    proptest! {
        #[test]
        fn what_went_is_remembered_up_to_a_bound(hashes in proptest::collection::vec(0..400_u64, 1..2000), most in 0..300_usize) {
            let mut ghost = Ghost::default();
            let bound = most.max(LEAST);
            let mut model = VecDeque::new();
            for hash in hashes {
                let hash = hash << 32;
                let known = model.contains(&hash);
                prop_assert!(known || !ghost.take(hash), "a stranger passes for known");
                ghost.add(hash, most);
                model.push_back(hash);
                model.drain(..model.len().saturating_sub(bound));
                prop_assert!(ghost.len() <= bound);
            }
            for hash in model.iter().collect::<BTreeSet<_>>() {
                prop_assert!(ghost.take(*hash), "one of the last {} is forgotten", bound);
                prop_assert!(!ghost.take(*hash), "one is known twice");
            }
        }
    }
}
