//! What eviction keeps of a generated workload, policy by policy, and what the index costs at a million
//! objects: `cargo bench --bench eviction`, with a seed after `--` to have another workload.
//!
//! The default shares in `policy/eviction` were chosen by the first table. Nothing here waits for anything:
//! only the costs at the end are measured. It takes half a minute.

#![allow(clippy::print_stdout, reason = "this reports to a terminal")]

#[path = "eviction/costs.rs"]
mod costs;
#[path = "eviction/policies.rs"]
mod policies;
#[path = "eviction/workload.rs"]
mod workload;

use policies::{Gdsf, Ordered, Policy, S3Fifo, Sieve};
use seawall::clock::Time;
use seawall::oci::Digest;
use seawall::policy::eviction::{Content, Facts, Index, LARGEST_PART, Room, Rules, Shelf};
use workload::Workload;

/// The parts of pulls that are of images never pulled again.
const ONE_SHOT: [f64; 2] = [0.05, 0.25];
/// Cache sizes, as parts of the unique bytes.
const SIZES: [f64; 3] = [0.02, 0.05, 0.15];
/// Shares of the index: manifests, small blobs.
const SHARES: [(f64, f64); 5] = [(0.0, 0.0), (0.01, 0.05), (0.05, 0.05), (0.05, 0.10), (0.05, 0.20)];
/// The seed if none is given.
const SEED: u64 = 4;

fn main() {
    let given = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let seed: u64 = given.unwrap_or(SEED);
    println!("seed {seed}; hits in %: objects / bytes / manifests; cache in % of the unique bytes\n");
    for one_shot in ONE_SHOT {
        compare(&Workload::generate(seed, one_shot), one_shot);
    }
    costs::print();
}

fn compare(workload: &Workload, one_shot: f64) {
    let count = workload.objects.len();
    println!(
        "{:.0} % one-shot pulls: {} requests for {} objects, {:.0} GiB",
        one_shot * 100.0,
        workload.requests.len(),
        count,
        workload.unique as f64 / f64::from(1 << 30)
    );
    let names: Vec<Content> = (0..count).map(|object| name(workload, object)).collect();
    let heads = SIZES.map(|size| format!("{:>20}", format!("{:.0} %", size * 100.0)));
    println!("{:<32}{}", "", heads.concat());
    row("FIFO", workload, |capacity| Ordered::new(capacity, count, false));
    row("LRU", workload, |capacity| Ordered::new(capacity, count, true));
    row("SIEVE", workload, |capacity| Sieve::new(capacity, count));
    row("GDSF", workload, |capacity| Gdsf::new(capacity, count));
    row("S3-FIFO", workload, |capacity| S3Fifo::new(capacity, count));
    for (manifests, small) in SHARES {
        let shares = format!(
            "index, shares {:.0} % and {:.0} %",
            manifests * 100.0,
            small * 100.0
        );
        row(&shares, workload, |capacity| Seawall {
            index: Index::new(Rules {
                capacity,
                high: 1.0,
                low: 1.0,
                manifests,
                small,
            }),
            names: &names,
            workload,
            now: 0,
        });
    }
    row("everything kept", workload, |_| {
        Ordered::new(u64::MAX, count, false)
    });
    println!();
}

fn name(workload: &Workload, object: usize) -> Content {
    let shelf = match workload.objects[object].blobs {
        Some(_) => Shelf::Manifests,
        None => Shelf::Blobs,
    };
    Content {
        shelf,
        digest: Digest::sha256(&object.to_le_bytes()),
    }
}

fn row<P: Policy>(title: &str, workload: &Workload, policy: impl Fn(u64) -> P) {
    let cells = SIZES.map(|size| {
        let capacity = (workload.unique as f64 * size) as u64;
        let hits = replay(workload, &mut policy(capacity), capacity);
        let text = hits.map(|part| format!("{:.1}", part * 100.0)).join(" / ");
        format!("{text:>20}")
    });
    println!("{title:<32}{}", cells.concat());
}

/// The parts of objects, bytes and manifests that were there. The first fifth only fills the cache.
fn replay(workload: &Workload, policy: &mut impl Policy, capacity: u64) -> [f64; 3] {
    let warm = workload.requests.len() / 5;
    let (mut asked, mut had) = ([0; 3], [0; 3]);
    for (number, request) in workload.requests.iter().enumerate() {
        let object = &workload.objects[*request as usize];
        let hit = object.size <= capacity / LARGEST_PART && policy.ask(*request, object.size);
        if number < warm {
            continue;
        }
        let counts = [1, object.size, u64::from(object.blobs.is_some())];
        for (at, count) in counts.into_iter().enumerate() {
            asked[at] += count;
            had[at] += if hit { count } else { 0 };
        }
    }
    std::array::from_fn(|at| had[at] as f64 / asked[at] as f64)
}

/// The real index, driven as the store drives it.
struct Seawall<'a> {
    index: Index,
    names: &'a [Content],
    workload: &'a Workload,
    now: u64,
}

impl Policy for Seawall<'_> {
    fn ask(&mut self, object: u32, size: u64) -> bool {
        self.now += 1;
        let now = Time::from_millis(self.now);
        let name = self.names[object as usize];
        for blob in self.workload.objects[object as usize].blobs.iter().flatten() {
            self.index.used(&self.names[*blob as usize], now);
        }
        if self.index.facts(&name).is_some() {
            self.index.pull(&name, now);
            return true;
        }
        loop {
            match self.index.reserve(size) {
                Room::Granted => break,
                Room::Never => return false,
                Room::Evict(victims) => {
                    for victim in victims {
                        self.index.remove(&victim);
                    }
                }
            }
        }
        self.index.release(size);
        let facts = Facts {
            size,
            stored: now,
            used: None,
            pulls: 0,
            closed: false,
        };
        self.index.insert(name, facts);
        false
    }
}
