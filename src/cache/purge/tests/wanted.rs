//! What counts as wanted when a plan is carried out.

use super::*;

#[test]
fn what_is_named_itself_goes_although_a_tag_has_moved_to_it() {
    let held = held();
    let old = held.pull("old", "old");
    held.shelves.records.remove_tag(&repository(), &tag("old"));
    let purge = Purge::Exact(vec![
        Exact::Named(Name::of_tag(&repository(), &tag("dev"))),
        Exact::Everywhere(old),
    ]);
    let purged = held.purge(&purge, || assert_eq!(held.pull("dev", "old"), old));
    assert_eq!(
        spared(&purged)[0],
        ("docker.io/library/app:dev".to_owned(), "moved")
    );
    assert!(!held.has(Shelf::Manifests, &old));
    assert!(held.shelves.records.held(&repository(), &old).is_none());
}

#[test]
fn a_manifest_whose_file_has_gone_keeps_no_layer() {
    let held = held();
    let release = held.pull("release", "release");
    held.shelves.disk.remove(&manifest(release)).unwrap();
    let purged = held.purge(&everything(), || ());
    assert!(held.shelves.records.held(&repository(), &release).is_some());
    assert_eq!(spared(&purged), []);
    assert!(!held.has(Shelf::Blobs, &held.layer), "{:?}", purged.plan);
}
