//! One request and what it takes to get its answer: authentication, redirects, retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{AUTHORIZATION, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::sleep;

use super::auth::{Auth, Proof};
use super::body::{read_whole, text};
use super::lanes::Lanes;
use super::negative::Negatives;
use super::rest::Rest;
use super::retry::{self, MAX_SHORT_WAITS, MAX_TRIES, Retries};
use super::shield::Shield;
use super::throttle::Throttle;
use super::wire::{Cost, Wire};
use super::{LimitKind, Refusal, Timeouts, limits};
use crate::clock::Clock;
use crate::net::client::SendError;
use crate::net::url::{Scheme, Url};
use crate::oci::RepositoryPath;
use crate::policy::budget::Asker;
use crate::policy::login::Mark;

/// Most redirects followed for one request.
const MAX_REDIRECTS: usize = 5;

/// Most bytes read of a refusal, to tell which it is.
pub(super) const MAX_REFUSAL: u64 = 16 << 10;

/// What is asked of a registry.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// The repository that a token must be good for.
    pub(super) path: &'a RepositoryPath,
    /// The account to ask with.
    pub(super) account: usize,
    /// Whether it is about a manifest: the answer tells of the budget then.
    pub(super) manifest: bool,
    /// Told whether a request left that may have been counted.
    pub(super) left: Option<&'a AtomicBool>,
    /// Who waits for the answer, if that is known.
    pub(super) asker: Option<Asker>,
}

impl<'a> Ask<'a> {
    /// A GET that is about no manifest, with the first account and no headers.
    pub(super) fn plain(path: &'a RepositoryPath, url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            path,
            account: 0,
            manifest: false,
            left: None,
            asker: None,
        }
    }
}

/// A response, and who gave it.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    /// True if the registry sent us to another host, whose 401 or 403 says nothing of the repository.
    pub(super) elsewhere: bool,
    /// True if the registry told figures when it sent us there.
    told: bool,
}

/// Talks to one registry.
pub(super) struct Exchange {
    pub(super) base: Url,
    pub(super) client: Arc<Wire>,
    /// What proves each account; one at least.
    pub(super) accounts: Vec<Arc<Auth>>,
    /// What tells each credential from others, in the ledger.
    pub(super) marks: Vec<Option<Mark>>,
    pub(super) shield: Arc<Shield>,
    pub(super) throttle: Arc<Throttle>,
    /// What the registry said to any of ours who ask it.
    pub(super) rest: Arc<Rest>,
    pub(super) retries: Arc<Retries>,
    pub(super) negatives: Arc<Negatives>,
    pub(super) lanes: Arc<Lanes>,
    /// True once a redirect of a manifest told figures.
    pub(super) redirects_tell: AtomicBool,
    pub(super) timeouts: Timeouts,
    pub(super) clock: Clock,
}

