//! What no client here asks for by itself, asked by hand.

use serde_json::Value;

use crate::support::http::request;
use crate::support::{Result, Verdict, World};

/// A range near the end of a large blob that nobody has pulled yet.
pub(crate) fn range_of_a_cold_blob(world: &World) -> Result<Verdict> {
    let seawall = world.seawall()?;
    let digest = world.images.large_layer();
    let whole = std::fs::read(world.images.bytes(digest))?;
    let (first, last) = (whole.len() - 300_000, whole.len() - 100_001);
    let target = format!("/v2/library/app/blobs/{digest}");
    let range = format!("bytes={first}-{last}");
    let answer = request(&seawall.address, "GET", &target, &[("Range", &range)], &[])?;
    let told = format!("bytes {first}-{last}/{}", whole.len());
    if answer.status != 206 || answer.header("content-range") != told || answer.body != whole[first..=last] {
        let found = answer.header("content-range");
        return Err(format!(
            "{range}: status {}, {found:?}, expected 206 and {told:?}",
            answer.status
        )
        .into());
    }
    Ok(Verdict::Passed)
}

/// By the referrers API if it is answered, and always by the tag `sha256-<hex>`.
pub(crate) fn referrers(world: &World) -> Result<Verdict> {
    let (seawall, images) = (world.seawall()?, &world.images);
    let subject = &images.app.manifest;
    let by_tag = format!("/v2/library/app/manifests/{}", subject.replace(':', "-"));
    let accept = [(
        "Accept",
        "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json",
    )];
    let get = |target: &str| request(&seawall.address, "GET", target, &accept, &[]);
    expect_listed(&get(&by_tag)?.body, &images.artifact)?;
    let answer = get(&format!("/v2/library/app/referrers/{subject}"))?;
    match answer.status {
        200 => expect_listed(&answer.body, &images.artifact)?,
        // The upstream has no such API, and a 404 sends clients to the tag.
        404 => {}
        other => return Err(format!("the referrers API answered {other}").into()),
    }
    let artifact = get(&format!("/v2/library/app/manifests/{}", images.artifact))?;
    if artifact.body != std::fs::read(images.bytes(&images.artifact))? {
        return Err("the artifact's manifest differs from the one pushed".into());
    }
    Ok(Verdict::Passed)
}

/// Every way to begin a push.
pub(crate) fn writes_are_refused(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let seawall = world.seawall()?;
    let before = world.upstream.asked()?.len();
    for (method, target) in [
        ("POST", "/v2/library/app/blobs/uploads/"),
        ("PUT", "/v2/library/app/manifests/new"),
        ("DELETE", "/v2/library/app/manifests/seawall-e2e"),
        ("PATCH", "/v2/library/app/blobs/uploads/1"),
    ] {
        let answer = request(&seawall.address, method, target, &[], b"{}")?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let code = &body["errors"][0]["code"];
        if answer.status != 405 || code != "UNSUPPORTED" {
            return Err(format!(
                "{method} {target}: status {}, code {code}, not 405",
                answer.status
            )
            .into());
        }
    }
    match world.upstream.asked()?.len() - before {
        0 => Ok(Verdict::Passed),
        count => Err(format!("{count} of them went on to the upstream").into()),
    }
}

fn expect_listed(index: &[u8], digest: &str) -> Result {
    let parsed: Value = serde_json::from_slice(index)?;
    let listed = parsed["manifests"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one["digest"] == digest));
    if listed {
        return Ok(());
    }
    Err(format!("{digest} is not listed in {}", String::from_utf8_lossy(index)).into())
}
