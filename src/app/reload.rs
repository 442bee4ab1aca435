//! Reads the configuration again, and has what has changed in it hold: at SIGHUP, by `seawall reload`, when a file
//! changes. One reload at a time; a wrong configuration changes nothing.

use std::fmt;
use std::path::PathBuf;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::running::Running;
use super::supervisor;
use super::watch::{Sight, Watch, look};
use crate::config::{self, Changes, Environment, Loaded, Report};
use crate::server::{Reload, ReloadRequest};
use crate::store::blocking;
use crate::telemetry::metrics::config::Reloaded;

/// Reloads that may wait to be asked for; whoever comes later is told that there are too many.
pub(super) const MOST_WAITING: usize = 8;

/// Where the configuration comes from.
#[derive(Clone)]
pub struct Source {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The environment of the process, which does not change.
    pub environment: Environment,
}

impl Source {
    /// Reads the configuration. Blocks on the disk.
    ///
    /// # Errors
    /// A [`Report`] of every problem, if there is any.
    pub fn load(&self) -> Result<Loaded, Report> {
        config::load(self.file.as_deref(), &self.environment)
    }

    /// The file itself, and those that it names.
    fn all(&self, mut named: Vec<PathBuf>) -> Vec<PathBuf> {
        named.extend(self.file.clone());
        named
    }
}

/// Who asks for a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// SIGHUP.
    Signal,
    /// `seawall reload`, or whoever else asks the admin listener.
    Command,
    /// One of these files has changed.
    Files(Vec<PathBuf>),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal => f.write_str("SIGHUP"),
            Self::Command => f.write_str("the admin listener"),
            Self::Files(files) => {
                let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
                write!(f, "a change of {}", names.join(", "))
            }
        }
    }
}

impl Running {
    /// Reads the configuration again, and runs under it if there is no problem with it. Every change is logged.
    ///
    /// Not cancel-safe: what is half changed stays so.
    pub async fn reload(&mut self, source: &Source, by: &By) -> Reload {
        supervisor::reloading();
        let (again, known) = (source.clone(), self.files.clone());
        // What changes while it is read is seen at the next look.
        let read = blocking(move || Ok((look(&again.all(known)), again.load()))).await;
        let (seen, read) = match read {
            Ok((seen, read)) => (seen, Ok(read)),
            Err(error) => (Sight::new(), Err(error)),
        };
        self.seen = seen;
        let outcome = match read {
            Ok(Ok(loaded)) => {
                // A file that was not named before may be another by now: its first look counts.
                let named: Vec<PathBuf> = loaded
                    .files
                    .iter()
                    .filter(|file| !self.seen.contains_key(*file))
                    .cloned()
                    .collect();
                if let Ok(more) = blocking(move || Ok(look(&named))).await {
                    self.seen.extend(more);
                }
                self.files.clone_from(&loaded.files);
                let current = source.all(loaded.files.clone());
                self.seen.retain(|file, _| current.contains(file));
                for warning in &loaded.warnings {
                    tracing::warn!(%by, "{warning}");
                }
                self.take_over(loaded, by).await
            }
            Ok(Err(report)) => refuse(&report, by),
            Err(error) => Reload {
                problems: vec![format!("the configuration could not be read: {error}")],
                ..Reload::default()
            },
        };
        let what = match outcome.applied {
            true => Reloaded::Applied,
            false => Reloaded::Refused,
        };
        self.metrics.config.reloaded(what, self.clock.now().as_millis());
        supervisor::ready();
        outcome
    }

    async fn take_over(&mut self, loaded: Loaded, by: &By) -> Reload {
        let changes = Changes::between(&self.settings, &loaded.settings);
        if changes.is_empty() {
            tracing::info!(%by, "the configuration was read again: nothing has changed");
        }
        if !changes.live.is_empty() {
            self.change(loaded.settings).await;
        }
        for change in &changes.live {
            tracing::info!(%by, "changed: {change}");
        }
        for change in &changes.restart {
            tracing::warn!(%by, "restart to apply: {change}");
        }
        let words = |changes: &[config::Change]| changes.iter().map(ToString::to_string).collect();
        Reload {
            applied: true,
            changed: words(&changes.live),
            restart: words(&changes.restart),
            problems: Vec::new(),
        }
    }
}

/// Tells every problem, as a start would.
fn refuse(report: &Report, by: &By) -> Reload {
    let file = report.file.as_ref().map(|file| format!("{}:", file.display()));
    let file = file.unwrap_or_default();
    let problem = |problem: &config::Problem| {
        let hint = problem.hint.as_ref().map(|hint| format!("; {hint}"));
        format!(
            "{file}{}: {}{}",
            problem.place,
            problem.what,
            hint.unwrap_or_default()
        )
    };
    let problems: Vec<String> = report.problems.iter().map(problem).collect();
    for problem in &problems {
        tracing::error!(%by, "the configuration stays as it was: {problem}");
    }
    Reload {
        problems,
        ..Reload::default()
    }
}

/// Reloads whenever it is asked for and whenever a file has changed, until `stop`.
pub(super) async fn attend(
    mut running: Running,
    source: Source,
    mut hangup: Signal,
    mut asked: mpsc::Receiver<ReloadRequest>,
    stop: CancellationToken,
) {
    let mut watch = running.watch(&source).await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            received = hangup.recv() => match received {
                Some(()) => drop(running.reload(&source, &By::Signal).await),
                None => return,
            },
            Some(answer) = asked.recv() => {
                // Whoever asked may be gone.
                let _ = answer.send(running.reload(&source, &By::Command).await);
            }
            files = watch.next() => match files.is_empty() {
                true => continue,
                false => drop(running.reload(&source, &By::Files(files)).await),
            },
        }
        watch = Watch::new(running.seen.clone());
    }
}

impl Running {
    /// Watches the files of the configuration it was started with.
    async fn watch(&mut self, source: &Source) -> Watch {
        let files = source.all(self.files.clone());
        // One that was changed since it was read is found by whoever changes it again, or asks.
        self.seen = blocking(move || Ok(look(&files))).await.unwrap_or_default();
        Watch::new(self.seen.clone())
    }

    /// Waits until files of the configuration are others and have come to rest, and reads it again.
    ///
    /// Not cancel-safe: what is half changed stays so.
    pub async fn follow_files(&mut self, source: &Source) -> Reload {
        let mut watch = match self.seen.is_empty() {
            true => self.watch(source).await,
            false => Watch::new(self.seen.clone()),
        };
        loop {
            let files = watch.next().await;
            if !files.is_empty() {
                return self.reload(source, &By::Files(files)).await;
            }
        }
    }
}
