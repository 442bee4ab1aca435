//! Has a certificate renewed by ACME, in time.
//!
//! Whatever goes wrong, what is shown goes on being shown. How asking went is written down before it is done: a process
//! that ends again and again is not to lock itself out of its authority.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Certificate;
use crate::clock::Time;
use crate::net::acme::{Acme, Kept, obtain, read_kept, write_kept};
use crate::net::serving::Serving;
use crate::policy::renewal::{Attempts, Life, Step, next};
use crate::store::blocking;
use crate::telemetry::metrics::certificate::Renewal;

/// How long is slept at a time at most: another clock may have been set by then.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);
/// Time that one order has.
const LIMIT: Duration = Duration::from_secs(300);

/// [`Attempts`] as they are kept.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    failed: u32,
    /// In milliseconds since the Unix epoch.
    last: Option<u64>,
}

impl From<Attempts> for Written {
    fn from(attempts: Attempts) -> Self {
        Self {
            failed: attempts.failed,
            last: attempts.last.map(Time::as_millis),
        }
    }
}

impl From<Written> for Attempts {
    fn from(written: Written) -> Self {
        Self {
            failed: written.failed,
            last: written.last.map(Time::from_millis),
        }
    }
}

impl Certificate {
    /// Renews the certificate whenever that is due, for ever.
    ///
    /// Cancel-safe: an order that is dropped is made again.
    pub(super) async fn renew_in_time(&self, serving: &Serving, acme: &Acme) {
        let mut attempts = self.attempts(&acme.store).await;
        let spread = rand::random();
        loop {
            let now = self.clock.now();
            match next(life(serving, acme), attempts, now, spread) {
                Step::Wait(until) => tokio::time::sleep(until.since(now).min(LONGEST_SLEEP)).await,
                Step::Ask => {
                    attempts = attempts.begun(now);
                    self.keep_attempts(&acme.store, attempts).await;
                    match self.renew(serving, acme).await {
                        Ok(until) => {
                            attempts = Attempts::default();
                            self.keep_attempts(&acme.store, attempts).await;
                            self.metrics.certificate.renewed(Renewal::Renewed);
                            self.metrics.certificate.is_good_until(until.map(Time::as_millis));
                            let until = until.map_or_else(|| "?".to_owned(), |until| format!("{until:#}"));
                            tracing::info!(names = acme.domains.join(" "), %until, "the certificate was renewed");
                        }
                        Err(why) => {
                            self.metrics.certificate.renewed(Renewal::Failed);
                            self.tell(serving, acme, attempts, &why, spread);
                        }
                    }
                }
            }
        }
    }

    /// Asks for a certificate, keeps it and shows it; until when it is good.
    async fn renew(&self, serving: &Serving, acme: &Acme) -> Result<Option<Time>, String> {
        let store = acme.store.clone();
        let kept = blocking(move || read_kept(&store, Kept::Account)).await;
        let in_store = |error: &io::Error| format!("{}: {error}", acme.store.display());
        let mut account = kept.map_err(|error| in_store(&error))?;
        let before = account.clone();
        let obtained = Box::pin(obtain(acme, serving.shown(), &self.dialer, &mut account));
        let obtained = tokio::time::timeout(LIMIT, obtained).await;
        if let Some(account) = account.filter(|account| before.as_ref() != Some(account)) {
            keep(&acme.store, Kept::Account, account)
                .await
                .map_err(|error| in_store(&error))?;
        }
        let certificate = obtained.map_err(|_| format!("there is none after {} s", LIMIT.as_secs()))??;
        keep(&acme.store, Kept::Certificate, certificate)
            .await
            .map_err(|error| in_store(&error))?;
        let taking = serving.clone();
        let taken = blocking(move || taking.take_new().map_err(io::Error::other)).await;
        taken.map_err(|error| error.to_string())?;
        Ok(serving.life().map(|(_, until, _)| until))
    }

