//! Warming by the command line, and bundles between Seawall and the tools that others use.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::clients::copy;
use crate::support::images::TAG;
use crate::support::process::{command, free_address, run};
use crate::support::{Result, Seawall, Verdict, World};

/// A command of Seawall, asking this one.
fn seawall(seawall: &Seawall, arguments: &[&str]) -> Result<String> {
    let mut asking = command(env!("CARGO_BIN_EXE_seawall"));
    run(asking.args(arguments).args(["--admin", &seawall.admin]))
}

/// Warms everything, and fails if something was missed.
fn warm(here: &Seawall) -> Result<Value> {
    let app = format!("docker.io/library/app:{TAG}");
    let multi = format!("library/multi:{TAG}");
    let arguments = ["warm", &app, &multi, "--platform", "all", "--referrers", "--json"];
    let told = seawall(here, &arguments)?;
    Ok(serde_json::from_str(told.lines().last().unwrap_or_default())?)
}

/// Everything is held afterwards: the upstream is stopped with the Seawall that knew it.
pub(crate) fn warmed(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let first = world.seawall_on(&world.upstream.address, &directory)?;
    let summary = warm(&first)?;
    // An image, an artifact that refers to it, the list under a tag that says so, an index of two.
    if summary["counted"] != 6
        || summary["missed"]
            .as_array()
            .is_none_or(|missed| !missed.is_empty())
    {
        return Err(format!("the first warm: {summary}").into());
    }
    let again = warm(&first)?;
    if again["counted"] != 0 || again["fetched"] != 0 {
        return Err(format!("the second warm: {again}").into());
    }
    first.stop()?;
    let gone = free_address()?;
    let second = world.seawall_on(&gone, &directory)?;
    let source = format!("docker://{}/library/app:{TAG}", second.location);
    let target = world.directory()?.join("copy");
    copy(
        command("skopeo"),
        &source,
        &target,
        &world.images,
        &world.images.app,
    )?;
    Ok(Verdict::Passed)
}

/// skopeo finds each image by its name, podman loads a bundle of one.
pub(crate) fn read_by_others(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let here = world.seawall()?;
    warm(&here)?;
    let directory = world.directory()?;
    let bundle = directory.join("bundle.tar").display().to_string();
    let (app, multi) = (format!("library/app:{TAG}"), format!("library/multi:{TAG}"));
    seawall(&here, &["export", &app, &multi, "-o", &bundle])?;
    let source = format!("oci-archive:{bundle}:docker.io/{app}");
    copy(
        command("skopeo"),
        &source,
        &directory.join("copy"),
        &world.images,
        &world.images.app,
    )?;
    for (image, architecture) in world.images.platforms.iter().zip(["amd64", "arm64"]) {
        let mut skopeo = command("skopeo");
        skopeo.args(["--override-os", "linux", "--override-arch", architecture]);
        let source = format!("oci-archive:{bundle}:docker.io/{multi}");
        copy(skopeo, &source, &directory.join("copy"), &world.images, image)?;
    }
    let single = directory.join("single.tar").display().to_string();
    seawall(&here, &["export", &app, "-o", &single, "--no-referrers"])?;
    let loaded = run(podman(&directory).args(["load", "--input", &single]))?;
    if !loaded.contains(&format!("docker.io/{app}")) {
        return Err(format!("podman loaded: {loaded}").into());
    }
    let id = run(podman(&directory).args([
        "image",
        "inspect",
        "--format",
        "{{.Digest}}",
        &format!("docker.io/{app}"),
    ]))?;
    if id.trim() != world.images.app.manifest {
        return Err(format!("podman has {id}, and the image is {}", world.images.app.manifest).into());
    }
    Ok(Verdict::Passed)
}

/// podman with a store of its own.
fn podman(directory: &Path) -> Command {
    let mut podman = command("podman");
    podman.arg("--root").arg(directory.join("root"));
    podman.arg("--runroot").arg(directory.join("run"));
    podman.arg("--tmpdir").arg(directory.join("tmp"));
    podman.args([
        "--storage-driver",
        "vfs",
        "--cgroup-manager",
        "cgroupfs",
        "--events-backend",
        "file",
    ]);
    podman
}

/// Seawall's own bundle and one of skopeo's, read where no registry can be reached.
pub(crate) fn imported(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let bundle = directory.join("bundle.tar").display().to_string();
    let here = world.seawall()?;
    warm(&here)?;
    let app = format!("docker.io/library/app:{TAG}");
    seawall(&here, &["export", &app, "-o", &bundle])?;
    let foreign = directory.join("foreign.tar").display().to_string();
    let source = format!("docker://{}/library/multi:{TAG}", here.location);
    let arguments = [
        "--insecure-policy",
        "copy",
        "--quiet",
        "--all",
        "--src-tls-verify=false",
    ];
    run(command("skopeo")
        .args(arguments)
        .arg(&source)
        .arg(format!("oci-archive:{foreign}:{TAG}")))?;
    let gone = free_address()?;
    let island = world.seawall_on(&gone, &world.directory()?)?;
    seawall(&island, &["import", &bundle])?;
    seawall(&island, &["import", &foreign, "--as", "library/multi"])?;
    let source = format!("docker://{}/library/app:{TAG}", island.location);
    copy(
        command("skopeo"),
        &source,
        &directory.join("copy"),
        &world.images,
        &world.images.app,
    )?;
    let mut skopeo = command("skopeo");
    skopeo.args(["--override-os", "linux", "--override-arch", "arm64"]);
    let source = format!("docker://{}/library/multi:{TAG}", island.location);
    copy(
        skopeo,
        &source,
        &directory.join("copy"),
        &world.images,
        &world.images.platforms[1],
    )?;
    let target = format!("/v2/library/app/referrers/{}", world.images.app.manifest);
    let answer = crate::support::http::request(&island.address, "GET", &target, &[], &[])?;
    let list: Value = serde_json::from_slice(&answer.body)?;
    if list["manifests"][0]["digest"] != world.images.artifact {
        return Err(format!("the referrers: {list}").into());
    }
    // What is imported is exported to the same byte.
    let again = directory.join("again.tar").display().to_string();
    seawall(&island, &["export", &app, "-o", &again])?;
    match std::fs::read(&bundle)? == std::fs::read(&again)? {
        true => Ok(Verdict::Passed),
        false => Err("the bundle of what was imported is another".into()),
    }
}
