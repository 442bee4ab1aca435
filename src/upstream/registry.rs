//! The upstreams of a configuration, those of a pattern made when first asked for.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use lru::LruCache;
use rustls::ClientConfig;

use super::alternate::Alternates;
use super::auth::Auth;
use super::changed::purse;
use super::exchange::Exchange;
use super::identity::{Holder, Reach, Site};
use super::lanes::Lanes;
use super::negative::Negatives;
use super::retry::Retries;
use super::shield::Keep;
use super::throttle::Throttle;
use super::visibility::Witness;
use super::wire::Wire;
use super::{Account, Options, Refusal, lock, profile};
use crate::clock::Clock;
use crate::net::client::Client;
use crate::net::dial::{Dialer, Gate};
use crate::net::tls;
use crate::net::url::{Url, UrlError};
use crate::oci::Registry;
use crate::policy::budget::{Ledger, Rules};
use crate::policy::naming::{Chosen, Pattern};
use crate::telemetry::metrics::upstreams as metrics;

/// Most upstreams of a pattern kept ready, of which clients choose the names. The longest unused one goes, with
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
pub(super) struct Known {
    pub(super) budgets: Budgets,
    pub(super) keep: Arc<OnceLock<Keep>>,
    /// The registries, by name or pattern, that had credentials under an earlier configuration.
    private: OnceLock<Vec<Pattern>>,
    /// Where is counted what is asked and answered.
    metrics: metrics::Upstreams,
}

impl Known {
    /// True if a registry had credentials under an earlier configuration: what is held of it may not be for everybody.
    pub(super) fn had_credentials(&self, registry: &Registry) -> bool {
        let mut private = self.private.get().into_iter().flatten();
        private.any(|pattern| pattern.matches(registry))
    }

    /// True if one had.
    pub(super) fn has_private(&self) -> bool {
        self.private.get().is_some_and(|private| !private.is_empty())
    }
}

/// One upstream registry.
pub struct Upstream {
    /// How it was made.
    pub(super) options: Options,
    exchange: Result<Exchange, UrlError>,
    pub(super) manifest_limit: u64,
    pub(super) alternates: Arc<Alternates>,
    /// Tells what it shows to others than us; `None` where that is no question.
    pub(super) witness: Option<Arc<Witness>>,
    /// The one that took its place when the configuration changed.
    pub(super) successor: OnceLock<Arc<Self>>,
}

