//! Properties of the index against a naive model: whatever happens, in whatever order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::run::Bounds;
use super::shares::guaranteed;
use super::tests::{content, facts, time};
use super::*;

/// Names of content that there are.
const NAMES: u64 = 60;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A fill of so many bytes begins; one that gets its room ends later, or is given up.
    Fill(u64, u64),
    Done(usize),
    GivenUp(usize),
    Pull(u64),
    Used(u64),
    Enter(u64),
    Leave(usize),
    Pin(u64),
    Unpin(usize),
    Purge(u64),
    Replace(u64, u64),
    /// One of those that leave is gone.
    Gone(usize),
    Excess,
    Capacity(u64),
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![0..9_000_u64, 0..SMALL, SMALL..8 * SMALL]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0..NAMES;
    let step = prop_oneof![
        12 => (name(), sizes()).prop_map(|(name, size)| Step::Fill(name, size)),
        8 => (0..9_usize).prop_map(Step::Done),
        1 => (0..9_usize).prop_map(Step::GivenUp),
        6 => name().prop_map(Step::Pull),
        3 => name().prop_map(Step::Used),
        3 => name().prop_map(Step::Enter),
        3 => (0..9_usize).prop_map(Step::Leave),
        1 => name().prop_map(Step::Pin),
        2 => (0..9_usize).prop_map(Step::Unpin),
        1 => name().prop_map(Step::Purge),
        1 => (name(), sizes()).prop_map(|(name, size)| Step::Replace(name, size)),
        8 => (0..9_usize).prop_map(Step::Gone),
        2 => Just(Step::Excess),
        1 => (20..60_u64).prop_map(|mib| Step::Capacity(mib << 20)),
    ];
    proptest::collection::vec(step, 1..200)
}

/// One name in three is a manifest's.
fn named(name: u64) -> Content {
    let shelf = if name.is_multiple_of(3) {
        Shelf::Manifests
    } else {
        Shelf::Blobs
    };
    content(shelf, name)
}

#[derive(Clone, Debug)]
struct Held {
    /// Which file it is: no two have the same.
    file: usize,
    facts: Facts,
    readers: u32,
    pins: u32,
    /// Used since the last run.
    marked: bool,
    leaving: bool,
    dirty: bool,
}

impl Held {
    fn evictable(&self) -> bool {
        !self.leaving && self.readers == 0 && self.pins == 0
    }
}

/// A driver, and what it knows.
struct World {
    index: Index,
    rules: Rules,
    held: BTreeMap<Content, Held>,
    /// Who reads: what, in which file, and the generation that the index answered.
    readers: Vec<(Content, usize, u32)>,
    fills: Vec<(Content, u64)>,
    /// What has gone and is still read: bytes and readers, by file.
    orphans: BTreeMap<usize, (u64, u32)>,
    /// Files there were.
    files: usize,
    now: u64,
    /// It was never above its capacity by other means than fills.
    honest: bool,
}

impl World {
    fn new(rules: Rules, bounds: Bounds) -> Self {
        let mut index = Index::new(rules);
        index.bounds = bounds;
        Self {
            index,
            rules,
            held: BTreeMap::new(),
            readers: Vec::new(),
            fills: Vec::new(),
            orphans: BTreeMap::new(),
            files: 0,
            now: 1,
            honest: true,
        }
    }

    fn bytes(&self, wanted: impl Fn(&Content, &Held) -> bool) -> u64 {
        let wanted = self.held.iter().filter(|(name, held)| wanted(name, held));
        wanted.map(|(_, held)| on_disk(held.facts.size)).sum()
    }

    fn of_kind(&self, kind: Kind) -> u64 {
        self.bytes(|name, held| !held.leaving && Kind::of(name, held.facts.size) == kind)
    }

