//! Examples of what goes, and of what is counted.

use super::*;

const MIB: u64 = 1 << 20;

pub(super) fn content(shelf: Shelf, name: u64) -> Content {
    Content {
        shelf,
        digest: Digest::sha256(&name.to_le_bytes()),
    }
}

fn blob(name: u64) -> Content {
    content(Shelf::Blobs, name)
}

fn manifest(name: u64) -> Content {
    content(Shelf::Manifests, name)
}

pub(super) fn time(millis: u64) -> Time {
    Time::from_millis(millis)
}

pub(super) fn facts(size: u64) -> Facts {
    Facts {
        size,
        stored: time(0),
        used: None,
        pulls: 0,
        closed: false,
    }
}

/// An index of so many bytes, of which all may be used.
fn index(capacity: u64) -> Index {
    Index::new(Rules::new(capacity, 1.0, 1.0))
}

/// Stores as a driver does: makes room, and keeps nothing where there is none. Answers whether it was kept,
/// and what went.
fn store(index: &mut Index, content: Content, size: u64) -> (bool, Vec<Content>) {
    let mut gone = Vec::new();
    loop {
        match index.reserve(size) {
            Room::Granted => break,
            Room::Never => return (false, gone),
            Room::Evict(victims) => {
                for victim in &victims {
                    assert!(index.remove(victim).is_some());
                }
                gone.extend(victims);
            }
        }
    }
    index.release(size);
    index.insert(content, facts(size));
    (true, gone)
}

#[test]
fn what_is_pulled_again_survives_a_scan_of_ten_times_the_capacity() {
    let mut index = index(100 * MIB);
    let working: Vec<Content> = (0..30).map(blob).collect();
    for content in &working {
        assert!(store(&mut index, *content, 2 * MIB).0);
        index.pull(content, time(1));
    }
    for name in 1000..1500 {
        let (kept, gone) = store(&mut index, blob(name), 2 * MIB);
        assert!(kept);
        assert!(
            gone.iter().all(|gone| !working.contains(gone)),
            "{name}: {gone:?}"
        );
    }
    assert!(working.iter().all(|content| index.facts(content).is_some()));
}

#[test]
fn f083_one_object_of_more_than_half_the_capacity_is_never_granted() {
    let mut index = index(10 * MIB);
    store(&mut index, blob(1), MIB);
    assert_eq!(index.reserve(5 * MIB + 1), Room::Never);
    assert_eq!(index.reserve(u64::MAX), Room::Never);
    assert!(index.facts(&blob(1)).is_some());
    assert_eq!(index.reserve(5 * MIB), Room::Granted);
}

#[test]
fn files_are_counted_in_whole_blocks() {
    let mut index = index(3 * BLOCK);
    index.insert(blob(1), facts(1));
    index.insert(blob(2), facts(0));
    assert_eq!(index.reserve(BLOCK + 1), Room::Never);
    assert_eq!(index.reserve(1), Room::Granted);
    assert_eq!(index.taken(), (BLOCK, BLOCK));
    assert_eq!(index.facts(&blob(1)), Some(facts(1)));
    index.release(1);
    assert_eq!(index.taken(), (BLOCK, 0));
}

#[test]
fn what_is_read_or_pinned_is_not_chosen_and_room_that_cannot_be_made_is_refused() {
    let mut index = index(4 * MIB);
    for name in 0..4 {
        store(&mut index, blob(name), MIB);
    }
    let read = index.enter(&blob(0)).unwrap().generation;
    assert_eq!(
        index.enter(&blob(0)).map(|entered| entered.generation),
        Some(read)
    );
    assert!(index.pin(&blob(1)));
    assert_eq!(index.reserve(MIB), Room::Evict(vec![blob(2)]));
    assert!(index.enter(&blob(2)).is_none() && !index.pin(&blob(2)));
    assert_eq!(index.facts(&blob(2)), None);
    assert_eq!(index.reserve(MIB), Room::Evict(vec![blob(3)]));
    assert_eq!(index.reserve(MIB), Room::Never);
    index.leave(&blob(0), read);
    assert_eq!(index.reserve(MIB), Room::Never);
    index.leave(&blob(0), read);
    assert_eq!(index.reserve(MIB), Room::Evict(vec![blob(0)]));
    index.unpin(&blob(1));
    assert_eq!(index.reserve(MIB), Room::Evict(vec![blob(1)]));
    assert_eq!(index.taken(), (4 * MIB, 0));
}

#[test]
fn a_flood_of_large_blobs_takes_nothing_of_the_shares_of_manifests_and_small_ones() {
    let mut index = index(400 * MIB);
    for name in 0..200 {
        store(&mut index, manifest(name), 64 << 10);
        store(&mut index, blob(name), 128 << 10);
    }
    for name in 1000..2000 {
        assert!(store(&mut index, blob(name), 3 * MIB).0);
    }
    assert!((0..200).all(|name| index.facts(&manifest(name)).is_some()));
    assert!((0..200).all(|name| index.facts(&blob(name)).is_some()));
}

#[test]
fn a_share_uses_what_the_others_leave_free_and_gives_it_back() {
    let mut index = index(100 * MIB);
    for name in 0..200 {
        assert!(store(&mut index, manifest(name), MIB / 2).1.is_empty());
    }
    assert_eq!(index.taken(), (100 * MIB, 0));
    for name in 0..42 {
        let (kept, gone) = store(&mut index, blob(name), 2 * MIB);
        assert!(kept && gone.iter().all(|gone| gone.shelf == Shelf::Manifests));
    }
    let manifests = index.iter().filter(|(name, _)| name.shelf == Shelf::Manifests);
    assert_eq!(manifests.count(), 32);
}

