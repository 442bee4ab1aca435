//! What goes and what stays, by example.

use super::building::{Building, DAY};
use super::*;
use crate::oci::{Descriptor, MediaType};
use crate::policy::holds::Kind;

pub(super) const NOW: Time = Time::from_millis(100 * DAY);

pub(super) fn digest(name: &str) -> Digest {
    Digest::sha256(name.as_bytes())
}

pub(super) fn repository(name: &str) -> Repository {
    let (registry, path) = name.split_once('/').unwrap();
    Repository {
        registry: registry.parse().unwrap(),
        path: path.parse().unwrap(),
    }
}

pub(super) fn rules(filter: &str) -> Rules {
    Rules {
        filters: vec![Filter::parse(filter).unwrap()],
        ago: None,
        untagged: false,
        keep: 0,
    }
}

fn days(count: u64) -> Option<Duration> {
    Some(Duration::from_millis(count * DAY))
}

/// A digest by its name, for reading.
fn short(text: &str, names: &[&str]) -> String {
    names.iter().fold(text.to_owned(), |text, name| {
        text.replace(&digest(name).to_string(), name)
    })
}

pub(super) fn goes(plan: &Plan, names: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = plan
        .goes
        .iter()
        .map(|going| {
            format!(
                "{} {} {}",
                going.item.kind(),
                short(&going.item.to_string(), names),
                going.won.unwrap_or(0)
            )
        })
        .collect();
    lines.sort();
    lines
}

pub(super) fn stays(plan: &Plan, names: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = plan
        .stays
        .iter()
        .map(|stay| {
            short(
                &format!("{} {}: {}", stay.item.kind(), stay.item, stay.why),
                names,
            )
        })
        .collect();
    lines.sort();
    lines
}

pub(super) fn of(catalog: &Catalog, purge: Rules) -> Plan {
    plan(catalog, &Holds::default(), &Purge::Rules(purge), NOW)
}

fn exact(catalog: &Catalog, holds: &Holds, exact: Exact) -> Plan {
    plan(catalog, holds, &Purge::Exact(vec![exact]), NOW)
}

pub(super) fn named(at: &str, reference: Reference) -> Exact {
    Exact::Named(Name {
        repository: repository(at),
        reference,
    })
}

fn held(at: &str, reference: Reference, name: &str, kind: Kind) -> Holds {
    let mut holds = Holds::default();
    let descriptor = Descriptor {
        media_type: MediaType::OCI_MANIFEST,
        digest: digest(name),
        size: 1,
    };
    let name = Name {
        repository: repository(at),
        reference,
    };
    holds.hold(name, kind, descriptor, NOW);
    holds
}

#[test]
fn old_tags_go_with_what_only_they_name_and_the_newest_stay() {
    let catalog = Building::default()
        .image("a.io/app", "dev-1", 40)
        .image("a.io/app", "dev-2", 30)
        .image("a.io/app", "dev-3", 20)
        .used(2)
        .image("a.io/app", "dev-4", 10)
        .image("a.io/app", "v1", 90)
        .done();
    let purge = Rules {
        ago: days(7),
        keep: 1,
        ..rules("a.io/.*:dev-.*")
    };
    let plan = of(&catalog, purge);
    let names = [
        "a.io/app:dev-1",
        "a.io/app:dev-2",
        "layer of dev-1",
        "layer of dev-2",
        "a.io/app:v1",
        "base",
    ];
    assert_eq!(
        goes(&plan, &names),
        [
            "blob layer of dev-1 10",
            "blob layer of dev-2 10",
            "manifest a.io/app@a.io/app:dev-1 1",
            "manifest a.io/app@a.io/app:dev-2 1",
            "tag a.io/app:dev-1 0",
            "tag a.io/app:dev-2 0",
        ]
    );
    let stays = stays(&plan, &names);
    assert_eq!(stays.len(), 3, "{stays:?}");
    assert!(
        stays[0].starts_with("blob base: shared with a.io/app@"),
        "{stays:?}"
    );
    assert!(stays[1].starts_with("tag a.io/app:dev-3: used "), "{stays:?}");
    assert_eq!(stays[2], "tag a.io/app:dev-4: one of the newest");
    assert_eq!((plan.bytes(), plan.repositories), (22, 1));
}

#[test]
fn what_another_tag_or_repository_names_stays() {
    let catalog = Building::default()
        .manifest("a.io/x", "m", 9, &[], &["b"])
        .manifest("a.io/y", "m", 9, &[], &["b"])
        .tag("a.io/x", "dev", "m")
        .tag("a.io/x", "v1", "m")
        .tag("a.io/y", "dev", "m")
        .done();
    let plan = of(&catalog, rules("a.io/.*:dev"));
    // The file of it stays for x, so nothing is won.
    assert_eq!(
        goes(&plan, &["m", "b"]),
        ["manifest a.io/y@m 0", "tag a.io/x:dev 0", "tag a.io/y:dev 0"]
    );
    assert_eq!(
        stays(&plan, &["m", "b"]),
        [
            "blob b: shared with a.io/x@m",
            "manifest a.io/x@m: tag v1 points at it"
        ]
    );
}

