//! What holds for every purge of every catalog, checked by taking plans out of a catalog.

use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::tests::{digest, repository};
use super::*;
use crate::oci::{Descriptor, MediaType, Tag};
use crate::policy::catalog::{HeldBlob, HeldManifest};
use crate::policy::holds::Kind;

const REPOSITORIES: [&str; 3] = ["a.io/x", "a.io/y", "b.io/x"];
const TAGS: [&str; 4] = ["dev-1", "dev-2", "dev-3", "v1"];
/// Manifests are `m0` to `m7`, blobs `b0` to `b5`. A manifest may list only those of higher numbers.
const MANIFESTS: usize = 8;
const BLOBS: usize = 6;
const NOW: Time = Time::from_millis(1_000_000);

fn manifest_digest(number: usize) -> Digest {
    digest(&format!("m{number}"))
}

fn blob_digest(number: usize) -> Digest {
    digest(&format!("b{number}"))
}

fn millis() -> impl Strategy<Value = u64> {
    // Few, so that some are equal.
    (0_u64..10).prop_map(|step| step * 100_000)
}

/// What a manifest is, the same for every repository that has it.
fn shape(number: usize) -> impl Strategy<Value = (Vec<Digest>, Vec<(Digest, u64)>, Option<Digest>)> {
    let lists = prop::collection::btree_set(number + 1..MANIFESTS + 1, 0..3);
    let names = prop::collection::btree_set(0..BLOBS, 0..4);
    let subject = prop::option::weighted(0.2, 0..MANIFESTS);
    (lists, names, subject).prop_map(|(lists, names, subject)| {
        let children = lists.into_iter().map(manifest_digest).collect();
        let blobs = names.into_iter().map(|blob| (blob_digest(blob), 10)).collect();
        (children, blobs, subject.map(manifest_digest))
    })
}

prop_compose! {
    fn catalogs()(
        shapes in (0..MANIFESTS).map(shape).collect::<Vec<_>>(),
        held in prop::collection::btree_map((select(REPOSITORIES.to_vec()), 0..MANIFESTS), (millis(), prop::option::of(millis())), 0..16),
        tags in prop::collection::btree_map((select(REPOSITORIES.to_vec()), select(TAGS.to_vec())), (0..MANIFESTS, millis()), 0..10),
        blobs in prop::collection::btree_set(0..BLOBS, 0..BLOBS),
        unnamed in prop::collection::btree_set(0..MANIFESTS, 0..2),
    ) -> Catalog {
        let mut catalog = Catalog::default();
        for ((at, number), (stored, used)) in &held {
            let (children, blobs, subject) = shapes[*number].clone();
            catalog.manifests.push(HeldManifest {
                repository: repository(at),
                digest: manifest_digest(*number),
                media_type: MediaType::OCI_MANIFEST,
                size: 1 + *number as u64,
                platform: None,
                created: None,
                stored: Time::from_millis(*stored),
                used: used.map(Time::from_millis),
                pulls: 0,
                source: String::new(),
                children,
                blobs,
                subject,
            });
        }
        for ((at, tag), (number, validated)) in tags {
            catalog.tags.push(HeldTag {
                repository: repository(at),
                tag: tag.parse().unwrap(),
                digest: manifest_digest(number),
                validated: Time::from_millis(validated),
            });
        }
        let content = |digest, size| HeldBlob { digest, size, stored: NOW, used: None, pulls: 0 };
        catalog.blobs = blobs.into_iter().map(|blob| content(blob_digest(blob), 10)).collect();
        let known: HashSet<usize> = held.keys().map(|(_, number)| *number).collect();
        let unnamed = unnamed.into_iter().filter(|number| !known.contains(number));
        catalog.unnamed = unnamed.map(|number| content(manifest_digest(number), 1 + number as u64)).collect();
        catalog.manifests.sort_by_key(|each| (each.repository.clone(), each.digest));
        catalog.tags.sort_by_key(|each| (each.repository.clone(), each.tag.clone()));
        catalog.blobs.sort_by_key(|blob| blob.digest);
        catalog.unnamed.sort_by_key(|blob| blob.digest);
        catalog
    }
}

prop_compose! {
    fn rules()(
        repositories in select(vec!["a.io/.*", ".*", "b.io/x", "c.io/.*"]),
        tags in select(vec!["dev-.*", ".*", "v1", "none"]),
        ago in prop::option::of(millis()),
        untagged: bool,
        keep in 0_usize..3,
    ) -> Rules {
        Rules {
            filters: vec![Filter::parse(&format!("{repositories}:{tags}")).unwrap()],
            ago: ago.map(Duration::from_millis),
            untagged,
            keep,
        }
    }
}

