//! The words in which a pull is explained, from cold to warm, stale, limited and without a registry.

use super::who::told;
use super::{choices, fail, pass, pull, rules};
use crate::support::registry::Script;
use crate::support::world::{image, manifest_path, world};

/// What the command prints of `library/app:1`, without the lines that are the same each time.
async fn steps(seawall: &crate::support::seawall::Seawall, reference: &str) -> Vec<String> {
    let text = told(seawall, &format!("explain {reference}")).await;
    let same = ["library/app", "  client ", "  tier ", "  access "];
    let steps = text
        .lines()
        .filter(|line| !same.iter().any(|same| line.contains(same)));
    steps.map(|line| line.trim().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_pull_is_explained_in_words_from_its_first_to_its_last() {
    let world = world(choices(rules()));
    let seawall = &world.seawall;
    let held = image(&world.registry, Some("1"), 1);
    let tag = |ago: &str| {
        let short = &held.manifest.to_string()[.."sha256:".len() + 12];
        format!("tag        points at {short}, confirmed {ago} ago")
    };
    let (may, content) = (
        "registry   docker.io may be asked",
        "content    the manifest is in memory, 2 of 2 blobs held (256 KiB of 256 KiB)",
    );
    let unknown = "budget     no limit is known; a manifest could be bought now";
    assert_eq!(
        steps(seawall, "library/app:1").await,
        [
            may,
            "tag        nothing is known of it",
            "freshness  has to be asked about",
            unknown,
            "→ fetched from docker.io: one manifest of its budget, where it counts them",
        ]
    );
    pull(&world, "1", &held).await;
    assert_eq!(
        steps(seawall, "library/app:1").await,
        [
            may,
            &tag("1 s"),
            "freshness  fresh for another 5 min, of a ttl of 5 min",
            content,
            unknown,
            "→ served from memory; docker.io is not asked",
        ]
    );
    pass(400).await;
    assert_eq!(
        steps(seawall, "library/app:1").await,
        [
            may,
            &tag("6 min"),
            "freshness  stale, and still served for another 9 min while it is asked about",
            content,
            unknown,
            "→ served from memory at once; docker.io is asked behind its back, for free",
        ]
    );
    pass(2000).await;
    let stale = "freshness  stale, since its ttl is 5 min: has to be asked about; without an answer it may be served \
                 for another 7 d";
    assert_eq!(
        steps(seawall, "library/app:1").await,
        [
            may,
            &tag("40 min"),
            stale,
            content,
            unknown,
            "→ docker.io is asked for free; served from memory if the tag has not moved, else fetched",
        ]
    );
    world.registry.script(manifest_path("1"), Script::told(0));
    seawall.get(&manifest_path("1")).await;
    let other = format!("library/app@sha256:{}", "0".repeat(64));
    let limited = steps(seawall, &other).await;
    let [.., budget, ending] = &limited[..] else {
        panic!("{limited:?}")
    };
    assert!(
        budget.starts_with("budget     0 of 100 left; none can be bought for this client for ")
            && budget.ends_with(": it is used up"),
        "{budget}"
    );
    assert_eq!(
        ending,
        "→ refused for now: the budget of docker.io allows nothing, and it is not held"
    );
    pass(2000).await;
    world.registry.go_down();
    fail(&world).await;
    let down = steps(seawall, "library/app:1").await;
    assert!(
        down[0].starts_with("registry   docker.io is not asked for now: "),
        "{down:?}"
    );
    assert_eq!(down[0].matches("left alone").count(), 1, "said once: {down:?}");
    assert_eq!(
        down.last().unwrap(),
        "→ served from memory, and said to be stale: docker.io cannot be asked"
    );
}