    fn reserved(&self) -> u64 {
        let fills = self.fills.iter().map(|(_, size)| on_disk(*size));
        fills.chain(self.orphans.values().map(|(bytes, _)| *bytes)).sum()
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        self.now += 1;
        match step {
            Step::Fill(name, size) => self.fill(named(name), size)?,
            Step::Done(index) => {
                if let Some((name, size)) = self.end(index) {
                    self.insert(name, size);
                }
            }
            Step::GivenUp(index) => drop(self.end(index)),
            Step::Pull(name) => self.touch(&named(name), true),
            Step::Used(name) => self.touch(&named(name), false),
            Step::Enter(name) => self.occupy(&named(name), true)?,
            Step::Pin(name) => self.occupy(&named(name), false)?,
            Step::Leave(index) => self.leave(index),
            Step::Unpin(index) => {
                let name = self.nth(index, |held| held.pins > 0);
                if let Some(name) = name {
                    self.index.unpin(&name);
                    self.held.get_mut(&name).unwrap().pins -= 1;
                }
            }
            Step::Purge(name) => self.gone(named(name))?,
            Step::Replace(name, size) => {
                self.insert(named(name), size);
                self.honest = false;
            }
            Step::Gone(index) => {
                let name = self.nth(index, |held| held.leaving);
                if let Some(name) = name {
                    self.gone(name)?;
                }
            }
            Step::Excess => self.excess()?,
            Step::Capacity(capacity) => {
                self.index.set_capacity(capacity);
                self.rules.capacity = capacity;
                self.honest = false;
            }
        }
        self.agree()
    }

    fn end(&mut self, index: usize) -> Option<(Content, u64)> {
        let fill = (index < self.fills.len()).then(|| self.fills.remove(index))?;
        self.index.release(fill.1);
        Some(fill)
    }

    fn nth(&self, index: usize, wanted: impl Fn(&Held) -> bool) -> Option<Content> {
        let mut wanted = self.held.iter().filter(|(_, held)| wanted(held));
        wanted.nth(index).map(|(name, _)| *name)
    }

    fn insert(&mut self, name: Content, size: u64) {
        self.index.insert(name, facts(size));
        let before = self.take(&name);
        self.files += 1;
        let held = Held {
            file: self.files,
            facts: facts(size),
            readers: 0,
            pins: before.as_ref().map_or(0, |held| held.pins),
            marked: false,
            leaving: false,
            dirty: false,
        };
        self.held.insert(name, held);
    }

    fn take(&mut self, name: &Content) -> Option<Held> {
        let held = self.held.remove(name)?;
        if held.readers > 0 {
            let orphan = (on_disk(held.facts.size), held.readers);
            self.orphans.insert(held.file, orphan);
        }
        Some(held)
    }

    fn gone(&mut self, name: Content) -> Result<(), TestCaseError> {
        let expected = self.take(&name).map(|held| held.facts);
        prop_assert_eq!(self.index.remove(&name), expected);
        Ok(())
    }

    fn touch(&mut self, name: &Content, pulled: bool) {
        let now = time(self.now);
        if pulled {
            self.index.pull(name, now);
        } else {
            self.index.used(name, now);
        }
        if let Some(held) = self.held.get_mut(name).filter(|held| !held.leaving) {
            held.facts.used = Some(now);
            held.facts.pulls += u32::from(pulled);
            (held.marked, held.dirty) = (true, true);
        }
    }

    fn occupy(&mut self, name: &Content, reads: bool) -> Result<(), TestCaseError> {
        let held = self.held.get_mut(name).filter(|held| !held.leaving);
        let entered = reads.then(|| self.index.enter(name)).flatten();
        let done = if reads {
            entered.is_some()
        } else {
            self.index.pin(name)
        };
        prop_assert_eq!(done, held.is_some());
        if let Some(held) = held {
            self.readers
                .extend(entered.map(|entered| (*name, held.file, entered.generation)));
            held.readers += u32::from(reads);
            held.pins += u32::from(!reads);
        }
        Ok(())
    }

