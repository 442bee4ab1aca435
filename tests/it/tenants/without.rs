//! What was fetched with credentials is nobody's when the configuration has them no more.

use std::path::Path;

use super::*;
use crate::support::configured::{Configured, hub};
use crate::tls::{self, Authority};

/// What is kept of an image: its manifest, by tag and by digest, and what that names.
fn kept(image: &Image) -> Vec<String> {
    let mut kept = paths(image);
    kept.retain(|path| !path.contains("/referrers/") && !path.ends_with("/tags/list"));
    kept
}

/// Where a registry's repositories are asked for: docker.io's by their own names, those of others below the registry's.
fn below(registry: &str, path: &str) -> String {
    path.replacen("/v2/", &format!("/v2/{registry}"), 1)
}

/// The private image, the public one, and the private one's content under the public one's name.
async fn assert_kept_private(seawall: &Seawall, registry: &str, image: &Image, open: &Image) {
    for path in paths(image) {
        let path = below(registry, &path);
        let hidden = get(seawall, None, &path).await;
        assert_eq!(hidden.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in kept(open) {
        let path = below(registry, &path.replace("team/app", "library/open"));
        assert!(get(seawall, None, &path).await.is_good(), "{path}");
    }
    for digest in [image.config, image.layer] {
        for name in ["library/open", "library/none"] {
            let path = format!("/v2/{registry}{name}/blobs/{digest}");
            assert_eq!(
                get(seawall, None, &path).await.status,
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }
}

/// A private image is pulled with credentials; then something is done to the directory, and Seawall starts over it
/// without any.
async fn assert_kept_private_over_a_restart(sharing: Sharing, meanwhile: impl Fn(&Path)) {
    let (world, image) = start(sharing);
    let open = image_in(&world.registry, "library/open", Some("1"), 3);
    let login = alice();
    let login = (sharing == Sharing::PerClient).then_some(login.as_str());
    for path in kept(&image) {
        let answer = get(&world.seawall, login, &path).await;
        assert_eq!(answer.is_good(), sharing != Sharing::Public, "{path}");
    }
    let (registry, directory) = world.stop().await;
    // Nor is it forgotten by the time of the next restart.
    for _ in 0..2 {
        meanwhile(directory.path());
        let none = Choices {
            credentials: Vec::new(),
            ..choices(Sharing::Public)
        };
        let seawall = Seawall::start(directory.path(), &registry, none);
        assert_kept_private(&seawall, "", &image, &open).await;
        seawall.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn s068_after_a_restart_without_credentials_what_they_saw_is_shown_to_nobody() {
    for sharing in [Sharing::Shared, Sharing::PerClient, Sharing::Public] {
        assert_kept_private_over_a_restart(sharing, |_| {}).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s068_nor_is_it_if_the_records_are_lost_meanwhile_or_what_was_noted_cannot_be_read() {
    for lost in ["records.redb", "private"] {
        let damage = |directory: &Path| {
            let path = directory.join("v1").join(lost);
            assert!(path.exists(), "{lost}");
            std::fs::write(path, "no more!").unwrap();
        };
        assert_kept_private_over_a_restart(Sharing::Shared, damage).await;
    }
}

/// A file with the robot's password, in a folder, and the key that logs in with it.
fn with_robot(folder: &Path) -> String {
    let secret = folder.join("secret");
    std::fs::write(&secret, "CANARY-robot").unwrap();
    let secret = secret.display();
    format!(
        "access = \"shared\"\ncredentials = [{{ username = \"robot\", password = {{ file = \"{secret}\" }} }}]\n"
    )
}

const EVERYONE: &str = "[access]\nanonymous = \"everyone\"\n";

#[tokio::test(start_paused = true)]
async fn s068_from_the_moment_that_credentials_are_taken_away_what_they_saw_is_shown_to_nobody() {
    let (world, image) = start(Sharing::Shared);
    let open = image_in(&world.registry, "library/open", Some("1"), 3);
    let config = |upstream| hub(upstream) + EVERYONE;
    let with = with_robot(world.directory.path());
    let mut configured = Configured::start(&world.registry.dialer(), &config(&with));
    for path in kept(&image) {
        assert!(get(&configured.seawall, None, &path).await.is_good(), "{path}");
    }
    assert!(configured.change(&config("")).await.applied);
    assert_kept_private(&configured.seawall, "", &image, &open).await;
}

#[tokio::test(start_paused = true)]
async fn s068_nor_is_it_shown_of_a_registry_that_is_one_of_a_pattern_from_then_on() {
    let (world, image) = start(Sharing::Shared);
    let open = image_in(&world.registry, "library/open", Some("1"), 3);
    let folder = world.directory.path();
    // A registry of a pattern is where its name says.
    let (authority, name) = (Authority::new(), "one.hubs.test");
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let dialer = tls::dialer(&world.registry, &authority.server(name, &[]));
    let config = |registry: &str, more: &str| {
        let ca = ca.display();
        format!("[[upstream]]\nregistry = \"{registry}\"\nca = \"{ca}\"\n{more}{EVERYONE}")
    };
    let (with, without) = (config(name, &with_robot(folder)), config("*.hubs.test", ""));
    let registry = format!("{name}/");
    for is_restarted in [true, false] {
        let mut configured = Configured::start(&dialer, &with);
        for path in kept(&image) {
            let path = below(&registry, &path);
            let answer = get(&configured.seawall, None, &path).await;
            assert!(answer.is_good(), "{path}: {}", answer.status);
        }
        if is_restarted {
            configured = configured.restart(&dialer, &without).await;
        } else {
            assert!(configured.change(&without).await.applied);
        }
        assert_kept_private(&configured.seawall, &registry, &image, &open).await;
    }
}
