//! containerd with `ctr`, told about the mirror by a `hosts.toml`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Place, overlay_works};
use crate::support::content::same_bytes;
use crate::support::process::{Process, command, run};
use crate::support::{Image, Result, Verdict};

/// A private containerd; it ends with this.
pub(crate) struct Containerd {
    process: Process,
    /// Its socket.
    pub(crate) socket: PathBuf,
    /// Its content store.
    content: PathBuf,
}

impl Containerd {
    /// Starts one with everything it writes below `directory`.
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let base = directory.join("containerd");
        fs::create_dir_all(&base)?;
        let (socket, config) = (base.join("s"), base.join("config.toml"));
        let root = base.join("root");
        fs::write(&config, settings(&base, &root, &socket))?;
        let mut serve = command("containerd");
        serve.arg("--config").arg(&config);
        let mut process = Process::start("containerd", serve, &base)?;
        process.wait_ready(Duration::from_secs(20), || {
            run(command("ctr").arg("--address").arg(&socket).arg("version")).is_ok()
        })?;
        Ok(Self {
            process,
            socket,
            content: root.join("io.containerd.content.v1.content/blobs"),
        })
    }
}

impl Containerd {
    /// Ends it, as well as it ends.
    pub(crate) fn stop(&mut self) -> Result {
        self.process.stop().map(drop)
    }

    /// Fetches an image for one platform, by the hosts in a directory; `login` is put before its name.
    pub(crate) fn fetch(&self, hosts: &Path, login: &[&str], name: &str) -> Result<String> {
        let mut ctr = command("ctr");
        ctr.arg("--address").arg(&self.socket);
        ctr.args(["content", "fetch", "--hosts-dir"]).arg(hosts);
        run(ctr.args(login).args(["--platform", "linux/amd64", name]))
    }
}

/// Pulls with `ctr` and compares everything in the content store.
pub(super) fn pull(place: &Place<'_>, image: &Image) -> Result<Verdict> {
    let mut containerd = Containerd::start(&place.directory)?;
    let hosts = configured(place)?;
    let snapshotter = if overlay_works(&place.directory)? {
        "overlayfs"
    } else {
        "native"
    };
    let mut ctr = command("ctr");
    ctr.arg("--address")
        .arg(&containerd.socket)
        .args(["images", "pull", "--hosts-dir"])
        .arg(&hosts);
    run(ctr.args(["--snapshotter", snapshotter, &image.name()]))?;
    for digest in image.blobs().chain([&image.manifest]) {
        let kept = containerd.content.join(digest.replace(':', "/"));
        same_bytes(&place.images.bytes(digest), &kept)?;
    }
    containerd.process.stop()?;
    Ok(Verdict::Passed)
}

/// containerd's directory of hosts. Where no pull may go past the mirror, it is the server too.
fn configured(place: &Place<'_>) -> Result<PathBuf> {
    place.configure("containerd")?;
    let hosts = place.machine().join("etc/containerd/certs.d");
    if !place.falls_back {
        let path = hosts.join("docker.io/hosts.toml");
        let text = fs::read_to_string(&path)?;
        fs::write(
            &path,
            format!("server = \"http://{}\"\n{text}", place.seawall.address),
        )?;
    }
    Ok(hosts)
}

fn settings(base: &Path, root: &Path, socket: &Path) -> String {
    format!(
        "version = 2\nroot = \"{}\"\nstate = \"{}\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\n  address = \"{}\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\n  path = \"{}\"\n",
        root.display(),
        base.join("state").display(),
        socket.display(),
        base.join("opt").display()
    )
}
