//! Child processes that end with their owner, and the waiting for them.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// What everything here returns: an error is a sentence for the person who reads the test's output.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// How long a process may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(10);

/// A child process, ended by its id when this is dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; standard output goes to `<name>.out` and standard error to `<name>.log` under `logs`.
    pub(crate) fn start(name: &str, mut command: Command, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let child = command
            .stdin(Stdio::null())
            .stdout(append(&logs.join(format!("{name}.out")))?)
            .stderr(append(&log)?)
            .spawn()
            .map_err(|error| {
                format!("{name} does not start ({error}); is it installed? `tests/run` does it")
            })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its standard error goes.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until `ready`; a process that ends or takes longer is an error with the end of its log.
    pub(crate) fn wait_ready(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result {
        let start = Instant::now();
        while !ready() {
            let problem = match self.child.try_wait()? {
                Some(status) => format!("ended ({status})"),
                None if start.elapsed() > limit => format!("was not ready after {limit:?}"),
                None => {
                    std::thread::sleep(POLL);
                    continue;
                }
            };
            return Err(format!("{} {problem}; its log ends:\n{}", self.name, tail(&self.log, 20)).into());
        }
        Ok(())
    }

    /// Kills it with SIGKILL: nothing it does about it can help.
    pub(crate) fn kill(&mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end with SIGTERM, and kills it if it has not after a while.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        run(command("kill").arg(self.id().to_string()))?;
        self.ended(STOP)
    }

    /// Waits for its end, and kills it if that has not come in time.
    pub(crate) fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        self.kill()?;
        Err(format!("{} did not end within {limit:?}", self.name).into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM first: nginx and dockerd would leave children or mounts behind after a SIGKILL. What does
        // not end is killed there, and an error means that it has ended.
        let _ = self.stop();
    }
}

/// A command without the proxies of the caller's environment: all traffic here stays on loopback.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
}

/// Runs `command` to its end and gives its standard output; a failure carries what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        format!("{command:?} does not start ({error}); is it installed? `tests/run` does it")
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} failed ({}):\n{text}{errors}", output.status).into())
}

/// A loopback address with a port that is free and stays so: each is given once, and from below those that
/// the kernel gives to connections (32768 and up, `ip_local_port_range`).
pub(crate) fn free_address() -> Result<String> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Where to begin differs between programs that run at once.
    let first = u16::try_from(std::process::id() % 16_000)?;
    for _ in 0..16_000 {
        let port = 16_000 + (first + GIVEN.fetch_add(1, Relaxed) % 16_000) % 16_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener.local_addr()?.to_string());
        }
    }
    Err("no port from 16000 to 31999 is free on 127.0.0.1".into())
}

/// Waits until `done`, or says that `what` did not come about.
pub(crate) fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Result {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            return Err(format!("after {limit:?} still waiting for: {what}").into());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// A log goes on where the process before left it, so that a crash can be read after a restart.
fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The last `lines` lines of a file; empty if it cannot be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
