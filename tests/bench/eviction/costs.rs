//! What the index costs with a million objects: memory, time per call, and the longest choices of what goes, for
//! which everybody else waits.

use std::time::Instant;

use seawall::clock::Time;
use seawall::oci::Digest;
use seawall::policy::eviction::{Content, Facts, Index, Room, Rules, Shelf};

use crate::workload::Random;

/// Objects in the index.
const OBJECTS: u64 = 1_000_000;
/// Bytes of each.
const SIZE: u64 = 100_000;
/// Objects of a long-used cache that were never used.
const UNUSED: usize = 10;
/// Calls that are timed.
const CALLS: u64 = 1_000_000;

/// Measures and prints. Times are the processor's, so that others who use it do not count.
pub(crate) fn print() {
    println!("the index with {OBJECTS} objects");
    let names: Vec<Content> = (0..2 * OBJECTS).map(name).collect();
    // What measures is not measured: its pages are there before.
    let mut choices = vec![1; OBJECTS as usize];
    choices.clear();
    let empty = resident();
    let capacity = OBJECTS * SIZE.next_multiple_of(4096);
    let mut index = Index::new(Rules::new(capacity, 1.0, 1.0));
    let (held, new) = names.split_at(OBJECTS as usize);
    time("insert", OBJECTS, || {
        for name in held {
            index.insert(*name, facts());
        }
    });
    let per_object = || (resident().saturating_sub(empty)) / OBJECTS;
    println!("{:<28}{:>8} bytes per object", "memory, filled", per_object());
    let mut random = Random(1);
    let mut any = || &held[(random.next() % OBJECTS) as usize];
    time("pull", CALLS, || {
        for _ in 0..CALLS {
            index.pull(any(), Time::from_millis(1));
        }
    });
    time("take what changed", CALLS, || {
        while !index.take_changed(10_000).is_empty() {}
    });
    time("make room, evict, insert", OBJECTS, || {
        for name in new {
            store(&mut index, name, &mut choices);
        }
    });
    longest("one goes for one", choices);
    println!(
        "{:<28}{:>8} bytes per object",
        "memory, all replaced",
        per_object()
    );
    time("preview of 1000", 100, || {
        for _ in 0..100 {
            assert_eq!(index.next_to_go(1000).len(), 1000);
        }
    });
    print_longest(new, capacity);
}

/// Choices that have the most to do.
fn print_longest(held: &[Content], capacity: u64) {
    let filled = |rules| {
        let mut index = Index::new(rules);
        held.iter().for_each(|name| index.insert(*name, facts()));
        index
    };
    let mut index = filled(Rules::new(capacity, 1.0, 1.0));
    longest("one part in ten goes", make_room(&mut index, capacity / 10, 1));
    let mut index = filled(Rules::new(capacity, 0.95, 0.90));
    let mut choices = Vec::new();
    while timed(&mut choices, || index.excess()).is_some() {}
    longest("down to the low watermark", choices);
    // What a cache looks like that was used for long before it is full for the first time.
    let mut index = filled(Rules::new(capacity, 1.0, 1.0));
    let used = &held[..held.len() - UNUSED];
    used.iter()
        .for_each(|name| index.pull(name, Time::from_millis(1)));
    longest("all but ten were used", make_room(&mut index, SIZE, 100));
    held.iter()
        .for_each(|name| index.pull(name, Time::from_millis(2)));
    longest("all were used", make_room(&mut index, SIZE, 100));
    let mut index = filled(Rules::new(capacity, 1.0, 1.0));
    let busy = &held[..held.len() - UNUSED];
    for name in busy {
        index.enter(name);
    }
    longest("all but ten are busy", make_room(&mut index, SIZE, UNUSED / 2));
}

/// Makes room so often, and answers how long each choice took.
fn make_room(index: &mut Index, bytes: u64, times: usize) -> Vec<u64> {
    let mut choices = Vec::new();
    for _ in 0..times {
        while let Room::Evict(victims) = timed(&mut choices, || index.reserve(bytes)) {
            for victim in victims {
                index.remove(&victim);
            }
        }
    }
    choices
}

#[allow(
    clippy::disallowed_methods,
    reason = "this measures the machine, not the cache"
)]
fn timed<T>(choices: &mut Vec<u64>, choose: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let chosen = choose();
    choices.push(start.elapsed().as_nanos() as u64);
    chosen
}

/// The longest of some choices, and the one that 99 of 100 are shorter than. Times are the wall's, so what else runs
/// on the machine shows in the longest.
fn longest(what: &str, mut choices: Vec<u64>) {
    choices.sort_unstable();
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    println!(
        "{what:<28}{:>8.0} us at most, p99 {:.1} us, {} choices",
        micros(choices[choices.len() - 1]),
        micros(choices[choices.len() * 99 / 100]),
        choices.len()
    );
}

fn store(index: &mut Index, name: &Content, choices: &mut Vec<u64>) {
    if let Room::Evict(victims) = timed(choices, || index.reserve(SIZE)) {
        for victim in victims {
            index.remove(&victim);
        }
        index.reserve(SIZE);
    }
    index.release(SIZE);
    index.insert(*name, facts());
}

fn time(what: &str, calls: u64, run: impl FnOnce()) {
    let start = on_processor();
    run();
    let each = (on_processor() - start) / calls;
    println!("{what:<28}{each:>8} ns");
}

fn name(number: u64) -> Content {
    Content {
        shelf: Shelf::Blobs,
        digest: Digest::sha256(&number.to_le_bytes()),
    }
}

fn facts() -> Facts {
    Facts {
        size: SIZE,
        stored: Time::from_millis(0),
        used: None,
        pulls: 0,
        closed: false,
    }
}

/// Nanoseconds that this process ran.
fn on_processor() -> u64 {
    let status = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ran = status.split(' ').next().and_then(|ran| ran.parse().ok());
    ran.unwrap_or(0)
}

/// Bytes of memory in use.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096
}
