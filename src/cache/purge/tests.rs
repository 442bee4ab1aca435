//! What happens between a plan and its end.

mod copies;
mod going;
mod wanted;

use std::io::Read as _;
use std::sync::Mutex;

use tempfile::TempDir;

use super::super::belongings::Belongings;
use super::*;
use crate::cache::PurgeReport;
use crate::cache::holds::Keeper;
use crate::oci::{Descriptor, MediaType};
use crate::policy::freshness::TagRecord;
use crate::policy::holds::{Holds, Name};
use crate::policy::retention::{Filter, Rules};
use crate::store::{Disk, ManifestRecord, Memory, PrivateFile, Records};
use crate::telemetry::metrics::Metrics;

/// Shelves with one image, under the tag `dev`: its manifest, and one layer.
struct Held {
    shelves: Arc<Shelves>,
    manifest: Digest,
    layer: Digest,
    _folder: TempDir,
}

pub(super) const NOW: Time = Time::from_millis(1000);

pub(super) fn repository() -> Repository {
    "docker.io/library/app".parse().unwrap()
}

pub(super) fn tag(tag: &str) -> Tag {
    tag.parse().unwrap()
}

pub(super) fn everything() -> Purge {
    Purge::Rules(Rules {
        filters: vec![Filter::parse(".*:dev").unwrap()],
        ago: None,
        untagged: true,
        keep: 0,
    })
}

fn shelves(folder: &TempDir) -> Shelves {
    let disk = Disk::open(folder.path()).unwrap();
    let records = Records::open(&disk.records_path());
    let keeper = Keeper::open(&disk);
    let (private, _) = PrivateFile::open(&disk.private_path());
    Shelves {
        disk,
        memory: Memory::new(1 << 20),
        records,
        keeper,
        private,
        metrics: Arc::new(Metrics::new()),
        scrub: Mutex::default(),
        blame: Mutex::default(),
        belongings: Belongings::default(),
        ahead: Arc::new(tokio::sync::Semaphore::new(1)),
        lagging: Arc::new(tokio::sync::Semaphore::new(1)),
        verifies: false.into(),
        shared: std::sync::OnceLock::new(),
    }
}

fn held() -> Held {
    let folder = tempfile::tempdir().unwrap();
    let shelves = Arc::new(shelves(&folder));
    let layer = Digest::sha256(b"layer");
    shelves.disk.put(Shelf::Blobs, &layer, b"layer").unwrap();
    let held = Held {
        manifest: Digest::sha256(b"dev"),
        shelves,
        layer,
        _folder: folder,
    };
    held.pull("dev", "dev");
    held
}

impl Held {
    /// Another manifest that names the layer is pulled under a tag.
    fn pull(&self, name: &str, content: &str) -> Digest {
        put_image(&self.shelves, self.layer, name, content)
    }

    /// Plans to purge, has something happen, and carries the plan out: to its end, as is told by then.
    fn purge(&self, purge: &Purge, between: impl FnOnce()) -> Purged {
        let (plan, pointed) = self.shelves.plan(purge, NOW).unwrap();
        between();
        let purges = Arc::new(Purges::default());
        let entered = purges.enter(By::Operator, purge, None, NOW);
        let purged = self.shelves.apply(&plan, purge, &pointed, entered.get());
        let purged = Purged { plan, ..purged };
        let told = &purges.status()[0];
        assert_eq!(
            (told.done, told.bytes),
            (purged.plan.goes.len() as u64, purged.removed().bytes()),
            "{purged:?}"
        );
        purged
    }

    fn has(&self, shelf: Shelf, digest: &Digest) -> bool {
        self.shelves.disk.holds(shelf, digest)
    }

    fn tagged(&self, name: &str) -> Option<Digest> {
        let record = self.shelves.records.tag(&repository(), &tag(name));
        record.map(|record| record.descriptor.digest)
    }
}

/// A manifest that names one layer is pulled under a tag.
pub(super) fn put_image(shelves: &Shelves, layer: Digest, name: &str, content: &str) -> Digest {
    put_image_of(shelves, &repository(), layer, name, content)
}

