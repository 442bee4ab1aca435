//! Tokens: fetched once for all who need the same, kept until they are nearly over.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method};
use lru::LruCache;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::auth::basic;
use super::body::{read_whole, text};
use super::identity::Holder;
use super::login::Logins;
use super::wire::Wire;
use super::{Credential, LimitKind, Refusal, Secret, limits, lock, retry};
use crate::clock::{Clock, Time};
use crate::net::url::Url;
use crate::policy::identity::docker::IDENTITY_TOKEN;
use crate::telemetry::metrics::upstreams::Token as Told;

/// The media type of a form.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
/// Most tokens kept for one upstream; a token is for one repository.
const MAX_TOKENS: NonZeroUsize = NonZeroUsize::new(1024).expect("is not zero");

/// Most bytes of a token service's answer.
const MAX_ANSWER: u64 = 64 << 10;

/// Most bytes of a token: it must fit a request header.
const MAX_TOKEN: usize = 16 << 10;

/// Shortest and longest life believed of a token. The floor is the token specification's.
const LIFE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));

/// Most bytes read of a refusal, to tell which it is.
const MAX_REFUSAL: u64 = 4 << 10;

/// How long a repository that was refused is not asked about again.
const PARKED: Duration = Duration::from_secs(60);

/// What a token is for. Two accounts, or an account and nobody, never share one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The token service.
    pub(super) realm: Url,
    /// What the service calls the registry; may be empty.
    pub(super) service: String,
    /// What it must be good for; may be empty.
    pub(super) scope: String,
    /// Whether it is asked for with the credential.
    pub(super) named: bool,
}

/// The tokens of one upstream.
pub(super) struct Tokens {
    slots: Mutex<LruCache<Key, Arc<Slot>>>,
    logins: Arc<Logins>,
    /// True for a client's credential, of which the operator is told nothing.
    foreign: bool,
    clock: Clock,
}

/// One token, and the turn to fetch it.
struct Slot {
    turn: Semaphore,
    state: Mutex<State>,
}

impl Slot {
    fn is_valid(&self, now: Time) -> bool {
        lock(&self.state)
            .token
            .as_ref()
            .is_some_and(|token| now < token.end)
    }
}

#[derive(Clone, Default)]
struct State {
    token: Option<Issued>,
    failed: Option<Failed>,
}

#[derive(Clone)]
struct Issued {
    secret: Secret,
    refresh: Time,
    end: Time,
}

#[derive(Clone)]
struct Failed {
    at: Time,
    refusal: Refusal,
}

impl Tokens {
    pub(super) fn new(logins: Arc<Logins>, foreign: bool, clock: Clock) -> Self {
        Self {
            slots: Mutex::new(LruCache::new(MAX_TOKENS)),
            logins,
            foreign,
            clock,
        }
    }

    /// The token for `key`, held or fetched. Of many who ask at once, one fetches; while a token nears its
    /// end, one renews it and the others go on with the old one.
    ///
    /// Cancel-safe: if the one who fetches leaves, the next one does.
    pub(super) async fn get(
        &self,
        client: &Wire,
        key: &Key,
        identity: Option<&Holder>,
        idle: Duration,
    ) -> Result<Secret, Refusal> {
        let slot = self.slot(key);
        let asked = self.clock.now();
        let state = lock(&slot.state).clone();
        let old = state.token.filter(|token| asked < token.end);
        let _turn = match &old {
            Some(token) if asked < token.refresh => return Ok(token.secret.clone()),
            Some(token) => match slot.turn.try_acquire() {
                Ok(turn) => turn,
                Err(_) => return Ok(token.secret.clone()),
            },
            None => slot.turn.acquire().await.expect("the semaphore is never closed"),
        };
        if let Some(known) = self.settled(&slot, asked) {
            return old_instead(key, known, old);
        }
        let turn = match identity {
            Some(_) => self.logins.turn().await.map(Some),
            None => Ok(None),
        };
        let fetched = match &turn {
            Ok(_) => {
                let (shown, fetched) = self.log_in(client, key, identity, idle).await;
                let issued = fetched.as_ref().map_or(Told::Failed, |_| Told::Issued);
                client.counted.token(issued);
                self.keep(&slot, (key, shown), &fetched);
                fetched
            }
            Err(refusal) => Err(refusal.clone()),
        };
        old_instead(key, fetched.map(|token| token.secret), old)
    }

