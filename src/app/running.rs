//! What runs under a configuration, and how another one takes its place.
//!
//! What serves a request is one immutable value ([`Server::change`]): a request ends with the one it began with, the
//! next begins with the new one. What is done by the calendar waits anew; a run that is under way ends as it began.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Work;
use super::certificate::Certificate;
use super::traces::Exports;
use super::watch::Sight;
use crate::cache::{Cache, WRITERS};
use crate::clock::Clock;
use crate::config::{Loaded, Settings};
use crate::net::dial::Dialer;
use crate::policy::budget::Rules;
use crate::policy::naming::Names;
use crate::server::issuers::Issuers;
use crate::server::{AccessLog, Reloads, Server, Telling};
use crate::store::{Disk, Records, Shared, blocking};
use crate::telemetry::log::LogGuard;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::Tracing;
use crate::upstream::{Budgets, Upstreams};

/// Everything that runs under a configuration.
pub struct Running {
    pub(super) settings: Settings,
    /// The files that the configuration names, and how they were seen before they were read.
    pub(super) files: Vec<PathBuf>,
    pub(super) seen: Sight,
    pub(super) server: Server,
    pub(super) cache: Arc<Cache>,
    issuers: Arc<Issuers>,
    dialer: Dialer,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    log: Option<Arc<LogGuard>>,
    exports: Exports,
    traces: Tracing,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Ends what waits for its time under the present configuration.
    replaced: CancellationToken,
}

impl Running {
    /// Begins to run, but for the listeners. What is done behind the clients' backs runs in `tasks`, until
    /// `shutdown`. Without `log` nothing is logged of requests.
    pub fn start(
        Loaded { settings, files, .. }: Loaded,
        disk: Disk,
        dialer: &Dialer,
        log: Option<Arc<LogGuard>>,
        (tasks, shutdown): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let clock = Clock::start();
        let metrics = Arc::new(Metrics::new());
        metrics.config.started(clock.now().as_millis());
        let records = Records::open(&disk.records_path());
        let budgets = Budgets {
            rules: Rules {
                reserves: settings.server.clients.reserves(),
            },
            ledgers: records.ledgers(),
        };
        let upstreams = Upstreams::new(settings.upstreams.clone(), budgets, dialer, clock);
        let upstreams = Arc::new(upstreams.counting(metrics.upstreams.clone()));
        let cache = Arc::new(Cache::new(
            settings.cache.clone(),
            disk,
            records,
            upstreams,
            metrics.clone(),
            tasks.clone(),
            clock,
        ));
        let shelf = settings.shared.clone();
        match shelf.map(|options| Shared::open(options, dialer, metrics.shared.clone(), clock)) {
            Some(Ok(shelf)) => cache.share(shelf),
            Some(Err(why)) => tracing::error!(why, "there is no shared shelf"),
            None => {}
        }
        let issuers = Arc::new(Issuers::new(&settings.server.issuers, None, dialer, clock));
        let exports = Exports::new(dialer, metrics.traces.clone());
        let traces = exports.begin(&settings.trace);
        let server = Server::new(
            settings.server.clone(),
            cache.clone(),
            Arc::new(Names::new(settings.names.clone())),
            metrics.clone(),
            Telling {
                log: requests(&settings, log.as_deref()),
                traces: traces.clone(),
            },
            issuers.clone(),
            clock,
        );
        let running = Self {
            settings,
            files,
            seen: Sight::new(),
            server,
            cache,
            issuers,
            dialer: dialer.clone(),
            metrics,
            clock,
            log,
            exports,
            traces,
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
            replaced: CancellationToken::new(),
        };
        running.tend();
        running.begin();
        running
    }

    /// What serves.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What it is served from, under the present configuration.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// What it counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What hands spans to the collector of traces.
    pub fn exports(&self) -> &Exports {
        &self.exports
    }

    /// Has reloads asked for there.
    pub fn take_reloads(&self, reloads: Reloads) {
        self.server.take_reloads(reloads);
    }