/// The same, of some repository.
fn put_image_of(
    shelves: &Shelves,
    repository: &Repository,
    layer: Digest,
    name: &str,
    content: &str,
) -> Digest {
    let digest = Digest::sha256(content.as_bytes());
    let written = shelves.disk.put(Shelf::Manifests, &digest, content.as_bytes());
    written.unwrap();
    let record = ManifestRecord {
        media_type: MediaType::OCI_MANIFEST,
        size: content.len() as u64,
        source: "docker.io".to_owned(),
        stored: NOW,
        children: Vec::new(),
        blobs: vec![(layer, 5)],
        has_config: false,
        looked: true,
        platform: Some("linux/amd64".to_owned()),
        created: None,
        subject: None,
    };
    shelves.records.put_held(repository, &digest, &record);
    let record = TagRecord {
        descriptor: descriptor(digest),
        validated: NOW,
    };
    shelves.records.put_tag(repository, &tag(name), record);
    shelves.records.flush();
    digest
}

fn descriptor(digest: Digest) -> Descriptor {
    Descriptor {
        media_type: MediaType::OCI_MANIFEST,
        digest,
        size: 3,
    }
}

/// What was spared, with the reason in a word.
fn spared(purged: &Purged) -> Vec<(String, &'static str)> {
    let spared = purged.spared.iter();
    spared
        .map(|spared| (spared.item.to_string(), spared.why.word()))
        .collect()
}

#[test]
fn nothing_happens_and_all_of_the_plan_goes() {
    let held = held();
    let purged = held.purge(&everything(), || ());
    assert_eq!((purged.plan.goes.len(), purged.failed), (3, 0));
    assert_eq!((spared(&purged), purged.removed()), (vec![], purged.plan.clone()));
    assert!(!held.has(Shelf::Manifests, &held.manifest) && !held.has(Shelf::Blobs, &held.layer));
    assert_eq!(held.tagged("dev"), None);
}

#[test]
fn a_tag_that_moves_after_the_plan_keeps_what_it_points_at_now() {
    let held = held();
    let mut new = None;
    let purged = held.purge(&everything(), || new = Some(held.pull("dev", "new")));
    let new = new.unwrap();
    assert_eq!(held.tagged("dev"), Some(new));
    assert!(held.has(Shelf::Manifests, &new) && held.has(Shelf::Blobs, &held.layer));
    assert!(
        !held.has(Shelf::Manifests, &held.manifest),
        "what it pointed at goes"
    );
    let expected = [
        ("docker.io/library/app:dev".to_owned(), "moved"),
        (held.layer.to_string(), "named"),
    ];
    assert_eq!(spared(&purged), expected);
    assert!(purged.spared[0].why.to_string().contains(&new.to_string()));
    assert_eq!(purged.removed().goes.len(), 1);
}

#[test]
fn a_tag_that_moves_to_something_else_that_was_to_go_keeps_that() {
    let held = held();
    let old = held.pull("old", "old");
    // Nothing points at it any more.
    held.shelves.records.remove_tag(&repository(), &tag("old"));
    let purged = held.purge(&everything(), || assert_eq!(held.pull("dev", "old"), old));
    assert!(
        purged
            .plan
            .goes
            .iter()
            .any(|going| going.item.to_string().ends_with(&old.to_string()))
    );
    assert_eq!(held.tagged("dev"), Some(old));
    assert!(held.has(Shelf::Manifests, &old) && held.has(Shelf::Blobs, &held.layer));
    assert!(held.shelves.records.held(&repository(), &old).is_some());
    assert!(!held.has(Shelf::Manifests, &held.manifest));
}

#[test]
fn what_is_opened_after_the_plan_goes_and_is_read_to_its_end() {
    let held = held();
    let mut open = None;
    let pull = || open = held.shelves.disk.pull(Shelf::Blobs, &held.layer);
    let purged = held.purge(&everything(), pull);
    assert_eq!((spared(&purged), purged.failed), (vec![], 0));
    assert!(!held.has(Shelf::Blobs, &held.layer));
    let mut text = String::new();
    (&**open.unwrap().file).read_to_string(&mut text).unwrap();
    assert_eq!(text, "layer");
}

