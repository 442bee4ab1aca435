//! Properties of readers: whatever comes and goes under a name, who reads a file keeps it, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{content, facts};
use super::*;

/// Names of content that there are: few, so that they meet.
const NAMES: u64 = 4;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A file gets a name, which another may have had.
    Store(u64, u64),
    Remove(u64),
    /// It is removed, and has another name.
    PutAside(u64),
    /// One of those names goes.
    Drop(usize),
    Enter(u64),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0..NAMES;
    let step = prop_oneof![
        3 => (name(), 1..9_u64).prop_map(|(name, blocks)| Step::Store(name, blocks * BLOCK)),
        2 => name().prop_map(Step::Remove),
        1 => name().prop_map(Step::PutAside),
        1 => (0..4_usize).prop_map(Step::Drop),
        4 => name().prop_map(Step::Enter),
        3 => (0..9_usize).prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 1..80)
}

/// A disk as it is: files, their names, and who has them open.
struct World {
    index: Index,
    files: Vec<u64>,
    named: BTreeMap<Content, usize>,
    /// Files put aside, and the generation they had.
    aside: Vec<(usize, u32)>,
    readers: Vec<(Content, usize, u32)>,
}

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::Store(name, size) => {
                let name = content(Shelf::Blobs, name);
                self.index.insert(name, facts(size));
                self.files.push(size);
                self.named.insert(name, self.files.len() - 1);
            }
            Step::Remove(name) => {
                let name = content(Shelf::Blobs, name);
                self.index.remove(&name);
                self.named.remove(&name);
            }
            Step::PutAside(name) => {
                let name = content(Shelf::Blobs, name);
                let moved = self.index.generation(&name).zip(self.named.remove(&name));
                self.index.remove(&name);
                if let Some((generation, file)) = moved {
                    self.index.set_named(generation, true);
                    self.aside.push((file, generation));
                }
            }
            Step::Drop(at) => {
                if at < self.aside.len() {
                    self.index.set_named(self.aside.remove(at).1, false);
                }
            }
            Step::Enter(name) => {
                let name = content(Shelf::Blobs, name);
                let entered = self.index.enter(&name).zip(self.named.get(&name));
                self.readers
                    .extend(entered.map(|(entered, file)| (name, *file, entered.generation)));
            }
            Step::Leave(at) => {
                if at < self.readers.len() {
                    let (name, _, generation) = self.readers.remove(at);
                    self.index.leave(&name, generation);
                }
            }
        }
    }

    fn agree(&self) -> Result<(), TestCaseError> {
        let open: BTreeSet<usize> = self.readers.iter().map(|(_, file, _)| *file).collect();
        let idle = self.named.iter().filter(|(_, file)| !open.contains(file));
        let idle: BTreeSet<Content> = idle.map(|(name, _)| *name).collect();
        let next = self.index.next_to_go(NAMES as usize);
        let next: BTreeSet<Content> = next.into_iter().map(|(name, _)| name).collect();
        prop_assert_eq!(next, idle, "what may go is what nobody reads");
        let aside: BTreeSet<usize> = self.aside.iter().map(|(file, _)| *file).collect();
        let named: BTreeSet<usize> = self.named.values().copied().collect();
        let orphans = open
            .iter()
            .filter(|file| !named.contains(file) && !aside.contains(file));
        let bytes = |file: &usize| self.files[*file];
        let taken = (named.iter().map(bytes).sum(), orphans.map(bytes).sum());
        prop_assert_eq!(self.index.taken(), taken, "named, and open without a name");
        prop_assert_eq!(self.index.orphaned(), taken.1);
        self.index.check();
        Ok(())
    }
}

proptest! {
    #[test]
    fn who_reads_a_file_keeps_it_and_its_bytes_count_until_the_last_has_left(steps in steps()) {
        let mut world = World {
            index: Index::new(Rules::new(u64::MAX >> 1, 1.0, 1.0)),
            files: Vec::new(),
            named: BTreeMap::new(),
            aside: Vec::new(),
            readers: Vec::new(),
        };
        for step in steps {
            world.step(step);
            world.agree()?;
        }
        while !world.readers.is_empty() {
            world.step(Step::Leave(0));
            world.agree()?;
        }
        prop_assert_eq!(world.index.orphaned(), 0);
    }
}
