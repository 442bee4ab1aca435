//! What each client may take, kept: operations, fetches under way, bytes per second.
//!
//! A client is one over all its connections. Who has no quota has no record here, and costs one comparison.
//!
//! ```text
//! request ── of(asker) ── read ──> 429, or what is left (`take`: only if nothing has to wait)
//!                           │ body ── Pacer: the client's pace ── the link all share
//!                           └ miss ── when_allowed: a place, a write operation ── fetch
//! ```

mod changed;
mod operations;
mod pacer;
mod start;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio_util::task::TaskTracker;

use self::operations::Operations;
pub use self::pacer::Pacer;
use self::pacer::SharedLink;
use self::start::Places;
pub(super) use self::start::{Pass, Start};
use super::{Asker, Failure, Kind};
use crate::clock::{Clock, Time};
use crate::oci::Code;
use crate::policy::clients::{Clients, Tier};
use crate::policy::pacing::{self, Pace};
use crate::policy::quota::{Left, UsedUp};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::quotas::Waits;

/// Clients remembered. Who is forgotten begins with a fresh minute; a stranger needs as many addresses or /64s
/// to make that happen.
const MOST_CLIENTS: NonZeroUsize = NonZeroUsize::new(16_384).expect("it is not zero");
/// When to ask again after a quota that names no time: it ends with somebody's download.
const RETRY_SOON: Duration = Duration::from_secs(5);

/// The index of a tier, and the number of a client.
type Key = (usize, u64);

/// What a client may not do now: it has to wait, or is refused. Nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNow;

/// The quotas of all clients.
pub struct Quotas {
    clients: Clients,
    link: Option<Arc<SharedLink>>,
    weights: Vec<u32>,
    known: Mutex<LruCache<Key, Arc<Client>>>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    clock: Clock,
}

/// What one client has taken.
pub struct Client {
    tier: usize,
    number: u64,
    reads: Option<Arc<Operations>>,
    writes: Option<Arc<Operations>>,
    places: Option<Places>,
    pace: Option<Arc<Mutex<Pace>>>,
    /// Bytes it takes at a time.
    lease: u64,
    /// Counts how often its bodies waited.
    waits: Waits,
}

impl Quotas {
    /// Quotas for these clients, who share a link of `bandwidth` bytes per second if there is one.
    pub(super) fn new(
        clients: Clients,
        bandwidth: Option<u64>,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
        clock: Clock,
    ) -> Self {
        for tier in &clients.tiers {
            metrics.quotas.begin(&tier.name);
        }
        let weights: Vec<u32> = clients.tiers.iter().map(|tier| tier.quota.weight).collect();
        let link = bandwidth.map(|rate| Arc::new(SharedLink::new(rate, &weights, tasks.clone(), clock)));
        Self {
            clients,
            link,
            weights,
            tasks,
            known: Mutex::new(LruCache::new(MOST_CLIENTS)),
            metrics,
            clock,
        }
    }

    /// True if nothing limits who is in this tier.
    pub fn are_unlimited(&self, tier: usize) -> bool {
        let tier = self.clients.tiers.get(tier);
        tier.is_none_or(|tier| tier.quota.is_unlimited() && self.link.is_none())
    }

    /// The record of whoever asks; `None` if nothing limits them.
    pub fn of(&self, asker: &Asker) -> Option<Arc<Client>> {
        if self.are_unlimited(asker.tier) {
            return None;
        }
        let tier = self.clients.tiers.get(asker.tier)?;
        let key = (asker.tier, asker.client);
        let mut known = self.known();
        Some(
            known
                .get_or_insert(key, || Arc::new(self.client(key, tier)))
                .clone(),
        )
    }

    /// One that has taken nothing yet.
    fn client(&self, (index, number): Key, tier: &Tier) -> Client {
        let quota = &tier.quota;
        let rates = [quota.bandwidth, self.link.as_ref().map(|link| link.rate)];
        let leases = rates.into_iter().flatten().map(pacing::lease);
        let operations = |figure| Arc::new(Operations::new(figure));
        Client {
            tier: index,
            number,
            reads: quota.reads.map(operations),
            writes: quota.writes.map(operations),
            places: quota.fills.map(Places::new),
            pace: quota.bandwidth.map(|rate| Arc::new(Mutex::new(Pace::new(rate)))),
            lease: leases.min().unwrap_or(u64::MAX),
            waits: self.metrics.quotas.waits(&tier.name),
        }
    }

