//! Proving to a registry who asks: what it demanded, remembered, and the header that satisfies it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::challenge::{Demand, choose};
use super::identity::{Holder, Lent};
use super::login::{Logins, Turn};
use super::realm::trusted;
use super::token::{Key, Tokens};
use super::wire::Wire;
use super::{Account, Credential, Refusal, Secret, lock};
use crate::clock::{Clock, Time};
use crate::net::url::Url;
use crate::oci::RepositoryPath;
use crate::policy::login::Login;

/// What one registry demands, and what we have to satisfy it.
pub(super) struct Auth {
    registry: Url,
    identity: Option<Holder>,
    token_hosts: Vec<String>,
    logins: Arc<Logins>,
    tokens: Tokens,
    known: Mutex<Option<Known>>,
    idle: Duration,
}

/// A demand the registry made before; its realm was found trustworthy.
#[derive(Clone)]
enum Known {
    Basic,
    Bearer(Key),
}

/// What is sent to show who asks.
#[derive(Clone)]
pub(super) enum Proof {
    /// Nothing.
    None,
    /// The credential itself.
    Basic {
        value: HeaderValue,
        /// Which version of the credential it is.
        version: u64,
        /// The turn to find out whether it is good, until that is known.
        turn: Option<Turn>,
    },
    /// A token, and what it was asked for.
    Token(Key, Secret),
}

impl Proof {
    /// The `Authorization` header.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>, Refusal> {
        match self {
            Self::None => Ok(None),
            Self::Basic { value, .. } => Ok(Some(value.clone())),
            Self::Token(_, secret) => sensitive(&format!("Bearer {}", secret.expose())).map(Some),
        }
    }
}

impl Auth {
    pub(super) fn new(
        registry: Url,
        identity: Option<Holder>,
        token_hosts: Vec<String>,
        idle: Duration,
        login: Login,
        clock: Clock,
    ) -> Self {
        let logins = Arc::new(Logins::new(login, clock));
        Self {
            registry,
            identity,
            token_hosts,
            tokens: Tokens::new(logins.clone(), false, clock),
            logins,
            known: Mutex::new(None),
            idle,
        }
    }

    /// What proves somebody else to the same registry: nothing but what it demands is known.
    pub(super) fn of_another(&self, credential: Credential, clock: Clock) -> Self {
        let known = self.known().clone().map(|known| match known {
            Known::Basic => Known::Basic,
            Known::Bearer(key) => Known::Bearer(Key { named: true, ..key }),
        });
        let hosts = self.token_hosts.clone();
        let login = Login::default();
        let registry = self.registry.clone();
        let new = Self::new(
            registry,
            Some(Holder::fixed(credential)),
            hosts,
            self.idle,
            login,
            clock,
        );
        Self {
            tokens: Tokens::new(new.logins.clone(), true, clock),
            known: Mutex::new(known),
            ..new
        }
    }

    /// True if it is this account's, or nobody's.
    pub(super) fn is_of(&self, account: Option<&Account>) -> bool {
        self.identity.as_ref().map(Holder::account) == account
    }

    /// Why the source of the credential fails, while it does.
    pub(super) fn source_failure(&self) -> Option<String> {
        self.identity.as_ref()?.failure()
    }

    /// When the credential ends, if its source said so.
    pub(super) fn credential_end(&self) -> Option<Time> {
        self.identity.as_ref()?.end()
    }

    /// What the registry will want for `path`, going by what it wanted before.
    pub(super) async fn foresee(&self, client: &Wire, path: &RepositoryPath) -> Result<Proof, Refusal> {
        let known = self.known().clone();
        match known {
            None => Ok(Proof::None),
            Some(Known::Basic) => self.basic().await,
            Some(Known::Bearer(key)) => {
                let proof = self.token(client, key.of(path)).await;
                // The realm may have moved: unless its answer is plain, the next request asks the registry.
                if !matches!(proof, Ok(_) | Err(Refusal::Denied(_) | Refusal::Limited { .. })) {
                    *self.known() = None;
                }
                proof
            }
        }
    }

    /// Satisfies the challenge in `headers`, the answer of `url` to a request with the proof `tried`.
    /// `None` if it holds no challenge we could satisfy.
    ///
    /// Whoever waits to log in does so until a credential that was refused is replaced, or is known not to be.
    ///
    /// A host that the registry redirected to gets no credential, and its realm must be its own.
    pub(super) async fn satisfy(
        &self,
        client: &Wire,
        url: &Url,
        headers: &HeaderMap,
        path: &RepositoryPath,
        tried: &mut Proof,
    ) -> Result<Option<Proof>, Refusal> {
        let own = url.same_origin(&self.registry);
        let Some(demand) = demand(headers) else {
            return Ok(None);
        };
        let key = match demand {
            Demand::Basic => {
                let identity = self.identity.as_ref().filter(|_| own);
                let identity = identity.ok_or(Refusal::Denied(401))?;
                if let Proof::Basic { version, turn, .. } = tried {
                    let Some(other) = identity.another(*version).await else {
                        self.logins.tell(*version, Some(&Refusal::Denied(401)));
                        return Err(Refusal::Denied(401));
                    };
                    self.logins.renewed(other.version);
                    let turn = match turn.take() {
                        Some(turn) => Some(turn),
                        None => self.logins.turn_unless_proven().await?,
                    };
                    return show(&other, turn).map(Some);
                }
                *self.known() = Some(Known::Basic);
                return self.basic().await.map(Some);
            }
            Demand::Bearer {
                realm,
                service,
                scope,
            } => Key {
                realm: self.realm(url, &realm, own)?,
                service,
                scope: if scope.is_empty() && own {
                    pull(path)
                } else {
                    scope
                },
                named: own && self.identity.is_some(),
            },
        };
        match tried {
            Proof::Token(key, refused) => self.tokens.reject(key, refused),
            // One that wants tokens now has not judged the credential.
            Proof::Basic { turn, .. } => *turn = None,
            Proof::None => {}
        }
        if own {
            *self.known() = Some(Known::Bearer(key.clone()));
        }
        self.token(client, key).await.map(Some)
    }