    /// Forgets a token that a registry would not take, unless it was renewed meanwhile.
    pub(super) fn reject(&self, key: &Key, refused: &Secret) {
        let slot = self.slot(key);
        let mut state = lock(&slot.state);
        if state.token.as_ref().is_some_and(|token| token.secret == *refused) {
            state.token = None;
        }
    }

    /// How many are held and valid.
    pub(super) fn held(&self) -> u64 {
        let now = self.clock.now();
        let slots = lock(&self.slots);
        slots.iter().filter(|(_, slot)| slot.is_valid(now)).count() as u64
    }

    /// True if the one for this is.
    pub(super) fn holds(&self, key: &Key) -> bool {
        let slots = lock(&self.slots);
        slots
            .peek(key)
            .is_some_and(|slot| slot.is_valid(self.clock.now()))
    }

    fn slot(&self, key: &Key) -> Arc<Slot> {
        let new = || {
            Arc::new(Slot {
                turn: Semaphore::new(1),
                state: Mutex::new(State::default()),
            })
        };
        Arc::clone(lock(&self.slots).get_or_insert_ref(key, new))
    }

    /// What became known while waiting for the turn: a token, or a failure that came after `asked` or is
    /// to be remembered.
    fn settled(&self, slot: &Slot, asked: Time) -> Option<Result<Secret, Refusal>> {
        let now = self.clock.now();
        let state = lock(&slot.state);
        if let Some(token) = state.token.as_ref().filter(|token| now < token.refresh) {
            return Some(Ok(token.secret.clone()));
        }
        let failed = state.failed.as_ref()?;
        let definite = matches!(failed.refusal, Refusal::Denied(_)) && now.since(failed.at) < PARKED;
        (definite || failed.at > asked).then(|| Err(failed.refusal.clone()))
    }

    /// Fetches a token, and says which version of the credential was shown for it. One that is refused is shown
    /// no more where its source has another by now.
    async fn log_in(
        &self,
        client: &Wire,
        key: &Key,
        identity: Option<&Holder>,
        idle: Duration,
    ) -> (Option<u64>, Result<Issued, Refusal>) {
        let lent = match identity {
            Some(identity) => identity.get().await,
            None => Ok(None),
        };
        let mut lent = match lent {
            Ok(Some(lent)) => lent,
            Ok(None) => return (None, self.fetch(client, key, None, idle).await),
            Err(refusal) => return (None, Err(refusal)),
        };
        self.logins.renewed(lent.version);
        let mut fetched = self.fetch(client, key, Some(&lent.credential), idle).await;
        if let (Err(Refusal::Denied(401)), Some(identity)) = (&fetched, identity)
            && let Some(other) = identity.another(lent.version).await
        {
            lent = other;
            self.logins.renewed(lent.version);
            fetched = self.fetch(client, key, Some(&lent.credential), idle).await;
        }
        (Some(lent.version), fetched)
    }

    fn keep(&self, slot: &Slot, (key, shown): (&Key, Option<u64>), fetched: &Result<Issued, Refusal>) {
        let now = self.clock.now();
        if let Some(version) = shown {
            self.logins.tell(version, fetched.as_ref().err());
            if let Some(until) = self.logins.parked().filter(|_| !self.foreign) {
                tracing::warn!(
                    host = key.realm.host(),
                    %until,
                    "the token service refused the upstream's credential, which is parked until then; check its \
                     user name and password"
                );
            }
        }
        let mut state = lock(&slot.state);
        match fetched {
            Ok(token) => {
                *state = State {
                    token: Some(token.clone()),
                    failed: None,
                }
            }
            Err(refusal) => {
                state.failed = Some(Failed {
                    at: now,
                    refusal: refusal.clone(),
                });
            }
        }
    }

