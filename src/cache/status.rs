//! What `seawall status` shows and `/api/v1/status` answers: every upstream as it stands now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Cache, DiskStatus, PurgeStatus, ScheduledStatus};
use crate::clock::Time;
use crate::policy::budget::{self, Standing};
use crate::policy::clients::Tier;
use crate::store::SharedStatus;
use crate::upstream::{self, Upstream};

/// Everything at a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version that answers.
    pub version: String,
    /// The moment, in milliseconds since the Unix epoch, as all times here are.
    pub now: u64,
    /// The cache's own disk.
    #[serde(default)]
    pub cache: CacheStatus,
    /// The upstreams that are configured by name, and those of patterns that were asked for.
    pub upstreams: Vec<UpstreamStatus>,
    /// Those whose tokens are believed.
    #[serde(default)]
    pub issuers: Vec<IssuerStatus>,
}

/// Somebody whose tokens are believed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IssuerStatus {
    /// What the configuration calls it.
    pub name: String,
    /// What its tokens call it.
    pub url: String,
    /// Keys that are held.
    pub keys: u64,
    /// When they were read; `None` if they never were, or stand in the configuration.
    pub read: Option<u64>,
    /// Whether they may be believed.
    pub usable: bool,
    /// Why they could not be read the last time.
    pub error: Option<String>,
}

/// What is held, in bytes, and whether the disk takes more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheStatus {
    /// Most that may be taken now: the configured capacity, or less if the file system is short.
    pub capacity: u64,
    /// The configured capacity.
    pub configured: u64,
    /// What is held.
    pub held: u64,
    /// Objects that are held.
    pub objects: u64,
    /// Set aside for what is unfinished, or damaged.
    pub reserved: u64,
    /// Free on the file system.
    pub free: u64,
    /// True while it is not known yet what the directory holds: nothing new is kept.
    pub rebuilding: bool,
    /// Whether the disk takes what is pulled.
    #[serde(default)]
    pub disk: DiskStatus,
    /// Damaged files that were put aside and are kept.
    #[serde(default)]
    pub quarantined: u64,
    /// How far everything held has been hashed again.
    #[serde(default)]
    pub scrub: ScrubStatus,
    /// The purge under way, and those that wait for it.
    #[serde(default)]
    pub purges: Vec<PurgeStatus>,
    /// The purges that come by the calendar.
    #[serde(default)]
    pub scheduled: Vec<ScheduledStatus>,
    /// The shared shelf, if there is one.
    #[serde(default)]
    pub shared: Option<SharedStatus>,
}

/// The scrub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// Within how many seconds everything is hashed again; `None` for never.
    pub period: Option<u64>,
    /// The part of everything held (0 to 1) that this pass has been through.
    pub progress: f64,
    /// Damaged objects that this pass has found.
    pub damaged: u64,
    /// When the last pass ended; `None` if none has.
    pub ended: Option<u64>,
}

/// One upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// The name clients use.
    pub registry: String,
    /// `used` or `unused`: whether anything was asked of it since the start; `failing`: it does not answer
    /// and is left alone for a moment; `offline`: it is not to be asked.
    pub state: String,
    /// Why it is in that state, in words.
    pub reason: Option<String>,
    /// The operator's credentials, or `anonymous`.
    pub accounts: Vec<AccountStatus>,
    /// The allowances it grants.
    pub buckets: Vec<BucketStatus>,
    /// Requests that wait for their turn, by tier.
    pub waiting: BTreeMap<String, u64>,
    /// Counted requests that were sent since the start.
    pub spent: u64,
    /// Counted requests that were not needed since the start, by reason.
    pub avoided: BTreeMap<String, u64>,
}

/// One credential. Never its password.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccountStatus {
    /// The user name.
    pub name: String,
    /// `ok`; `parked`: the upstream refused it, and it is not tried again for a while; or `failing`: its source
    /// cannot give it.
    pub state: String,
    /// Until when it is parked.
    pub until: Option<u64>,
    /// How its source fails.
    #[serde(default)]
    pub why: Option<String>,
    /// When what its source gave ends, if it said so.
    #[serde(default)]
    pub ends: Option<u64>,
}

/// One allowance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BucketStatus {
    /// Whom the upstream counts against: an address or an account, if it said.
    pub source: Option<String>,
    /// The credentials that spend from it.
    pub accounts: Vec<String>,
    /// `unknown`, `unlimited`, `known`, `exhausted` or `parked`.
    pub state: String,
    /// Until when it is exhausted or parked.
    pub until: Option<u64>,
    /// Requests that the window allows.
    pub limit: u64,
    /// How many of them are left, as far as can be told.
    pub remaining: u64,
    /// How many of those spent were ours.
    pub own: u64,
    /// How many were our neighbours', behind the same address or account.
    pub foreign: u64,
    /// How many each tier may not touch; tiers without a reserve are left out.
    pub reserved: BTreeMap<String, u64>,
    /// The window, in seconds, as the upstream last named it.
    pub window: Option<u64>,
    /// When the next of our spends leaves the window.
    pub next_slot: Option<u64>,
}