    async fn token(&self, client: &Wire, key: Key) -> Result<Proof, Refusal> {
        let identity = self.identity.as_ref().filter(|_| key.named);
        let secret = self.tokens.get(client, &key, identity, self.idle).await?;
        Ok(Proof::Token(key, secret))
    }

    fn realm(&self, url: &Url, realm: &str, own: bool) -> Result<Url, Refusal> {
        let hosts: &[String] = if own { &self.token_hosts } else { &[] };
        let realm = url.join(realm);
        let realm = realm.map_err(|error| {
            Refusal::Unusable(format!("the token realm that {} named: {error}", url.host()))
        })?;
        if trusted(&realm, url, hosts) {
            return Ok(realm);
        }
        Err(Refusal::Unusable(format!(
            "{} wants tokens of {realm}, which is not known to belong to it; add the host to the upstream's \
             token_hosts if it does",
            url.host()
        )))
    }

    async fn basic(&self) -> Result<Proof, Refusal> {
        let Some(identity) = &self.identity else {
            return Ok(Proof::None);
        };
        self.logins.allowed()?;
        // Its turn comes first: what was held before may be another's by then.
        let turn = self.logins.turn_unless_proven().await?;
        match identity.get().await? {
            Some(lent) => {
                self.logins.renewed(lent.version);
                show(&lent, turn)
            }
            None => Ok(Proof::None),
        }
    }

    /// A request with this proof was answered, or not: whether the credential in it is good is known now.
    pub(super) fn heard<B>(&self, proof: &mut Proof, answer: Result<&Response<B>, &Refusal>) {
        let Proof::Basic { turn, version, .. } = proof else {
            return;
        };
        match answer {
            Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                if !matches!(demand(response.headers()), Some(Demand::Bearer { .. })) {
                    self.logins.tell(*version, Some(&Refusal::Denied(401)));
                }
            }
            Ok(response) if matches!(response.status().as_u16(), 200..=399 | 404) => {
                self.logins.tell(*version, None);
            }
            Ok(_) => {}
            Err(refusal) => self.logins.tell(*version, Some(refusal)),
        }
        *turn = None;
    }

    /// True if a valid token for a repository is held.
    pub(super) fn holds_token(&self, path: &RepositoryPath) -> bool {
        let key = match &*self.known() {
            Some(Known::Bearer(key)) => key.clone().of(path),
            Some(Known::Basic) | None => return false,
        };
        self.tokens.holds(&key)
    }

    /// How many tokens are held and valid.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens.held()
    }

    /// The credential's record.
    pub(super) fn record(&self) -> Login {
        self.logins.record()
    }

    /// True if the credential was taken of late.
    pub(super) fn is_proven(&self) -> bool {
        self.logins.is_proven()
    }

    /// Until when the credential is parked.
    pub(super) fn parked(&self) -> Option<Time> {
        self.logins.parked()
    }

    /// # Errors
    /// What a login would come to, while the credential is parked.
    pub(super) fn allowed(&self) -> Result<(), Refusal> {
        self.logins.allowed()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        lock(&self.known)
    }
}

impl Key {
    /// The same for another repository. Some registries demand the same scope for everything (`aws`, `*`); most
    /// name the repository.
    fn of(mut self, path: &RepositoryPath) -> Self {
        if self.scope.is_empty() || self.scope.starts_with("repository:") {
            self.scope = pull(path);
        }
        self
    }
}

/// What a 401 asks for.
fn demand(headers: &HeaderMap) -> Option<Demand> {
    let fields = headers.get_all(WWW_AUTHENTICATE).into_iter();
    choose(fields.filter_map(|value| value.to_str().ok()))
}

/// The scope of a pull.
fn pull(path: &RepositoryPath) -> String {
    format!("repository:{path}:pull")
}

fn show(lent: &Lent, turn: Option<Turn>) -> Result<Proof, Refusal> {
    Ok(Proof::Basic {
        value: basic(&lent.credential)?,
        version: lent.version,
        turn,
    })
}

/// The header of a credential.
pub(super) fn basic(credential: &Credential) -> Result<HeaderValue, Refusal> {
    let pair = format!("{}:{}", credential.username, credential.password.expose());
    sensitive(&format!("Basic {}", BASE64_STANDARD.encode(pair)))
}

fn sensitive(text: &str) -> Result<HeaderValue, Refusal> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Refusal::Unusable("a credential cannot be sent in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}
