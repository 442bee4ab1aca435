//! Where credentials come from: the configuration, or a source that is asked for them.
//!
//! A [`Holder`] keeps what the source of one account gave. Of many who need it one asks; it is renewed at half of
//! its life behind everybody's back, and used to its end while the source fails
//! ([`Lease`](crate::policy::identity::Lease) decides). One that the registry refuses is replaced at once, if its
//! source has another by now: a rotation costs nobody a pull.

mod cloud;
mod helper;
mod plugin;
mod process;
mod reach;

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::cloud::Web;
pub use self::cloud::{Cloud, Provider, Variables};
pub use self::helper::Helper;
pub use self::plugin::Plugin;
pub(super) use self::reach::Reach;
use super::wire::Wire;
use super::{Credential, Refusal, lock};
use crate::clock::{Clock, Time};
use crate::net::url::Url;
use crate::oci::Registry;
use crate::policy::identity::{Lease, Life, Prefix, Step};

/// One of the operator's accounts at a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Where its credential comes from.
    pub identity: Identity,
    /// The repositories it is for.
    pub prefix: Prefix,
}

/// Where a credential comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The configuration.
    Password(Credential),
    /// Whoever is asked for it.
    Source(Source),
}

/// Who is asked for a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `docker-credential-…`.
    Helper(Helper),
    /// A plugin of the kubelet.
    Plugin(Plugin),
    /// A cloud.
    Cloud(Cloud),
}

/// Where a credential is for, and the way there.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) registry: Registry,
    pub(super) base: Url,
    pub(super) wire: Arc<Wire>,
}

/// What a source gave: a credential, unless it has none for this registry, and how long it is good for.
type Given = (Option<Credential>, Life);

/// A credential to show.
pub(super) struct Lent {
    pub(super) credential: Credential,
    /// Counts the credentials that its source gave; later ones are higher.
    pub(super) version: u64,
}

/// Keeps the credential of one account.
pub(super) struct Holder {
    account: Account,
    /// What its source gave; `None` if the account says all.
    asked: Option<Arc<Asked>>,
    /// Whoever renews it; ends with its owner.
    renewing: Mutex<JoinSet<()>>,
}

/// A source that is asked, and what it gave.
struct Asked {
    source: Source,
    /// The account, as people call it.
    name: String,
    prefix: Prefix,
    site: Site,
    reach: Arc<Reach>,
    state: Mutex<State>,
    turn: Semaphore,
    clock: Clock,
}

#[derive(Default)]
struct State {
    lease: Lease,
    credential: Option<Credential>,
    version: u64,
    /// Why the source failed last.
    failure: Option<String>,
}

impl Account {
    /// What people call it: the user, or the source; and what it is for.
    pub fn name(&self) -> String {
        let name = match &self.identity {
            Identity::Password(credential) => credential.username.clone(),
            Identity::Source(source) => source.name(),
        };
        match self.prefix.is_all() {
            true => name,
            false => format!("{name} ({})", self.prefix),
        }
    }

    /// The credential, if the configuration has it.
    pub fn password(&self) -> Option<&Credential> {
        match &self.identity {
            Identity::Password(credential) => Some(credential),
            Identity::Source(_) => None,
        }
    }
}

impl From<Source> for Identity {
    fn from(source: Source) -> Self {
        Self::Source(source)
    }
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Helper(helper) => helper.command(),
            Self::Plugin(plugin) => plugin.name(),
            Self::Cloud(cloud) => cloud.provider.name().to_owned(),
        }
    }
}

impl From<Credential> for Account {
    fn from(credential: Credential) -> Self {
        Self {
            identity: Identity::Password(credential),
            prefix: Prefix::ALL,
        }
    }
}

impl Holder {
    pub(super) fn new(account: Account, site: &Site, reach: &Arc<Reach>, clock: Clock) -> Self {
        let asked = |source: &Source| {
            Arc::new(Asked {
                source: source.clone(),
                name: account.name(),
                prefix: account.prefix.clone(),
                site: site.clone(),
                reach: Arc::clone(reach),
                state: Mutex::default(),
                turn: Semaphore::new(1),
                clock,
            })
        };
        let asked = match &account.identity {
            Identity::Password(_) => None,
            Identity::Source(source) => Some(asked(source)),
        };
        Self {
            asked,
            account,
            renewing: Mutex::default(),
        }
    }

    /// Of a credential that nobody has to be asked for.
    pub(super) fn fixed(credential: Credential) -> Self {
        Self {
            account: credential.into(),
            asked: None,
            renewing: Mutex::default(),
        }
    }