    fn tell(&self, serving: &Serving, acme: &Acme, attempts: Attempts, why: &str, spread: f64) {
        let now = self.clock.now();
        let life = life(serving, acme);
        let again = match next(life, attempts, now, spread) {
            Step::Wait(until) => format!("{until:#}"),
            Step::Ask => "now".to_owned(),
        };
        let names = acme.domains.join(" ");
        match life.filter(|life| life.is_good(now)) {
            Some(life) => {
                let until = format!("{:#}", life.until);
                tracing::warn!(names, %until, %again, "the certificate could not be renewed, and is good until then: {why}");
            }
            None => tracing::error!(names, %again, "there is no good certificate, and none was given: {why}"),
        }
    }

    async fn attempts(&self, store: &Path) -> Attempts {
        let store = store.to_owned();
        let kept = blocking(move || read_kept(&store, Kept::Attempts)).await;
        let written: Option<Written> = kept
            .ok()
            .flatten()
            .and_then(|text| serde_json::from_str(&text).ok());
        written.unwrap_or_default().into()
    }

    async fn keep_attempts(&self, store: &Path, attempts: Attempts) {
        let text = serde_json::to_string(&Written::from(attempts)).unwrap_or_default();
        if let Err(error) = keep(store, Kept::Attempts, text).await {
            tracing::warn!(store = %store.display(), %error, "what came of asking for a certificate could not be kept");
        }
    }
}

async fn keep(store: &Path, what: Kept, content: String) -> io::Result<()> {
    let store = store.to_owned();
    blocking(move || write_kept(&store, what, &content)).await
}

/// The life of what is shown, if it is for all the names that it should be for.
fn life(serving: &Serving, acme: &Acme) -> Option<Life> {
    let (from, until, names) = serving.life()?;
    let is_named = |domain: &String| names.iter().any(|name| name.eq_ignore_ascii_case(domain));
    acme.domains.iter().all(is_named).then_some(Life { from, until })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::net::dial::{Dialer, Proxies};
    use crate::telemetry::metrics::Metrics;

    fn acme(store: &Path, domains: &[&str]) -> Acme {
        Acme {
            directory: "https://ca.test/directory".parse().unwrap(),
            ca: None,
            roots: Vec::new(),
            domains: domains.iter().map(ToString::to_string).collect(),
            contact: Vec::new(),
            store: store.to_owned(),
        }
    }

    /// A certificate of its own for a name, and its key, in PEM.
    fn certificate(name: &str) -> String {
        let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        format!("{}{}", own.cert.pem(), own.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_that_is_not_for_all_names_is_as_none() {
        let store = tempfile::tempdir().unwrap();
        write_kept(store.path(), Kept::Certificate, &certificate("Cache.test")).unwrap();
        for (domains, is_it) in [
            (&["cache.test"][..], true),
            (&["cache.test", "other.test"], false),
            (&["other.test"], false),
        ] {
            let serving = Serving::issued(acme(store.path(), domains), None).unwrap();
            let found = life(&serving, &acme(store.path(), domains));
            assert_eq!(found.is_some(), is_it, "{domains:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn that_it_is_asked_for_is_written_down_before_anybody_answers() {
        let store = tempfile::tempdir().unwrap();
        let serving = Serving::issued(acme(store.path(), &["cache.test"]), None).unwrap();
        let silent = Dialer {
            resolve: Arc::new(|_| Box::pin(std::future::pending())),
            connect: Arc::new(|_| Box::pin(std::future::pending())),
            proxies: Proxies::Never,
        };
        let begin = || Certificate {
            serving: Some(serving.clone()),
            metrics: Arc::new(Metrics::new()),
            clock: Clock::start(),
            dialer: silent.clone(),
        };
        // Each is a process that ends before it has an answer.
        for (process, failed) in [1, 1, 2].into_iter().enumerate() {
            let asked = tokio::time::timeout(Duration::from_secs(1), begin().keep());
            assert!(asked.await.is_err());
            let kept = read_kept(store.path(), Kept::Attempts).unwrap().unwrap();
            let written: Written = serde_json::from_str(&kept).unwrap();
            assert_eq!(written.failed, failed, "process {process}");
            if process == 1 {
                // The first pause is over.
                let waited = Written {
                    last: Some(1),
                    ..written
                };
                let kept = serde_json::to_string(&waited).unwrap();
                write_kept(store.path(), Kept::Attempts, &kept).unwrap();
            }
        }
    }
}