impl Upstream {
    /// What of `before`, the upstream that this one takes the place of, may be kept is.
    fn new(entry: &Entry, registry: &Registry, known: &Known, way: Way<'_>, before: Option<&Self>) -> Self {
        let plain =
            |options: &Options, registry: &Registry, own: bool, known: &Known, before: Option<&Self>| Self {
                exchange: exchange((options, entry, own), registry, known, way, before),
                options: options.clone(),
                manifest_limit: options.manifest_limit,
                alternates: Arc::default(),
                witness: None,
                successor: OnceLock::new(),
            };
        // What stands beside it spends nothing of its budget.
        let beside = |options: &Options, registry: &Registry, own: bool| {
            let mut beside = plain(options, registry, own, &Known::default(), None);
            if let Ok(exchange) = &mut beside.exchange {
                exchange.throttle = Arc::new(Throttle::impatient());
            }
            beside
        };
        let options = &entry.options;
        let own = plain(options, registry, true, known, before);
        let asked = options.has_witness() || known.had_credentials(registry);
        let kept = before.filter(|before| before.options.has_alternates_of(options));
        let kept = kept.filter(|kept| kept.witness.is_some() == asked);
        let (alternates, witness) = match kept {
            Some(kept) => (kept.alternates.clone(), kept.witness.clone()),
            None => {
                let other = |options: &Options, registry: &Registry| beside(options, registry, false);
                let witness = || {
                    let said = known.metrics.verdicts(&options.registry.to_string());
                    let mut nobody = beside(&options.anonymous(), registry, true);
                    if let (Ok(nobody), Ok(own)) = (&mut nobody.exchange, &own.exchange) {
                        nobody.rest = own.rest.clone();
                    }
                    Arc::new(Witness::new(nobody, said))
                };
                let alternates = Alternates::new(options, registry, other);
                (Arc::new(alternates), asked.then(witness))
            }
        };
        Self {
            alternates,
            witness,
            ..own
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
    pub(super) known: Known,
    pub(super) entries: Vec<Arc<Entry>>,
    /// True if one of them has credentials, or had.
    pub(super) secrets: bool,
    /// What trusts the machine's certificates.
    usual: Arc<ClientConfig>,
    dialer: Dialer,
    /// The way to where credentials come from.
    reach: Arc<Reach>,
    clock: Clock,
}

/// What upstreams are made with: the way to them, the way to where credentials come from, and the clock.
type Way<'a> = (&'a Dialer, &'a Arc<Reach>, Clock);

/// One entry of the configuration. As long as it does not change, every configuration shares it.
pub(super) struct Entry {
    pub(super) options: Options,
    /// Its upstream, if it has a name: what is spent of its budget is not forgotten.
    own: OnceLock<Arc<Upstream>>,
    /// Its upstreams, if it is a pattern.
    ready: Mutex<LruCache<Registry, Arc<Upstream>>>,
    /// Its name in metrics.
    label: Arc<str>,
    tls: Arc<ClientConfig>,
    /// With the machine's certificates.
    usual: Arc<ClientConfig>,
}

impl Entry {
    fn new(options: Options, usual: &Arc<ClientConfig>) -> Self {
        Self {
            label: options.registry.to_string().into(),
            tls: if options.ca.is_empty() {
                Arc::clone(usual)
            } else {
                tls::client_config(&options.ca)
            },
            usual: Arc::clone(usual),
            own: OnceLock::new(),
            ready: Mutex::new(LruCache::new(MAX_READY)),
            options,
        }
    }

    /// Its upstream of that name, which `make` makes if there is none yet.
    fn get(&self, registry: &Registry, make: impl FnOnce() -> Arc<Upstream>) -> Arc<Upstream> {
        if let Pattern::Exact(_) = self.options.registry {
            return Arc::clone(self.own.get_or_init(make));
        }
        Arc::clone(self.ready().get_or_insert(registry.clone(), make))
    }

    fn ready(&self) -> MutexGuard<'_, LruCache<Registry, Arc<Upstream>>> {
        lock(&self.ready)
    }
}

impl Upstreams {
    /// Prepares the upstreams; connections are opened when needed. Reads the machine's certificates.
    pub fn new(options: Vec<Options>, budgets: Budgets, dialer: &Dialer, clock: Clock) -> Self {
        let usual = tls::client_config(&[]);
        let entry = |options: Options| Arc::new(Entry::new(options, &usual));
        Self {
            secrets: Options::have_secrets(&options),
            known: Known {
                budgets,
                ..Known::default()
            },
            entries: options.into_iter().map(entry).collect(),
            dialer: dialer.clone(),
            reach: Arc::new(Reach::new(dialer, &usual)),
            usual,
            clock,
        }
    }

    /// These upstreams under another configuration, beside the present one. Those that did not change are shared
    /// with it; of the others everything is kept that did not change: budgets and what is spent of them above all.
    /// What nobody asks any more ends with its last request.
    ///
    /// `budgets` is what is written down by now.
    #[must_use]
    pub fn changed(&self, options: Vec<Options>, budgets: Budgets) -> Self {
        let entry = |options: Options| {
            let same = self.entries.iter().find(|entry| entry.options == options);
            same.map_or_else(|| Arc::new(Entry::new(options, &self.usual)), Arc::clone)
        };
        let changed = Self {
            secrets: self.secrets || Options::have_secrets(&options),
            entries: options.into_iter().map(entry).collect(),
            known: Known {
                budgets,
                keep: self.known.keep.clone(),
                private: self.private().into(),
                metrics: self.known.metrics.clone(),
            },
            usual: Arc::clone(&self.usual),
            dialer: self.dialer.clone(),
            reach: Arc::clone(&self.reach),
            clock: self.clock,
        };
        for used in self.used() {
            changed.inherit(&used, &self.entries[used.entry]);
        }
        for used in changed.used() {
            used.upstream.set_rules(&changed.known.budgets.rules);
        }
        changed
    }

    /// Has the upstream of that name, if there is to be one, take the place of the one before.
    fn inherit(&self, before: &Used, entry: &Arc<Entry>) {
        let exact = |other: &&Arc<Entry>| other.options.registry == Pattern::Exact(before.registry.clone());
        let same = |other: &&Arc<Entry>| other.options.registry == entry.options.registry;
        let entries = || self.entries.iter();
        if let Some(heir) = entries().find(exact).or_else(|| entries().find(same))
            && !Arc::ptr_eq(heir, entry)
        {
            let make = || self.make(heir, &before.registry, Some(&before.upstream));
            // Whoever is second has the same heir.
            let _ = before.upstream.successor.set(heir.get(&before.registry, make));
        }
    }

    fn make(&self, entry: &Entry, registry: &Registry, before: Option<&Upstream>) -> Arc<Upstream> {
        let way = (&self.dialer, &self.reach, self.clock);
        Arc::new(Upstream::new(entry, registry, &self.known, way, before))
    }

    /// Has what is asked and answered counted in `metrics`.
    #[must_use]
    pub fn counting(mut self, metrics: metrics::Upstreams) -> Self {
        self.known.metrics = metrics;
        self
    }

