//! Reads the configuration again, and has what is another in it hold: at SIGHUP, by `seawall reload`, when a file
//! changes. One reload at a time; a wrong configuration changes nothing.

use std::fmt;
use std::path::PathBuf;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::running::Running;
use super::supervisor;
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
}

/// Who asks for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// SIGHUP.
    Signal,
    /// `seawall reload`, or whoever else asks the admin listener.
    Command,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal => "SIGHUP",
            Self::Command => "the admin listener",
        })
    }
}

impl Running {
    /// Reads the configuration again, and runs under it if there is no problem with it. Every change is logged.
    ///
    /// Not cancel-safe: what is half changed stays so.
    pub async fn reload(&mut self, source: &Source, by: By) -> Reload {
        supervisor::reloading();
        let again = source.clone();
        let read = blocking(move || Ok(again.load())).await;
        let outcome = match read {
            Ok(Ok(loaded)) => {
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

    async fn take_over(&mut self, loaded: Loaded, by: By) -> Reload {
        let changes = Changes::between(&self.settings, &loaded.settings);
        if changes.live.is_empty() {
            tracing::info!(%by, "the configuration was read again; nothing in it holds that did not before");
        } else {
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
fn refuse(report: &Report, by: By) -> Reload {
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

/// Reloads whenever it is asked for, until `stop`.
pub(super) async fn attend(
    mut running: Running,
    source: Source,
    mut hangup: Signal,
    mut asked: mpsc::Receiver<ReloadRequest>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            received = hangup.recv() => match received {
                Some(()) => drop(running.reload(&source, By::Signal).await),
                None => return,
            },
            Some(answer) = asked.recv() => {
                // Whoever asked may be gone.
                let _ = answer.send(running.reload(&source, By::Command).await);
            }
        }
    }
}