fn exact() -> impl Strategy<Value = Exact> {
    let at = || select(REPOSITORIES.to_vec()).prop_map(repository);
    let named = |(repository, reference)| {
        Exact::Named(Name {
            repository,
            reference,
        })
    };
    let tag = select(TAGS.to_vec()).prop_map(|tag| Reference::Tag(tag.parse().unwrap()));
    let manifest = (0..MANIFESTS).prop_map(|number| Reference::Digest(manifest_digest(number)));
    prop_oneof![
        (at(), tag).prop_map(named),
        (at(), manifest).prop_map(named),
        (0..MANIFESTS).prop_map(|number| Exact::Everywhere(manifest_digest(number))),
        (0..BLOBS).prop_map(|number| Exact::Everywhere(blob_digest(number))),
    ]
}

/// Holds on some of what is there.
fn holds_of(catalog: &Catalog, picks: &[(Index, bool, bool)]) -> Holds {
    let mut holds = Holds::default();
    for (pick, of_tag, lock) in picks {
        let kind = if *lock { Kind::Lock } else { Kind::Pin };
        let (name, digest) = match of_tag {
            true if !catalog.tags.is_empty() => {
                let tag = pick.get(&catalog.tags);
                (Name::of_tag(&tag.repository, &tag.tag), tag.digest)
            }
            false if !catalog.manifests.is_empty() => {
                let manifest = pick.get(&catalog.manifests);
                let reference = Reference::Digest(manifest.digest);
                let repository = manifest.repository.clone();
                (
                    Name {
                        repository,
                        reference,
                    },
                    manifest.digest,
                )
            }
            _ => continue,
        };
        let descriptor = Descriptor {
            media_type: MediaType::OCI_MANIFEST,
            digest,
            size: 1,
        };
        holds.hold(name, kind, descriptor, NOW);
    }
    holds
}

/// Takes what goes out of a catalog.
fn apply(catalog: &Catalog, plan: &Plan) -> Catalog {
    let goes: HashSet<&Item> = plan.goes.iter().map(|going| &going.item).collect();
    let mut left = catalog.clone();
    left.tags
        .retain(|tag| !goes.contains(&Item::Tag(tag.repository.clone(), tag.tag.clone())));
    left.manifests
        .retain(|each| !goes.contains(&Item::Manifest(Some(each.repository.clone()), each.digest)));
    left.blobs.retain(|blob| !goes.contains(&Item::Blob(blob.digest)));
    left.unnamed
        .retain(|each| !goes.contains(&Item::Manifest(None, each.digest)));
    left
}

/// Bytes on disk: a manifest is there once, however many repositories have it.
fn bytes(catalog: &Catalog) -> u64 {
    let manifests: BTreeSet<(Digest, u64)> = catalog
        .manifests
        .iter()
        .map(|each| (each.digest, each.size))
        .collect();
    let content = catalog.blobs.iter().chain(&catalog.unnamed);
    manifests.iter().map(|(_, size)| size).sum::<u64>() + content.map(|each| each.size).sum::<u64>()
}

fn manifests(catalog: &Catalog) -> BTreeSet<Digest> {
    catalog.manifests.iter().map(|each| each.digest).collect()
}

fn blobs(catalog: &Catalog) -> BTreeSet<Digest> {
    catalog.blobs.iter().map(|blob| blob.digest).collect()
}

/// What is held, found the slow way.
fn held_content(catalog: &Catalog, holds: &Holds) -> BTreeSet<Digest> {
    let mut found: BTreeSet<Digest> = holds.roots().map(|(_, digest, _)| *digest).collect();
    loop {
        let named = catalog
            .manifests
            .iter()
            .filter(|each| found.contains(&each.digest));
        let named = named.flat_map(|each| {
            each.children
                .iter()
                .chain(each.blobs.iter().map(|(blob, _)| blob))
        });
        let more: BTreeSet<Digest> = named.copied().chain(found.iter().copied()).collect();
        if more.len() == found.len() {
            return found;
        }
        found = more;
    }
}

