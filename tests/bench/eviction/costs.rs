//! What the index costs with a million objects: memory, and time per call.

use seawall::clock::Time;
use seawall::oci::Digest;
use seawall::policy::eviction::{Content, Facts, Index, Room, Rules, Shelf};

use crate::workload::Random;

/// Objects in the index.
const OBJECTS: u64 = 1_000_000;
/// Bytes of each.
const SIZE: u64 = 100_000;
/// Calls that are timed.
const CALLS: u64 = 1_000_000;

/// Measures and prints. Times are the processor's, so that others who use it do not count.
pub(crate) fn print() {
    println!("the index with {OBJECTS} objects");
    let names: Vec<Content> = (0..2 * OBJECTS).map(name).collect();
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
            store(&mut index, name);
        }
    });
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
}

fn store(index: &mut Index, name: &Content) {
    if let Room::Evict(victims) = index.reserve(SIZE) {
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
