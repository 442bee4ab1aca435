//! The keys of other issuers: fetched, held, and fetched again.
//!
//! They are asked for behind the clients' backs, at half of their life, so that nobody waits for them; a request asks
//! only where there are none yet, or where its token names one that is not held, which strangers can do once a minute
//! and no more. Where keys are fetched from is written in the configuration, and never in a token.

mod fetch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use http::Uri;
use tokio::sync::Semaphore;

use self::fetch::Fetch;
use crate::cache::IssuerStatus;
use crate::clock::{Clock, Time};
use crate::net::dial::Dialer;
use crate::policy::issuers::{KeySet, Refresh};
use crate::server::lock;
use crate::upstream::Secret;

/// Where the keys of one issuer are.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// What the configuration calls the issuer.
    pub name: String,
    /// What its tokens call it.
    pub url: String,
    /// Where its keys are.
    pub keys: Place,
    /// The certificates (DER) that are trusted for that, instead of the machine's.
    pub ca: Vec<Vec<u8>>,
    /// What is sent along as a bearer token, to that place and no other.
    pub token: Option<Secret>,
}

impl Source {
    /// True if the keys of both are the same ones, and come by the same certificates.
    fn has_keys_of(&self, other: &Self) -> bool {
        (&self.name, &self.url, &self.keys, &self.ca) == (&other.name, &other.url, &other.keys, &other.ca)
    }
}

/// Where keys are.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Where the issuer says, below its own URL (OpenID Connect Discovery).
    Discovered,
    /// There.
    At(Uri),
    /// In a file that the configuration names: these.
    Held {
        /// The file.
        file: PathBuf,
        /// What stood in it when the configuration was read.
        keys: KeySet,
    },
}

/// The issuers of a configuration, and their keys.
pub struct Issuers(Vec<Arc<Watched>>);

/// One issuer, and its keys.
struct Watched {
    source: Source,
    /// `None` where nothing is fetched.
    fetch: Option<Fetch>,
    /// Held by whoever fetches.
    turn: Semaphore,
    state: Mutex<State>,
    clock: Clock,
}

#[derive(Clone, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    refresh: Refresh,
    error: Option<String>,
}

impl Issuers {
    /// Issuers whose keys nobody has fetched yet, unless they are those of `before`.
    pub fn new(sources: &[Source], before: Option<&Self>, dialer: &Dialer, clock: Clock) -> Self {
        let watched = |source: &Source| {
            let mut known = before.into_iter().flat_map(|before| &before.0);
            match known.find(|watched| watched.source.has_keys_of(source)) {
                Some(same) if same.source == *source => same.clone(),
                // What is sent along was renewed: keys that were read with the old one are as good.
                Some(same) => {
                    let watched = Watched::new(source.clone(), dialer, clock);
                    *watched.state() = same.state().clone();
                    Arc::new(watched)
                }
                None => Arc::new(Watched::new(source.clone(), dialer, clock)),
            }
        };
        Self(sources.iter().map(watched).collect())
    }

    /// What has keys fetched when it is time, one piece of work for each issuer that has any to fetch. It ends by being
    /// dropped.
    pub fn works(&self) -> Vec<impl Future<Output = ()> + Send + use<>> {
        let fetched = self.0.iter().filter(|watched| watched.fetch.is_some());
        fetched.cloned().map(Watched::tend).collect()
    }

    /// The keys of an issuer, if it has any that may be believed.
    ///
    /// Cancel-safe: if the one who fetches leaves, the next one does.
    pub(super) async fn keys(&self, name: &str) -> Option<Arc<KeySet>> {
        let watched = self.0.iter().find(|watched| watched.source.name == name)?;
        match watched.held() {
            Some(held) => Some(held),
            None => watched.look().await,
        }
    }

    /// Other keys than those, if there are any by now.
    ///
    /// Cancel-safe: if the one who fetches leaves, the next one does.
    pub(super) async fn look_again(&self, name: &str, than: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        let watched = self.0.iter().find(|watched| watched.source.name == name)?;
        let is_newer = |held: &Arc<KeySet>| !Arc::ptr_eq(held, than);
        match watched.held().filter(is_newer) {
            Some(newer) => Some(newer),
            None => watched.look().await.filter(is_newer),
        }
    }

    /// How they stand.
    pub(super) fn status(&self) -> Vec<IssuerStatus> {
        self.0.iter().map(|watched| watched.status()).collect()
    }
}

impl Watched {
    fn new(source: Source, dialer: &Dialer, clock: Clock) -> Self {
        let keys = match &source.keys {
            Place::Held { keys, .. } => Some(Arc::new(keys.clone())),
            Place::Discovered | Place::At(_) => None,
        };
        Self {
            fetch: Fetch::new(&source, dialer),
            turn: Semaphore::new(1),
            state: Mutex::new(State {
                keys,
                ..State::default()
            }),
            source,
            clock,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The keys that may be believed.
    fn held(&self) -> Option<Arc<KeySet>> {
        let state = self.state();
        let usable = self.fetch.is_none() || state.refresh.is_usable(self.clock.now());
        state.keys.clone().filter(|_| usable)
    }

    /// Fetches the keys whenever it is time.
    async fn tend(self: Arc<Self>) {
        loop {
            let wait = self.state().refresh.due().since(self.clock.now());
            tokio::time::sleep(wait).await;
            let turn = self.turn.acquire().await;
            // Somebody who needed them may have fetched them meanwhile.
            if self.state().refresh.due() <= self.clock.now() {
                self.fetch().await;
            }
            drop(turn);
        }
    }

    /// Fetches the keys for somebody who needs others, unless that was tried a moment ago. What is held then.
    async fn look(&self) -> Option<Arc<KeySet>> {
        let may = || self.fetch.is_some() && self.state().refresh.may_look(self.clock.now());
        // Whoever comes while they are being fetched waits for them.
        let _turn = self.turn.acquire().await;
        if may() {
            self.fetch().await;
        }
        self.held()
    }

    /// Fetches the keys; only with the turn.
    async fn fetch(&self) {
        let Some(fetch) = &self.fetch else { return };
        let fetched = fetch.keys().await;
        let (now, name) = (self.clock.now(), &self.source.name);
        let mut state = self.state();
        match fetched {
            Ok((keys, life)) => {
                if state.error.take().is_some() || state.keys.as_deref() != Some(&keys) {
                    tracing::info!(
                        issuer = name,
                        keys = keys.len(),
                        "the keys of an issuer were read"
                    );
                }
                // Whoever holds the same ones need not look at them anew.
                if state.keys.as_deref() != Some(&keys) {
                    state.keys = Some(Arc::new(keys));
                }
                state.refresh.read(life, now);
            }
            Err(why) => {
                let held = state.refresh.is_usable(now);
                tracing::warn!(issuer = name, held, "the keys of an issuer cannot be read: {why}");
                state.refresh.failed(now);
                state.error = Some(why);
            }
        }
    }

    fn status(&self) -> IssuerStatus {
        let state = self.state();
        IssuerStatus {
            name: self.source.name.clone(),
            url: self.source.url.clone(),
            keys: state.keys.as_ref().map_or(0, |keys| keys.len() as u64),
            read: state.refresh.at().map(Time::as_millis),
            usable: self.fetch.is_none() || state.refresh.is_usable(self.clock.now()),
            error: state.error.clone(),
        }
    }
}
