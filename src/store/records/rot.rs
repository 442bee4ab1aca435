//! Records whose file was damaged while nobody had it open: they begin anew.

use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Records;
use crate::clock::Time;
use crate::oci::{Digest, MediaType, Repository, Tag};
use crate::policy::eviction::{Content, Facts, Shelf};

/// Files that are damaged, each in its own way.
const FILES: usize = 30;
/// Where the child works; only a child has it.
const FOLDER: &str = "SEAWALL_ROT_FOLDER";
/// Repeats a run.
const SEED: &str = "SEAWALL_ROT_SEED";

fn repository() -> Repository {
    "docker.io/library/app".parse().unwrap()
}

fn digest(number: u64) -> Digest {
    Digest::sha256(&number.to_le_bytes())
}

/// Records that take some pages, closed in good order.
fn write(path: &Path) {
    let records = Records::open(path);
    for number in 0..200 {
        records.put_manifest(
            &repository(),
            &digest(number),
            &MediaType::OCI_MANIFEST,
            Time::from_millis(1),
        );
    }
    let row = |number| {
        let facts = Facts {
            size: number,
            stored: Time::from_millis(1),
            used: None,
            pulls: 0,
            closed: false,
        };
        let content = Content {
            shelf: Shelf::Blobs,
            digest: digest(number),
        };
        (content, Some(facts))
    };
    records.put_objects((0..500).map(row).collect(), |_| false);
}

/// Flips bits, or loses pages, or the end of the file.
fn damage(path: &Path, random: &mut StdRng) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let len = file.metadata().unwrap().len();
    match random.random_range(0..10) {
        0 => file.set_len(random.random_range(0..len)).unwrap(),
        1..5 => {
            for _ in 0..random.random_range(1..20) {
                let page = random.random_range(0..len / 4096) * 4096;
                let mut bytes = [0; 4096];
                random.fill(&mut bytes[..]);
                file.write_all_at(&bytes, page).unwrap();
            }
        }
        _ => {
            for _ in 0..random.random_range(1..2000) {
                let (at, mut byte) = (random.random_range(0..len), [0]);
                file.read_exact_at(&mut byte, at).unwrap();
                byte[0] ^= 1 << random.random_range(0..8);
                file.write_all_at(&byte, at).unwrap();
            }
        }
    }
}

/// Reads everything there is; what is lost is lost.
fn read(records: &Records) {
    records.objects(|_, _| {});
    records.each_tag(|_, _, _| {});
    records.each_held(|_, _, _, _| {});
    for number in 0..200 {
        let _: Option<MediaType> = records.media_type(&digest(number));
    }
    let _: Vec<String> = records.repositories(None);
    let _: Option<String> = records.ledgers().into_keys().next();
}

/// Works as the cache does all the time, which finds the damage: what is written last is there.
fn work(records: &Records, which: &str) {
    let (tag, new): (Tag, _) = ("latest".parse().unwrap(), digest(u64::MAX));
    for media_type in [
        MediaType::OCI_MANIFEST,
        MediaType::OCI_MANIFEST,
        MediaType::OCI_INDEX,
    ] {
        read(records);
        records.put_manifest(&repository(), &new, &media_type, Time::from_millis(2));
        records.remove_tag(&repository(), &tag);
        records.flush();
    }
    assert_eq!(records.media_type(&new), Some(MediaType::OCI_INDEX), "{which}");
}

/// The child: works on the records in the directory that it is given.
#[test]
fn a_child_works_on_records_that_may_be_damaged() {
    // Of its own, unless the test below starts it as a process over its own.
    let own = tempfile::tempdir().unwrap();
    let folder = std::env::var_os(FOLDER).map_or(own.path().to_owned(), PathBuf::from);
    let path = folder.join("records.redb");
    let records = Records::open(&path);
    work(&records, "in use");
    drop(records);
    // What is found only now is found by the next.
    work(&Records::open(&path), "opened again");
}

/// Starts the child over `folder`. False if the store ended it.
fn survives(folder: &Path) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([
        "store::records::rot::a_child_works_on_records_that_may_be_damaged",
        "--exact",
    ]);
    child.env(FOLDER, folder).env("RUST_BACKTRACE", "0");
    let output = child.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() || output.status.signal() == Some(6),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&text)
    );
    output.status.success()
}

#[test]
fn f075_records_damaged_in_any_way_are_begun_anew_within_three_starts() {
    let chosen = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = chosen.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let sound = tempfile::tempdir().unwrap();
    write(&sound.path().join("sound"));
    let (mut begun_anew, mut deaths) = (0, 0);
    for number in 0..FILES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.redb");
        std::fs::copy(sound.path().join("sound"), &path).unwrap();
        damage(&path, &mut random);
        let starts = (0..3).position(|_| survives(folder.path()));
        deaths += starts.unwrap_or_else(|| panic!("seed {seed}, file {number} is never mended"));
        begun_anew += usize::from(path.with_extension("damaged").exists());
        let records = Records::open(&path);
        let found = records.media_type(&digest(u64::MAX));
        assert_eq!(found, Some(MediaType::OCI_INDEX), "seed {seed}, file {number}");
    }
    println!("{begun_anew} of {FILES} begun anew, {deaths} deaths");
    assert!(
        begun_anew > FILES / 10,
        "{begun_anew} of {FILES}: this shows little"
    );
}

#[test]
fn f075_records_that_were_never_closed_again_are_checked_at_the_third_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    write(&path);
    // A name somewhere in it, which no start has to read.
    let mut bytes = std::fs::read(&path).unwrap();
    let name = repository().to_string().into_bytes();
    let at: Vec<_> = (0..bytes.len() - name.len())
        .filter(|at| bytes[*at..].starts_with(&name))
        .collect();
    assert!(!at.is_empty());
    at.iter().for_each(|at| bytes[*at] ^= 1);
    std::fs::write(&path, bytes).unwrap();
    let (note, aside) = (path.with_extension("opened"), path.with_extension("damaged"));
    for (deaths, is_checked) in [(None, false), (Some("1"), false), (Some("2"), true)] {
        if let Some(deaths) = deaths {
            std::fs::write(&note, deaths).unwrap();
        }
        let records = Records::open(&path);
        assert!(note.exists(), "whoever dies now has not closed it");
        assert_eq!(aside.exists(), is_checked, "{deaths:?}");
        drop(records);
        assert!(!note.exists(), "it was closed");
    }
}
