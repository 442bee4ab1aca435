//! One choice ends after so many looks, whatever there is to see: counted, on the worst that there may be.

use super::run::Bounds;
use super::tests::{content, facts, time};
use super::*;

/// Entries of each world: many times what one choice looks at.
const MANY: u64 = 50_000;
/// Bytes on disk of each.
const EACH: u64 = BLOCK;

fn blob(name: u64) -> Content {
    content(Shelf::Blobs, name)
}

/// A full index of so many blobs, that keeps no share for manifests.
fn full() -> Index {
    let mut index = Index::new(Rules {
        manifests: 0.0,
        ..Rules::new(MANY * EACH, 1.0, 1.0)
    });
    (0..MANY).for_each(|name| index.insert(blob(name), facts(EACH)));
    index
}

/// Has the index make room as a driver does, and answers what went and by how many choices.
///
/// # Panics
/// If a choice looks at more than it may, or room that can be made is refused.
fn make_room(index: &mut Index, bytes: u64) -> (Vec<Content>, usize) {
    let (mut gone, mut choices) = (Vec::new(), 0);
    loop {
        let next = index.preview(usize::MAX);
        assert!(
            next.looks <= 2 * Bounds::USUAL.looks(),
            "{} looks ahead",
            next.looks
        );
        match index.reserve(bytes) {
            Room::Granted => return (gone, choices),
            Room::Never => panic!("there is room to be made"),
            Room::Evict(victims) => {
                choices += 1;
                assert!(
                    index.looks() <= Bounds::USUAL.looks(),
                    "{} looks in choice {choices}",
                    index.looks()
                );
                assert!(victims.len() <= Bounds::USUAL.victims);
                assert!(
                    choices <= 1 + (MANY as usize) / (Bounds::USUAL.victims / 2),
                    "no progress"
                );
                for victim in &victims {
                    index.remove(victim);
                }
                gone.extend(victims);
            }
        }
    }
}

#[test]
fn a_choice_is_bounded_where_everything_was_used_once_before_the_last() {
    let mut index = full();
    (0..MANY).for_each(|name| index.pull(&blob(name), time(1)));
    make_room(&mut index, EACH);
    let (gone, choices) = make_room(&mut index, 10 * EACH);
    assert_eq!((gone.len(), choices), (10, 1));
    index.check();
}

#[test]
fn a_choice_is_bounded_where_everything_was_used_since_the_last() {
    let mut index = full();
    for round in 0..3 {
        (0..MANY).for_each(|name| index.pull(&blob(name), time(round)));
    }
    let (gone, choices) = make_room(&mut index, EACH);
    assert_eq!((gone.len(), choices), (1, 1));
    index.check();
}

#[test]
fn a_choice_is_bounded_where_all_are_busy_but_the_last_and_none_is_passed_twice() {
    let mut index = full();
    for name in 0..MANY - 1 {
        if name % 2 == 0 {
            index.enter(&blob(name));
        } else {
            index.pin(&blob(name));
        }
    }
    (0..MANY).for_each(|name| index.pull(&blob(name), time(1)));
    let (gone, choices) = make_room(&mut index, EACH);
    assert_eq!(gone, [blob(MANY - 1)]);
    assert!(choices > 1);
    // Two more become idle: they are found at once.
    index.unpin(&blob(1));
    index.unpin(&blob(3));
    let (gone, choices) = make_room(&mut index, EACH);
    assert_eq!((gone, choices), (vec![blob(1)], 1));
    assert!(index.looks() <= 4, "{} looks", index.looks());
    index.check();
}

#[test]
fn a_choice_is_bounded_where_manifests_in_use_name_all_but_the_last_and_that_goes_first() {
    let mut index = full();
    (0..MANY - 1).for_each(|name| index.used(&blob(name), time(1)));
    let (gone, choices) = make_room(&mut index, 2 * EACH);
    assert_eq!((gone[0], gone.len(), choices), (blob(MANY - 1), 2, 1));
    index.check();
}

#[test]
fn a_choice_is_bounded_where_very_many_go_for_one() {
    let mut index = full();
    let bytes = MANY * EACH / 2;
    let (gone, choices) = make_room(&mut index, bytes);
    assert_eq!(gone.len() as u64, MANY / 2);
    assert!(choices as u64 >= MANY / 2 / Bounds::USUAL.victims as u64);
    let in_order: Vec<Content> = (0..MANY / 2).map(blob).collect();
    assert_eq!(gone, in_order, "a cut choice goes on where it was cut");
    index.check();
}

#[test]
fn what_is_in_use_is_spared_until_there_is_enough_however_often_a_choice_is_cut() {
    let mut index = full();
    (0..MANY / 2).for_each(|name| index.used(&blob(name), time(1)));
    let (gone, choices) = make_room(&mut index, MANY * EACH / 2);
    assert!(choices > 1);
    let unused: Vec<Content> = (MANY / 2..MANY).map(blob).collect();
    assert_eq!(gone, unused);
    index.check();
}