#[test]
fn an_index_takes_its_own_with_it_and_leaves_what_another_lists() {
    let catalog = Building::default()
        .manifest("a.io/x", "old", 50, &["amd", "shared"], &[])
        .manifest("a.io/x", "new", 5, &["shared"], &[])
        .manifest("a.io/x", "amd", 50, &[], &["b1"])
        .manifest("a.io/x", "shared", 50, &[], &["b2"])
        .tag("a.io/x", "1", "old")
        .tag("a.io/x", "2", "new")
        .done();
    let names = ["old", "new", "amd", "shared", "b1", "b2"];
    let plan = of(&catalog, rules("a.io/x:1"));
    assert_eq!(
        goes(&plan, &names),
        [
            "blob b1 10",
            "manifest a.io/x@amd 1",
            "manifest a.io/x@old 1",
            "tag a.io/x:1 0"
        ]
    );
    assert_eq!(stays(&plan, &names), ["manifest a.io/x@shared: listed by new"]);
}

#[test]
fn what_an_index_lists_is_used_with_it() {
    let catalog = Building::default()
        .manifest("a.io/x", "index", 50, &["amd"], &[])
        .manifest("a.io/x", "amd", 50, &[], &[])
        .used(3)
        .tag("a.io/x", "1", "index")
        .done();
    let purge = Rules {
        ago: days(7),
        ..rules("a.io/x:.*")
    };
    assert!(of(&catalog, purge.clone()).goes.is_empty());
    assert_eq!(
        of(
            &catalog,
            Rules {
                ago: days(3),
                ..purge
            }
        )
        .goes
        .len(),
        3
    );
}

#[test]
fn untagged_takes_what_no_tag_and_no_index_with_one_names() {
    let catalog = Building::default()
        .manifest("a.io/x", "index", 50, &["amd"], &[])
        .manifest("a.io/x", "amd", 50, &[], &[])
        .manifest("a.io/x", "moved", 50, &["arm"], &[])
        .manifest("a.io/x", "arm", 50, &[], &["b"])
        .manifest("a.io/x", "young", 1, &[], &[])
        .manifest("a.io/x", "signature", 50, &[], &[])
        .referring("index")
        .manifest("a.io/x", "widow", 50, &[], &[])
        .referring("moved")
        .manifest("a.io/other", "alone", 50, &[], &[])
        .tag("a.io/x", "v1", "index")
        .blob("nobody's")
        .done();
    let names = [
        "index",
        "amd",
        "moved",
        "arm",
        "young",
        "signature",
        "widow",
        "alone",
        "b",
    ];
    let purge = Rules {
        ago: days(7),
        untagged: true,
        ..rules("a.io/x:none")
    };
    let plan = of(&catalog, purge);
    assert_eq!(
        goes(&plan, &names),
        [
            "blob b 10",
            "manifest a.io/x@arm 1",
            "manifest a.io/x@moved 1",
            "manifest a.io/x@widow 1"
        ]
    );
    let stays = stays(&plan, &names);
    assert_eq!(stays[0], "manifest a.io/x@amd: listed by index");
    assert_eq!(stays[1], "manifest a.io/x@signature: refers to index");
    assert!(stays[2].starts_with("manifest a.io/x@young: used "), "{stays:?}");
}

#[test]
fn what_is_held_stays_with_all_it_names() {
    let catalog = Building::default()
        .manifest("a.io/x", "index", 50, &["amd"], &[])
        .manifest("a.io/x", "amd", 50, &[], &["b"])
        .tag("a.io/x", "v1", "index")
        .tag("a.io/x", "v2", "index")
        .done();
    let names = ["index", "amd", "b"];
    let tag = Reference::Tag("v1".parse().unwrap());
    let holds = held("a.io/x", tag, "index", Kind::Lock);
    let purge = Rules {
        untagged: true,
        ..rules("a.io/x:.*")
    };
    let plan = plan(&catalog, &holds, &Purge::Rules(purge), NOW);
    assert_eq!(goes(&plan, &names), ["tag a.io/x:v2 0"]);
    assert_eq!(
        stays(&plan, &names),
        [
            "manifest a.io/x@amd: locked",
            "manifest a.io/x@index: locked",
            "tag a.io/x:v1: locked"
        ]
    );
    for exactly in [Exact::Everywhere(digest("b")), Exact::Everywhere(digest("amd"))] {
        let plan = exact(&catalog, &holds, exactly);
        assert!(plan.goes.is_empty());
        assert_eq!(plan.stays[0].why, Why::Held(Kind::Lock));
    }
    // A pin on a digest holds as well.
    let holds = held("a.io/x", Reference::Digest(digest("amd")), "amd", Kind::Pin);
    let plan = exact(
        &catalog,
        &holds,
        named("a.io/x", Reference::Tag("v1".parse().unwrap())),
    );
    assert_eq!(goes(&plan, &names), ["tag a.io/x:v1 0"]);
}