fn newest(catalog: &Catalog, at: &Repository, filter: &Filter, keep: usize) -> BTreeSet<Tag> {
    let stored = |tag: &HeldTag| {
        let mut manifests = catalog.manifests.iter();
        let manifest = manifests.find(|each| each.repository == *at && each.digest == tag.digest);
        manifest.map_or(tag.validated, |manifest| manifest.stored)
    };
    let mut tags: Vec<&HeldTag> = catalog
        .tags
        .iter()
        .filter(|tag| tag.repository == *at && filter.takes(tag.tag.as_str()))
        .collect();
    tags.sort_by_key(|tag| (stored(tag), tag.tag.clone()));
    tags.iter().rev().take(keep).map(|tag| tag.tag.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_purge_by_rules_is_all_that_the_rules_want_and_no_more(
        catalog in catalogs(),
        rules in rules(),
        picks in prop::collection::vec((any::<Index>(), any::<bool>(), any::<bool>()), 0..3),
    ) {
        let holds = holds_of(&catalog, &picks);
        let purge = Purge::Rules(rules.clone());
        let first = plan(&catalog, &holds, &purge, NOW);
        prop_assert_eq!(&first, &plan(&catalog, &holds, &purge, NOW), "the same again");
        let left = apply(&catalog, &first);
        prop_assert_eq!(bytes(&catalog) - bytes(&left), first.bytes(), "the bytes add up");
        let again = plan(&left, &holds, &purge, NOW);
        prop_assert_eq!(&again.goes, &[], "nothing is left over");
        let held = held_content(&catalog, &holds);
        for (before, after) in [(manifests(&catalog), manifests(&left)), (blobs(&catalog), blobs(&left))] {
            let lost: Vec<_> = before.intersection(&held).filter(|digest| !after.contains(digest)).collect();
            prop_assert!(lost.is_empty(), "held, and gone: {:?}", lost);
        }
        for each in &left.manifests {
            for child in each.children.iter().filter(|child| manifests(&catalog).contains(child)) {
                prop_assert!(manifests(&left).contains(child), "listed by what is kept, and gone");
            }
            for (blob, _) in each.blobs.iter().filter(|(blob, _)| blobs(&catalog).contains(blob)) {
                prop_assert!(blobs(&left).contains(blob), "named by what is kept, and gone");
            }
        }
        for tag in &left.tags {
            let held = |catalog: &Catalog| {
                catalog.manifests.iter().any(|each| each.repository == tag.repository && each.digest == tag.digest)
            };
            prop_assert_eq!(held(&catalog), held(&left), "a tag stays, and what it points at does not");
        }
        for name in REPOSITORIES {
            let (at, filter) = (repository(name), &rules.filters[0]);
            if filter.is_for(name) {
                let kept = newest(&catalog, &at, filter, rules.keep);
                let left: BTreeSet<Tag> = left.tags.iter().filter(|tag| tag.repository == at).map(|tag| tag.tag.clone()).collect();
                prop_assert!(kept.is_subset(&left), "the newest stay");
            } else {
                let of = |catalog: &Catalog| catalog.tags.iter().filter(|tag| tag.repository == at).count();
                prop_assert_eq!(of(&catalog), of(&left), "no other repository is touched");
            }
        }
        let named = |catalog: &Catalog, blob: &Digest| catalog.manifests.iter().any(|each| each.blobs.iter().any(|(name, _)| name == blob));
        for blob in blobs(&left) {
            prop_assert!(named(&left, &blob) || !named(&catalog, &blob), "nobody names it any more");
        }
        let (gone, stay): (BTreeSet<&Item>, BTreeSet<&Item>) =
            (first.goes.iter().map(|each| &each.item).collect(), first.stays.iter().map(|each| &each.item).collect());
        prop_assert!(gone.is_disjoint(&stay) && gone.len() == first.goes.len() && stay.len() == first.stays.len());
    }

    #[test]
    fn what_is_named_exactly_is_gone_unless_it_is_held(
        catalog in catalogs(),
        name in exact(),
        picks in prop::collection::vec((any::<Index>(), any::<bool>(), any::<bool>()), 0..3),
    ) {
        let holds = holds_of(&catalog, &picks);
        let purge = Purge::Exact(vec![name.clone()]);
        let first = plan(&catalog, &holds, &purge, NOW);
        let left = apply(&catalog, &first);
        prop_assert_eq!(bytes(&catalog) - bytes(&left), first.bytes(), "the bytes add up");
        prop_assert_eq!(&plan(&left, &holds, &purge, NOW).goes, &[], "nothing is left over");
        let held = held_content(&catalog, &holds);
        for (before, after) in [(manifests(&catalog), manifests(&left)), (blobs(&catalog), blobs(&left))] {
            prop_assert!(before.intersection(&held).all(|digest| after.contains(digest)), "held, and gone");
        }
        match name {
            Exact::Everywhere(digest) if !held.contains(&digest) => {
                prop_assert!(!manifests(&left).contains(&digest) && !blobs(&left).contains(&digest));
                prop_assert!(left.unnamed.iter().all(|each| each.digest != digest));
                let dangling = |tag: &HeldTag| {
                    tag.digest == digest && catalog.manifests.iter().any(|each| each.repository == tag.repository && each.digest == digest)
                };
                prop_assert!(!left.tags.iter().any(dangling), "a tag still points there");
            }
            Exact::Everywhere(_) => {}
            Exact::Named(name) => {
                let held = holds.kind_of(&name).is_some();
                let left = left.tags.iter().any(|tag| Name::of_tag(&tag.repository, &tag.tag) == name);
                prop_assert!(held || !left, "the tag is still there");
            }
        }
    }
}
