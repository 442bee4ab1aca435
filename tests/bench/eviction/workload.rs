//! A generated workload: what nodes and pipelines ask a cache for, in order. The same seed gives the same.
//!
//! Repositories are asked for by Zipf's law and stand on shared bases; tags move, and take new layers and at
//! times a newer base with them. Nodes keep images themselves, so that the cache sees only what they lack;
//! the manifest they always ask for. Pipelines have nothing, and pull images that nobody pulls again.

use std::collections::{HashMap, VecDeque};

use seawall::policy::eviction::on_disk;

const REPOSITORIES: usize = 4000;
const BASES: usize = 150;
const NODES: usize = 120;
/// Images that a node keeps.
const NODE_IMAGES: usize = 40;
/// Requests in all.
const REQUESTS: usize = 800_000;
/// Chance that a tag has moved when it is pulled; and, if so, that it stands on the newest base.
const MOVES: f64 = 0.03;
const REBASES: f64 = 0.3;
/// Chance that a base has a newer version when it is built upon.
const BASE_MOVES: f64 = 0.02;

/// Something that can be asked for.
pub(crate) struct Object {
    /// Bytes on disk.
    pub(crate) size: u64,
    /// For a manifest: the blobs it names.
    pub(crate) blobs: Option<Vec<u32>>,
}

/// Requests, and what they ask for.
pub(crate) struct Workload {
    pub(crate) objects: Vec<Object>,
    pub(crate) requests: Vec<u32>,
    /// Bytes of everything that is asked for, each once.
    pub(crate) unique: u64,
}

/// A generator of numbers: SplitMix64, whose three constants these are.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 to 1, and never 1.
    pub(crate) fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.part() * bound as f64) as usize
    }

    fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    fn log_uniform(&mut self, least: f64, most: f64) -> u64 {
        (least * (most / least).powf(self.part())) as u64
    }
}

struct Repository {
    base: usize,
    base_layers: Vec<u32>,
    own_layers: Vec<u32>,
    manifest: u32,
}

#[derive(Default)]
struct Node {
    images: VecDeque<u32>,
    /// By blob, how many of its images name it.
    blobs: HashMap<u32, u32>,
}

impl Workload {
    /// A workload of which `one_shot` (0 to 1) of the pulls are of images that are never pulled again.
    pub(crate) fn generate(seed: u64, one_shot: f64) -> Self {
        let mut maker = Maker {
            random: Random(seed),
            objects: Vec::new(),
            requests: Vec::new(),
        };
        maker.run(one_shot);
        let mut asked = vec![false; maker.objects.len()];
        for object in &maker.requests {
            asked[*object as usize] = true;
        }
        let asked = maker.objects.iter().zip(asked).filter(|(_, asked)| *asked);
        let unique = asked.map(|(object, _)| object.size).sum();
        Self {
            objects: maker.objects,
            requests: maker.requests,
            unique,
        }
    }
}

struct Maker {
    random: Random,
    objects: Vec<Object>,
    requests: Vec<u32>,
}

impl Maker {
    fn run(&mut self, one_shot: f64) {
        let mut bases: Vec<Vec<u32>> = (0..BASES).map(|_| self.layers(2, 5)).collect();
        let mut repositories = Vec::with_capacity(REPOSITORIES);
        for _ in 0..REPOSITORIES {
            // The square makes some bases much more common than others.
            let base = (self.random.part().powi(2) * BASES as f64) as usize;
            let (base_layers, own_layers) = (bases[base].clone(), self.layers(2, 6));
            let manifest = self.manifest(&base_layers, &own_layers);
            repositories.push(Repository {
                base,
                base_layers,
                own_layers,
                manifest,
            });
        }
        let popularity = zipf(REPOSITORIES);
        let mut nodes: Vec<Node> = (0..NODES).map(|_| Node::default()).collect();
        while self.requests.len() < REQUESTS {
            let at = self.random.part();
            let chosen = popularity.partition_point(|sum| *sum < at).min(REPOSITORIES - 1);
            let repository = &mut repositories[chosen];
            if self.random.part() < one_shot {
                self.pipeline(&repository.base_layers);
                continue;
            }
            if self.random.part() < MOVES {
                self.rebuild(repository, &mut bases);
            }
            let node = self.random.below(NODES);
            self.pull(repository.manifest, &mut nodes[node]);
        }
    }

