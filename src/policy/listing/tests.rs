//! Lists of small catalogs, and properties of paging.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::clock::Time;
use crate::oci::{Digest, MediaType};
use crate::policy::catalog::HeldBlob;
use crate::policy::eviction::{Content, Shelf};

const DAY: u64 = 24 * 3600 * 1000;

fn digest(seed: &str) -> Digest {
    Digest::sha256(seed.as_bytes())
}

fn blob(seed: &str, size: u64) -> HeldBlob {
    HeldBlob {
        digest: digest(seed),
        size,
        stored: Time::from_millis(0),
        used: None,
        pulls: 0,
    }
}

fn manifest(repository: &str, seed: &str, blobs: &[(&str, u64)]) -> HeldManifest {
    HeldManifest {
        repository: repository.parse().unwrap(),
        digest: digest(seed),
        media_type: MediaType::OCI_MANIFEST,
        size: 10,
        platform: Some("linux/amd64".to_owned()),
        created: None,
        stored: Time::from_millis(0),
        used: None,
        pulls: 0,
        source: "docker.io".to_owned(),
        children: Vec::new(),
        blobs: blobs.iter().map(|(seed, size)| (digest(seed), *size)).collect(),
        subject: None,
    }
}

fn tag(repository: &str, tag: &str, seed: &str) -> HeldTag {
    HeldTag {
        repository: repository.parse().unwrap(),
        tag: tag.parse().unwrap(),
        digest: digest(seed),
        validated: Time::from_millis(5),
    }
}

fn catalog(mut manifests: Vec<HeldManifest>, mut tags: Vec<HeldTag>, mut blobs: Vec<HeldBlob>) -> Catalog {
    manifests.sort_by_cached_key(|held| (held.repository.clone(), held.digest));
    tags.sort_by_cached_key(|held| (held.repository.clone(), held.tag.clone()));
    blobs.sort_by_key(|blob| blob.digest);
    Catalog {
        manifests,
        tags,
        blobs,
        unnamed: Vec::new(),
    }
}

/// Two repositories that share a base layer, and an index of one image.
fn small() -> Catalog {
    let index = HeldManifest {
        media_type: MediaType::OCI_INDEX,
        platform: None,
        children: vec![digest("a-image"), digest("not held")],
        ..manifest("docker.io/library/a", "a-index", &[])
    };
    let pulled = HeldManifest {
        used: Some(Time::from_millis(3 * DAY)),
        pulls: 4,
        ..manifest("ghcr.io/owner/b", "b-image", &[("base", 1000), ("b", 200)])
    };
    let a = manifest(
        "docker.io/library/a",
        "a-image",
        &[("base", 1000), ("missing", 500)],
    );
    let tags = vec![
        tag("docker.io/library/a", "1", "a-index"),
        tag("docker.io/library/a", "2", "only asked about"),
        tag("ghcr.io/owner/b", "1", "b-image"),
    ];
    let blobs = vec![blob("base", 1000), blob("b", 200), blob("nobody's", 7)];
    catalog(vec![index, pulled, a], tags, blobs)
}

fn by(sort: &str) -> Query {
    Query {
        sort: Some(sort.to_owned()),
        ..Query::default()
    }
}

#[test]
fn repositories_are_listed_with_what_they_use_and_what_they_share() {
    let now = Time::from_millis(4 * DAY);
    let page = repositories(&small(), &Query::default(), now).unwrap();
    let [a, b] = page.rows.as_slice() else {
        panic!("{page:?}")
    };
    assert_eq!((a.manifests, a.tags, a.size, a.shared), (2, 1, 1020, 1000));
    assert_eq!((b.manifests, b.tags, b.size, b.shared), (1, 1, 1210, 1000));
    assert_eq!((b.pulls, b.used, a.used), (4, Some(3 * DAY), None));
    let names = |query: &Query| -> Vec<String> {
        let page = repositories(&small(), query, now).unwrap();
        page.rows.into_iter().map(|row| row.repository).collect()
    };
    assert_eq!(names(&by("size")), ["ghcr.io/owner/b", "docker.io/library/a"]);
    assert_eq!(names(&by("used")), ["ghcr.io/owner/b", "docker.io/library/a"]);
    let reversed = Query {
        reverse: true,
        ..by("size")
    };
    assert_eq!(names(&reversed), ["docker.io/library/a", "ghcr.io/owner/b"]);
    let filtered = Query {
        filter: Regex::new("^ghcr").ok(),
        ..Query::default()
    };
    assert_eq!(names(&filtered), ["ghcr.io/owner/b"]);
    let wrong = repositories(&small(), &by("colour"), now)
        .unwrap_err()
        .to_string();
    assert!(
        wrong.contains("`colour`") && wrong.contains("manifests"),
        "{wrong}"
    );
}

