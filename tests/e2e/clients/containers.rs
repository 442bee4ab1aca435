//! podman and buildah: one library, two commands, each with a store of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Place, expect_equal, overlay_works};
use crate::support::content::same_tree;
use crate::support::process::{command, run};
use crate::support::{Image, Result, Seawall, Verdict};

/// Pulls with podman and compares digests and every file in the mounted image.
pub(super) fn podman(place: &Place<'_>, image: &Image) -> Result<Verdict> {
    let environment = Environment::make(place)?;
    let podman = |arguments: &[&str]| {
        let mut podman = environment.command("podman");
        run(apart(&mut podman, &place.directory).args(arguments))
    };
    let name = image.name();
    podman(&[
        "pull",
        "--quiet",
        "--signature-policy",
        &environment.policy,
        &name,
    ])?;
    let inspected: Value = serde_json::from_str(&podman(&["image", "inspect", &name])?)?;
    let found = &inspected[0];
    expect_equal(
        "podman's manifest",
        &image.manifest,
        found["Digest"].as_str().unwrap_or_default(),
    )?;
    let id = found["Id"].as_str().unwrap_or_default();
    expect_equal("podman's config", &image.config, &format!("sha256:{id}"))?;
    expect_equal(
        "podman's layers",
        &serde_json::to_string(&image.diff_ids)?,
        &found["RootFS"]["Layers"].to_string(),
    )?;
    let mounted = podman(&["image", "mount", &name])?;
    let compared = same_tree(&place.images.content, Path::new(mounted.trim()));
    podman(&["image", "unmount", &name])?;
    compared.map(|()| Verdict::Passed)
}

/// Keeps podman away from what it would share with others of the machine.
fn apart<'a>(podman: &'a mut Command, directory: &Path) -> &'a mut Command {
    let alone = ["--cgroup-manager", "cgroupfs", "--events-backend", "file"];
    podman.args(alone).arg("--tmpdir").arg(directory.join("tmp"))
}

/// Pulls `source` with podman into a store of its own below `directory`; `login` is put before it.
pub(crate) fn podman_pull(directory: &Path, login: &[&str], source: &str) -> Result<String> {
    let (storage, policy) = store(directory)?;
    let mut podman = command("podman");
    podman.env("CONTAINERS_STORAGE_CONF", storage);
    apart(&mut podman, directory);
    podman.args(["pull", "--quiet", "--arch", "amd64", "--tls-verify=false"]);
    podman.args(["--signature-policy", &policy]).args(login);
    run(podman.arg(source))
}

/// Pulls with buildah and compares digests and every file in a mounted working container.
pub(super) fn buildah(place: &Place<'_>, image: &Image) -> Result<Verdict> {
    let environment = Environment::make(place)?;
    let buildah = |arguments: &[&str]| run(environment.command("buildah").args(arguments));
    let name = image.name();
    buildah(&[
        "pull",
        "--quiet",
        "--signature-policy",
        &environment.policy,
        &name,
    ])?;
    let found: Value = serde_json::from_str(&buildah(&["inspect", "--type", "image", &name])?)?;
    let digest = found["FromImageDigest"].as_str().unwrap_or_default();
    expect_equal("buildah's manifest", &image.manifest, digest)?;
    let id = found["FromImageID"].as_str().unwrap_or_default();
    expect_equal("buildah's config", &image.config, &format!("sha256:{id}"))?;
    let policy = ["--signature-policy", environment.policy.as_str()];
    let container = buildah(&[&["from", "--pull=false"], &policy[..], &[&name]].concat())?;
    let mounted = buildah(&["mount", container.trim()])?;
    let compared = same_tree(&place.images.content, Path::new(mounted.trim()));
    buildah(&["umount", container.trim()])?;
    compared.map(|()| Verdict::Passed)
}

/// The files that keep a client away from the machine's own configuration and store.
struct Environment {
    registries: PathBuf,
    storage: PathBuf,
    policy: String,
}

impl Environment {
    fn make(place: &Place<'_>) -> Result<Self> {
        let registries = registries_conf(place)?;
        let (storage, policy) = store(&place.directory)?;
        Ok(Self {
            registries,
            storage,
            policy,
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.env("CONTAINERS_REGISTRIES_CONF", &self.registries);
        command.env("CONTAINERS_STORAGE_CONF", &self.storage);
        command
    }
}

/// A store of its own below `directory`: its `storage.conf`, and a policy that takes unsigned images.
pub(crate) fn store(directory: &Path) -> Result<(PathBuf, String)> {
    let storage = directory.join("storage.conf");
    let driver = if overlay_works(directory)? {
        "overlay"
    } else {
        "vfs"
    };
    let (graph, state) = (directory.join("graph"), directory.join("run"));
    let settings = format!(
        "[storage]\ndriver = \"{driver}\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        graph.display(),
        state.display()
    );
    fs::write(&storage, settings)?;
    let policy = directory.join("policy.json");
    fs::write(
        &policy,
        r#"{ "default": [{ "type": "insecureAcceptAnything" }] }"#,
    )?;
    Ok((storage, policy.display().to_string()))
}

/// The `registries.conf` of Seawall. Where no pull may go past the mirror, it takes the registry's place.
pub(super) fn registries_conf(place: &Place<'_>) -> Result<PathBuf> {
    place.configure("podman")?;
    let path = place
        .machine()
        .join("etc/containers/registries.conf.d/50-seawall.conf");
    if !place.falls_back {
        let Seawall {
            address, location, ..
        } = place.seawall;
        let text = fs::read_to_string(&path)?;
        let text = text.replace(&format!("\"{address}/docker.io\""), &format!("\"{location}\""));
        fs::write(
            &path,
            text.replace("location = \"docker.io\"\n[[registry.mirror]]\n", ""),
        )?;
    }
    Ok(path)
}
