//! The binary under test, as its operator runs it: a configuration file and `seawall serve`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::process::{Process, Result, command, free_address};

/// How long a start may take until it is ready.
const START: Duration = Duration::from_secs(10);

/// A running Seawall, or the place where one would be.
pub(crate) struct Seawall {
    /// Where clients pull: host and port.
    pub(crate) address: String,
    /// Where clients that name no registry in their requests pull `docker.io` from: host, port and path.
    pub(crate) location: String,
    /// Where its operator asks: host and port.
    #[allow(dead_code, reason = "the benchmark does not ask")]
    pub(crate) admin: String,
    process: Option<Process>,
    directory: PathBuf,
}

impl Seawall {
    /// Starts it on `directory` (cache, configuration, log) before the upstream at `upstream`, until ready.
    /// `more` is put at the end of its configuration.
    pub(crate) fn start(directory: &Path, upstream: &str, more: &str) -> Result<Self> {
        Self::start_with(directory, upstream, "", more)
    }

    /// As [`Self::start`], with more lines in `[server]`.
    pub(crate) fn start_with(directory: &Path, upstream: &str, server: &str, more: &str) -> Result<Self> {
        let serve = command(env!("CARGO_BIN_EXE_seawall"));
        Self::start_by(serve, directory, upstream, server, more)
    }

    /// As [`Self::start`], as an account that owns nothing.
    #[allow(dead_code, reason = "the benchmark does not")]
    pub(crate) fn start_as_nobody(directory: &Path, upstream: &str) -> Result<Self> {
        let mut serve = command("setpriv");
        serve.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        serve.arg(env!("CARGO_BIN_EXE_seawall"));
        Self::start_by(serve, directory, upstream, "", "")
    }

    /// As [`Self::start_with`], by this command, to which arguments are added.
    pub(crate) fn start_by(
        mut serve: Command,
        directory: &Path,
        upstream: &str,
        server: &str,
        more: &str,
    ) -> Result<Self> {
        let (address, admin) = (free_address()?, free_address()?);
        let config = directory.join("seawall.toml");
        let cache = directory.join("cache");
        std::fs::write(
            &config,
            settings(&address, &admin, server, &cache, upstream) + more,
        )?;
        serve.arg("serve").arg("--config").arg(&config);
        // For its ninth arena the C library counts processors, by opening a file: a test that freezes what is
        // opened would freeze that too.
        serve.env("MALLOC_ARENA_MAX", "16");
        let mut process = Process::start("seawall", serve, directory)?;
        process.wait_ready(START, || {
            super::http::get(&admin, "/readyz").is_ok_and(|answer| answer.status == 200)
        })?;
        let location = format!("{address}/docker.io");
        Ok(Self {
            address,
            location,
            admin,
            process: Some(process),
            directory: directory.to_owned(),
        })
    }

    /// No Seawall: clients pull from `upstream`.
    pub(crate) fn absent(upstream: &str) -> Self {
        let (address, location) = (upstream.to_owned(), upstream.to_owned());
        Self {
            address,
            location,
            admin: String::new(),
            process: None,
            directory: PathBuf::new(),
        }
    }

    /// Its process id.
    #[allow(dead_code, reason = "the benchmark counts its CPU seconds, the tests do not")]
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::id)
    }

    /// Its log.
    pub(crate) fn log(&self) -> &Path {
        self.process.as_ref().map_or(Path::new("/dev/null"), Process::log)
    }

    /// The part of its cache directory where the content is.
    pub(crate) fn shelves(&self) -> PathBuf {
        self.directory.join("cache/v1")
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) -> Result {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Waits for its end, which somebody else brings about; later than that is an error.
    #[allow(dead_code, reason = "the benchmark ends its own")]
    pub(crate) fn ended(mut self, limit: Duration) -> Result<ExitStatus> {
        let process = self.process.as_mut().ok_or("there is no Seawall to wait for")?;
        process.ended(limit)
    }

    /// Ends it with SIGTERM, as an operator does; ending otherwise than well is an error.
    pub(crate) fn stop(mut self) -> Result {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let status = process.stop()?;
        if status.success() {
            return Ok(());
        }
        Err(format!("seawall ended with {status} after SIGTERM").into())
    }
}

fn settings(listen: &str, admin: &str, server: &str, cache: &Path, upstream: &str) -> String {
    format!(
        "[server]\nlisten = \"{listen}\"\nadmin = \"{admin}\"\n{server}\n\
         [cache]\ndirectory = \"{}\"\nmin_free = \"0B\"\n\n\
         [[upstream]]\nregistry = \"docker.io\"\nurl = \"http://{upstream}\"\ndefault = true\n",
        cache.display()
    )
}
