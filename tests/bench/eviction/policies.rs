//! The policies that the index is compared with, each as short as it can be, all counted in bytes.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

/// Decides what a cache of limited size keeps.
pub(crate) trait Policy {
    /// An object is asked for: whether it is there. If not, it is fetched and stored.
    fn ask(&mut self, object: u32, size: u64) -> bool;
}

/// In order of arrival; or of last use, if uses count.
pub(crate) struct Ordered {
    pub(crate) capacity: u64,
    pub(crate) by_use: bool,
    held: u64,
    tick: u64,
    order: BTreeMap<u64, (u32, u64)>,
    ticks: Vec<u64>,
}

impl Ordered {
    pub(crate) fn new(capacity: u64, objects: usize, by_use: bool) -> Self {
        Self {
            capacity,
            by_use,
            held: 0,
            tick: 0,
            order: BTreeMap::new(),
            ticks: vec![0; objects],
        }
    }
}

impl Policy for Ordered {
    fn ask(&mut self, object: u32, size: u64) -> bool {
        let before = self.ticks[object as usize];
        if before > 0 && !self.by_use {
            return true;
        }
        self.tick += 1;
        self.order.remove(&before);
        self.order.insert(self.tick, (object, size));
        self.ticks[object as usize] = self.tick;
        self.held += if before > 0 { 0 } else { size };
        while self.held > self.capacity
            && let Some((_, (oldest, size))) = self.order.pop_first()
        {
            self.held -= size;
            self.ticks[oldest as usize] = 0;
        }
        before > 0
    }
}

/// SIEVE: a hand goes from old to new, and takes the first that was not used since it last came by.
pub(crate) struct Sieve {
    capacity: u64,
    held: u64,
    tick: u64,
    hand: u64,
    order: BTreeMap<u64, (u32, u64)>,
    /// By object, whether it is held, and was used.
    states: Vec<(bool, bool)>,
}

impl Sieve {
    pub(crate) fn new(capacity: u64, objects: usize) -> Self {
        Self {
            capacity,
            held: 0,
            tick: 0,
            hand: 0,
            order: BTreeMap::new(),
            states: vec![(false, false); objects],
        }
    }

    fn evict(&mut self) {
        while let Some((tick, (object, size))) = self.order.range(self.hand..).next().map(|(a, b)| (*a, *b)) {
            self.hand = tick + 1;
            if std::mem::take(&mut self.states[object as usize].1) {
                continue;
            }
            self.order.remove(&tick);
            self.held -= size;
            self.states[object as usize].0 = false;
            return;
        }
        self.hand = 0;
    }
}

impl Policy for Sieve {
    fn ask(&mut self, object: u32, size: u64) -> bool {
        let state = &mut self.states[object as usize];
        if state.0 {
            state.1 = true;
            return true;
        }
        while self.held + size > self.capacity {
            self.evict();
        }
        self.tick += 1;
        self.order.insert(self.tick, (object, size));
        self.states[object as usize] = (true, false);
        self.held += size;
        false
    }
}

/// Greedy-Dual-Size-Frequency: the fewest uses per byte go first, and age counts.
pub(crate) struct Gdsf {
    capacity: u64,
    held: u64,
    age: f64,
    order: BTreeSet<(u64, u32)>,
    /// By object: its uses, its key while it is held, and its size.
    states: Vec<(f64, Option<u64>, u64)>,
}

impl Gdsf {
    pub(crate) fn new(capacity: u64, objects: usize) -> Self {
        Self {
            capacity,
            held: 0,
            age: 0.0,
            order: BTreeSet::new(),
            states: vec![(0.0, None, 0); objects],
        }
    }
}

impl Policy for Gdsf {
    fn ask(&mut self, object: u32, size: u64) -> bool {
        let (uses, key, _) = self.states[object as usize];
        if let Some(key) = key {
            self.order.remove(&(key, object));
        } else {
            self.held += size;
        }
        let uses = if key.is_some() { uses + 1.0 } else { 1.0 };
        // Positive numbers are in the order of their bits.
        let new = (self.age + uses / size as f64).to_bits();
        self.order.insert((new, object));
        self.states[object as usize] = (uses, Some(new), size);
        while self.held > self.capacity
            && let Some((key, victim)) = self.order.pop_first()
        {
            self.age = f64::from_bits(key);
            let state = &mut self.states[victim as usize];
            state.1 = None;
            self.held -= state.2;
        }
        key.is_some()
    }
}

/// S3-FIFO without shares: a tenth of the bytes for what is new.
pub(crate) struct S3Fifo {
    capacity: u64,
    small: VecDeque<(u32, u64)>,
    main: VecDeque<(u32, u64)>,
    ghost: VecDeque<(u32, u64)>,
    known: HashSet<u32>,
    /// Bytes of small, main and ghost.
    bytes: [u64; 3],
    /// By object: its uses, while it is held.
    uses: Vec<Option<u8>>,
}

impl S3Fifo {
    pub(crate) fn new(capacity: u64, objects: usize) -> Self {
        Self {
            capacity,
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghost: VecDeque::new(),
            known: HashSet::new(),
            bytes: [0; 3],
            uses: vec![None; objects],
        }
    }

    fn evict(&mut self) {
        let small_is_full = self.bytes[0] > self.capacity / 10 || self.main.is_empty();
        if small_is_full && let Some((object, size)) = self.small.pop_front() {
            self.bytes[0] -= size;
            if self.uses[object as usize].is_some_and(|uses| uses > 0) {
                self.main.push_back((object, size));
                self.bytes[1] += size;
            } else {
                self.uses[object as usize] = None;
                self.remember(object, size);
            }
        } else if let Some((object, size)) = self.main.pop_front() {
            let uses = self.uses[object as usize].unwrap_or(0);
            if uses > 0 {
                self.uses[object as usize] = Some(uses - 1);
                self.main.push_back((object, size));
            } else {
                self.uses[object as usize] = None;
                self.bytes[1] -= size;
            }
        }
    }

    fn remember(&mut self, object: u32, size: u64) {
        self.ghost.push_back((object, size));
        self.known.insert(object);
        self.bytes[2] += size;
        while self.bytes[2] > self.capacity
            && let Some((object, size)) = self.ghost.pop_front()
        {
            self.bytes[2] -= size;
            self.known.remove(&object);
        }
    }
}

impl Policy for S3Fifo {
    fn ask(&mut self, object: u32, size: u64) -> bool {
        if let Some(uses) = &mut self.uses[object as usize] {
            *uses = (*uses + 1).min(3);
            return true;
        }
        while self.bytes[0] + self.bytes[1] + size > self.capacity {
            self.evict();
        }
        self.uses[object as usize] = Some(0);
        if self.known.remove(&object) {
            self.main.push_back((object, size));
            self.bytes[1] += size;
        } else {
            self.small.push_back((object, size));
            self.bytes[0] += size;
        }
        false
    }
}