    /// One of those who read leaves, whatever has become of what they read.
    fn leave(&mut self, index: usize) {
        if index < self.readers.len() {
            let (name, file, generation) = self.readers.remove(index);
            self.index.leave(&name, generation);
            if let Some(held) = self.held.get_mut(&name).filter(|held| held.file == file) {
                held.readers -= 1;
            } else if let Some((_, readers)) = self.orphans.get_mut(&file) {
                *readers -= 1;
                self.orphans.retain(|_, (_, readers)| *readers > 0);
            }
        }
    }

    fn fill(&mut self, name: Content, size: u64) -> Result<(), TestCaseError> {
        let bytes = on_disk(size);
        let free = self.bytes(|_, _| true) + self.reserved() + bytes <= self.rules.capacity;
        let fits = bytes <= self.rules.capacity / LARGEST_PART;
        match self.index.reserve(size) {
            Room::Granted => {
                prop_assert!(free && fits, "granted what there is no room for");
                self.fills.push((name, size));
            }
            Room::Never => prop_assert!(!free || !fits, "refused what there is room for"),
            Room::Evict(victims) => {
                prop_assert!(!free && fits);
                prop_assert!(self.index.cut || !victims.is_empty());
                let need = self.bytes(|_, _| true) + self.reserved() + bytes - self.rules.capacity;
                let won = self.chosen(&victims, Kind::of_fill(bytes))?;
                prop_assert!(
                    won >= need || self.index.cut,
                    "{} bytes won where {} are needed",
                    won,
                    need
                );
            }
        }
        Ok(())
    }

    fn excess(&mut self) -> Result<(), TestCaseError> {
        let staying = self.bytes(|_, held| !held.leaving) + self.reserved();
        let preview = self.index.next_to_go(NAMES as usize);
        let Some(victims) = self.index.excess() else {
            return Ok(());
        };
        prop_assert!(staying as f64 > self.rules.capacity as f64 * self.rules.high);
        let foreseen: Vec<Content> = preview.iter().map(|(name, _)| *name).collect();
        prop_assert!(
            foreseen.starts_with(&victims),
            "{:?} foretold {:?}",
            foreseen,
            victims
        );
        self.chosen(&victims, Kind::Large).map(|_| ())
    }

    /// Checks a choice and carries it out, but for the removing. Answers the bytes won.
    fn chosen(&mut self, victims: &[Content], own: Kind) -> Result<u64, TestCaseError> {
        prop_assert!(self.index.looks() <= self.index.bounds.looks());
        prop_assert!(victims.len() <= self.index.bounds.victims);
        self.unused_go_first(victims)?;
        let mut won = 0;
        for name in victims {
            let held = self.held.get(name).filter(|held| held.evictable());
            prop_assert!(held.is_some(), "{:?} was chosen", name);
            let kind = Kind::of(name, held.unwrap().facts.size);
            // The last one of a kind may reach below its share; blobs never used go even from within.
            let unused = kind != Kind::Manifest && held.unwrap().facts.used.is_none();
            let own = kind == own || kind == Kind::Large;
            if !own && !unused {
                prop_assert!(self.of_kind(kind) > guaranteed(&self.rules)[kind], "{:?}", name);
            }
            let held = self.held.get_mut(name).unwrap();
            held.leaving = true;
            won += on_disk(held.facts.size);
        }
        for held in self.held.values_mut() {
            held.marked &= self.index.cut;
        }
        Ok(won)
    }

    /// In one call, content never used since it was stored goes before what was used since the last.
    fn unused_go_first(&self, victims: &[Content]) -> Result<(), TestCaseError> {
        let Some(first) = victims.iter().position(|name| self.held[name].marked) else {
            return Ok(());
        };
        let share = guaranteed(&self.rules)[Kind::Manifest];
        for (name, held) in &self.held {
            let exempt = name.shelf == Shelf::Manifests && self.of_kind(Kind::Manifest) <= share;
            if held.evictable() && held.facts.used.is_none() && !exempt {
                let at = victims.iter().position(|victim| victim == name);
                let kept_in_share = name.shelf == Shelf::Manifests && at.is_none();
                prop_assert!(
                    at.is_some_and(|at| at < first) || kept_in_share,
                    "{:?} stays, {:?} goes",
                    name,
                    victims[first]
                );
            }
        }
        Ok(())
    }

