//! dockerd with `registry-mirrors`, beside a containerd of its own; skipped where the kernel refuses it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::containerd::Containerd;
use super::{Place, expect_equal, overlay_works};
use crate::support::content::same_tree;
use crate::support::process::{Process, command, run};
use crate::support::{Image, Result, Verdict};

/// Pulls with dockerd and compares digests and every file of the exported image.
pub(super) fn pull(place: &Place<'_>, image: &Image) -> Result<Verdict> {
    let containerd = Containerd::start(&place.directory)?;
    let socket = format!("unix://{}", place.directory.join("d.sock").display());
    let mut dockerd = match start(place, &containerd, &socket) {
        Ok(dockerd) => dockerd,
        Err(error) => {
            return Ok(Verdict::Skipped(format!(
                "dockerd cannot run on this kernel: {error}"
            )));
        }
    };
    let result = pull_and_compare(place, image, &socket);
    dockerd.stop()?;
    result.map(|()| Verdict::Passed)
}

fn pull_and_compare(place: &Place<'_>, image: &Image, socket: &str) -> Result {
    let docker = |arguments: &[&str]| run(client(&place.directory, socket).args(arguments));
    let name = image.name();
    docker(&["pull", "--quiet", &name])?;
    let inspected: Value = serde_json::from_str(&docker(&["image", "inspect", &name])?)?;
    let found = &inspected[0];
    let digest = found["RepoDigests"][0]
        .as_str()
        .and_then(|known| known.split('@').nth(1));
    expect_equal("dockerd's manifest", &image.manifest, digest.unwrap_or_default())?;
    let layers = found["RootFS"]["Layers"].to_string();
    expect_equal(
        "dockerd's layers",
        &serde_json::to_string(&image.diff_ids)?,
        &layers,
    )?;
    let container = docker(&["create", &name])?;
    let (archive, export) = (place.directory.join("export.tar"), place.directory.join("export"));
    docker(&[
        "export",
        "--output",
        &archive.display().to_string(),
        container.trim(),
    ])?;
    docker(&["rm", container.trim()])?;
    fs::create_dir(&export)?;
    run(command("tar").arg("-xf").arg(&archive).arg("-C").arg(&export))?;
    same_tree(&place.images.content, &export)
}

fn start(place: &Place<'_>, containerd: &Containerd, socket: &str) -> Result<Process> {
    let directory = &place.directory;
    let driver = if overlay_works(directory)? {
        "overlay2"
    } else {
        "vfs"
    };
    // No bridge and no rules: a pull needs no container network, and the machine's is left alone.
    let settings = json!({
        "hosts": [socket], "containerd": containerd.socket, "storage-driver": driver,
        "data-root": directory.join("data"), "exec-root": directory.join("exec"),
        "pidfile": directory.join("docker.pid"),
        "bridge": "none", "iptables": false, "ip-forward": false, "ip-masq": false,
    });
    let config = place.machine().join("etc/docker/daemon.json");
    fs::create_dir_all(config.parent().unwrap_or(directory))?;
    fs::write(&config, settings.to_string())?;
    place.configure("docker")?;
    let mut serve = command("dockerd");
    serve.arg("--config-file").arg(&config);
    let mut process = Process::start("dockerd", serve, directory)?;
    process.wait_ready(Duration::from_secs(30), || {
        run(client(directory, socket).arg("version")).is_ok()
    })?;
    Ok(process)
}

fn client(directory: &Path, socket: &str) -> Command {
    let mut docker = command("docker");
    docker
        .env_remove("DOCKER_CONTEXT")
        .arg("--config")
        .arg(directory.join("client"))
        .args(["--host", socket]);
    docker
}