#[test]
fn an_index_is_as_large_as_all_it_reaches_and_says_what_is_held_of_it() {
    let repository = "docker.io/library/a".parse().unwrap();
    let page = manifests(&small(), &repository, &by("size"), Time::from_millis(0)).unwrap();
    let [index, image] = page.rows.as_slice() else {
        panic!("{page:?}")
    };
    assert_eq!((index.size, index.held), (1520, 1020));
    assert_eq!((image.size, image.held), (1510, 1010));
    assert_eq!((index.lists, index.lists_held), (2, 1));
    assert_eq!(index.tags, ["1"]);
    assert_eq!(index.platforms, ["linux/amd64"]);
    let shown = Query {
        filter: Regex::new("amd64").ok(),
        ..Query::default()
    };
    let found = manifests(&small(), &repository, &shown, Time::from_millis(0)).unwrap();
    assert_eq!(found.total, 2, "what is shown is found");
    let tags = tags(&small(), &repository, &Query::default(), Time::from_millis(0)).unwrap();
    let told: Vec<_> = tags
        .rows
        .iter()
        .map(|row| (row.tag.as_str(), row.held, row.size))
        .collect();
    assert_eq!(told, [("1", true, 1020), ("2", false, 0)]);
}

#[test]
fn usage_counts_every_file_once_and_says_what_nobody_names() {
    let next = [Content {
        shelf: Shelf::Blobs,
        digest: digest("base"),
    }];
    let usage = usage(&small(), 1, &next, Time::from_millis(4 * DAY));
    let portion = |count, size| Portion { count, size };
    assert_eq!(usage.held, portion(6, 1237));
    assert_eq!((usage.manifests, usage.blobs), (portion(3, 30), portion(3, 1207)));
    assert_eq!((usage.shared, usage.orphans), (portion(1, 1000), portion(1, 7)));
    assert_eq!(usage.repositories.len(), 1);
    assert_eq!(usage.repositories_total, 2);
    let upstreams: Vec<_> = usage
        .upstreams
        .iter()
        .map(|row| (row.registry.as_str(), row.held))
        .collect();
    assert_eq!(
        upstreams,
        [("ghcr.io", portion(3, 1210)), ("docker.io", portion(3, 1020))]
    );
    let ages: Vec<_> = usage.ages.iter().map(|row| (row.days, row.held.count)).collect();
    assert_eq!(
        ages,
        [
            (Some(1), 1),
            (Some(7), 5),
            (Some(30), 0),
            (Some(90), 0),
            (None, 0)
        ]
    );
    assert_eq!(
        usage.next[0].repositories,
        ["docker.io/library/a", "ghcr.io/owner/b"]
    );
    assert_eq!(usage.next[0].size, 1000);
}

#[test]
fn a_page_of_a_hundred_thousand_manifests_is_no_larger_than_its_limit() {
    let base = manifest("quay.io/r/large", "", &[("base", 1000)]);
    let manifests = (0..100_000).map(|number| HeldManifest {
        digest: digest(&number.to_string()),
        pulls: number,
        ..base.clone()
    });
    let large = catalog(manifests.collect(), Vec::new(), vec![blob("base", 1000)]);
    let query = Query {
        limit: Some(usize::MAX),
        ..by("pulls")
    };
    let page = manifests_page(&large, &query);
    assert_eq!((page.rows.len(), page.total), (MAX_LIMIT, 100_000));
    assert_eq!(page.rows[0].pulls, 99_999);
    // An answer is read whole by who asked, who takes 64 MiB at most.
    assert!(serde_json::to_vec(&page).unwrap().len() < 8 << 20);
}

fn manifests_page(catalog: &Catalog, query: &Query) -> Page<ManifestRow> {
    let repository = catalog.manifests[0].repository.clone();
    manifests(catalog, &repository, query, Time::from_millis(0)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_neither_lose_nor_repeat_what_stays_while_other_things_come_and_go(
        stay in prop::collection::btree_map(0u32..200, 0u64..5, 1..60),
        goes in prop::collection::btree_map(200u32..400, 0u64..5, 0..30),
        comes in prop::collection::btree_map(400u32..600, 0u64..5, 0..30),
        limit in 1usize..9,
        sort in prop::sample::select(vec!["name", "size", "pulls"]),
        reverse: bool,
    ) {
        let repository = |(number, layer): (&u32, &u64)| {
            let held = manifest(&format!("quay.io/r/n{number}"), &format!("{number}"), &[("x", *layer)]);
            HeldManifest { pulls: u32::try_from(*layer).unwrap(), ..held }
        };
        let of = |others: &std::collections::BTreeMap<u32, u64>| {
            let all = stay.iter().chain(others).map(repository).collect();
            catalog(all, Vec::new(), vec![blob("x", 3)])
        };
        let (before, after) = (of(&goes), of(&comes));
        let mut query = Query { limit: Some(limit), reverse, ..by(sort) };
        let mut seen = Vec::new();
        for turn in 0.. {
            let now = if turn == 0 { &before } else { &after };
            let page = repositories(now, &query, Time::from_millis(0)).unwrap();
            prop_assert!(page.rows.len() <= limit);
            seen.extend(page.rows.into_iter().map(|row| row.repository));
            let Some(next) = page.next else { break };
            query.after = Cursor::parse(&next);
            prop_assert!(query.after.is_some());
        }
        let unique: BTreeSet<&String> = seen.iter().collect();
        prop_assert_eq!(unique.len(), seen.len());
        for number in stay.keys() {
            prop_assert!(unique.contains(&format!("quay.io/r/n{number}")), "{} is lost", number);
        }
    }
}
