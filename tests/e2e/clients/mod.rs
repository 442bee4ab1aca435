//! The clients: each pulls an image into a store of its own and shows what it got.

mod containerd;
mod containers;
mod docker;
mod skopeo;

use std::path::{Path, PathBuf};

pub(crate) use containerd::Containerd;
pub(crate) use containers::{podman_pull, store};
pub(crate) use docker::Dockerd;
pub(crate) use skopeo::{copy, skopeo};

use crate::support::process::{command, run};
use crate::support::{Image, Images, Result, Seawall, Verdict};

/// Where a pull happens: a client with nothing in its store, told about one mirror.
pub(crate) struct Place<'a> {
    /// An empty directory of its own.
    pub(crate) directory: PathBuf,
    /// The mirror.
    pub(crate) seawall: &'a Seawall,
    /// What the bytes must be.
    pub(crate) images: &'a Images,
    /// Whether the registry itself may be asked when the mirror has no answer, as the written configuration has it.
    pub(crate) falls_back: bool,
}

impl Place<'_> {
    /// The directory that stands for the machine's root.
    pub(crate) fn machine(&self) -> PathBuf {
        self.directory.join("machine")
    }

    /// Has Seawall write `program`'s configuration.
    fn configure(&self, program: &str) -> Result {
        let mut configure = command(env!("CARGO_BIN_EXE_seawall"));
        configure.args(["mirror-config", program, "--write", "--wait", "10s"]);
        configure.args(["--address", &self.seawall.address, "--root"]);
        run(configure.arg(self.machine())).map(|_| ())
    }
}

/// A client by name, and its pull: it fails unless every byte is the image's.
pub(crate) type Client = (&'static str, fn(&Place<'_>, &Image) -> Result<Verdict>);

/// All of them.
pub(crate) const ALL: [Client; 5] = [
    ("containerd", containerd::pull),
    ("podman", containers::podman),
    ("skopeo", skopeo::pull),
    ("buildah", containers::buildah),
    ("dockerd", docker::pull),
];

/// Whether overlay mounts work below `directory`: not where that is on an overlay itself, as in a container.
fn overlay_works(directory: &Path) -> Result<bool> {
    let kind = run(command("stat").args(["-f", "-c", "%T"]).arg(directory))?;
    Ok(kind.trim() != "overlayfs")
}

/// Fails unless `found` is `expected`.
fn expect_equal(what: &str, expected: &str, found: &str) -> Result {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what}: expected {expected}, found {found}").into())
}
