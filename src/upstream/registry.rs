//! The upstreams of a configuration, those of a pattern made when first asked for.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lru::LruCache;
use rustls::ClientConfig;

use super::alternate::Alternates;
use super::auth::Auth;
use super::exchange::Exchange;
use super::lanes::Lanes;
use super::negative::Negatives;
use super::retry::Retries;
use super::shield::{Keep, Keeper, Logbook, Shield};
use super::throttle::Throttle;
use super::wire::Wire;
use super::{Credential, Options, Refusal, profile};
use crate::clock::Clock;
use crate::net::client::Client;
use crate::net::dial::{Dialer, Gate};
use crate::net::tls;
use crate::net::url::{Url, UrlError};
use crate::oci::Registry;
use crate::policy::budget::{Ledger, Rules};
use crate::policy::naming::{Chosen, Pattern};

/// Most upstreams of patterns kept ready, of which clients choose the names. The longest unused one goes, with
/// all that was learnt of it.
const MAX_READY: NonZeroUsize = NonZeroUsize::new(256).expect("is not zero");

/// What is known of upstreams' budgets before the first request.
#[derive(Clone, Debug, Default)]
pub struct Budgets {
    /// Who may spend what.
    pub rules: Rules,
    /// What was written down of earlier spends, by registry.
    pub ledgers: HashMap<String, Ledger>,
}

/// What was known at the start, and who writes down what is learnt.
#[derive(Default)]
struct Known {
    budgets: Budgets,
    keep: Arc<OnceLock<Keep>>,
}

/// One upstream registry.
pub struct Upstream {
    exchange: Result<Exchange, UrlError>,
    pub(super) manifest_limit: u64,
    pub(super) alternates: Alternates,
}

impl Upstream {
    fn new(entry: &Entry, registry: &Registry, known: &Known, dialer: &Dialer, clock: Clock) -> Self {
        let plain = |options: &Options, registry: &Registry, own: bool, known: &Known| {
            let tls = if own { &entry.tls } else { &entry.usual };
            Self {
                exchange: exchange(options, tls, registry, known, dialer, clock),
                manifest_limit: options.manifest_limit,
                alternates: Alternates::default(),
            }
        };
        // What stands beside it spends nothing of its budget.
        let beside = |options: &Options, registry: &Registry, own: bool| {
            let mut beside = plain(options, registry, own, &Known::default());
            if let Ok(exchange) = &mut beside.exchange {
                exchange.throttle = Throttle::impatient();
            }
            beside
        };
        Self {
            alternates: Alternates::new(&entry.options, registry, beside),
            ..plain(&entry.options, registry, true, known)
        }
    }

    /// How to talk to it; refused if its name makes no URL.
    pub(super) fn exchange(&self) -> Result<&Exchange, Refusal> {
        let refused = |error| Refusal::Unusable(format!("the upstream's URL: {error}"));
        self.exchange.as_ref().map_err(refused)
    }
}

/// An upstream that was asked for.
pub struct Used {
    /// The index of its entry in the configuration.
    pub entry: usize,
    /// Its name.
    pub registry: Registry,
    /// The upstream.
    pub upstream: Arc<Upstream>,
}

/// All upstreams, by entry of the configuration.
pub struct Upstreams {
    known: Known,
    entries: Vec<Entry>,
    /// Those of patterns.
    ready: Mutex<LruCache<(usize, Registry), Arc<Upstream>>>,
    dialer: Dialer,
    clock: Clock,
}

struct Entry {
    options: Options,
    /// Its upstream, if it has a name: what is spent of its budget is not forgotten.
    own: OnceLock<Arc<Upstream>>,
    /// Its name in metrics.
    label: Arc<str>,
    tls: Arc<ClientConfig>,
    /// With the machine's certificates.
    usual: Arc<ClientConfig>,
}

impl Upstreams {
    /// Prepares the upstreams; connections are opened when needed. Reads the machine's certificates.
    pub fn new(options: Vec<Options>, budgets: Budgets, dialer: &Dialer, clock: Clock) -> Self {
        let usual = tls::client_config(&[]);
        let entry = |options: Options| Entry {
            label: options.registry.to_string().into(),
            tls: if options.ca.is_empty() {
                Arc::clone(&usual)
            } else {
                tls::client_config(&options.ca)
            },
            usual: Arc::clone(&usual),
            own: OnceLock::new(),
            options,
        };
        Self {
            known: Known {
                budgets,
                keep: Arc::default(),
            },
            entries: options.into_iter().map(entry).collect(),
            ready: Mutex::new(LruCache::new(MAX_READY)),
            dialer: dialer.clone(),
            clock,
        }
    }

    /// Has ledgers written down by `keep` when a refusal tells what must survive a restart; only the first call
    /// counts. What is spent is told to whoever spends: [`Upstream::buy`].
    ///
    /// `keep` must not wait: locks are held.
    pub fn keep_ledgers(&self, keep: impl Fn(&Registry, &Ledger) + Send + Sync + 'static) {
        // Whoever is second has the same records.
        let _ = self.known.keep.set(Box::new(keep));
    }