    fn known(&self) -> MutexGuard<'_, LruCache<Key, Arc<Client>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of its quotas of operations a client has used up, and until when. Takes nothing, and remembers nobody.
    pub fn used_up(&self, asker: &Asker) -> Option<(UsedUp, Time)> {
        let client = self.known().peek(&(asker.tier, asker.client))?.clone();
        let now = self.clock.elapsed();
        let wait = |operations: &Option<Arc<Operations>>| operations.as_ref()?.wait(now);
        let reads = wait(&client.reads).map(|wait| (UsedUp::Reads, wait));
        let used_up = reads.or_else(|| Some((UsedUp::Writes, wait(&client.writes)?)));
        used_up.map(|(which, wait)| (which, self.clock.now() + wait))
    }

    /// Counts one request of a client. `None` if its requests are not limited.
    ///
    /// # Errors
    /// The 429, if it has none left.
    pub fn read(&self, client: &Client) -> Result<Option<Left>, Failure> {
        let Some(reads) = &client.reads else {
            return Ok(None);
        };
        let spent = reads.spend(self.clock.elapsed()).map(Some);
        spent.map_err(|wait| self.refusal(client, UsedUp::Reads, wait))
    }

    /// Counts one request of a client whose body of so many bytes goes at once, when the clock has run for `now`.
    /// `None` if its requests are not limited.
    ///
    /// # Errors
    /// [`NotNow`], which counts nothing: [`Self::read`] says why, and [`Self::pacer`] waits.
    pub fn take(&self, client: &Client, bytes: u64, now: Duration) -> Result<Option<Left>, NotNow> {
        let at = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        if !client.take_bytes(at, bytes) {
            return Err(NotNow);
        }
        let link = self.link.as_ref().filter(|_| bytes > 0);
        if link.is_some_and(|link| !link.take(client, at, bytes)) {
            client.give_back(bytes);
            return Err(NotNow);
        }
        let spent = client.reads.as_ref().map(|reads| reads.spend(now)).transpose();
        spent.map_err(|_| {
            client.give_back(bytes);
            if let Some(link) = link {
                link.give_back(bytes);
            }
            NotNow
        })
    }

    /// What a tier is called; nothing if there is no such tier.
    pub(super) fn tier_name(&self, tier: usize) -> &str {
        self.clients.tiers.get(tier).map_or("", |tier| &tier.name)
    }

    /// What sends a client's bodies at its rate; `None` if nothing paces it.
    pub fn pacer(&self, client: &Arc<Client>) -> Option<Pacer> {
        let paced = client.pace.is_some() || self.link.is_some();
        paced.then(|| Pacer::new(client.clone(), self.link.clone(), self.clock))
    }

    /// The 429 that says who limits whom, and until when.
    fn refusal(&self, client: &Client, used_up: UsedUp, wait: Duration) -> Failure {
        let tier = &self.clients.tiers[client.tier];
        self.metrics.quotas.refused(&tier.name, used_up.name());
        let left = |operations: &Option<Arc<Operations>>| operations.as_deref().map(Operations::nothing_left);
        let (figure, left) = match used_up {
            UsedUp::Reads => {
                let left = left(&client.reads);
                let figure = left.map_or(0, |left| left.limit);
                (
                    format!("{figure} requests per minute, and they are used up"),
                    left,
                )
            }
            UsedUp::Writes => {
                let left = left(&client.writes);
                let figure = left.map_or(0, |left| left.limit);
                let words =
                    "objects per minute to be fetched for it, and they are used up; what is held is served";
                (format!("{figure} {words}"), left)
            }
            UsedUp::Fills => {
                let figure = client.places.as_ref().map_or(0, Places::count);
                let words = "fetches at once, and all are under way; what is held is served";
                (format!("{figure} {words}"), None)
            }
        };
        // A header has whole seconds: rounded up, so that asking then succeeds.
        let seconds = wait.as_nanos().div_ceil(1_000_000_000).max(1);
        let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
        let name = self.clients.name_of(client.number);
        let (tier, until) = (&tier.name, self.clock.now() + wait);
        Failure {
            kind: Kind::OverQuota(left),
            code: Code::TooManyRequests,
            public: format!(
                "this Seawall allows the client {name} (tier {tier}) {figure}; ask again in {seconds} s, at {until}"
            )
            .into(),
            retry_after: Some(wait),
            why: None,
        }
    }
}