    fn agree(&mut self) -> Result<(), TestCaseError> {
        let (held, reserved) = self.index.taken();
        prop_assert_eq!(held, self.bytes(|_, _| true));
        prop_assert_eq!(reserved, self.reserved());
        if self.honest {
            prop_assert!(held + reserved <= self.rules.capacity);
        }
        let listed: BTreeMap<Content, Facts> =
            self.index.iter().map(|(name, facts)| (*name, *facts)).collect();
        let staying = self.held.iter().filter(|(_, held)| !held.leaving);
        let expected: BTreeMap<Content, Facts> = staying.map(|(name, held)| (*name, held.facts)).collect();
        prop_assert_eq!(listed, expected);
        for name in (0..NAMES).map(named) {
            let known = self.held.get(&name).filter(|held| !held.leaving);
            prop_assert_eq!(self.index.facts(&name), known.map(|held| held.facts));
        }
        self.index.check();
        Ok(())
    }

    /// Without capacity everything goes that may, in so many choices at most as passing it bit by bit takes.
    fn shrink(&mut self) -> Result<(), TestCaseError> {
        self.index.set_capacity(0);
        (self.rules.capacity, self.honest) = (0, false);
        let per_choice = (self.index.bounds.passed / 2).min(self.index.bounds.victims);
        let mut choices = 0;
        while let Some(victims) = self.index.excess() {
            self.chosen(&victims, Kind::Large)?;
            for name in victims {
                self.gone(name)?;
            }
            choices += 1;
            prop_assert!(choices <= 2 + 2 * self.files / per_choice, "{} choices", choices);
        }
        // What has no bytes is in nobody's way.
        let stays = |held: &Held| !held.evictable() || held.facts.size == 0;
        prop_assert!(self.held.values().all(stays));
        self.agree()
    }

    fn changed(&mut self) -> Result<(), TestCaseError> {
        let mut taken = BTreeMap::new();
        loop {
            let part = self.index.take_changed(3);
            if part.is_empty() {
                break;
            }
            for (name, facts) in part {
                prop_assert!(taken.insert(name, facts).is_none(), "{:?} twice", name);
            }
        }
        let dirty = self.held.iter().filter(|(_, held)| held.dirty && !held.leaving);
        let expected: BTreeMap<Content, Facts> = dirty.map(|(name, held)| (*name, held.facts)).collect();
        prop_assert_eq!(taken, expected);
        Ok(())
    }
}

/// From cramped to roomy; with watermarks, and without.
fn rules() -> impl Strategy<Value = Rules> {
    let marks = prop_oneof![Just((1.0, 1.0)), Just((0.95, 0.9)), Just((0.8, 0.5))];
    (20..60_u64, marks, 0.0..0.3, 0.0..0.5).prop_map(|(mib, (high, low), manifests, small)| Rules {
        capacity: mib << 20,
        high,
        low,
        manifests,
        small,
    })
}

/// From such that cut nearly every choice to such that cut none.
fn bounds() -> impl Strategy<Value = Bounds> {
    let bound = |passed, victims| Bounds { passed, victims };
    prop_oneof![
        (2..40_usize, 1..9_usize).prop_map(move |(passed, victims)| bound(passed, victims)),
        Just(Bounds::USUAL),
    ]
}

proptest! {
    #[test]
    fn the_index_agrees_with_a_naive_model(rules in rules(), bounds in bounds(), steps in steps()) {
        let mut world = World::new(rules, bounds);
        for step in steps {
            world.step(step)?;
        }
        world.changed()?;
        world.shrink()?;
    }
}
