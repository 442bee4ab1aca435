//! Crash states of the disk shelf alone: what stands under a digest hashes to it (F086, F087).

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::model::{Files, Model};
use super::{Step, directory, done_or_failed, recorded, recorded_failing, states, write_out};
use crate::oci::Digest;
use crate::policy::eviction::Content;
use crate::store::{Disk, Shelf};

/// Contents that are worked with: few, so that downloads meet what earlier ones left.
const CONTENTS: usize = 4;

/// The bytes of a number below [`CONTENTS`].
pub(super) fn content(number: usize) -> Bytes {
    static ALL: LazyLock<[Bytes; CONTENTS]> = LazyLock::new(|| {
        let mut random = StdRng::seed_from_u64(7);
        std::array::from_fn(|_| {
            let mut bytes = vec![0; random.random_range(1..20_000)];
            random.fill(&mut bytes[..]);
            bytes.into()
        })
    });
    ALL[number].clone()
}

/// Does as fills, manifests and scrubs do, in a random order.
fn work(disk: &Disk, random: &mut StdRng) {
    for _ in 0..random.random_range(3..12) {
        step(disk, random);
    }
}

/// Does one such thing.
pub(super) fn step(disk: &Disk, random: &mut StdRng) {
    let bytes = content(random.random_range(0..CONTENTS));
    let digest = Digest::sha256(&bytes);
    match random.random_range(0..10) {
        0 => _ = done_or_failed(disk.put(Shelf::Manifests, &digest, &bytes)),
        1 => drop(disk.quarantine(Shelf::Blobs, &digest)),
        2 => _ = done_or_failed(disk.probe()),
        3 => disk.discard(&disk.begin(&digest).unwrap()),
        4 => {
            let partial = disk.begin(&digest).unwrap();
            disk.write(&partial, 0, &[bytes]).unwrap();
            partial.give_up();
        }
        5 => drop(disk.remove(&Content {
            shelf: Shelf::Blobs,
            digest,
        })),
        // A fill that breaks off, or goes on where another one did, and ends well.
        which => {
            let partial = disk.begin(&digest).unwrap();
            let from = usize::try_from(partial.held).unwrap().min(bytes.len());
            let from = random.random_range(0..=from);
            let half = random.random_range(from..=bytes.len());
            disk.write(&partial, from as u64, &[bytes.slice(from..half)])
                .unwrap();
            if which > 6 {
                disk.write(&partial, half as u64, &[bytes.slice(half..)]).unwrap();
                // What a crash left of it may be wrong: a fill hashes all of it.
                let mut written = vec![0; bytes.len()];
                partial.file.read_exact_at(&mut written, 0).unwrap();
                if Digest::sha256(&written) != digest {
                    return disk.discard(&partial);
                }
                let committed = disk.commit(&partial, Shelf::Blobs, &digest, bytes.len() as u64);
                let _ = done_or_failed(committed);
            }
        }
    }
}

/// Every file under a digest's name hashes to it; gives how many there are.
pub(super) fn check(root: &Path) -> Result<usize, String> {
    let mut count = 0;
    let mut folders = vec![root.join("v1/blobs"), root.join("v1/manifests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            if Digest::sha256(&bytes).hex() != path.file_name().unwrap().to_str().unwrap() {
                return Err(format!("{} has {} wrong bytes", path.display(), bytes.len()));
            }
            count += 1;
        }
    }
    Ok(count)
}

/// Writes a crash state out below `root`, opens the shelf on it, and checks what it holds.
fn recover(state: &Files, root: &Path) -> Result<usize, String> {
    write_out(state, root);
    let disk = super::open_when_free(root);
    // As if all of it was written down: what is put there has room.
    disk.recall(|_| true);
    let count = check(root)?;
    // What is unfinished is gone on with, and ends well.
    let bytes = content(0);
    disk.put(Shelf::Blobs, &Digest::sha256(&bytes), &bytes).unwrap();
    check(root)?;
    Ok(count)
}

/// Tries `states` crash states, some for each of many runs. Gives how many files under a digest were found in
/// all, or the first state that is wrong.
fn try_out(seed: u64, states: usize, spoil: impl Fn(Vec<Step>) -> Vec<Step>) -> Result<usize, String> {
    try_recorded(seed, states, |root, _, work| recorded(root, work), spoil)
}

fn try_recorded(
    seed: u64,
    states: usize,
    record: fn(&Path, u64, &mut dyn FnMut()) -> Vec<Step>,
    spoil: impl Fn(Vec<Step>) -> Vec<Step>,
) -> Result<usize, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut tried, mut found) = (0, 0);
    while tried < states {
        let worked = directory();
        let disk = super::open_when_free(worked.path());
        let failing = random.random();
        let steps = record(worked.path(), failing, &mut || work(&disk, &mut random));
        let steps = spoil(steps);
        for _ in 0..20 {
            let until = random.random_range(0..=steps.len());
            let state = Model::played(&Files::new(), &steps[..until]).after_crash(&mut random);
            let root = directory();
            let recovered = recover(&state, root.path());
            found += recovered.map_err(|wrong| format!("seed {seed}, state {tried}: {wrong}"))?;
            tried += 1;
        }
    }
    Ok(found)
}

#[test]
fn f087_whatever_unsynced_writes_and_names_a_crash_loses_a_name_means_its_bytes() {
    let seed = rand::random();
    println!("seed {seed}");
    let found = try_out(seed, states(10_000), |steps| steps).unwrap();
    assert!(
        found > 1000,
        "so few files survived ({found}) that nothing was shown"
    );
}

#[test]
fn f087_without_the_sync_the_simulation_finds_wrong_bytes_at_once() {
    let unsynced = |mut steps: Vec<Step>| {
        steps.retain(|step| !matches!(step, Step::Sync(_)));
        steps
    };
    assert!(try_out(1, 1000, unsynced).is_err());
}

#[test]
fn f087_with_the_name_before_the_sync_the_simulation_finds_wrong_bytes_at_once() {
    let hasty = |steps: Vec<Step>| {
        let mut hasty: Vec<Step> = Vec::new();
        for step in steps {
            match (&step, hasty.last()) {
                (Step::Rename(from, to), Some(Step::Sync(synced))) if from == synced => {
                    let (sync, to) = (hasty.len() - 1, to.clone());
                    hasty.insert(sync, step);
                    hasty[sync + 1] = Step::Sync(to);
                }
                _ => hasty.push(step),
            }
        }
        hasty
    };
    assert!(try_out(1, 1000, hasty).is_err());
}

#[test]
fn f062_a_file_whose_sync_failed_gets_no_name_and_is_not_synced_again() {
    let seed = rand::random();
    println!("seed {seed}");
    let found = try_recorded(
        seed,
        states(10_000),
        |root, seed, work| recorded_failing(root, seed, work),
        |steps| steps,
    );
    let found = found.unwrap();
    assert!(
        found > 1000,
        "so few files survived ({found}) that nothing was shown"
    );
}