#[test]
fn a_layer_that_is_pulled_for_another_image_after_the_plan_stays() {
    let held = held();
    let purged = held.purge(&everything(), || {
        held.pull("release", "release");
    });
    assert!(held.has(Shelf::Blobs, &held.layer) && !held.has(Shelf::Manifests, &held.manifest));
    assert_eq!(spared(&purged), [(held.layer.to_string(), "named")]);
    let report = serde_json::to_value(PurgeReport::of_purged(&purged, NOW)).unwrap();
    assert_eq!((&report["bytes"], &report["blobs"]), (&3.into(), &0.into()));
    assert_eq!(report["fingerprint"], purged.plan.fingerprint());
    assert_eq!(report["spared_count"], 1);
    let told = &report["spared"][0];
    assert_eq!(
        (&told["name"], &told["reason"]),
        (&held.layer.to_string().into(), &"named".into())
    );
    assert_eq!(told["detail"], "a manifest that was stored meanwhile names it");
}

#[test]
fn what_is_held_after_the_plan_stays_with_all_that_it_names() {
    for (kind, word) in [(Kind::Lock, "locked"), (Kind::Pin, "pinned")] {
        let held = held();
        let hold = |holds: &mut Holds| {
            let name = Name::of_tag(&repository(), &tag("dev"));
            holds.hold(name, kind, descriptor(held.manifest), NOW);
            Ok::<(), ()>(())
        };
        let purged = held.purge(&everything(), || {
            held.shelves.change_holds(hold).unwrap().unwrap();
        });
        assert_eq!(held.tagged("dev"), Some(held.manifest));
        assert!(held.has(Shelf::Manifests, &held.manifest) && held.has(Shelf::Blobs, &held.layer));
        assert!(held.shelves.records.held(&repository(), &held.manifest).is_some());
        let words: Vec<_> = spared(&purged).into_iter().map(|(_, word)| word).collect();
        assert_eq!(words, [word; 3]);
        assert_eq!(purged.removed().goes, []);
    }
}

/// What goes, by kind.
fn kinds(plan: &Plan) -> Vec<&'static str> {
    plan.goes.iter().map(|going| going.item.kind()).collect()
}

/// Another repository with an image of its own, which names the same layer.
fn other(held: &Held) -> Digest {
    let other: Repository = "docker.io/library/other".parse().unwrap();
    put_image_of(&held.shelves, &other, held.layer, "dev", "other")
}

#[test]
fn a_purge_that_is_stopped_leaves_whole_images_and_says_what_is_left() {
    let held = held();
    let other = other(&held);
    let (plan, pointed) = held.shelves.plan(&everything(), NOW).unwrap();
    assert_eq!(kinds(&plan), ["tag", "tag", "manifest", "manifest", "blob"]);
    let entered = Arc::new(Purges::default()).enter(By::Operator, &everything(), None, NOW);
    entered.get().stop_at(1);
    let purged = held.shelves.apply(&plan, &everything(), &pointed, entered.get());
    let purged = Purged { plan, ..purged };
    assert_eq!((purged.failed, spared(&purged)), (0, vec![]));
    let (gone, left) = (purged.removed(), &purged.left);
    assert_eq!(kinds(&gone), ["tag", "manifest"]);
    assert_eq!((gone.bytes(), left.len()), (3, 3));
    assert_eq!(held.tagged("dev"), None);
    assert!(!held.has(Shelf::Manifests, &held.manifest));
    assert!(held.has(Shelf::Manifests, &other) && held.has(Shelf::Blobs, &held.layer));
    // Asked again, it goes on where it was.
    let purged = held.purge(&everything(), || ());
    assert_eq!(kinds(&purged.removed()), ["tag", "manifest", "blob"]);
    assert!(!held.has(Shelf::Manifests, &other) && !held.has(Shelf::Blobs, &held.layer));
}

