//! What is named itself goes from wherever there is a copy.

use super::*;

/// A purge of one digest from everywhere.
fn exactly(digest: Digest) -> Purge {
    Purge::Exact(vec![Exact::Everywhere(digest)])
}

#[test]
fn every_copy_of_a_leaked_object_goes_by_one_command() {
    let held = held();
    let (disk, memory) = (&held.shelves.disk, &held.shelves.memory);
    let layer = held.layer;
    disk.quarantine(Shelf::Blobs, &layer).unwrap();
    let partial = disk.begin(&layer).unwrap();
    disk.write(&partial, 0, &["lay"]).unwrap();
    drop(partial);
    memory.put(layer, crate::store::Held::blob("layer".into()), false);
    let purged = held.purge(&exactly(layer), || ());
    assert_eq!(kinds(&purged.plan), ["damaged", "partial", "memory"]);
    assert_eq!((purged.plan.bytes(), purged.failed), (8, 0));
    assert_eq!(spared(&purged), []);
    assert_eq!(disk.leftovers(&layer), []);
    assert!(memory.get(&layer).is_none());
    assert_eq!(disk.quarantined().objects, 0);
    assert_eq!(held.purge(&exactly(layer), || ()).plan.goes, []);
}

#[test]
fn a_damaged_manifest_goes_with_the_tags_that_point_at_it() {
    let held = held();
    let manifest = held.manifest;
    held.shelves.disk.quarantine(Shelf::Manifests, &manifest).unwrap();
    let purged = held.purge(&exactly(manifest), || ());
    assert_eq!(kinds(&purged.plan), ["tag", "damaged"]);
    assert_eq!(held.shelves.disk.leftovers(&manifest), []);
    assert_eq!(held.tagged("dev"), None);
}

#[test]
fn what_is_found_damaged_after_the_plan_goes_all_the_same() {
    let held = held();
    let (disk, layer) = (&held.shelves.disk, held.layer);
    let purged = held.purge(&exactly(layer), || disk.quarantine(Shelf::Blobs, &layer).unwrap());
    assert_eq!((kinds(&purged.plan), purged.failed), (vec!["blob"], 0));
    assert_eq!(disk.leftovers(&layer), []);
}

#[test]
fn a_download_under_way_stays_and_so_do_all_copies_of_what_is_held() {
    let held = held();
    let (disk, layer) = (&held.shelves.disk, held.layer);
    disk.quarantine(Shelf::Blobs, &layer).unwrap();
    let partial = disk.begin(&layer).unwrap();
    let plan = held.shelves.plan(&exactly(layer), NOW).unwrap().0;
    assert_eq!(kinds(&plan), ["damaged"]);
    assert_eq!(plan.stays[0].why.word(), "filling");
    drop(partial);
    // It begins again after the plan, where it stopped.
    let begin = || {
        let partial = disk.begin(&layer).unwrap();
        disk.write(&partial, 0, &["lay"]).unwrap();
        partial
    };
    drop(begin());
    let mut partial = None;
    let purged = held.purge(&exactly(layer), || partial = Some(begin()));
    assert_eq!(kinds(&purged.plan), ["damaged", "partial"]);
    assert_eq!(spared(&purged), [(layer.to_string(), "filling")]);
    assert_eq!(disk.leftovers(&layer).len(), 1);
    drop(partial);
    let hold = |holds: &mut Holds| {
        let name = Name::of_tag(&repository(), &tag("dev"));
        holds.hold(name, Kind::Pin, descriptor(held.manifest), NOW);
        Ok::<(), ()>(())
    };
    let hold = || held.shelves.change_holds(hold).unwrap().unwrap();
    assert_eq!(
        spared(&held.purge(&exactly(layer), hold)),
        [(layer.to_string(), "pinned")]
    );
    let plan = held.shelves.plan(&exactly(layer), NOW).unwrap().0;
    assert_eq!((kinds(&plan), plan.stays.len()), (vec![], 1));
    assert_eq!(disk.leftovers(&layer).len(), 1);
}