    fn rebuild(&mut self, repository: &mut Repository, bases: &mut [Vec<u32>]) {
        let base = &mut bases[repository.base];
        if self.random.part() < BASE_MOVES {
            *base = self.layers(2, 5);
        }
        if self.random.part() < REBASES {
            repository.base_layers.clone_from(base);
        }
        let kept = self.random.below(repository.own_layers.len());
        let new = repository.own_layers.len() - kept;
        repository.own_layers.truncate(kept);
        let layers = self.layers(new, new);
        repository.own_layers.extend(layers);
        repository.manifest = self.manifest(&repository.base_layers, &repository.own_layers);
    }

    /// A node pulls: the manifest, and the blobs it lacks.
    fn pull(&mut self, manifest: u32, node: &mut Node) {
        self.requests.push(manifest);
        if let Some(at) = node.images.iter().position(|image| *image == manifest) {
            node.images.remove(at);
            node.images.push_back(manifest);
            return;
        }
        for blob in self.objects[manifest as usize].blobs.iter().flatten() {
            let held = node.blobs.entry(*blob).or_insert(0);
            if *held == 0 {
                self.requests.push(*blob);
            }
            *held += 1;
        }
        node.images.push_back(manifest);
        if node.images.len() > NODE_IMAGES {
            let oldest = node.images.pop_front().map_or(0, |image| image as usize);
            for blob in self.objects[oldest].blobs.iter().flatten() {
                if let Some(held) = node.blobs.get_mut(blob) {
                    *held = held.saturating_sub(1);
                }
            }
        }
    }

    /// A pipeline pulls what it just built upon a base, and has nothing of it.
    fn pipeline(&mut self, base: &[u32]) {
        let own = self.layers(1, 3);
        let manifest = self.manifest(base, &own);
        self.requests.push(manifest);
        let blobs = self.objects[manifest as usize].blobs.iter().flatten();
        self.requests.extend(blobs);
    }

    fn object(&mut self, size: u64, blobs: Option<Vec<u32>>) -> u32 {
        let size = on_disk(size);
        self.objects.push(Object { size, blobs });
        (self.objects.len() - 1) as u32
    }

    fn manifest(&mut self, base: &[u32], own: &[u32]) -> u32 {
        let config = self.random.log_uniform(1_500.0, 20_000.0);
        let mut blobs = vec![self.object(config, None)];
        blobs.extend(base.iter().chain(own));
        let size = self.random.log_uniform(700.0, 6_000.0);
        self.object(size, Some(blobs))
    }

    fn layers(&mut self, least: usize, most: usize) -> Vec<u32> {
        let count = self.random.between(least, most);
        (0..count).map(|_| self.layer()).collect()
    }

    /// Two of three below 1 MiB; the others with a long tail, up to 2 GiB.
    fn layer(&mut self) -> u32 {
        let size = if self.random.below(3) < 2 {
            self.random.log_uniform(200.0, 1_048_576.0)
        } else {
            let tail = 1.0 / (1.0 - self.random.part()).powf(1.0 / 0.7);
            (1_048_576.0 * tail).min(2_147_483_648.0) as u64
        };
        self.object(size, None)
    }
}

/// The sums of the chances of each rank.
fn zipf(count: usize) -> Vec<f64> {
    let chances = (1..=count).map(|rank| 1.0 / rank as f64);
    let whole: f64 = chances.clone().sum();
    let sums = chances.scan(0.0, |sum, chance| {
        *sum += chance / whole;
        Some(*sum)
    });
    sums.collect()
}