    /// Whose it is.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// The credential; `None` if its source has none.
    ///
    /// Cancel-safe: if the one who asks the source leaves, the next one does.
    ///
    /// # Errors
    /// [`Refusal::Unreachable`] if there is none because its source fails.
    pub(super) async fn get(&self) -> Result<Option<Lent>, Refusal> {
        let Some(asked) = &self.asked else {
            let credential = self.account.password().cloned();
            return Ok(credential.map(|credential| Lent {
                credential,
                version: 0,
            }));
        };
        match asked.step() {
            Step::Use | Step::Refuse(_) => {}
            Step::Renew => self.renew(asked),
            Step::Fetch => {
                let _turn = asked.turn().await;
                if asked.step() == Step::Fetch {
                    asked.ask().await;
                }
            }
        }
        asked.lent()
    }

    /// Another credential than the one of this version, which the registry refused, if its source has one.
    ///
    /// Cancel-safe.
    pub(super) async fn another(&self, refused: u64) -> Option<Lent> {
        let asked = self.asked.as_ref()?;
        let _turn = asked.turn().await;
        let may_ask = {
            let state = asked.lock();
            state.version <= refused && state.lease.may_be_replaced(asked.clock.now())
        };
        if may_ask {
            asked.ask().await;
        }
        let lent = asked.lent().ok().flatten();
        lent.filter(|lent| lent.version > refused)
    }

    /// When what the source gave ends, if it said so.
    pub(super) fn end(&self) -> Option<Time> {
        self.asked.as_ref()?.lock().lease.end()
    }

    /// Why the source fails, while it does.
    pub(super) fn failure(&self) -> Option<String> {
        self.asked.as_ref()?.lock().failure.clone()
    }

    /// Has it renewed behind the back of whoever asks, unless somebody does that.
    fn renew(&self, asked: &Arc<Asked>) {
        let mut renewing = lock(&self.renewing);
        while renewing.try_join_next().is_some() {}
        if renewing.is_empty() {
            let asked = Arc::clone(asked);
            renewing.spawn(async move {
                let _turn = asked.turn().await;
                if asked.step() == Step::Renew {
                    asked.ask().await;
                }
            });
        }
    }
}

impl Asked {
    fn step(&self) -> Step {
        self.lock().lease.step(self.clock.now())
    }

    fn lent(&self) -> Result<Option<Lent>, Refusal> {
        let state = self.lock();
        match state.lease.step(self.clock.now()) {
            Step::Use | Step::Renew => Ok(state.credential.clone().map(|credential| Lent {
                credential,
                version: state.version,
            })),
            Step::Fetch | Step::Refuse(_) => {
                let why = state.failure.as_deref().unwrap_or("it was not asked");
                Err(Refusal::Unreachable(format!("{}: {why}", self.name)))
            }
        }
    }

    /// Asks the source. The turn must be held.
    async fn ask(&self) {
        let (reach, registry, prefix) = (&*self.reach, &self.site.registry, &self.prefix);
        let given = match &self.source {
            Source::Helper(helper) => helper.ask(reach, registry, prefix).await,
            Source::Plugin(plugin) => plugin.ask(reach, registry, prefix).await,
            Source::Cloud(cloud) => {
                let web = Web {
                    reach,
                    clock: self.clock,
                };
                cloud.ask(&web, &self.site).await
            }
        };
        self.keep(given);
    }

    fn keep(&self, given: Result<Given, String>) {
        let now = self.clock.now();
        let name = &self.name;
        let mut state = self.lock();
        match given {
            Ok((credential, life)) => {
                if state.failure.take().is_some() {
                    tracing::info!(registry = %self.site.registry, "the credential of {name} can be had again");
                }
                if credential.is_none() && (state.credential.is_some() || state.version == 0) {
                    tracing::warn!(
                        registry = %self.site.registry,
                        "{name} has no credential for it, which is asked without one until there is one"
                    );
                }
                if state.credential != credential || state.version == 0 {
                    state.version += 1;
                }
                state.credential = credential;
                state.lease.got(life, now);
            }
            Err(why) => {
                state.lease.failed(now);
                let held = matches!(state.lease.step(now), Step::Use | Step::Renew);
                tracing::warn!(
                    registry = %self.site.registry,
                    reason = %why,
                    held,
                    "the credential of {name} cannot be had; what is held is used as long as it is good"
                );
                state.failure = Some(why);
            }
        }
    }

    async fn turn(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.turn.acquire().await.expect("the semaphore is never closed")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}
