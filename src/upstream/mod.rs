//! Talking to registries: one client that is right for all of them.

mod alternate;
mod auth;
mod body;
pub mod challenge;
mod changed;
mod exchange;
mod fetch;
mod guard;
mod identity;
pub mod lanes;
mod limits;
mod login;
mod negative;
mod pages;
mod probe;
mod profile;
mod realm;
mod registry;
mod rest;
mod retry;
mod shield;
mod span;
#[cfg(test)]
mod tests;
mod throttle;
mod token;
mod visibility;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;

pub use self::alternate::AlternateOptions;
pub use self::body::Incoming;
pub use self::guard::Guard;
pub use self::identity::{Account, Cloud, Helper, Identity, Plugin, Provider, Source, Variables};
pub use self::registry::{Budgets, Upstream, Upstreams, Used};
pub use self::shield::AccountStatus;
pub use self::visibility::{Shown, Wants};
pub use crate::net::secret::Secret;
use crate::oci::{ByteRange, MediaType};
use crate::policy::access::visibility::Sharing;
use crate::policy::budget::Withheld;
use crate::policy::naming::Pattern;
use crate::telemetry::metrics::fills::Cause;

/// No code panics while it holds one of these locks, so a poisoned one holds good data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A user and password for an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The user's name.
    pub username: String,
    /// The password or token.
    pub password: Secret,
}

/// How one registry, or every registry of a pattern, is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The registries this is for.
    pub registry: Pattern,
    /// The base URL (`https://registry-1.docker.io`, may have a path); `None` means
    /// `https://<registry>`, or what the built-in profile of that registry says.
    pub url: Option<http::Uri>,
    /// The operator's accounts; budgets choose among those for a repository. None: anonymous.
    pub credentials: Vec<Account>,
    /// Who may have what they can see.
    pub sharing: Sharing,
    /// How long it is believed that a client may see a repository, where each is asked about.
    pub access_ttl: Duration,
    /// Registries that may have the same digests, asked anonymously before the budget is.
    pub alternates: Vec<AlternateOptions>,
    /// Hosts besides the upstream's registrable domain that its token realm may be on.
    pub token_hosts: Vec<String>,
    /// Private address ranges that redirects, realms and the upstream's own name may lead to.
    pub allow_addresses: Vec<IpNet>,
    /// Certificates (DER) trusted for this upstream instead of the machine's roots; empty: the machine's.
    pub ca: Vec<Vec<u8>>,
    /// Most bytes of a manifest.
    pub manifest_limit: u64,
    /// Most connections for one blob, the first one included; `None`: as the built-in profile says.
    pub lanes: Option<usize>,
    /// How long a definite "no" is repeated to those who ask again.
    pub negative_ttl: Duration,
    /// Time limits of every step.
    pub timeouts: Timeouts,
}

/// Time limits of every step of a request to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Resolving and connecting, one address.
    pub connect: Duration,
    /// From the request sent to the response's headers.
    pub headers: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
}

/// Which limit a 429 speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitKind {
    /// The allowance of counted requests is used up.
    #[error("it says that this cache's pull limit is used up")]
    Pull,
    /// Too many requests of any kind: it wants to be left alone.
    #[error("it says that this cache asks too often")]
    Abuse,
    /// Too many failed logins: the account is locked.
    #[error("it has locked this cache's account after failed logins")]
    Login,
}

/// Why an upstream gave no content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A definite 404 or 410.
    #[error("not found")]
    NotFound,
    /// 401 or 403 after authentication was tried.
    #[error("access denied (status {0})")]
    Denied(u16),
    /// 429.
    #[error("{kind}")]
    Limited {
        /// Which of its limits.
        kind: LimitKind,
        /// What `Retry-After` said, if anything.
        retry_after: Option<Duration>,
    },
    /// It was not asked: its budget does not allow it now.
    #[error("its budget does not allow it now")]
    Withheld(Withheld),
    /// No connection, no name, no TLS, or no headers in time.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// A status that promises nothing: 5xx and the like.
    #[error("failing (status {0})")]
    Failing(u16),
    /// It, or a host it needs, kept failing: it was not asked.
    #[error("{because}; it is left alone for {} s more", .wait.as_secs_f64().ceil())]
    LeftAlone {
        /// How it failed.
        because: Box<Self>,
        /// How long it is still left alone.
        wait: Duration,
    },
    /// The operator wants it left alone.
    #[error("this cache is told to work offline")]
    Offline,
    /// An answer that must not be used: too large, contradictory, or leading somewhere forbidden.
    #[error("unusable answer: {0}")]
    Unusable(String),
}

impl Refusal {
    /// The same in metrics, of a download that it ended.
    pub const fn cause(&self) -> Cause {
        match self {
            Self::NotFound => Cause::NotFound,
            Self::Denied(_) => Cause::Denied,
            Self::Limited { .. } | Self::Withheld(_) => Cause::Limited,
            Self::Unreachable(_) => Cause::Unreachable,
            Self::Failing(_) => Cause::Failing,
            Self::LeftAlone { .. } => Cause::LeftAlone,
            Self::Offline => Cause::Offline,
            Self::Unusable(_) => Cause::Unusable,
        }
    }
}

/// Which bytes of a blob are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// From this offset to the end.
    From(u64),
    /// This run.
    Run(ByteRange),
}

/// A manifest as it came, unverified.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The body.
    pub bytes: Bytes,
    /// Its Content-Type, if it had a readable one.
    pub label: Option<MediaType>,
}
