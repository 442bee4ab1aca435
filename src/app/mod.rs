//! Wiring: the only place that sees every part.
//!
//! Start: disk, upstreams, cache, listeners, in this order, so that what fails says so before the first
//! client is met. Stop: listeners first, then connections and fills until the drain deadline, then records.

mod certificate;
mod listen;
mod reload;
mod running;
mod supervisor;
mod traces;
mod watch;

use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::listen::bind;
pub use self::reload::{By, Source};
pub use self::running::Running;
use self::supervisor::Sockets;
pub use self::traces::Exports;
use crate::config::{Loaded, Settings};
use crate::net::dial::Dialer;
use crate::store::{Disk, blocking};
use crate::telemetry::log::{self, LogGuard};

/// Unfinished downloads that nobody has resumed for this long are removed at the start.
const UNFINISHED_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why Seawall could not start, in a sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

/// Serves until SIGTERM or SIGINT, then drains. A second signal ends at once; SIGHUP has `source` read again. If
/// it `greets`, it says where it serves once it does.
///
/// # Errors
/// [`StartError`] if a listener, the cache directory or an upstream cannot be prepared.
pub fn serve(loaded: Loaded, source: Source, greets: bool) -> Result<(), StartError> {
    refuse_huge_pages();
    let log = &loaded.settings.log;
    let log = Arc::new(log::start(log.json, &log.level));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError(format!("the runtime cannot start: {error}")))?;
    let outcome = runtime.block_on(Box::pin(run(loaded, source, greets, &log)));
    // Blocking file work that is stuck on a dead disk does not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Has the kernel back memory with small pages. The allocator asks for huge ones otherwise: a process that has just
/// started holds 29 MB instead of 15, one that fetches 59 instead of 22, and a request stands still for milliseconds
/// while the kernel moves other pages out of the way of a huge one. Programs started from here inherit it.
fn refuse_huge_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages cannot be refused");
    }
}

async fn run(loaded: Loaded, source: Source, greets: bool, log: &Arc<LogGuard>) -> Result<(), StartError> {
    let tasks = TaskTracker::new();
    let settings = &loaded.settings;
    let disk = Disk::open(&settings.cache.directory).map_err(|error| StartError(error.to_string()))?;
    let drain = settings.server.drain;
    let sockets = Sockets::inherited()?;
    let listener = bind("listen", settings.server.listen, sockets.clients)?;
    let admin = bind("admin", settings.server.admin, sockets.admin)?;
    let greeting = greets.then(|| greeting(settings, &listener, &admin));
    let (shutdown, done) = (CancellationToken::new(), CancellationToken::new());
    let watchers = TaskTracker::new();
    watch_signals(&watchers, &shutdown, &done)?;
    let hangup = signal(SignalKind::hangup()).map_err(|error| no_signals(&error))?;
    let running = Running::start(
        loaded,
        disk,
        &Dialer::system(),
        Some(log.clone()),
        (&tasks, &shutdown),
    );
    sweep(&running, &tasks);
    let (reloads, asked) = mpsc::channel(reload::MOST_WAITING);
    running.take_reloads(reloads);
    let (server, exports) = (running.server().clone(), running.exports().clone());
    tasks.spawn(reload::attend(running, source, hangup, asked, shutdown.clone()));
    if let Some(greeting) = greeting {
        say(&greeting);
    }
    supervisor::tell(&watchers, &shutdown, &done);
    server.run(listener, admin, shutdown, tasks.clone()).await;
    tasks.close();
    if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
        tracing::warn!("downloads were still running at the drain deadline; the next start resumes them");
    }
    // What is remembered is written down when the last owner of the cache goes.
    drop(server);
    exports.finish().await;
    done.cancel();
    watchers.close();
    watchers.wait().await;
    Ok(())
}

/// Removes what an earlier process left unfinished, and nobody has resumed since.
fn sweep(running: &Running, tasks: &TaskTracker) {
    let (sweeping, clock) = (running.cache.clone(), running.clock);
    tasks.spawn(async move {
        let deadline = clock.now().to_system() - UNFINISHED_KEPT;
        if let Err(error) = blocking(move || sweeping.sweep_unfinished(deadline)).await {
            tracing::warn!(%error, "unfinished downloads could not be swept");
        }
    });
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Does `work` behind the clients' backs until it ends, or Seawall does.
fn spawn_until(tasks: &TaskTracker, shutdown: &CancellationToken, work: Work) {
    let stopping = shutdown.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = work => {}
            () = stopping.cancelled() => {}
        }
    });
}

/// Cancels `shutdown` at the first SIGTERM or SIGINT, exits at the second; until `done`.
fn watch_signals(
    watchers: &TaskTracker,
    shutdown: &CancellationToken,
    done: &CancellationToken,
) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| no_signals(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| no_signals(&error))?;
    let (shutdown, done) = (shutdown.clone(), done.clone());
    watchers.spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = done.cancelled() => return,
            }
            if shutdown.is_cancelled() {
                tracing::warn!("second signal: ending at once");
                std::process::exit(130);
            }
            shutdown.cancel();
        }
    });
    Ok(())
}

fn no_signals(error: &std::io::Error) -> StartError {
    StartError(format!("signals cannot be received: {error}"))
}

/// The one line a start prints.
fn greeting(settings: &Settings, listener: &TcpListener, admin: &TcpListener) -> String {
    let names = settings.names.iter().map(|entry| entry.pattern.to_string());
    let known = names.collect::<Vec<_>>().join(" ");
    let server = &settings.server;
    // What systemd opened, and a port that was left to the kernel, are known by now only.
    let listen = listener.local_addr().unwrap_or(server.listen);
    let admin = admin.local_addr().unwrap_or(server.admin);
    let scheme = |encrypted: bool| if encrypted { "https" } else { "http" };
    let unverified = if server.tls.is_some() {
        ""
    } else {
        " --tls-verify=false"
    };
    format!(
        "seawall {} serves {}://{listen} (admin {}://{admin}), caches in {}, knows {known}; try: \
         skopeo inspect{unverified} docker://{listen}/docker.io/library/alpine",
        env!("CARGO_PKG_VERSION"),
        scheme(server.tls.is_some()),
        scheme(server.operators.tls.is_some()),
        settings.cache.directory.display(),
    )
}

/// Prints a line for the operator. A closed stderr is no reason to stop.
fn say(line: &str) {
    let mut stderr = std::io::stderr().lock();
    if stderr.write_all(format!("{line}\n").as_bytes()).is_err() {
        tracing::debug!("stderr is closed");
    }
}