#[test]
fn a_layer_whose_manifest_is_pulled_goes_after_unused_ones() {
    let mut index = index(8 * MIB);
    for name in 0..4 {
        store(&mut index, blob(name), 2 * MIB);
    }
    index.used(&blob(0), time(5));
    let kept = index.facts(&blob(0));
    assert_eq!(
        kept.map(|facts| (facts.used, facts.pulls)),
        Some((Some(time(5)), 0))
    );
    assert_eq!(index.reserve(4 * MIB), Room::Evict(vec![blob(1), blob(2)]));
}

#[test]
fn a_small_blob_nobody_used_goes_before_a_layer_in_use() {
    let mut index = index(100 * MIB);
    for name in 0..49 {
        store(&mut index, blob(name), 2 * MIB);
        index.used(&blob(name), time(1));
    }
    for name in 100..104 {
        store(&mut index, blob(name), MIB / 2);
    }
    assert_eq!(index.reserve(MIB), Room::Evict(vec![blob(100), blob(101)]));
}

#[test]
fn what_comes_back_soon_is_no_longer_new() {
    let mut index = index(20 * MIB);
    for name in 0..11 {
        store(&mut index, blob(name), 2 * MIB);
    }
    assert_eq!(index.facts(&blob(0)), None);
    store(&mut index, blob(0), 2 * MIB);
    for name in 100..200 {
        store(&mut index, blob(name), 2 * MIB);
    }
    assert!(index.facts(&blob(0)).is_some());
}

#[test]
fn room_is_made_above_the_high_watermark_and_down_to_the_low_one() {
    let mut index = Index::new(Rules::new(100 * MIB, 0.9, 0.8));
    for name in 0..45 {
        store(&mut index, blob(name), 2 * MIB);
    }
    assert_eq!(index.excess(), None);
    assert_eq!(index.reserve(2 * MIB), Room::Granted);
    assert_eq!(index.excess(), Some([0, 1, 2, 3, 4, 5].map(blob).to_vec()));
    assert_eq!(index.excess(), None, "what is leaving counts as gone here");
    assert_eq!(index.taken(), (90 * MIB, 2 * MIB));
}

#[test]
fn a_smaller_capacity_makes_excess() {
    let mut index = index(10 * MIB);
    for name in 0..5 {
        store(&mut index, blob(name), 2 * MIB);
    }
    index.set_capacity(6 * MIB);
    assert_eq!(index.excess(), Some([0, 1].map(blob).to_vec()));
}

#[test]
fn what_is_empty_makes_no_excess() {
    let mut index = index(10 * MIB);
    store(&mut index, blob(1), 0);
    index.set_capacity(0);
    assert_eq!(index.excess(), None);
}

#[test]
fn what_changed_is_told_once_and_in_parts() {
    let mut index = index(10 * MIB);
    for name in 0..4 {
        store(&mut index, blob(name), 1);
    }
    assert!(index.take_changed(9).is_empty());
    for name in [2, 0, 2, 1] {
        index.pull(&blob(name), time(name));
    }
    index.remove(&blob(0));
    let taken = index.take_changed(1);
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].0, taken[0].1.pulls), (blob(2), 2));
    let names: Vec<Content> = index.take_changed(9).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [blob(1)]);
    assert!(index.take_changed(9).is_empty());
}

#[test]
fn what_is_replaced_keeps_its_pins_and_not_who_reads_the_file_before_it() {
    let mut index = index(5 * MIB);
    index.insert(blob(0), facts(MIB));
    let read = index.enter(&blob(0)).unwrap().generation;
    assert!(index.pin(&blob(0)));
    index.insert(blob(0), facts(2 * MIB));
    index.insert(blob(1), facts(2 * MIB));
    assert_eq!(index.reserve(MIB), Room::Evict(vec![blob(1)]));
    index.remove(&blob(1));
    assert_eq!(index.reserve(2 * MIB), Room::Granted);
    assert_eq!(index.reserve(MIB), Room::Never);
    index.unpin(&blob(0));
    let anew = index.enter(&blob(0)).unwrap().generation;
    index.leave(&blob(0), read);
    assert_eq!(index.reserve(2 * MIB), Room::Never, "the new file is read");
    index.leave(&blob(0), anew);
    assert_eq!(index.reserve(2 * MIB), Room::Evict(vec![blob(0)]));
}

#[test]
fn the_same_digest_on_two_shelves_is_two_things() {
    let mut index = index(MIB);
    index.insert(blob(7), facts(10));
    index.insert(manifest(7), facts(20));
    assert_eq!(index.remove(&blob(7)), Some(facts(10)));
    assert_eq!(index.facts(&manifest(7)), Some(facts(20)));
}

#[test]
fn what_was_hashed_is_trusted_until_another_file_has_its_name_or_all_are_in_doubt() {
    let mut index = index(10 * MIB);
    let trusted = |index: &mut Index| {
        let entered = index.enter(&blob(0)).unwrap();
        index.leave(&blob(0), entered.generation);
        assert_eq!(entered.hashed, index.is_hashed(&blob(0)));
        entered.hashed
    };
    index.set_hashed(&blob(0));
    index.insert(blob(0), facts(MIB));
    assert!(!trusted(&mut index), "it was not held");
    index.set_hashed(&blob(0));
    assert!(trusted(&mut index));
    index.insert(blob(0), facts(MIB));
    assert!(!trusted(&mut index), "it is another file");
    index.set_hashed(&blob(0));
    index.trust_none();
    assert!(!trusted(&mut index), "it may be another file");
    index.set_hashed(&blob(0));
    assert!(trusted(&mut index));
}
