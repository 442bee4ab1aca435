//! Proofs that a log has an entry: the way from the entry to the log's head, which the log has signed (RFC 9162,
//! 2.1.3, and the checkpoints of transparency logs).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::bundle::Whole;
use super::entry::decoded;
use super::root::Log;
use crate::oci::{Algorithm, Digest, Hasher};
use crate::policy::trust::Flaw;

/// Longest way from an entry to a head: a log has no more than 2⁶⁴ entries.
const LONGEST_WAY: usize = 64;
/// Most signatures of a head that are looked at: others may have signed it beside the log.
const MOST_SIGNATURES: usize = 16;
/// What a signature's line begins with.
const SIGNED: &str = "\u{2014} ";
/// How much of its key's hash stands before a signature, in bytes.
const HINT: usize = 4;
/// What is hashed before an entry, so that it is not taken for two hashes.
const ENTRY: u8 = 0;
/// What is hashed before two hashes.
const PAIR: u8 = 1;

/// A proof, as a bundle has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Proof {
    #[serde(default)]
    log_index: Whole,
    tree_size: Whole,
    #[serde(default)]
    hashes: Vec<String>,
    checkpoint: Checkpoint,
}

#[derive(Deserialize)]
struct Checkpoint {
    envelope: String,
}

impl Proof {
    /// Whether this log has the entry.
    pub(super) fn holds(&self, entry: &[u8], log: &Log) -> Result<(), Flaw> {
        let hashes: Vec<Digest> = self
            .hashes
            .iter()
            .take(LONGEST_WAY + 1)
            .map(|text| hash(text))
            .collect::<Result<_, _>>()?;
        let head = head(&self.checkpoint.envelope, log).ok_or(Flaw::Unlogged)?;
        let root = root(
            hashed(&[&[ENTRY], entry]),
            self.log_index.0,
            self.tree_size.0,
            &hashes,
        );
        (root == Some(head.root) && head.size == self.tree_size.0)
            .then_some(())
            .ok_or(Flaw::Unlogged)
    }
}

/// What a log says of itself at some time.
struct Head {
    size: u64,
    root: Digest,
}

/// The head in a checkpoint, if the log has signed it.
fn head(checkpoint: &str, log: &Log) -> Option<Head> {
    let (text, signatures) = checkpoint.split_once("\n\n")?;
    let text = format!("{text}\n");
    let is_signed = signatures.lines().take(MOST_SIGNATURES).any(|line| {
        let made = line.strip_prefix(SIGNED).and_then(|line| line.rsplit_once(' '));
        let made = made.and_then(|(_, made)| STANDARD.decode(made).ok());
        let made = made.as_deref().and_then(|made| made.split_at_checked(HINT));
        made.is_some_and(|(hint, made)| {
            log.id.as_bytes().starts_with(hint) && log.key.verifies(text.as_bytes(), made)
        })
    });
    is_signed.then_some(())?;
    let mut lines = text.lines().skip(1);
    Some(Head {
        size: lines.next()?.parse().ok()?,
        root: hash(lines.next()?).ok()?,
    })
}

/// The head of a tree of this size that has this hash of an entry at this place, by the hashes beside the way.
fn root(leaf: Digest, index: u64, size: u64, beside: &[Digest]) -> Option<Digest> {
    (index < size).then_some(())?;
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in beside {
        (last > 0).then_some(())?;
        if node & 1 == 1 || node == last {
            hash = hashed(&[&[PAIR], sibling.as_bytes(), hash.as_bytes()]);
            // Where there is nothing to the right, the node stands for itself further up.
            while node & 1 == 0 && node > 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = hashed(&[&[PAIR], hash.as_bytes(), sibling.as_bytes()]);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

fn hash(text: &str) -> Result<Digest, Flaw> {
    Digest::from_bytes(Algorithm::Sha256, &decoded(text)?).ok_or(Flaw::Unreadable)
}

fn hashed(parts: &[&[u8]]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for part in parts {
        hasher.update(part);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The head of a tree, and the hashes beside the way to one entry, as the definition has them.
    fn tree(leaves: &[Digest], index: Option<usize>) -> (Digest, Vec<Digest>) {
        let [leaf] = leaves else {
            let half = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(half);
            let in_left = index.filter(|index| *index < half);
            let in_right = index.filter(|index| *index >= half).map(|index| index - half);
            let ((left, mut way), (right, other)) = (tree(left, in_left), tree(right, in_right));
            way.extend(other);
            match (in_left, in_right) {
                (Some(_), _) => way.push(right),
                (None, Some(_)) => way.push(left),
                (None, None) => {}
            }
            return (hashed(&[&[PAIR], left.as_bytes(), right.as_bytes()]), way);
        };
        (*leaf, Vec::new())
    }

    proptest! {
        #[test]
        fn every_entry_has_a_way_to_the_head_and_no_other_place_or_size_has_it(
            size in 1_usize..70, at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), change in 0_usize..6,
        ) {
            let leaves: Vec<Digest> = (0..size).map(|at| hashed(&[&[ENTRY], &at.to_be_bytes()])).collect();
            let index = at.index(size);
            let (head, way) = tree(&leaves, Some(index));
            let found = |leaf: usize, index: usize, size: usize, way: &[Digest]| {
                root(leaves[leaf], index as u64, size as u64, way)
            };
            prop_assert_eq!(found(index, index, size, &way), Some(head));
            let mut wrong = way.clone();
            match change {
                0 => wrong.push(head),
                1 => drop(wrong.pop()),
                2 => wrong.reverse(),
                3 => wrong.iter_mut().take(1).for_each(|hash| *hash = head),
                _ => {}
            }
            let changed = wrong != way;
            prop_assert!(!changed || found(index, index, size, &wrong) != Some(head));
            let other = other.index(size);
            prop_assert!(other == index || found(other, index, size, &way) != Some(head));
            prop_assert!(other == index || found(index, other, size, &way) != Some(head));
            prop_assert_eq!(found(index, size, size, &way), None);
        }
    }
}