#[test]
fn how_far_a_purge_is_is_told_to_its_end() {
    let held = held();
    other(&held);
    let (plan, pointed) = held.shelves.plan(&everything(), NOW).unwrap();
    let purges = Arc::new(Purges::default());
    let entered = purges.enter(By::Operator, &everything(), None, NOW);
    entered.get().begin();
    assert_eq!(purges.status()[0].state, "planning");
    entered.get().planned(&plan, plan.fingerprint());
    let told = &purges.status()[0];
    assert_eq!(
        (told.planned, told.done, told.bytes, told.of_bytes),
        (Some(5), 0, 0, 13)
    );
    assert_eq!(told.fingerprint, Some(plan.fingerprint()));
    held.shelves.apply(&plan, &everything(), &pointed, entered.get());
    let told = &purges.status()[0];
    assert_eq!((told.done, told.bytes, told.state.as_str()), (5, 13, "removing"));
    drop(entered);
    assert_eq!(purges.status(), []);
}

#[test]
fn a_file_that_cannot_be_removed_is_done_with_and_wins_nothing() {
    let held = held();
    let (plan, pointed) = held.shelves.plan(&everything(), NOW).unwrap();
    // What stands there by now is no file.
    let name = held.layer.to_string();
    let hex = name.trim_start_matches("sha256:");
    let path = held
        ._folder
        .path()
        .join("v1/blobs/sha256")
        .join(&hex[..2])
        .join(hex);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let purges = Arc::new(Purges::default());
    let entered = purges.enter(By::Operator, &everything(), None, NOW);
    let purged = held.shelves.apply(&plan, &everything(), &pointed, entered.get());
    let told = &purges.status()[0];
    // A manifest of three bytes went; the layer's five are still to be won.
    assert_eq!((purged.failed, told.done, told.bytes), (1, 3, 3));
}

#[test]
fn a_manifest_that_two_repositories_have_goes_from_both_and_is_told_of_both() {
    let held = held();
    let other: Repository = "docker.io/library/other".parse().unwrap();
    put_image_of(&held.shelves, &other, held.layer, "dev", "dev");
    let purged = held.purge(&everything(), || ());
    assert_eq!(
        kinds(&purged.plan),
        ["tag", "tag", "manifest", "manifest", "blob"]
    );
    assert_eq!((purged.plan.bytes(), spared(&purged)), (8, vec![]));
    assert!(held.shelves.records.held(&other, &held.manifest).is_none());
}

#[test]
fn a_tag_that_moves_to_an_index_keeps_what_that_lists() {
    let held = held();
    // An index and its child, which no tag names any more.
    let child = held.pull("old", "child");
    let index = held.pull("old", "index");
    let record = held.shelves.records.held(&repository(), &index).unwrap();
    let record = ManifestRecord {
        children: vec![(child, None)],
        blobs: Vec::new(),
        ..record
    };
    held.shelves.records.put_held(&repository(), &index, &record);
    held.shelves.records.remove_tag(&repository(), &tag("old"));
    held.shelves.records.flush();
    let move_it = || {
        let record = TagRecord {
            descriptor: descriptor(index),
            validated: NOW,
        };
        held.shelves.records.put_tag(&repository(), &tag("dev"), record);
    };
    let purged = held.purge(&everything(), move_it);
    let planned = |digest: &Digest| {
        let item = Item::Manifest(Some(repository()), *digest);
        purged.plan.removes(&item)
    };
    assert!(planned(&index) && planned(&child), "{:?}", purged.plan);
    assert!(held.has(Shelf::Manifests, &index) && held.has(Shelf::Manifests, &child));
    assert!(held.shelves.records.held(&repository(), &child).is_some());
    assert!(!held.has(Shelf::Manifests, &held.manifest));
}

#[test]
fn a_tag_of_a_later_part_that_has_moved_keeps_what_it_points_at_of_an_earlier_one() {
    let held = held();
    let other: Repository = "docker.io/library/other".parse().unwrap();
    put_image_of(&held.shelves, &other, held.layer, "dev", "other");
    let move_it = || {
        let record = TagRecord {
            descriptor: descriptor(held.manifest),
            validated: NOW,
        };
        held.shelves.records.put_tag(&other, &tag("dev"), record);
    };
    let purged = held.purge(&everything(), move_it);
    assert!(
        held.has(Shelf::Manifests, &held.manifest),
        "{:?}",
        spared(&purged)
    );
    assert!(held.has(Shelf::Blobs, &held.layer));
}