impl Cache {
    /// How every upstream stands.
    pub fn status(&self) -> Status {
        let used = self.upstreams.used().into_iter().map(|used| {
            let label = self.upstreams.label_of(used.entry);
            let offline = self.is_offline(used.entry);
            self.status_of(used.registry.to_string(), &label, &used.upstream, offline)
        });
        let unused = self.upstreams.unused().into_iter();
        let unused = unused.map(|(entry, registry)| UpstreamStatus {
            registry: registry.to_string(),
            state: if self.is_offline(entry) {
                "offline"
            } else {
                "unused"
            }
            .to_owned(),
            ..UpstreamStatus::default()
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: self.clock.now().as_millis(),
            cache: self.cache_status(),
            upstreams: used.chain(unused).collect(),
            issuers: Vec::new(),
        }
    }

    fn cache_status(&self) -> CacheStatus {
        let standing = self.shelves.disk.standing();
        CacheStatus {
            capacity: standing.capacity,
            configured: self.options.space.capacity,
            held: standing.held,
            objects: standing.shelves.iter().map(|shelf| shelf.objects).sum(),
            reserved: standing.reserved,
            free: standing.free,
            rebuilding: standing.rebuilding,
            disk: self.disk_status(),
            quarantined: self.shelves.disk.quarantined().objects,
            scrub: self.scrub_status(),
            purges: self.purging.status(),
            scheduled: self.calendar.status(),
            shared: self.shelves.shared.get().map(|sharing| sharing.shelf.status()),
        }
    }

    fn scrub_status(&self) -> ScrubStatus {
        let progress = self.shelves.scrub_progress();
        let record = self.shelves.scrub_record();
        ScrubStatus {
            period: self.options.scrub.map(|period| period.as_secs()),
            progress,
            damaged: record.damaged,
            ended: Some(record.ended).filter(|ended| *ended > 0),
        }
    }

    fn is_offline(&self, entry: usize) -> bool {
        self.options.freshness[entry].usual.offline
    }

    pub(super) fn status_of(
        &self,
        registry: String,
        label: &str,
        upstream: &Upstream,
        offline: bool,
    ) -> UpstreamStatus {
        let (state, reason) = match upstream.left_alone() {
            _ if offline => ("offline", None),
            None => ("used", None),
            Some(failing) => ("failing", Some(failing.to_string())),
        };
        let accounts = upstream.accounts();
        let (buckets, waiting) = upstream.budget();
        let (spent, avoided) = self.shelves.metrics.spending.of(label);
        let tiers = self.options.clients.tiers.iter().map(|tier| tier.name.clone());
        UpstreamStatus {
            registry,
            state: state.to_owned(),
            reason,
            buckets: buckets
                .into_iter()
                .map(|bucket| bucket_status(bucket, &accounts, upstream, &self.options.clients.tiers))
                .collect(),
            accounts: accounts.into_iter().map(account_status).collect(),
            waiting: tiers.zip(waiting).filter(|(_, count)| *count > 0).collect(),
            spent,
            avoided,
        }
    }
}

fn account_status(account: upstream::AccountStatus) -> AccountStatus {
    let state = match (account.parked, &account.failing) {
        (Some(_), _) => "parked",
        (None, Some(_)) => "failing",
        (None, None) => "ok",
    };
    AccountStatus {
        name: account.name,
        state: state.to_owned(),
        until: account.parked.map(Time::as_millis),
        why: account.failing,
        ends: account.ends.map(Time::as_millis),
    }
}

/// How many of an allowance's requests a part of it is.
pub(super) fn reserved(part: f64, limit: u64) -> u64 {
    (part * limit as f64).ceil() as u64
}

fn bucket_status(
    bucket: budget::BucketStatus,
    accounts: &[upstream::AccountStatus],
    upstream: &Upstream,
    tiers: &[Tier],
) -> BucketStatus {
    let (state, until) = match bucket.standing {
        Standing::Unknown => ("unknown", None),
        Standing::Unlimited => ("unlimited", None),
        Standing::Known => ("known", None),
        Standing::Exhausted(until) => ("exhausted", Some(until)),
        Standing::Parked(until) => ("parked", Some(until)),
    };
    let names = bucket.accounts.iter().filter_map(|index| accounts.get(*index));
    let reserved = tiers
        .iter()
        .zip(upstream.reserves())
        .map(|(tier, reserve)| (tier.name.clone(), reserved(reserve, bucket.limit)));
    BucketStatus {
        source: bucket.source,
        accounts: names.map(|account| account.name.clone()).collect(),
        state: state.to_owned(),
        until: until.map(Time::as_millis),
        limit: bucket.limit,
        remaining: bucket.remaining,
        own: bucket.own,
        foreign: bucket.foreign,
        reserved: reserved.filter(|(_, count)| *count > 0).collect(),
        window: bucket.window.map(|window| window.as_secs()),
        next_slot: bucket.next_slot.map(Time::as_millis),
    }
}
