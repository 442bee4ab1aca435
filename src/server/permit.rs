//! Repositories that the upstream shows to some only: who asks has to be one of them.
//!
//! By an upstream that is asked for each client, a client logs in with what the registry itself gave it. What it may
//! not see, and what is not there, look the same. Those who guess are slowed down by their address, as those are who
//! guess our own passwords. What is good at this cache is for no registry to see: a client that has one login for all of
//! a host may send it there too.

use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use tokio::sync::SemaphorePermit;

use super::Inner;
use super::login::{Basic, NotAsked};
use super::pull::{self, Told};
use super::refusal;
use super::respond::{self, Answer};
use crate::cache::NotShown;
use crate::oci::{Code, Registry, Route};
use crate::policy::access::Judge;
use crate::policy::naming::Chosen;
use crate::upstream::{Credential, Guard, Secret, Wants};

/// What those are told who have not logged in.
const LOG_IN: &str = "log in first, with what the registry itself takes";
/// What those are told whose login the registry refuses.
const NOT_TAKEN: &str = "the registry does not take this user name and password";
/// What those are told who log in there as they do at this cache.
const OURS: &str = "this logs in at the cache, which does not show it to the registry; log in with what the registry itself \
                    takes";

/// Who judges what a request for this logs in with: the registry, if it is asked what it shows to each client.
pub(super) fn judge(inner: &Inner, chosen: Option<&Chosen>) -> Judge {
    match chosen.map(|chosen| inner.cache.guard(chosen)) {
        Some(Guard::Client) => Judge::Registry,
        Some(Guard::Everybody | Guard::Nobody) | None => Judge::Cache,
    }
}

/// What a host means that is asked for no repository.
pub(super) fn meant(inner: &Inner, host: Option<&Registry>) -> Option<Chosen> {
    let route = Route::parse("/v2/any/tags/list", None).ok()?;
    inner.names.choose(route.target()?, host).ok()
}

/// Nothing, if what a route names of a repository may be served to who sent this; else what is said instead.
pub(super) async fn check(
    inner: &Inner,
    head: &Parts,
    (route, chosen): (&Route, &Chosen),
    address: IpAddr,
) -> Result<(), Box<Told>> {
    let guard = inner.cache.guard(chosen);
    let wants = match route {
        _ if guard == Guard::Nobody => return Ok(()),
        Route::Base | Route::Catalog(..) => return Ok(()),
        Route::Manifest(_, reference) => Wants::Manifest(reference.clone()),
        Route::Blob(_, digest) => Wants::Blob(*digest),
        Route::Tags(..) | Route::Referrers(..) => Wants::List,
    };
    let credential = credential(&head.headers).filter(|_| guard == Guard::Client);
    let turn = match turn(inner, chosen, credential.as_ref(), address).await {
        Ok(turn) => turn,
        Err(instead) => return Err(Box::new(pull::of_our_own(*instead))),
    };
    let permit = Box::pin(inner.cache.permit(chosen, &wants, credential.as_ref())).await;
    note(inner, address, &permit);
    drop(turn);
    let told = match permit {
        Ok(()) => return Ok(()),
        Err(NotShown::Unknown(failure)) => pull::failed(&failure),
        Err(NotShown::Hidden { login: true, .. }) => {
            pull::of_our_own(challenge(&chosen.repository.registry, NOT_TAKEN))
        }
        Err(NotShown::Hidden { .. }) if guard == Guard::Client && credential.is_none() => {
            pull::of_our_own(challenge(&chosen.repository.registry, LOG_IN))
        }
        Err(NotShown::Hidden { .. }) => pull::of_our_own(not_shown(chosen)),
    };
    Err(Box::new(told))
}

/// What is said to `GET /v2/` of a host that means a registry whose clients log in: some clients only log in where this
/// asks them to, and tell their user by it whether the password is right.
pub(super) async fn ping(
    inner: &Inner,
    head: &Parts,
    meant: Option<&Chosen>,
    address: IpAddr,
) -> Option<Answer> {
    let meant = meant.filter(|meant| judge(inner, Some(meant)) == Judge::Registry)?;
    let registry = &meant.repository.registry;
    match credential(&head.headers) {
        None => Some(challenge(registry, LOG_IN)),
        Some(credential) => {
            let _turn = match turn(inner, meant, Some(&credential), address).await {
                Ok(turn) => turn,
                Err(instead) => return Some(*instead),
            };
            let taken = Box::pin(inner.cache.takes(meant, &credential)).await;
            note(inner, address, &taken);
            taken.is_err().then(|| challenge(registry, NOT_TAKEN))
        }
    }
}

/// The turn to have an upstream judge what a client logs in with, if that may be a guess; else what is said instead.
async fn turn<'a>(
    inner: &'a Inner,
    chosen: &Chosen,
    credential: Option<&Credential>,
    address: IpAddr,
) -> Result<Option<SemaphorePermit<'a>>, Box<Answer>> {
    match credential {
        Some(credential) if !inner.cache.knows(chosen, credential) => {
            let basic = Basic {
                user: credential.username.clone(),
                password: credential.password.expose().to_owned(),
            };
            let turn = Box::pin(inner.logins.turn_to_ask(inner.trust(), address, basic)).await;
            turn.map(Some).map_err(|not_asked| {
                Box::new(match not_asked {
                    NotAsked::Later(wait) => refusal::later(wait),
                    NotAsked::Ours => challenge(&chosen.repository.registry, OURS),
                })
            })
        }
        Some(_) | None => Ok(None),
    }
}

/// Counts a guess that was wrong.
fn note(inner: &Inner, address: IpAddr, permit: &Result<(), NotShown>) {
    if let Err(NotShown::Hidden {
        login: true,
        tried: true,
    }) = permit
    {
        inner.logins.failed(address);
    }
}

/// What a client logs in with.
fn credential(headers: &HeaderMap) -> Option<Credential> {
    let mut said = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(said), None) = (said.next(), said.next()) else {
        // Two readers could believe two of them.
        return None;
    };
    let Basic { user, password } = Basic::parse(said.as_bytes())?;
    Some(Credential {
        username: user,
        password: Secret::new(password),
    })
}

/// 401: the client has to log in, as it would at the registry.
fn challenge(registry: &Registry, why: &str) -> Answer {
    let mut answer = respond::error(StatusCode::UNAUTHORIZED, Code::Unauthorized, why);
    let asked = format!("Basic realm=\"{registry}\", charset=\"UTF-8\"");
    respond::put(answer.headers_mut(), header::WWW_AUTHENTICATE, &asked);
    answer
}

/// 404: whether it is there or not.
fn not_shown(chosen: &Chosen) -> Answer {
    let repository = &chosen.repository;
    let message = format!(
        "{repository} is not there, or {} does not show it to who asks",
        repository.registry
    );
    let mut answer = respond::error(StatusCode::NOT_FOUND, Code::NameUnknown, &message);
    respond::put(
        answer.headers_mut(),
        respond::CACHE_STATUS,
        "seawall; detail=not-shown",
    );
    answer
}