    /// The registries that have credentials now, by the names and patterns of their entries.
    pub fn with_credentials(&self) -> impl Iterator<Item = &Pattern> {
        let with = self.options().filter(|options| !options.credentials.is_empty());
        with.map(|options| &options.registry)
    }

    /// The registries that have credentials, or had.
    fn private(&self) -> Vec<Pattern> {
        let mut private = self.known.private.get().cloned().unwrap_or_default();
        let new: Vec<_> = self
            .with_credentials()
            .filter(|with| !private.contains(with))
            .cloned()
            .collect();
        private.extend(new);
        private
    }

    /// These registries had credentials in earlier runs. To be called before any upstream is asked for; only the first
    /// call counts.
    pub fn recall_private(&self, private: Vec<Pattern>) {
        // Whoever is second has the same records.
        let _ = self.known.private.set(private);
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
        entry.get(registry, || self.make(entry, registry, None))
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
        let mut used = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let own = match &entry.options.registry {
                Pattern::Exact(registry) => entry.own.get().map(|upstream| (registry, upstream)),
                Pattern::Suffix(_) | Pattern::Any => None,
            };
            let ready = entry.ready();
            let all = ready.iter().chain(own).map(|(registry, upstream)| Used {
                entry: index,
                registry: registry.clone(),
                upstream: upstream.clone(),
            });
            used.extend(all);
        }
        used.sort_by(|one, other| (one.entry, &one.registry).cmp(&(other.entry, &other.registry)));
        used
    }
}

/// How to talk to the registry of an entry, or (`own` is false) to one that stands in for it.
fn exchange(
    (options, entry, own): (&Options, &Entry, bool),
    registry: &Registry,
    known: &Known,
    (dialer, reach, clock): Way<'_>,
    before: Option<&Upstream>,
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
    let mut accounts: Vec<Option<Account>> = options.credentials.iter().cloned().map(Some).collect();
    accounts.retain(|_| trusted);
    // What no credential is for is asked for by nobody.
    if !accounts.iter().flatten().any(|account| account.prefix.is_all()) {
        accounts.push(None);
    }
    let mut token_hosts = options.token_hosts.clone();
    token_hosts.extend(profile.token_hosts.iter().map(|host| (*host).to_owned()));
    let times = options.timeouts;
    let purse = purse(&accounts, registry, known, clock, before);
    let kept = before.and_then(|before| before.way_to(options));
    let wire = || {
        let tls = if own { &entry.tls } else { &entry.usual };
        let client = Client::new(dialer.clone(), gate, tls, times.connect, times.headers);
        // What stands in for it need not learn whose request it is.
        let told = own.then(|| base.clone());
        let counted = known.metrics.of(&options.registry.to_string());
        Arc::new(Wire::new(client, told, counted, clock))
    };
    let wire = kept.map_or_else(wire, |kept| kept.client.clone());
    let site = Site {
        registry: registry.clone(),
        base: base.clone(),
        wire: Arc::clone(&wire),
    };
    let accounts = accounts.into_iter().zip(purse.logins).map(|(account, login)| {
        let known = kept.and_then(|kept| kept.accounts.iter().find(|auth| auth.is_of(account.as_ref())));
        let hosts = token_hosts.clone();
        let holder = || account.map(|account| Holder::new(account, &site, reach, clock));
        let new = || Auth::new(base.clone(), holder(), hosts, times.idle, login, clock);
        known.map_or_else(|| Arc::new(new()), Arc::clone)
    });
    let lanes = || options.lanes.unwrap_or_else(|| profile::lanes(registry.as_str()));
    let same =
        kept.filter(|_| before.is_some_and(|before| before.options.credentials == options.credentials));
    Ok(Exchange {
        accounts: accounts.collect(),
        client: wire,
        retries: kept.map_or_else(|| Arc::new(Retries::new()), |kept| kept.retries.clone()),
        throttle: kept.map_or_else(Arc::default, |kept| kept.throttle.clone()),
        rest: kept.map_or_else(|| Arc::new(purse.shield.rest()), |kept| kept.rest.clone()),
        lanes: kept.map_or_else(|| Arc::new(Lanes::new(lanes())), |kept| kept.lanes.clone()),
        // Another credential may be shown what this one was not.
        negatives: same.map_or_else(
            || Arc::new(Negatives::new(options.negative_ttl, clock)),
            |same| same.negatives.clone(),
        ),
        redirects_tell: AtomicBool::new(kept.is_some_and(|kept| kept.redirects_tell.load(Ordering::Relaxed))),
        base,
        marks: purse.marks,
        shield: purse.shield,
        timeouts: times,
        clock,
    })
}