#[test]
fn what_is_named_exactly_goes_whatever_names_it() {
    let catalog = Building::default()
        .manifest("a.io/x", "index", 50, &["amd"], &[])
        .manifest("a.io/x", "amd", 1, &[], &["b", "c"])
        .manifest("a.io/y", "amd", 1, &[], &["b", "c"])
        .tag("a.io/x", "v1", "index")
        .tag("a.io/x", "v1-amd", "amd")
        .tag("a.io/y", "v1", "amd")
        .done();
    let (names, none) = (["index", "amd", "b", "c"], Holds::default());
    let plan = exact(&catalog, &none, named("a.io/x", Reference::Digest(digest("amd"))));
    assert_eq!(
        goes(&plan, &names),
        ["manifest a.io/x@amd 0", "tag a.io/x:v1-amd 0"]
    );
    let plan = exact(&catalog, &none, Exact::Everywhere(digest("amd")));
    assert_eq!(
        goes(&plan, &names),
        [
            "blob b 10",
            "blob c 10",
            "manifest a.io/x@amd 1",
            "manifest a.io/y@amd 0",
            "tag a.io/x:v1-amd 0",
            "tag a.io/y:v1 0"
        ]
    );
    let plan = exact(&catalog, &none, Exact::Everywhere(digest("b")));
    assert_eq!(goes(&plan, &names), ["blob b 10"]);
    let plan = exact(&catalog, &none, Exact::Everywhere(digest("elsewhere")));
    assert_eq!((plan.goes, plan.stays), (vec![], vec![]));
    assert_eq!(plan.copies, BTreeSet::from([digest("elsewhere")]));
}

#[test]
fn copies_are_looked_for_of_what_was_named_and_goes_and_of_nothing_that_stays() {
    let catalog = Building::default()
        .manifest("a.io/x", "leaked", 1, &[], &["secret", "base"])
        .manifest("a.io/x", "other", 1, &[], &["base"])
        .manifest("a.io/y", "both", 1, &[], &["b"])
        .manifest("a.io/x", "both", 1, &[], &["b"])
        .tag("a.io/x", "dev", "leaked")
        .tag("a.io/x", "lost", "gone")
        .tag("a.io/x", "both", "both")
        .done();
    let none = Holds::default();
    let tag = |tag: &str| named("a.io/x", Reference::Tag(tag.parse().unwrap()));
    let copies = |exactly: Exact| -> BTreeSet<Digest> { exact(&catalog, &none, exactly).copies };
    let of = |names: &[&str]| -> BTreeSet<Digest> { names.iter().map(|name| digest(name)).collect() };
    assert_eq!(copies(tag("dev")), of(&["leaked", "secret"]));
    assert_eq!(
        copies(named("a.io/x", Reference::Digest(digest("leaked")))),
        of(&["leaked", "secret"])
    );
    // Another repository has it, and is served from memory as well.
    assert_eq!(copies(tag("both")), of(&[]));
    // What it pointed at is on no shelf any more.
    assert_eq!(copies(tag("lost")), of(&["gone"]));
    let plan = exact(
        &catalog,
        &none,
        named("a.io/x", Reference::Digest(digest("gone"))),
    );
    assert_eq!(plan.copies, of(&["gone"]));
    assert_eq!(goes(&plan, &[]), ["tag a.io/x:lost 0"]);
    assert_eq!(of_rules(&catalog), of(&[]));
    let blob = named("a.io/x", Reference::Digest(digest("base")));
    assert_eq!(copies(blob), of(&[]), "a blob that is well is no manifest");
    let held = held(
        "a.io/x",
        Reference::Digest(digest("leaked")),
        "leaked",
        Kind::Lock,
    );
    assert_eq!(exact(&catalog, &held, tag("dev")).copies, of(&[]));
}

/// The copies that a purge of everything by a rule looks for.
fn of_rules(catalog: &Catalog) -> BTreeSet<Digest> {
    of(catalog, rules(".*:.*")).copies
}

#[test]
fn a_fingerprint_names_what_goes_and_nothing_else() {
    let catalog = |days: u64| {
        Building::default()
            .image("a.io/x", "1", 50)
            .image("a.io/x", "2", days)
            .done()
    };
    let print = |catalog: &Catalog, filter: &str| {
        let purge = Rules {
            ago: days(7),
            ..rules(filter)
        };
        of(catalog, purge).fingerprint()
    };
    // The second stays either way, for another time.
    assert_eq!(print(&catalog(1), "a.io/x:.*"), print(&catalog(2), "a.io/x:.*"));
    assert_ne!(print(&catalog(1), "a.io/x:.*"), print(&catalog(8), "a.io/x:.*"));
    assert_ne!(print(&catalog(1), "a.io/x:.*"), print(&catalog(1), "a.io/x:2"));
    assert_eq!(print(&catalog(1), "a.io/x:.*").len(), 16);
}
