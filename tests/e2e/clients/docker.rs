//! dockerd beside a containerd of its own, with `registry-mirrors` or with logins; not where the kernel refuses it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::containerd::Containerd;
use super::{Place, expect_equal, overlay_works};
use crate::support::content::same_tree;
use crate::support::process::{Process, command, run};
use crate::support::{Image, Result, Verdict, World};

/// A private dockerd; it ends with this, and before its containerd.
pub(crate) struct Dockerd {
    process: Process,
    _containerd: Containerd,
    directory: PathBuf,
}

impl Dockerd {
    /// Has one used that writes everything below `directory`, and ends it. `configure` may add to what it is configured
    /// by, `etc/docker/daemon.json` below `directory/machine`. Skipped where the kernel does not let it run.
    fn with(
        directory: &Path,
        configure: impl FnOnce() -> Result,
        used: impl FnOnce(&Self) -> Result,
    ) -> Result<Verdict> {
        Self::with_by(command("dockerd"), directory, configure, used)
    }

    /// Has one used that is told about no mirror and logs in to Seawall, and the directory of all that it writes.
    pub(crate) fn with_logins(world: &World, used: impl FnOnce(&Path, &Self) -> Result) -> Result<Verdict> {
        if let Some(skipped) = world.skips_without_seawall() {
            return Ok(skipped);
        }
        let directory = world.directory()?;
        Self::with(&directory, || Ok(()), |dockerd| used(&directory, dockerd))
    }

    /// As [`Self::with`], for one that finds `etc` where it looks for `/etc/docker`, and speaks TLS with other machines
    /// through this proxy (host and port).
    pub(crate) fn with_certificates(
        directory: &Path,
        etc: &Path,
        proxy: &str,
        used: impl FnOnce(&Self) -> Result,
    ) -> Result<Verdict> {
        // In mounts of its own: the machine's directory stays as it is.
        let mut serve = command("unshare");
        serve
            .args(["--mount", "sh", "-ec"])
            .arg("mkdir -p /etc/docker; mount --bind \"$0\" /etc/docker; exec dockerd \"$@\"")
            .arg(etc)
            .env("HTTPS_PROXY", format!("http://{proxy}"));
        Self::with_by(serve, directory, || Ok(()), used)
    }

    /// As [`Self::with`], by this command, to which arguments are added.
    fn with_by(
        serve: Command,
        directory: &Path,
        configure: impl FnOnce() -> Result,
        used: impl FnOnce(&Self) -> Result,
    ) -> Result<Verdict> {
        match Self::start_by(serve, directory, configure)? {
            Ok(dockerd) => {
                used(&dockerd)?;
                dockerd.stop()?;
                Ok(Verdict::Passed)
            }
            Err(skipped) => Ok(skipped),
        }
    }

    /// # Errors
    /// The inner one is why this kernel does not let it run.
    fn start_by(
        mut serve: Command,
        directory: &Path,
        configure: impl FnOnce() -> Result,
    ) -> Result<std::result::Result<Self, Verdict>> {
        let containerd = Containerd::start(directory)?;
        let config = directory.join("machine/etc/docker/daemon.json");
        fs::create_dir_all(config.parent().unwrap_or(directory))?;
        fs::write(&config, settings(directory, &containerd)?.to_string())?;
        configure()?;
        serve.arg("--config-file").arg(&config);
        let mut process = Process::start("dockerd", serve, directory)?;
        let ready = process.wait_ready(Duration::from_secs(30), || {
            run(client(directory).arg("version")).is_ok()
        });
        if let Err(error) = ready {
            let why = format!("dockerd cannot run on this kernel: {error}");
            return Ok(Err(Verdict::Skipped(why)));
        }
        Ok(Ok(Self {
            process,
            _containerd: containerd,
            directory: directory.to_owned(),
        }))
    }

    /// Runs its client; what it says.
    fn docker(&self, arguments: &[&str]) -> Result<String> {
        run(client(&self.directory).args(arguments))
    }

    /// Has its client log in; what it says.
    pub(crate) fn log_in(&self, address: &str, (user, password): (&str, &str)) -> Result<String> {
        self.docker(&["login", "--username", user, "--password", password, address])
    }

    /// Forgets who logged in.
    pub(crate) fn log_out(&self, address: &str) -> Result {
        self.docker(&["logout", address]).map(drop)
    }

    /// Pulls an image; what it says.
    pub(crate) fn pull(&self, image: &str) -> Result<String> {
        self.docker(&["pull", "--quiet", image])
    }

    /// Removes an image, so that the next pull has to ask for all of it.
    pub(crate) fn remove(&self, image: &str) -> Result {
        self.docker(&["image", "rm", image]).map(drop)
    }

    fn stop(mut self) -> Result {
        self.process.stop().map(drop)
    }
}

/// Pulls with dockerd and compares digests and every file of the exported image.
pub(super) fn pull(place: &Place<'_>, image: &Image) -> Result<Verdict> {
    Dockerd::with(
        &place.directory,
        || place.configure("docker"),
        |dockerd| pull_and_compare(place, image, dockerd),
    )
}

fn pull_and_compare(place: &Place<'_>, image: &Image, dockerd: &Dockerd) -> Result {
    let name = image.name();
    dockerd.pull(&name)?;
    let inspected: Value = serde_json::from_str(&dockerd.docker(&["image", "inspect", &name])?)?;
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
    let container = dockerd.docker(&["create", &name])?;
    let (archive, export) = (place.directory.join("export.tar"), place.directory.join("export"));
    let output = archive.display().to_string();
    dockerd.docker(&["export", "--output", &output, container.trim()])?;
    dockerd.docker(&["rm", container.trim()])?;
    fs::create_dir(&export)?;
    run(command("tar").arg("-xf").arg(&archive).arg("-C").arg(&export))?;
    same_tree(&place.images.content, &export)
}

fn settings(directory: &Path, containerd: &Containerd) -> Result<Value> {
    let driver = if overlay_works(directory)? {
        "overlay2"
    } else {
        "vfs"
    };
    // No bridge and no rules: a pull needs no container network, and the machine's is left alone.
    Ok(json!({
        "hosts": [socket(directory)], "containerd": containerd.socket, "storage-driver": driver,
        "data-root": directory.join("data"), "exec-root": directory.join("exec"),
        "pidfile": directory.join("docker.pid"),
        "bridge": "none", "iptables": false, "ip-forward": false, "ip-masq": false,
    }))
}

fn socket(directory: &Path) -> String {
    format!("unix://{}", directory.join("d.sock").display())
}

fn client(directory: &Path) -> Command {
    let mut docker = command("docker");
    docker
        .env_remove("DOCKER_CONTEXT")
        .arg("--config")
        .arg(directory.join("client"))
        .args(["--host", &socket(directory)]);
    docker
}
