//! What the end-to-end tests stand on: processes, an upstream, images, a Seawall, comparisons.

pub(crate) mod cgroup;
pub(crate) mod content;
pub(crate) mod http;
pub(crate) mod images;
pub(crate) mod limited;
pub(crate) mod operator;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod seawall;
pub(crate) mod upstream;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub(crate) use images::{Image, Images};
pub(crate) use process::Result;
pub(crate) use seawall::Seawall;
pub(crate) use upstream::Upstream;

/// How a test that did not fail ended.
pub(crate) enum Verdict {
    /// It ran and held.
    Passed,
    /// It could not run here, for this reason.
    Skipped(String),
}

/// What every test gets: one upstream with the images on it, and a place for files.
pub(crate) struct World {
    /// The registry that holds the images.
    pub(crate) upstream: Upstream,
    /// The images, and their bytes on disk to compare with.
    pub(crate) images: Images,
    /// Removed with everything in it at the end.
    root: tempfile::TempDir,
    /// Logs written since the running test began.
    logs: Mutex<Vec<PathBuf>>,
    /// Whether clients pull from the upstream itself, to try the tests without a Seawall.
    direct: bool,
}

impl World {
    /// Starts the upstream, makes the images and pushes them.
    pub(crate) fn build() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("seawall-e2e-").tempdir()?;
        let upstream = Upstream::start(root.path())?;
        let images = Images::make(&root.path().join("images"), &upstream.address)?;
        let direct = std::env::var_os("SEAWALL_E2E_DIRECT").is_some();
        Ok(Self {
            upstream,
            images,
            root,
            logs: Mutex::new(Vec::new()),
            direct,
        })
    }

    /// A Seawall with an empty cache in front of the upstream.
    pub(crate) fn seawall(&self) -> Result<Seawall> {
        self.seawall_on(&self.upstream.address, &self.directory()?)
    }

    /// A Seawall that asks the upstream at `address` and keeps its cache under `directory`.
    pub(crate) fn seawall_on(&self, address: &str, directory: &Path) -> Result<Seawall> {
        self.seawall_with(address, directory, "")
    }

    /// The same with more keys for its upstream.
    pub(crate) fn seawall_with(&self, address: &str, directory: &Path, more: &str) -> Result<Seawall> {
        if self.direct {
            return Ok(Seawall::absent(&self.upstream.address));
        }
        let seawall = Seawall::start(directory, address, more)?;
        self.note_log(seawall.log());
        Ok(seawall)
    }

    /// A new, empty directory.
    pub(crate) fn directory(&self) -> Result<PathBuf> {
        Ok(tempfile::Builder::new()
            .prefix("d")
            .tempdir_in(self.root.path())?
            .keep())
    }

    /// Why a test about Seawall itself cannot run, if it cannot.
    pub(crate) fn skips_without_seawall(&self) -> Option<Verdict> {
        self.direct
            .then(|| Verdict::Skipped("SEAWALL_E2E_DIRECT leaves Seawall out".to_owned()))
    }

    /// Has the log at `path` shown if the running test fails.
    pub(crate) fn note_log(&self, path: &Path) {
        if let Ok(mut logs) = self.logs.lock() {
            logs.push(path.to_owned());
        }
    }

    /// Forgets the logs of the test before.
    pub(crate) fn forget_logs(&self) {
        if let Ok(mut logs) = self.logs.lock() {
            logs.clear();
        }
    }

    /// The ends of the logs that tell why a test failed: the upstream's, and those of the test.
    pub(crate) fn log_tails(&self) -> String {
        let noted = self.logs.lock().map(|logs| logs.clone()).unwrap_or_default();
        let mut text = String::new();
        for path in self.upstream.logs().iter().chain(&noted) {
            text.push_str(&format!("--- {}\n{}\n", path.display(), process::tail(path, 25)));
        }
        text
    }
}

impl Drop for World {
    /// podman leaves its store mounted on itself, and what is mounted cannot be removed.
    fn drop(&mut self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for point in points.filter(|point| Path::new(point).starts_with(self.root.path())) {
            if let Err(error) = process::run(process::command("umount").args(["-l", point])) {
                println!("{point} stays mounted: {error}");
            }
        }
    }
}
