//! The upstreams of a configuration, those of a pattern made when first asked for.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use rustls::ClientConfig;

use super::auth::Auth;
use super::exchange::Exchange;
use super::retry::Budget;
use super::{Options, Refusal, profile};
use crate::clock::Clock;
use crate::net::client::Client;
use crate::net::dial::{Dialer, Gate};
use crate::net::tls;
use crate::net::url::{Url, UrlError};
use crate::oci::Registry;
use crate::policy::naming::{Chosen, Pattern};

/// Most upstreams kept ready; behind a pattern, clients choose the names. The longest unused one goes, with
/// its connections and tokens.
const MAX_READY: NonZeroUsize = NonZeroUsize::new(256).expect("is not zero");

/// One upstream registry.
pub struct Upstream {
    exchange: Result<Exchange, UrlError>,
    pub(super) manifest_limit: u64,
}

impl Upstream {
    fn new(entry: &Entry, registry: &Registry, dialer: &Dialer, clock: Clock) -> Self {
        Self {
            exchange: exchange(entry, registry, dialer, clock),
            manifest_limit: entry.options.manifest_limit,
        }
    }

    /// How to talk to it; refused if its name makes no URL.
    pub(super) fn exchange(&self) -> Result<&Exchange, Refusal> {
        let refused = |error| Refusal::Unusable(format!("the upstream's URL: {error}"));
        self.exchange.as_ref().map_err(refused)
    }
}

/// All upstreams, by entry of the configuration.
pub struct Upstreams {
    entries: Vec<Entry>,
    ready: Mutex<LruCache<(usize, Registry), Arc<Upstream>>>,
    dialer: Dialer,
    clock: Clock,
}

struct Entry {
    options: Options,
    tls: Arc<ClientConfig>,
}

impl Upstreams {
    /// Prepares the upstreams; connections are opened when needed. Reads the machine's certificates.
    pub fn new(options: Vec<Options>, dialer: &Dialer, clock: Clock) -> Self {
        let usual = tls::client_config(&[]);
        let entry = |options: Options| Entry {
            tls: if options.ca.is_empty() {
                Arc::clone(&usual)
            } else {
                tls::client_config(&options.ca)
            },
            options,
        };
        Self {
            entries: options.into_iter().map(entry).collect(),
            ready: Mutex::new(LruCache::new(MAX_READY)),
            dialer: dialer.clone(),
            clock,
        }
    }

    /// The upstream that serves a chosen repository. Those of a pattern are made when first asked for.
    ///
    /// # Panics
    /// If `chosen` came from names of another configuration than these upstreams.
    pub fn get(&self, chosen: &Chosen) -> Arc<Upstream> {
        let registry = &chosen.repository.registry;
        let make = || {
            let entry = &self.entries[chosen.entry];
            Arc::new(Upstream::new(entry, registry, &self.dialer, self.clock))
        };
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ready.get_or_insert((chosen.entry, registry.clone()), make))
    }
}

fn exchange(entry: &Entry, registry: &Registry, dialer: &Dialer, clock: Clock) -> Result<Exchange, UrlError> {
    let options = &entry.options;
    let profile = profile::of(registry);
    let base = match (&options.url, profile.url) {
        (Some(url), _) => Url::from_uri(url.clone())?,
        (None, Some(url)) => Url::parse(url)?,
        (None, None) => Url::parse(&format!("https://{registry}"))?,
    };
    // Under a pattern a client chose the host: it may not choose a private one, and under `*`, where it may
    // choose its own, it gets no credential.
    let named = options.url.is_some() || matches!(options.registry, Pattern::Exact(_));
    let gate = Gate::new(named.then_some(&base), options.allow_addresses.clone());
    let credential = options.credentials.first().cloned();
    let credential = credential.filter(|_| named || options.registry != Pattern::Any);
    let mut token_hosts = options.token_hosts.clone();
    token_hosts.extend(profile.token_hosts.iter().map(|host| (*host).to_owned()));
    let times = options.timeouts;
    Ok(Exchange {
        client: Client::new(dialer.clone(), gate, &entry.tls, times.connect, times.headers),
        auth: Auth::new(base.clone(), credential, token_hosts, times.idle, clock),
        base,
        budget: Budget::new(),
        timeouts: times,
        clock,
    })
}