    /// The upstream that serves a chosen repository. Those of a pattern are made when first asked for.
    ///
    /// # Panics
    /// If `chosen` came from names of another configuration than these upstreams.
    pub fn get(&self, chosen: &Chosen) -> Arc<Upstream> {
        let registry = &chosen.repository.registry;
        let entry = &self.entries[chosen.entry];
        let make = || {
            Arc::new(Upstream::new(
                entry,
                registry,
                &self.known,
                &self.dialer,
                self.clock,
            ))
        };
        if let Pattern::Exact(_) = entry.options.registry {
            return Arc::clone(entry.own.get_or_init(make));
        }
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ready.get_or_insert((chosen.entry, registry.clone()), make))
    }

    /// What metrics call the upstream: the name of its entry in the configuration.
    ///
    /// # Panics
    /// As [`Self::get`].
    pub fn label(&self, chosen: &Chosen) -> Arc<str> {
        self.label_of(chosen.entry)
    }

    /// As [`Self::label`], by the index of the entry.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn label_of(&self, entry: usize) -> Arc<str> {
        self.entries[entry].label.clone()
    }

    /// How each upstream is reached, in the order of the configuration.
    pub(super) fn options(&self) -> impl Iterator<Item = &Options> {
        self.entries.iter().map(|entry| &entry.options)
    }

    /// The upstreams that were asked for so far, in the order of the configuration.
    pub fn used(&self) -> Vec<Used> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let used = ready.iter().map(|((entry, registry), upstream)| Used {
            entry: *entry,
            registry: registry.clone(),
            upstream: upstream.clone(),
        });
        let own = self.entries.iter().enumerate().filter_map(|(index, entry)| {
            let Pattern::Exact(registry) = &entry.options.registry else {
                return None;
            };
            Some(Used {
                entry: index,
                registry: registry.clone(),
                upstream: entry.own.get()?.clone(),
            })
        });
        let mut used: Vec<Used> = used.chain(own).collect();
        used.sort_by(|one, other| (one.entry, &one.registry).cmp(&(other.entry, &other.registry)));
        used
    }

    /// The registries that are configured by name and were not asked for, with their entry in the configuration.
    pub fn unused(&self) -> Vec<(usize, Registry)> {
        let used = self.used();
        let entries = self.entries.iter().enumerate();
        let named = entries.filter_map(|(index, entry)| match &entry.options.registry {
            Pattern::Exact(registry) => Some((index, registry.clone())),
            Pattern::Suffix(_) | Pattern::Any => None,
        });
        named
            .filter(|(_, registry)| used.iter().all(|known| known.registry != *registry))
            .collect()
    }
}

fn exchange(
    options: &Options,
    tls: &Arc<ClientConfig>,
    registry: &Registry,
    known: &Known,
    dialer: &Dialer,
    clock: Clock,
) -> Result<Exchange, UrlError> {
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
    let trusted = named || options.registry != Pattern::Any;
    let mut credentials: Vec<Option<Credential>> = options.credentials.iter().cloned().map(Some).collect();
    credentials.retain(|_| trusted);
    if credentials.is_empty() {
        credentials.push(None);
    }
    let mut token_hosts = options.token_hosts.clone();
    token_hosts.extend(profile.token_hosts.iter().map(|host| (*host).to_owned()));
    let times = options.timeouts;
    let ledger = known.budgets.ledgers.get(registry.as_str()).cloned();
    let written = ledger.as_ref().map(|ledger| ledger.logins.clone());
    let book = Logbook::new(written.unwrap_or_default(), &credentials);
    let logins = book.logins(clock);
    Ok(Exchange {
        client: Wire::new(
            Client::new(dialer.clone(), gate, tls, times.connect, times.headers),
            clock,
        ),
        shield: Shield::new(
            known.budgets.rules.clone(),
            credentials.iter().map(name).collect(),
            ledger,
            clock,
        )
        .keeping(book, Keeper::new(registry, &known.keep)),
        accounts: credentials
            .into_iter()
            .zip(logins)
            .map(|(credential, login)| {
                let hosts = token_hosts.clone();
                Auth::new(base.clone(), credential, hosts, times.idle, login, clock)
            })
            .collect(),
        base,
        retries: Retries::new(),
        throttle: Throttle::default(),
        lanes: Lanes::new(options.lanes.unwrap_or_else(|| profile::lanes(registry.as_str()))),
        negatives: Negatives::new(options.negative_ttl, clock),
        redirects_tell: std::sync::atomic::AtomicBool::new(false),
        timeouts: times,
        clock,
    })
}

/// What people call an account.
fn name(credential: &Option<Credential>) -> String {
    let name = credential.as_ref().map(|credential| credential.username.clone());
    name.unwrap_or_else(|| "anonymous".to_owned())
}
