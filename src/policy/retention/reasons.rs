//! Of two reasons to stay the stronger one, of two repositories the right one, of two plans each its own name.

use super::building::Building;
use super::tests::{NOW, digest, goes, named, of, repository, rules, stays};
use super::*;
use crate::oci::{Descriptor, MediaType};
use crate::policy::holds::Kind;

#[test]
fn of_a_lock_and_a_pin_the_lock_is_told_whichever_name_comes_first() {
    let catalog = Building::default()
        .manifest("a.io/app", "image", 1, &[], &["layer"])
        .tag("a.io/app", "a", "image")
        .tag("a.io/app", "b", "image")
        .done();
    for kinds in [[Kind::Pin, Kind::Lock], [Kind::Lock, Kind::Pin]] {
        let mut holds = Holds::default();
        for (tag, kind) in ["a", "b"].into_iter().zip(kinds) {
            let descriptor = Descriptor {
                media_type: MediaType::OCI_MANIFEST,
                digest: digest("image"),
                size: 1,
            };
            let name = Name::of_tag(&repository("a.io/app"), &tag.parse().unwrap());
            holds.hold(name, kind, descriptor, NOW);
        }
        let purge = Purge::Exact(vec![
            named("a.io/app", Reference::Digest(digest("image"))),
            Exact::Everywhere(digest("layer")),
        ]);
        let plan = plan(&catalog, &holds, &purge, NOW);
        assert!(plan.goes.is_empty());
        let told = stays(&plan, &["image", "layer"]);
        assert_eq!(
            told,
            ["blob layer: locked", "manifest a.io/app@image: locked"],
            "{kinds:?}"
        );
    }
}

#[test]
fn what_refers_to_it_in_another_repository_stays() {
    let catalog = Building::default()
        .image("a.io/app", "dev", 40)
        .manifest("a.io/app", "own", 40, &[], &[])
        .referring("a.io/app:dev")
        .manifest("a.io/other", "others", 40, &[], &[])
        .referring("a.io/app:dev")
        .done();
    let plan = of(&catalog, rules("a.io/app:.*"));
    let gone = goes(&plan, &["own", "others", "a.io/app:dev", "base", "layer of dev"]);
    assert_eq!(
        gone,
        [
            "blob base 10",
            "blob layer of dev 10",
            "manifest a.io/app@a.io/app:dev 1",
            "manifest a.io/app@own 1",
            "tag a.io/app:dev 0"
        ]
    );
}

#[test]
fn a_blob_that_is_named_itself_goes_although_what_stays_names_it_as_well() {
    let catalog = Building::default()
        .manifest("a.io/app", "goes", 1, &[], &["shared", "bad"])
        .manifest("a.io/app", "stays", 1, &[], &["shared", "bad"])
        .tag("a.io/app", "1", "stays")
        .done();
    let purge = Purge::Exact(vec![
        named("a.io/app", Reference::Digest(digest("goes"))),
        Exact::Everywhere(digest("bad")),
    ]);
    let plan = plan(&catalog, &Holds::default(), &purge, NOW);
    let names = ["goes", "stays", "shared", "bad"];
    assert_eq!(goes(&plan, &names), ["blob bad 10", "manifest a.io/app@goes 1"]);
    assert_eq!(stays(&plan, &names), ["blob shared: shared with a.io/app@stays"]);
}

#[test]
fn plans_that_differ_in_anything_that_goes_have_different_names() {
    let digest = digest("content");
    let mut names: Vec<String> = [
        (Item::Blob(digest), Some(10)),
        (Item::Blob(digest), Some(11)),
        (Item::Blob(digest), None),
        (Item::Manifest(None, digest), Some(10)),
        (Item::Manifest(Some(repository("a.io/app")), digest), Some(10)),
        (Item::Left(Leftover::Damaged, digest), Some(10)),
        (Item::Left(Leftover::Unfinished, digest), Some(10)),
    ]
    .into_iter()
    .map(|(item, won)| {
        let goes = vec![Going { item, won }];
        let plan = Plan {
            goes,
            ..Plan::default()
        };
        plan.fingerprint()
    })
    .collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}