    /// Looks after the disk: under the first configuration, since nothing of it is another in any other.
    fn tend(&self) {
        let healing = self.cache.clone();
        self.behind(Box::pin(async move { healing.heal_disk().await }));
        let (tended, stopping) = (self.cache.clone(), self.shutdown.clone());
        self.tasks.spawn(async move { tended.tend(&stopping).await });
        for _ in 0..WRITERS {
            let putting = self.cache.clone();
            self.behind(Box::pin(async move { putting.fill_shared_shelf().await }));
        }
        self.scrub();
        self.read_budgets();
    }

    /// Begins to hash everything again.
    fn scrub(&self) {
        let (scrubbed, stopping) = (self.cache.clone(), self.shutdown.clone());
        let replaced = self.replaced.clone();
        self.tasks.spawn(async move {
            let stop = stopping.child_token();
            let end = replaced.run_until_cancelled(scrubbed.scrub(&stop));
            end.await;
        });
    }

    fn read_budgets(&self) {
        let (reading, replaced) = (self.cache.clone(), self.replaced.clone());
        self.behind(Box::pin(async move {
            // What is left unread is read by the next configuration.
            replaced.run_until_cancelled(reading.read_budgets()).await;
        }));
    }

    /// Begins what is done by the calendar.
    fn begin(&self) {
        let certificate = Certificate {
            serving: self.settings.server.tls.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock,
            dialer: self.dialer.clone(),
        };
        let replaced = self.replaced.clone();
        self.behind(Box::pin(async move {
            replaced.run_until_cancelled(certificate.keep()).await;
        }));
        let names = Arc::new(Names::new(self.settings.names.clone()));
        for purge in self.settings.purges.clone() {
            let (purging, replaced) = (self.cache.clone(), self.replaced.clone());
            self.behind(Box::pin(async move {
                purging.purge_by_calendar(&purge, &replaced).await;
            }));
        }
        for work in self.issuers.works() {
            let replaced = self.replaced.clone();
            self.behind(Box::pin(async move {
                replaced.run_until_cancelled(work).await;
            }));
        }
        for warm in self.settings.warms.clone() {
            let (warming, replaced, names) = (self.cache.clone(), self.replaced.clone(), names.clone());
            self.behind(Box::pin(async move {
                warming.warm_by_calendar(&warm, &names, &replaced).await;
            }));
        }
    }

    fn behind(&self, work: Work) {
        super::spawn_until(&self.tasks, &self.shutdown, work);
    }

    /// Runs under these settings from now on, but for what needs a restart.
    ///
    /// Not cancel-safe: what is half changed stays so.
    pub(super) async fn change(&mut self, settings: Settings) {
        let settings = settings.beside(&self.settings);
        let (cache, options) = (self.cache.clone(), settings.cache.clone());
        let upstreams = settings.upstreams.clone();
        let changed = blocking(move || Ok(Arc::new(cache.changed(options, upstreams)))).await;
        let Ok(cache) = changed else {
            tracing::error!("the configuration could not be changed; it stays as it was");
            return;
        };
        let sources = &settings.server.issuers;
        let issuers = Issuers::new(sources, Some(&self.issuers), &self.dialer, self.clock);
        self.issuers = Arc::new(issuers);
        if let Some(log) = &self.log
            && settings.log.level != self.settings.log.level
        {
            log.set_level(&settings.log.level);
        }
        // What waits under the configuration before is handed over to where it was to go.
        if settings.trace != self.settings.trace {
            let (exports, options) = (self.exports.clone(), settings.trace.clone());
            let begun = blocking(move || Ok(exports.begin(&options))).await;
            self.traces = begun.unwrap_or_default();
        }
        self.server.change(
            settings.server.clone(),
            cache.clone(),
            Arc::new(Names::new(settings.names.clone())),
            Telling {
                log: requests(&settings, self.log.as_deref()),
                traces: self.traces.clone(),
            },
            self.issuers.clone(),
        );
        std::mem::take(&mut self.replaced).cancel();
        (self.settings, self.cache) = (settings, cache);
        self.begin();
        self.scrub();
        self.read_budgets();
    }
}

/// The log of requests, if there is to be one.
fn requests(settings: &Settings, log: Option<&LogGuard>) -> Option<AccessLog> {
    let log = log.filter(|_| settings.log.requests)?;
    Some(AccessLog {
        lines: log.requests(),
        json: settings.log.json,
    })
}
