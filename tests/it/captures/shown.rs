//! The Seawall that the README shows: three repositories of two registries, pulled over some days.

use std::time::Duration;

use seawall::oci::Digest;

use crate::support::registry::Registry;
use crate::support::seawall::Choices;
use crate::support::world::{OCI_INDEX, OCI_MANIFEST, World, blob_file, content, room, world};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const KIB: usize = 1024;

/// An image in a registry.
struct Image {
    manifest: Digest,
    size: usize,
    blobs: Vec<Digest>,
}

/// Puts an image of these layers, each a seed and a length, into a repository.
fn image(
    registry: &Registry,
    repository: &str,
    tag: Option<&str>,
    platform: &str,
    layers: &[(u64, usize)],
) -> Image {
    let (os, architecture) = platform.split_once('/').unwrap();
    let text = format!(
        r#"{{"os":"{os}","architecture":"{architecture}","tag":{:?}}}"#,
        tag.unwrap_or_default()
    );
    let config = registry.blob(repository, text.clone());
    let mut blobs = vec![config];
    let layers: Vec<String> = layers
        .iter()
        .map(|(seed, length)| {
            let layer = registry.blob(repository, content(*length, *seed));
            blobs.push(layer);
            format!(r#"{{"mediaType":"{LAYER}","digest":"{layer}","size":{length}}}"#)
        })
        .collect();
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{CONFIG}","digest":"{config}","size":{}}},"layers":[{}]}}"#,
        text.len(),
        layers.join(",")
    );
    Image {
        manifest: registry.manifest(repository, tag, OCI_MANIFEST, &body),
        size: body.len(),
        blobs,
    }
}

/// Puts an index of images, each with its platform, into a repository under a tag.
fn index(registry: &Registry, repository: &str, tags: &[&str], images: &[(&str, &Image)]) {
    let listed = images.iter().map(|(platform, image)| {
        let (os, architecture) = platform.split_once('/').unwrap();
        format!(
            r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":{},"platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#,
            image.manifest, image.size
        )
    });
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
        listed.collect::<Vec<_>>().join(",")
    );
    for tag in tags {
        registry.manifest(repository, Some(tag), OCI_INDEX, &body);
    }
}

/// Puts a signature of a manifest into a repository.
fn signature(registry: &Registry, repository: &str, subject: &Digest) -> Image {
    let config = registry.blob(repository, "{}");
    let payload = registry.blob(repository, content(KIB, 99));
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":"{payload}","size":1024}}],"subject":{{"mediaType":"{OCI_INDEX}","digest":"{subject}","size":9}}}}"#
    );
    Image {
        manifest: registry.manifest(repository, None, OCI_MANIFEST, &body),
        size: body.len(),
        blobs: vec![config, payload],
    }
}

/// Pulls an image by a tag or digest, as a client does: what is an index is followed by the image.
async fn pull(world: &World, repository: &str, reference: &str, image: &Image) {
    let get = async |path: String| {
        let answer = world.seawall.get(&path).await;
        assert!(answer.is_good(), "{path}");
        // Until it is kept: the order in which that happens is the order in which things go.
        tokio::time::sleep(Duration::from_millis(10)).await;
        answer
    };
    let answer = get(format!("/v2/{repository}/manifests/{reference}")).await;
    if answer.header("docker-content-digest") != image.manifest.to_string() {
        get(format!("/v2/{repository}/manifests/{}", image.manifest)).await;
    }
    for blob in &image.blobs {
        get(format!("/v2/{repository}/blobs/{blob}")).await;
    }
}

async fn hours(hours: u64) {
    tokio::time::sleep(Duration::from_secs(hours * 3600)).await;
}

/// Turns one bit of a layer on disk.
pub(super) fn damage(world: &World) {
    let layer = Digest::sha256(&content(3300 * KIB, 3));
    let path = blob_file(world.directory.path(), &layer);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

/// Pulls everything, and leaves the clock at the moment that is shown.
pub(super) async fn shown() -> World {
    let world = world(Choices {
        others: vec!["ghcr.io"],
        space: room(64),
        ..Choices::default()
    });
    let (hub, github) = (world.registry.clone(), Registry::default());
    hub.beside("ghcr.io", &github);

    let (alpine, debian) = ("library/alpine", "library/debian");
    let amd = image(&hub, alpine, None, "linux/amd64", &[(1, 3600 * KIB)]);
    let arm = image(&hub, alpine, None, "linux/arm64", &[(2, 3900 * KIB)]);
    index(
        &hub,
        alpine,
        &["3.20", "latest"],
        &[("linux/amd64", &amd), ("linux/arm64", &arm)],
    );
    let old = image(&hub, alpine, Some("3.19"), "linux/amd64", &[(3, 3300 * KIB)]);
    // Nobody has pulled it yet.
    image(
        &hub,
        "library/redis",
        Some("8"),
        "linux/amd64",
        &[(7, 2200 * KIB)],
    );
    let base = (4, 9000 * KIB);
    let deb = image(&hub, debian, Some("12"), "linux/amd64", &[base]);
    let app = "owner/app";
    let one = image(&github, app, Some("1.4"), "linux/amd64", &[base, (5, 700 * KIB)]);
    let two = image(&github, app, Some("1.5"), "linux/amd64", &[base, (6, 710 * KIB)]);

    pull(&world, alpine, "3.19", &old).await;
    hours(24 * 20).await;
    pull(&world, debian, "12", &deb).await;
    pull(&world, "ghcr.io/owner/app", "1.4", &one).await;
    hours(24 * 5).await;
    pull(&world, alpine, "3.20", &amd).await;
    pull(&world, "ghcr.io/owner/app", "1.5", &two).await;
    let answer = world.seawall.get("/v2/library/alpine/manifests/3.20").await;
    let subject: Digest = answer.header("docker-content-digest").parse().unwrap();
    let signed = signature(&hub, alpine, &subject);
    pull(&world, alpine, &signed.manifest.to_string(), &signed).await;
    hours(5).await;
    for _ in 0..40 {
        assert!(
            world
                .seawall
                .get("/v2/library/alpine/manifests/latest")
                .await
                .is_good()
        );
    }
    tokio::time::sleep(Duration::from_secs(1500)).await;
    world
}
