//! What is told, and what goes to make room.

use super::*;
use crate::policy::eviction::{BLOCK, Room};

#[test]
fn manifests_that_were_pulled_are_told_in_parts_and_none_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::open(directory.path()).unwrap();
    let mut pulled = Vec::new();
    for name in 0..5_u8 {
        let digest = Digest::sha256(&[name]);
        disk.put(Shelf::Manifests, &digest, &[name]).unwrap();
        let content = super::super::content(Shelf::Manifests, &digest);
        disk.books
            .lock()
            .pull(&content, crate::clock::Time::from_millis(1));
        pulled.push(digest);
    }
    disk.take_changes(true);
    let mut told = disk.take_pulled(3);
    assert!(
        told.len() == 3 && disk.has_changes(),
        "the rest is to be handed on"
    );
    told.extend(disk.take_pulled(3));
    told.sort();
    pulled.sort();
    assert_eq!(told, pulled);
    assert!(!disk.has_changes());
}

#[test]
fn what_was_chosen_to_go_stays_if_it_is_to_be_kept_by_then() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(directory.path()).unwrap();
    let space = Space {
        capacity: 16 * 4096,
        ..Space::UNBOUNDED
    };
    disk.govern(space, crate::clock::Clock::start());
    let (kept, other) = (Digest::sha256(&[1; 4096]), Digest::sha256(&[2; 4096]));
    disk.put(Shelf::Blobs, &kept, &[1; 4096]).unwrap();
    disk.put(Shelf::Blobs, &other, &[2; 4096]).unwrap();
    // All the room there is is wanted, in two steps.
    assert!(matches!(disk.books.lock().index.reserve(8 * 4096), Room::Granted));
    let room = disk.books.lock().index.reserve(8 * 4096);
    let Room::Evict(victims) = room else {
        panic!("{room:?}")
    };
    let content = super::super::content(Shelf::Blobs, &kept);
    assert!(victims.contains(&content), "{victims:?}");
    disk.keep([content].into());
    disk.evict(&victims);
    assert!(disk.holds(Shelf::Blobs, &kept) && !disk.holds(Shelf::Blobs, &other));
    assert!(
        !disk
            .books
            .lock()
            .index
            .next_to_go(9)
            .iter()
            .any(|(next, _)| *next == content),
        "it is pinned"
    );
}

#[test]
fn who_waits_long_for_room_is_told_so_and_goes_on_behind_what_went() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(directory.path()).unwrap();
    let space = Space {
        capacity: 4096 * BLOCK,
        ..Space::UNBOUNDED
    };
    disk.govern(space, crate::clock::Clock::start());
    disk.books.lock().walked = false;
    // Files that are not there are soon gone.
    disk.recall(|each| {
        for name in 0..4096_u32 {
            let content = super::super::content(Shelf::Blobs, &Digest::sha256(&name.to_le_bytes()));
            each(content, super::super::adopted(1, Time::from_millis(1)));
        }
        true
    });
    let held = || disk.standing().held / BLOCK;
    assert_eq!(held(), 4096);
    let partial = disk.begin(&Digest::sha256(b"large")).unwrap();
    let (bytes, long_ago) = (2000 * BLOCK, Time::from_millis(0));
    let told = disk.make_room_until(&partial, bytes, long_ago);
    assert_eq!(told, Err(NotKept::Making));
    assert!((2096..4096).contains(&held()), "{} are left", held());
    disk.make_room(&partial, bytes).unwrap();
    assert!(held() <= 2096);
}

#[test]
fn everything_that_changed_is_told_a_part_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::open(directory.path()).unwrap();
    let all = 2 * MOST_CHANGES + 5;
    let name = |name: usize| super::super::content(Shelf::Blobs, &Digest::sha256(&name.to_le_bytes()));
    for number in 0..all {
        disk.books
            .lock()
            .insert(name(number), super::super::adopted(1, Time::from_millis(1)));
    }
    disk.books.lock().remove(&name(0));
    for round in ["as they came", "all anew"] {
        let mut told = std::collections::HashMap::new();
        loop {
            let some = disk.take_changes(false);
            assert!(some.len() < MOST_CHANGES + 1024);
            if some.is_empty() {
                break;
            }
            told.extend(some);
        }
        assert!((1..all).all(|number| told[&name(number)].is_some()), "{round}");
        assert!(told.get(&name(0)).is_none_or(Option::is_none), "{round}");
        disk.books.lock().note_all();
        assert!(disk.has_changes());
    }
}
