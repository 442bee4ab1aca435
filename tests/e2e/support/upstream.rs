//! The upstream: Debian's docker-registry on loopback, with an access log that the tests read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::{self, Process, Result, command, free_address, wait_until};

/// One line of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The method.
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) target: String,
    /// The status it got.
    pub(crate) status: u16,
}

/// A running docker-registry; it ends with this.
pub(crate) struct Upstream {
    /// Host and port.
    pub(crate) address: String,
    process: Process,
    access_log: PathBuf,
    store: PathBuf,
}

impl Upstream {
    /// Starts it with an empty store under `root`.
    pub(crate) fn start(root: &Path) -> Result<Self> {
        Self::start_over(root, &root.join("registry"), "")
    }

    /// Another one over the same store, which takes those in this htpasswd file only.
    #[allow(dead_code, reason = "the benchmark does not")]
    pub(crate) fn start_locked(&self, root: &Path, htpasswd: &Path) -> Result<Self> {
        let auth = format!(
            "auth: {{ htpasswd: {{ realm: registry, path: {} }} }}\n",
            htpasswd.display()
        );
        Self::start_over(root, &self.store, &auth)
    }

    fn start_over(root: &Path, store: &Path, more: &str) -> Result<Self> {
        let address = free_address()?;
        let config = root.join("registry.yml");
        std::fs::write(&config, settings(store, &address) + more)?;
        let mut serve = command("docker-registry");
        serve.arg("serve").arg(&config).env_remove("OTEL_TRACES_EXPORTER");
        let mut process = Process::start("upstream", serve, root)?;
        process.wait_ready(Duration::from_secs(20), || is_up(&address))?;
        Ok(Self {
            address,
            process,
            access_log: root.join("upstream.out"),
            store: store.to_owned(),
        })
    }

    /// Its process id.
    #[allow(dead_code, reason = "the benchmark counts its CPU seconds, the tests do not")]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its logs: errors, then accesses.
    pub(crate) fn logs(&self) -> [PathBuf; 2] {
        [self.process.log().to_owned(), self.access_log.clone()]
    }

    /// What was asked of it so far. A line is written after the answer has left, so this first waits until
    /// a question of its own shows up, which the log holds after all that ended before.
    pub(crate) fn asked(&self) -> Result<Vec<Asked>> {
        let before = self.lines().len();
        process::wait_until(
            "the upstream's own ping in its log",
            Duration::from_secs(5),
            || is_up(&self.address) && self.lines().len() > before,
        )?;
        settle(|| self.lines().len())?;
        Ok(self
            .lines()
            .into_iter()
            .filter(|asked| asked.target != "/v2/")
            .collect())
    }

    fn lines(&self) -> Vec<Asked> {
        let text = std::fs::read_to_string(&self.access_log).unwrap_or_default();
        text.lines().filter_map(parse).collect()
    }
}

/// Waits until two looks some time apart see the same.
fn settle(mut look: impl FnMut() -> usize) -> Result {
    let mut last = usize::MAX;
    wait_until("the access log to come to rest", Duration::from_secs(10), || {
        std::thread::sleep(Duration::from_millis(100));
        let now = look();
        std::mem::replace(&mut last, now) == now
    })
}

fn is_up(address: &str) -> bool {
    super::http::get(address, "/v2/").is_ok_and(|answer| matches!(answer.status, 200 | 401))
}

/// A line in Apache's combined format: `… [date] "GET /v2/… HTTP/1.1" 200 …`.
fn parse(line: &str) -> Option<Asked> {
    let mut quoted = line.split('"').skip(1);
    let mut request = quoted.next()?.split(' ');
    let status = quoted.next()?.split_whitespace().next()?.parse().ok()?;
    Some(Asked {
        method: request.next()?.to_owned(),
        target: request.next()?.to_owned(),
        status,
    })
}

fn settings(store: &Path, address: &str) -> String {
    format!(
        "version: 0.1\n\
         log: {{ level: warn, accesslog: {{ disabled: false }} }}\n\
         storage:\n  cache: {{ blobdescriptor: inmemory }}\n  filesystem: {{ rootdirectory: {} }}\n\
         http: {{ addr: \"{address}\" }}\n",
        store.display()
    )
}
