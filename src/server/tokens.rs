//! `/v2/_auth/token`: where a client trades what it logs in with for a token that is good for some minutes.
//!
//! Clients ask for it with GET (Docker, podman, skopeo) or with a form (containerd). What may not be pulled is left
//! out of the token, as registries do; that is no error. A token opens nothing that its owner may not pull at the
//! moment it is used.

mod asked;

use std::net::SocketAddr;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use self::asked::{Asked, Proof};
use super::Inner;
use super::admit::{self, Caller};
use super::http::From;
use super::login::{CATALOG, Login, Purpose, Subject, Ticket};
use super::permit;
use super::refusal::{self, Challenge};
use super::respond::{self, Answer};
use crate::oci::{Code, Registry, Route};
use crate::policy::access::{self, Judge, Verdict, Wanted};
use crate::policy::clients::Identity;
use crate::policy::issuers::Refused;

/// Where tokens are issued.
pub(super) const PATH: &str = "/v2/_auth/token";
/// Most bytes of a form.
const MAX_FORM: usize = 32 * 1024;
/// How long a token to pull with is good: clients ask for it anew without a word.
const LIFE: Duration = Duration::from_secs(15 * 60);
/// How long one is good that takes the place of a password: who pulls once a month stays logged in.
const REFRESH_LIFE: Duration = Duration::from_secs(35 * 86_400);

/// True for a request to this endpoint, which alone may have a body. There is none where nobody can log in.
pub(super) fn is_for(inner: &Inner, head: &Parts) -> bool {
    inner.options.clients.access.has_logins() && head.uri.path() == PATH
}

/// Issues a token, or says why not.
pub(super) async fn answer(
    inner: &Inner,
    head: &Parts,
    body: Incoming,
    (from, peer): (&From, SocketAddr),
    host: Option<&Registry>,
) -> Answer {
    let asked = match head.method == Method::POST {
        false => Ok(Asked::of_query(head.uri.query().unwrap_or_default())),
        true => form(head, body).await,
    };
    let asked = match asked {
        Ok(asked) => asked,
        Err(why) => return respond::error(StatusCode::BAD_REQUEST, Code::Unsupported, why),
    };
    let (clients, logins, trust) = (&inner.options.clients, &inner.logins, inner.trust());
    let login = match asked.proof {
        Proof::Header => logins.who(trust, peer.ip(), &head.headers, None).await,
        Proof::Password(basic) => logins.password(trust, peer.ip(), basic).await,
        Proof::Refresh(token) => logins.refresh(trust, &token),
    };
    let caller = Caller {
        peer,
        certificate: &from.certificate,
        judge: Judge::Cache,
        login,
    };
    let identity = match admit::enter(clients, &caller, Wanted::Base, || Challenge::Basic) {
        Ok(identity) => identity,
        Err(refusal) => return *refusal,
    };
    let scopes = asked.scopes.iter();
    let scopes = scopes
        .filter_map(|scope| granted(inner, &identity, host, scope))
        .collect();
    let (subject, life) = subject(inner, &caller.login);
    // Its issuer's clock may be behind, so it is believed for pulls; but what is given for it would be over at once.
    if life.as_secs() == 0 {
        return refusal::login(&Login::Refused(Refused::Expired), &Challenge::Basic);
    }
    issue(inner, (subject, life), scopes, asked.offline)
}

/// Whom a token is for, and how long it is good at most: no longer than the token that it is given for.
fn subject(inner: &Inner, login: &Login) -> (Subject, Duration) {
    let (access, keys) = (&inner.options.clients.access, &inner.keys);
    match login {
        Login::User(place) => (keys.subject(&access.users[*place]), LIFE),
        Login::Bearer(bearer) => {
            let issuer = access.issuers.iter().find(|issuer| issuer.name == bearer.issuer);
            let subject = issuer.map_or(Subject::Anonymous, |issuer| keys.bearer(bearer, issuer));
            (subject, bearer.until.since(inner.clock.now()).min(LIFE))
        }
        Login::None | Login::Wrong | Login::Stale | Login::Refused(_) | Login::Narrow | Login::Later(_) => {
            (Subject::Anonymous, LIFE)
        }
    }
}

/// What a scope means, if it may be pulled: the whole name of a repository, or the catalog.
fn granted(inner: &Inner, who: &Identity, host: Option<&Registry>, scope: &asked::Scope) -> Option<String> {
    let name = match scope {
        asked::Scope::Catalog => return Some(CATALOG.to_owned()),
        asked::Scope::Repository(name) => name,
    };
    let route = Route::parse(&format!("/v2/{name}/tags/list"), None).ok()?;
    let chosen = inner.names.choose(route.target()?, host).ok()?;
    let wanted = inner.names.wanted(&chosen);
    let judge = permit::judge(inner, Some(&chosen));
    let verdict = access::decide(&inner.options.clients, who, wanted, judge);
    (verdict == Verdict::Granted).then(|| chosen.repository.to_string())
}

fn issue(inner: &Inner, (subject, life): (Subject, Duration), scopes: Vec<String>, offline: bool) -> Answer {
    let (keys, now) = (&inner.keys, inner.clock.now());
    let shown: Vec<String> = scopes
        .iter()
        .map(|scope| match scope == CATALOG {
            true => "registry:catalog:*".to_owned(),
            false => format!("repository:{scope}:pull"),
        })
        .collect();
    // A token that takes the place of a password is of use only if its key outlives this process. Nor does one outlive
    // the word of another issuer.
    let lasts = !inner.options.token_keys.is_empty() && matches!(subject, Subject::User { .. });
    let refresh = (offline && lasts)
        .then(|| Ticket::new(Purpose::Refresh, subject.clone(), Vec::new(), now, REFRESH_LIFE))
        .map(|ticket| keys.sign(&ticket));
    let token = keys.sign(&Ticket::new(Purpose::Pull, subject, scopes, now, life));
    let mut said = serde_json::json!({
        "token": token,
        "access_token": token,
        "expires_in": life.as_secs(),
        "issued_at": format!("{now:#}"),
        "scope": shown.join(" "),
    });
    if let Some(refresh) = refresh {
        said["refresh_token"] = refresh.into();
    }
    let mut answer = respond::json(said.to_string().into(), "seawall");
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

async fn form(head: &Parts, body: Incoming) -> Result<Asked, &'static str> {
    let kind = head.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case(asked::FORM))
    {
        return Err("a token is asked for by GET, or by a form (application/x-www-form-urlencoded)");
    }
    let body = Limited::new(body, MAX_FORM).collect().await;
    let body = body.map_err(|_| "the form is too long, or broke off")?.to_bytes();
    let text = std::str::from_utf8(&body).map_err(|_| "the form is not text")?;
    Asked::of_form(text)
}