impl Exchange {
    /// Gets the answer of whoever has it, whatever its status is. Retries what may be retried, as long as
    /// the time for one answer is not over.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        let start = self.clock.now();
        let (mut failures, mut waits) = (0, 0);
        self.retries.earn();
        loop {
            self.place(ask).await?;
            let result = self.judge(ask, self.follow(ask).await).await;
            let early = self.clock.now().since(start) < self.timeouts.headers;
            let wait = match &result {
                Err(Refusal::Limited { kind, retry_after }) => {
                    waits += 1;
                    // Its next place in the queue is wait enough, if that is soon.
                    let queues = *kind == LimitKind::Abuse && self.throttle.is_soon(&self.shield);
                    let place = queues.then_some(Duration::ZERO);
                    retry::short_wait(*retry_after)
                        .or(place)
                        .filter(|_| early && waits <= MAX_SHORT_WAITS)
                }
                result if early && is_passing(result) => {
                    failures += 1;
                    (failures < MAX_TRIES && self.retries.spend()).then(|| retry::pause(failures - 1))
                }
                _ => None,
            };
            match wait {
                Some(wait) => sleep(wait).await,
                None => return result.map_err(|refusal| self.dated(refusal)),
            }
        }
    }

    /// As [`Self::ask`], but tried once.
    pub(super) async fn ask_once(&self, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        self.place(ask).await?;
        self.judge(ask, self.follow(ask).await).await
    }

    /// Waits until the registry takes another request, as far as is known.
    async fn place(&self, ask: &Ask<'_>) -> Result<(), Refusal> {
        let now = self.clock.now();
        let told = self.rest.left(now);
        if told > self.shield.parked().unwrap_or_default() {
            // Another was told, who comes from the same address.
            self.shield.refused(ask.account, LimitKind::Abuse, Some(told));
            self.throttle.refused(&self.shield, now);
        }
        self.throttle
            .place(ask.asker.as_ref(), &self.shield, self.clock)
            .await
    }

    /// Adds until when the registry is left alone, where it did not say.
    fn dated(&self, refusal: Refusal) -> Refusal {
        match refusal {
            Refusal::Limited {
                kind: kind @ LimitKind::Abuse,
                retry_after: None,
            } => Refusal::Limited {
                kind,
                retry_after: self.shield.parked(),
            },
            refusal => refusal,
        }
    }

    /// Tells the shield what the answer says of the budget, and reads which refusal a 429 is.
    async fn judge(&self, ask: &Ask<'_>, result: Result<Answer, Refusal>) -> Result<Answer, Refusal> {
        let login = self.auth(ask).record();
        let answer = match result {
            Ok(answer) => {
                self.shield.note_login(ask.account, self.mark(ask), &login);
                answer
            }
            // Not the registry's answer, but the token service's.
            Err(refusal) => {
                self.shield.park(ask.account, self.mark(ask), &login);
                if let Refusal::Limited { kind, retry_after } = refusal {
                    self.shield.refused(ask.account, kind, retry_after);
                }
                if ask.manifest {
                    self.shield.learn_nothing(ask.account);
                }
                return Err(refusal);
            }
        };
        let status = answer.response.status();
        // A Seawall that sends its clients on when its own upstream refuses says so with a 503.
        let limited = status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::SERVICE_UNAVAILABLE && limits::is_passed_on(answer.response.headers());
        // A store that the registry redirected to has limits of its own, which are no part of the budget.
        if limited && answer.elsewhere {
            return Err(Refusal::Failing(StatusCode::TOO_MANY_REQUESTS.as_u16()));
        }
        if ask.manifest {
            self.learn(ask, &answer);
        }
        if !limited {
            self.throttle.answered();
            self.shield.answered();
            return Ok(answer);
        }
        let (head, body) = answer.response.into_parts();
        let refused = Response::from_parts(head.clone(), body);
        let body = read_whole(refused, MAX_REFUSAL, self.timeouts.idle, "a refusal").await;
        let body = body.unwrap_or_default();
        let body = String::from_utf8_lossy(&body);
        let kind = limits::kind(&head.headers, &body);
        let told = self.retry_after(&head.headers, kind);
        let retry_after = told.or_else(|| limits::hint(&body));
        let (lasting, abuse) = (retry::short_wait(retry_after).is_none(), kind == LimitKind::Abuse);
        if lasting && (ask.manifest || abuse) {
            self.shield.refused(ask.account, kind, retry_after);
        }
        if lasting && abuse {
            let now = self.clock.now();
            self.throttle.refused(&self.shield, now);
            self.rest.say(now + self.shield.parked().unwrap_or_default());
        }
        Err(Refusal::Limited { kind, retry_after })
    }

    /// Tells the shield what an answer about a manifest says of the budget.
    fn learn(&self, ask: &Ask<'_>, answer: &Answer) {
        let headers = answer.response.headers();
        // What was told on the way is the whole answer: a store adds nothing to it.
        if self.hear(ask, headers) || answer.told {
            return;
        }
        // A refusal without figures does not mean that there is no limit; nor does a store's answer, where
        // the registry that sent us there was heard to count.
        let unlimited = answer.response.status().is_success()
            && (!answer.elsewhere || !self.shield.is_known(ask.account));
        if unlimited {
            let told = (None, limits::source(headers));
            self.shield.learn(ask.path.as_str(), ask.account, told);
        } else {
            self.shield.learn_nothing(ask.account);
        }
    }

    /// Learns the figures of a response about a manifest; false if it has none.
    fn hear(&self, ask: &Ask<'_>, headers: &HeaderMap) -> bool {
        let reading = limits::reading(headers);
        let heard = reading.is_some();
        if heard {
            let told = (reading, limits::source(headers));
            self.shield.learn(ask.path.as_str(), ask.account, told);
        }
        heard
    }

    /// Learns what a redirect of a manifest says of the budget; false if that is nothing. Where redirects have
    /// told figures, one without any says that there is no limit: what follows is another host's.
    fn hear_redirect(&self, ask: &Ask<'_>, headers: &HeaderMap) -> bool {
        if self.hear(ask, headers) {
            self.redirects_tell.store(true, Ordering::Relaxed);
            return true;
        }
        let gone = self.redirects_tell.load(Ordering::Relaxed);
        if gone {
            let told = (None, limits::source(headers));
            self.shield.learn(ask.path.as_str(), ask.account, told);
        }
        gone
    }

    /// As [`Self::ask`], with everything but success refused.
    pub(super) async fn ask_for(&self, ask: &Ask<'_>) -> Result<Response<Incoming>, Refusal> {
        let answer = self.ask(ask).await?;
        match self.refusal(&answer) {
            Some(refusal) => Err(refusal),
            None => Ok(answer.response),
        }
    }

    /// What a status means; `None` for success.
    pub(super) fn refusal(&self, answer: &Answer) -> Option<Refusal> {
        let status = answer.response.status();
        Some(match status.as_u16() {
            200..300 => return None,
            404 | 410 => Refusal::NotFound,
            code @ (401 | 403) if answer.elsewhere => Refusal::Failing(code),
            code @ (401 | 403) => Refusal::Denied(code),
            code @ (408 | 429 | 500..) => Refusal::Failing(code),
            code => Refusal::Unusable(format!("{} answered with status {code}", self.base.host())),
        })
    }

    fn retry_after(&self, headers: &HeaderMap, kind: LimitKind) -> Option<Duration> {
        let (value, now) = (text(headers, RETRY_AFTER)?, self.clock.now());
        match kind {
            LimitKind::Pull => retry::renewed_after(value, now),
            LimitKind::Abuse | LimitKind::Login => retry::retry_after(value, now),
        }
    }

    /// One try: through redirects, and through one challenge of each host.
    async fn follow(&self, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        let mut url = ask.url.clone();
        let auth = self.auth(ask);
        let mut proof = auth.foresee(&self.client, ask.path).await?;
        let (mut redirects, mut challenged, mut told) = (0, false, false);
        loop {
            let response = self.send(ask, &url, &proof).await;
            if let Ok(refused) = &response
                && refused.status() == StatusCode::UNAUTHORIZED
                && !challenged
            {
                challenged = true;
                if let Some(better) = self.satisfy(auth, &url, refused, ask.path, &mut proof).await? {
                    proof = better;
                    continue;
                }
            }
            auth.heard(&mut proof, response.as_ref());
            let response = response?;
            let Some(next) = self.redirect(&url, &response)? else {
                let elsewhere = !url.same_origin(&self.base);
                return Ok(Answer {
                    response,
                    elsewhere,
                    told,
                });
            };
            if ask.manifest && url.same_origin(&self.base) {
                // The registry's own figures stand here: the answer will be another host's.
                told |= self.hear_redirect(ask, response.headers());
            }
            redirects += 1;
            if redirects > MAX_REDIRECTS {
                let host = self.base.host();
                return Err(Refusal::Unusable(format!(
                    "{host} redirected more than {MAX_REDIRECTS} times"
                )));
            }
            if !next.same_origin(&url) {
                // What proves us to one host is no other host's business.
                (proof, challenged) = (Proof::None, false);
                if next.same_origin(&self.base) {
                    proof = auth.foresee(&self.client, ask.path).await?;
                }
            }
            url = next;
        }
    }

    fn auth(&self, ask: &Ask<'_>) -> &Auth {
        &self.accounts[ask.account.min(self.accounts.len() - 1)]
    }

    async fn send(&self, ask: &Ask<'_>, url: &Url, proof: &Proof) -> Result<Response<Incoming>, Refusal> {
        let mut headers = ask.headers.clone();
        if let Some(value) = proof.header()? {
            headers.insert(AUTHORIZATION, value);
        }
        if ask.manifest && ask.method == Method::GET && self.client.is_half_open(url) {
            // What may cost budget is no probe: a HEAD finds out first whether the host is back.
            self.client.send(Method::HEAD, url, headers.clone()).await?;
        }
        let cost = Cost {
            account: url.same_origin(&self.base).then_some(ask.account),
            left: ask.left,
        };
        let method = ask.method.clone();
        self.client.send_counted(method, url, headers, cost).await
    }

    /// The proof a 401 asks for. Where it does not say what it wants, the registry's `/v2/` does.
    async fn satisfy(
        &self,
        auth: &Auth,
        url: &Url,
        response: &Response<Incoming>,
        path: &RepositoryPath,
        tried: &mut Proof,
    ) -> Result<Option<Proof>, Refusal> {
        let better = auth
            .satisfy(&self.client, url, response.headers(), path, tried)
            .await?;
        if better.is_some() || !url.same_origin(&self.base) {
            return Ok(better);
        }
        let ping = self
            .client
            .send(Method::GET, &self.url("")?, HeaderMap::new())
            .await?;
        auth.satisfy(&self.client, url, ping.headers(), path, tried).await
    }

    /// Where a response leads, if it is a redirect.
    fn redirect(&self, url: &Url, response: &Response<Incoming>) -> Result<Option<Url>, Refusal> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let host = url.host();
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let location =
            location.ok_or_else(|| Refusal::Unusable(format!("{host} redirected without saying where")))?;
        let next = url
            .join(location)
            .map_err(|error| Refusal::Unusable(format!("{host} redirected badly: {error}")))?;
        if next.scheme() == Scheme::Http && self.base.scheme() == Scheme::Https {
            return Err(Refusal::Unusable(format!(
                "{host} redirected from https to {next}"
            )));
        }
        Ok(Some(next))
    }

    /// The URL of something below `/v2/`.
    pub(super) fn url(&self, rest: &str) -> Result<Url, Refusal> {
        let path = self.base.path().trim_end_matches('/');
        let url = self.base.join(&format!("{path}/v2/{rest}"));
        url.map_err(|error| Refusal::Unusable(error.to_string()))
    }
}

/// True for what another try may mend.
fn is_passing(result: &Result<Answer, Refusal>) -> bool {
    match result {
        Ok(answer) => matches!(answer.response.status().as_u16(), 408 | 500 | 502 | 503 | 504),
        Err(refusal) => matches!(refusal, Refusal::Unreachable(_) | Refusal::Failing(_)),
    }
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Forbidden(text) => Self::Unusable(text),
            SendError::Unconnected(text)
            | SendError::Unread(text)
            | SendError::Broken(text)
            | SendError::Late(text) => Self::Unreachable(text),
        }
    }
}
