//! A map by hashes that grows bit by bit: in parts, of which only the one that is full moves.
//!
//! A map of a million in one piece moves all of it when it grows, some 50 ms, while everybody who pulls waits.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash};

use super::names::Same;

/// How many parts there are: of a million, one moves a thousand, which takes some 10 us.
const PARTS: usize = 1024;

/// Spreads hashes over the parts by other bits of them than a map looks at.
const SPREAD: u64 = 0xd6e8_feb8_6659_fd93;

/// A map whose keys are hashes already, or halves of such.
#[derive(Debug)]
pub(super) struct Parts<K, V>(Vec<HashMap<K, V, BuildHasherDefault<Same>>>);

impl<K, V> Default for Parts<K, V> {
    fn default() -> Self {
        Self(std::iter::repeat_with(HashMap::default).take(PARTS).collect())
    }
}

impl<K: Copy + Eq + Hash + Into<u64>, V> Parts<K, V> {
    /// The part that a key belongs to.
    pub(super) fn of(&self, key: K) -> &HashMap<K, V, BuildHasherDefault<Same>> {
        &self.0[number(key)]
    }

    /// The part that a key belongs to.
    pub(super) fn of_mut(&mut self, key: K) -> &mut HashMap<K, V, BuildHasherDefault<Same>> {
        &mut self.0[number(key)]
    }
}

fn number(key: impl Into<u64>) -> usize {
    (key.into().wrapping_mul(SPREAD) >> 54) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of a test.
    const KEYS: u32 = 1 << 18;

    #[test]
    fn no_part_holds_much_more_than_its_part_whatever_the_kind_of_key() {
        let (mut halves, mut hashes) = (Parts::default(), Parts::default());
        for key in 0..KEYS {
            halves.of_mut(key).insert(key, ());
            // As hashes are: all bits count.
            let hash = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
            hashes.of_mut(hash).insert(hash, ());
        }
        let most = 2 * KEYS as usize / PARTS;
        assert!(halves.0.iter().all(|part| part.len() <= most));
        assert!(hashes.0.iter().all(|part| part.len() <= most));
        assert!((0..KEYS).all(|key| halves.of(key).contains_key(&key)));
        assert_eq!(halves.0.iter().map(HashMap::len).sum::<usize>(), KEYS as usize);
    }
}
