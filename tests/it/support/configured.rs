//! A Seawall that runs under a configuration file, which can be written anew and read again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use seawall::app::{By, Running, Source};
use seawall::config::Environment;
use seawall::net::dial::Dialer;
use seawall::server::Reload;
use seawall::store::Disk;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::seawall::Seawall;
use super::world::in_memory;

/// A Seawall, its file, and where both are.
pub(crate) struct Configured {
    pub(crate) seawall: Arc<Seawall>,
    pub(crate) running: Running,
    pub(crate) source: Source,
    folder: TempDir,
}

/// An upstream `docker.io` that the tests' registry is, with more keys.
pub(crate) fn hub(more: &str) -> String {
    format!("[[upstream]]\nregistry = \"docker.io\"\nurl = \"http://hub.test\"\ninsecure = true\n{more}\n")
}

impl Configured {
    /// Starts with this text as its file.
    pub(crate) fn start(dialer: &Dialer, text: &str) -> Self {
        Self::start_in(in_memory(), dialer, text)
    }

    /// Stops as a clean stop does, once what was fetched is committed, and starts over the same directory with this
    /// text as its file.
    pub(crate) async fn restart(self, dialer: &Dialer, text: &str) -> Self {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Self {
            seawall,
            running,
            folder,
            ..
        } = self;
        drop(running);
        Arc::into_inner(seawall).unwrap().stop().await;
        Self::start_in(folder, dialer, text)
    }

    fn start_in(folder: TempDir, dialer: &Dialer, text: &str) -> Self {
        let cache = folder.path().join("cache");
        let source = Source {
            file: Some(folder.path().join("seawall.toml")),
            environment: Environment::of(&[("CACHE_DIRECTORY", cache.to_str().unwrap())]),
        };
        std::fs::write(source.file.as_ref().unwrap(), text).unwrap();
        let loaded = source.load().unwrap_or_else(|report| panic!("{report}"));
        let disk = Disk::open(&cache).unwrap();
        let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
        let running = Running::start(loaded, disk, dialer, None, (&tasks, &stopping));
        Self {
            seawall: Arc::new(Seawall::of(&running, tasks, stopping)),
            running,
            source,
            folder,
        }
    }

    /// Where the file stands.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder().join("seawall.toml")
    }

    /// Writes the file anew, and has it read.
    pub(crate) async fn change(&mut self, text: &str) -> Reload {
        std::fs::write(self.file(), text).unwrap();
        self.running.reload(&self.source, &By::Signal).await
    }
}