    async fn fetch(
        &self,
        client: &Wire,
        key: &Key,
        credential: Option<&Credential>,
        idle: Duration,
    ) -> Result<Issued, Refusal> {
        let mut headers = HeaderMap::new();
        let sent = self.clock.now();
        let exchanged = credential.filter(|credential| credential.username == IDENTITY_TOKEN);
        let response = match (exchanged, credential) {
            (Some(credential), _) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
                let form = key.form(credential.password.expose());
                client.post(&key.realm, headers, form.into()).await?
            }
            (None, Some(credential)) => {
                headers.insert(AUTHORIZATION, basic(credential)?);
                client.send(Method::GET, &key.url()?, headers).await?
            }
            (None, None) => client.send(Method::GET, &key.url()?, headers).await?,
        };
        let status = response.status();
        match status.as_u16() {
            200 => {}
            // RFC 6749, section 5.2: what an identity token that is no good comes to.
            400 if exchanged.is_some() => return Err(Refusal::Denied(401)),
            401 | 403 => return Err(Refusal::Denied(status.as_u16())),
            429 => {
                let hint = text(response.headers(), RETRY_AFTER);
                let retry_after = hint.and_then(|hint| retry::retry_after(hint, sent));
                let body = read_whole(response, MAX_REFUSAL, idle, "a refusal").await;
                let body = body.unwrap_or_default();
                let body = String::from_utf8_lossy(&body);
                let retry_after = retry_after.or_else(|| limits::hint(&body));
                // Failed logins are counted for the account, in words; requests are counted for the address.
                let kind = if key.named && limits::is_lock(&body) {
                    LimitKind::Login
                } else {
                    LimitKind::Abuse
                };
                return Err(Refusal::Limited { kind, retry_after });
            }
            408 | 500.. => return Err(Refusal::Failing(status.as_u16())),
            other => {
                let host = key.realm.host();
                return Err(Refusal::Unusable(format!(
                    "the token service {host} answered with status {other}"
                )));
            }
        }
        let body = read_whole(response, MAX_ANSWER, idle, "a token answer").await?;
        issued(&body, sent).ok_or_else(|| {
            Refusal::Unusable(format!(
                "the token service {} answered without a token",
                key.realm.host()
            ))
        })
    }
}

/// A token that could not be renewed is good to its end, unless its repository is denied now. That its
/// credential is parked says nothing of it.
fn old_instead(key: &Key, renewed: Result<Secret, Refusal>, old: Option<Issued>) -> Result<Secret, Refusal> {
    match (renewed, old) {
        (Err(Refusal::Denied(status)), _) if !key.named || status != 401 => Err(Refusal::Denied(status)),
        (Err(_), Some(old)) => Ok(old.secret),
        (renewed, _) => renewed,
    }
}

impl Key {
    /// The URL to ask: the realm, which may have a query of its own, with service and scope appended.
    fn url(&self) -> Result<Url, Refusal> {
        let mut query = self.realm.query().unwrap_or_default().to_owned();
        let scopes = self.scope.split(' ').map(|scope| ("scope", scope));
        append(
            &mut query,
            [("service", self.service.as_str())].into_iter().chain(scopes),
        );
        let joined = self.realm.join(&format!("?{query}"));
        joined.map_err(|error| Refusal::Unusable(format!("token realm {}: {error}", self.realm.host())))
    }

    /// What is posted to have an identity token exchanged: all scopes in one field (RFC 6749).
    fn form(&self, token: &str) -> String {
        let mut form = String::new();
        let pairs = [
            ("grant_type", "refresh_token"),
            ("service", &self.service),
            ("client_id", "seawall"),
            ("scope", &self.scope),
            ("refresh_token", token),
        ];
        append(&mut form, pairs.into_iter());
        form
    }
}

/// Appends what is not empty to a query, or a form.
pub(super) fn append<'a>(query: &mut String, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    for (name, value) in pairs.filter(|(_, value)| !value.is_empty()) {
        let and = if query.is_empty() { "" } else { "&" };
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        let _ = write!(query, "{and}{name}={value}");
    }
}

/// Reads a token service's answer, which was asked for at `sent`.
fn issued(body: &Bytes, sent: Time) -> Option<Issued> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: Option<String>,
        token: Option<String>,
        expires_in: Option<serde_json::Value>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let filled = |token: &String| !token.is_empty();
    let secret = answer
        .access_token
        .filter(filled)
        .or(answer.token.filter(filled))?;
    let is_plain = secret.bytes().all(|byte| byte.is_ascii_graphic());
    if secret.len() > MAX_TOKEN || !is_plain {
        return None;
    }
    // Sent as a number or a text, negative, huge or not at all (S031).
    let seconds = answer.expires_in.and_then(|value| match value {
        serde_json::Value::String(text) => text.parse::<f64>().ok(),
        other => other.as_f64(),
    });
    let life = Duration::from_secs_f64(seconds.unwrap_or(0.0).clamp(0.0, LIFE.1.as_secs_f64())).max(LIFE.0);
    let early = life
        .mul_f64(0.8)
        .min(life.saturating_sub(Duration::from_secs(30)));
    Some(Issued {
        secret: Secret::new(secret),
        refresh: sent + early,
        end: sent + life,
    })
}

#[cfg(test)]
mod tests;
