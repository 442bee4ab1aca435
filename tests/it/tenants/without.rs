//! What was fetched with credentials is nobody's when the configuration has them no more.

use super::*;
use crate::support::configured::{Configured, hub};

/// What is kept of an image: its manifest, by tag and by digest, and what that names.
fn kept(image: &Image) -> Vec<String> {
    let mut kept = paths(image);
    kept.retain(|path| !path.contains("/referrers/") && !path.ends_with("/tags/list"));
    kept
}

/// The private image, the public one, and the private one's content under the public one's name.
async fn assert_kept_private(seawall: &Seawall, image: &Image, open: &Image) {
    for path in paths(image) {
        let hidden = get(seawall, None, &path).await;
        assert_eq!(hidden.status, StatusCode::NOT_FOUND, "{path}");
    }
    let tag = ["1".to_owned(), open.manifest.to_string()].map(|reference| format!("manifests/{reference}"));
    let blobs = [open.config, open.layer].map(|blob| format!("blobs/{blob}"));
    for path in tag.iter().chain(&blobs) {
        let path = format!("/v2/library/open/{path}");
        assert!(get(seawall, None, &path).await.is_good(), "{path}");
    }
    for digest in [image.config, image.layer] {
        for name in ["library/open", "library/none"] {
            let path = format!("/v2/{name}/blobs/{digest}");
            assert_eq!(
                get(seawall, None, &path).await.status,
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s068_after_a_restart_without_credentials_what_they_saw_is_shown_to_nobody() {
    for sharing in [Sharing::Shared, Sharing::PerClient, Sharing::Public] {
        let (world, image) = start(sharing);
        let open = image_in(&world.registry, "library/open", Some("1"), 3);
        let login = alice();
        let login = (sharing == Sharing::PerClient).then_some(login.as_str());
        for path in kept(&image) {
            let answer = get(&world.seawall, login, &path).await;
            assert_eq!(answer.is_good(), sharing != Sharing::Public, "{path}");
        }
        let (registry, directory) = world.stop().await;
        let none = Choices {
            credentials: Vec::new(),
            ..choices(Sharing::Public)
        };
        let seawall = Seawall::start(directory.path(), &registry, none);
        assert_kept_private(&seawall, &image, &open).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s068_from_the_moment_that_credentials_are_taken_away_what_they_saw_is_shown_to_nobody() {
    let (world, image) = start(Sharing::Shared);
    let open = image_in(&world.registry, "library/open", Some("1"), 3);
    let config = |upstream| format!("{}[access]\nanonymous = \"everyone\"\n", hub(upstream));
    let with =
        "access = \"shared\"\ncredentials = [{ username = \"robot\", password = { file = \"SECRET\" } }]";
    let secret = world.directory.path().join("secret");
    std::fs::write(&secret, "CANARY-robot").unwrap();
    let with = with.replace("SECRET", secret.to_str().unwrap());
    let mut configured = Configured::start(&world.registry.dialer(), &config(&with));
    for path in kept(&image) {
        assert!(get(&configured.seawall, None, &path).await.is_good(), "{path}");
    }
    assert!(configured.change(&config("")).await.applied);
    assert_kept_private(&configured.seawall, &image, &open).await;
}
