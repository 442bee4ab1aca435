//! The pull side of the distribution API, route by route.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::HeaderName;
use http::{StatusCode, header};
use serde_json::value::RawValue;

use super::respond::{self, Answer, Wishes};
use crate::cache::{Asker, Body, Cache, Failure, Served};
use crate::oci::{Code, Digest, Page, Registry, Repository, Route, RouteError, Target};
use crate::policy::access::Grant;
use crate::policy::naming::{Chosen, Names, Unknown};
use crate::telemetry::metrics::requests::{From, Outcome};

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// An answer, and what the request line of the log says about it.
pub(super) struct Told {
    pub(super) answer: Answer,
    pub(super) from: From,
    pub(super) outcome: Outcome,
    /// What the client was told if it was given nothing.
    pub(super) why: Option<Cow<'static, str>>,
}

/// Answers a route whose repository has been chosen.
pub(super) async fn answer(
    cache: &Cache,
    route: &Route,
    chosen: &Chosen,
    asker: &Asker,
    wishes: Wishes<'_>,
) -> Told {
    let served = match route {
        Route::Manifest(_, reference) => cache.manifest(chosen, reference, wishes.head, asker).await,
        Route::Blob(_, digest) if wishes.head => cache.blob_head(chosen, digest).await,
        Route::Blob(_, digest) => cache.blob(chosen, digest, asker).await,
        Route::Referrers(_, digest, kind) => {
            return referrers(cache, chosen, digest, kind.as_deref(), asker, wishes).await;
        }
        Route::Tags(target, page) => return tags(cache, chosen, target, page).await,
        Route::Base | Route::Catalog(..) => return of_our_own(base()),
    };
    match served {
        Ok(served) => told(respond::serve(&served, wishes), &served),
        Err(failure) => failed(&failure),
    }
}

/// `GET /v2/`.
pub(super) fn base() -> Answer {
    respond::json(Bytes::from_static(b"{}"), "seawall")
}

/// `GET /v2/_catalog`.
pub(super) async fn catalog(
    cache: &Cache,
    registry: Option<&Registry>,
    page: &Page,
    grant: Option<&Grant>,
    names: &Names,
) -> Answer {
    let held = match cache.repositories(registry).await {
        Ok(held) => held,
        Err(failure) => return respond::fail(&failure),
    };
    let may_see = |name: &&str| {
        let Some(repository) = named(registry, name) else {
            return false;
        };
        let covered = grant.is_none_or(|grant| grant.covers(&repository.registry, &repository.path));
        // What an upstream shows to some only is named to nobody.
        let entry = names.entry(&repository.registry);
        let offered = |chosen: &Chosen| names.offers(chosen) && cache.is_known_public(chosen);
        covered && entry.is_none_or(|entry| offered(&Chosen { entry, repository }))
    };
    let held: Vec<&str> = held.iter().map(String::as_str).filter(may_see).collect();
    let (shown, cut) = cut(&held, page);
    let body = serde_json::json!({ "repositories": shown });
    let mut answer = respond::json(body.to_string().into(), "seawall; hit");
    if cut {
        link(&mut answer, "/v2/_catalog", registry, page, shown.last());
    }
    answer
}

/// A repository of the catalog. Without a registry, its name begins with one.
fn named(registry: Option<&Registry>, name: &str) -> Option<Repository> {
    let (registry, path) = match (registry, name.split_once('/')) {
        (Some(registry), _) => (registry.clone(), name),
        (None, Some((first, path))) => (first.parse().ok()?, path),
        (None, None) => return None,
    };
    let path = path.parse().ok()?;
    Some(Repository { registry, path })
}

/// A path that is no route.
pub(super) fn no_route(error: &RouteError) -> Answer {
    let (status, code) = match error {
        RouteError::Unknown => (StatusCode::NOT_FOUND, Code::Unsupported),
        RouteError::TooLong => (StatusCode::URI_TOO_LONG, Code::NameInvalid),
        RouteError::Name(_) | RouteError::Namespace => (StatusCode::BAD_REQUEST, Code::NameInvalid),
        RouteError::Digest(_) => (StatusCode::BAD_REQUEST, Code::DigestInvalid),
        RouteError::Page => (StatusCode::BAD_REQUEST, Code::Unsupported),
    };
    respond::error(status, code, &error.to_string())
}

/// A registry the operator has not allowed.
pub(super) fn no_registry(unknown: &Unknown) -> Answer {
    let message = format!("{unknown}; its operator can add an [[upstream]] for it");
    respond::error(StatusCode::NOT_FOUND, Code::NameUnknown, &message)
}

async fn tags(cache: &Cache, chosen: &Chosen, target: &Target, page: &Page) -> Told {
    let listing = match cache.tags(chosen).await {
        Ok(listing) => listing,
        Err(failure) => return failed(&failure),
    };
    let names: Vec<&str> = listing.names.iter().map(String::as_str).collect();
    let (shown, cut) = cut(&names, page);
    let name = match &target.prefix {
        Some(prefix) => format!("{prefix}/{}", target.path),
        None => target.path.to_string(),
    };
    let body = serde_json::json!({ "name": name, "tags": shown });
    let mut answer = respond::json(body.to_string().into(), respond::cache_status(listing.outcome));
    if cut {
        link(
            &mut answer,
            &format!("/v2/{name}/tags/list"),
            target.namespace.as_ref(),
            page,
            shown.last(),
        );
    }
    Told {
        answer,
        from: From::None,
        outcome: respond::outcome_word(listing.outcome),
        why: None,
    }
}

/// One page of sorted names; and whether there are more.
fn cut<'a>(names: &[&'a str], page: &Page) -> (Vec<&'a str>, bool) {
    let after = page.last.as_deref();
    let mut rest = names
        .iter()
        .copied()
        .filter(|name| after.is_none_or(|after| *name > after));
    let count = if page.asked { page.count } else { usize::MAX };
    let shown: Vec<&str> = rest.by_ref().take(count).collect();
    let more = page.count > 0 && rest.next().is_some();
    (shown, more)
}

fn link(answer: &mut Answer, path: &str, registry: Option<&Registry>, page: &Page, last: Option<&&str>) {
    let last = percent_encoding::utf8_percent_encode(last.unwrap_or(&""), percent_encoding::NON_ALPHANUMERIC);
    let namespace = registry
        .map(|registry| format!("&ns={registry}"))
        .unwrap_or_default();
    let link = format!("<{path}?n={}&last={last}{namespace}>; rel=\"next\"", page.count);
    respond::put(answer.headers_mut(), header::LINK, &link);
}

async fn referrers(
    cache: &Cache,
    chosen: &Chosen,
    digest: &Digest,
    kind: Option<&str>,
    asker: &Asker,
    wishes: Wishes<'_>,
) -> Told {
    let served = match cache.referrers(chosen, digest, asker).await {
        Ok(served) => served,
        Err(failure) => return failed(&failure),
    };
    let (Some(kind), Body::Memory(index)) = (kind, &served.body) else {
        return told(respond::serve(&served, wishes), &served);
    };
    match filtered(index, kind) {
        Ok(index) => {
            let served = Served {
                digest: Digest::sha256(&index),
                length: Some(index.len() as u64),
                body: Body::Memory(index),
                ..served
            };
            let mut answer = respond::serve(&served, wishes);
            respond::put(answer.headers_mut(), FILTERS, "artifactType");
            told(answer, &served)
        }
        Err(failure) => failed(&failure),
    }
}

/// The index with the referrers of one artifact type only.
fn filtered(index: &Bytes, kind: &str) -> Result<Bytes, Failure> {
    #[derive(serde::Deserialize)]
    struct Typed {
        #[serde(rename = "artifactType")]
        artifact_type: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Index {
        manifests: Vec<Box<RawValue>>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|_| Failure::not_an_index())?;
    let wanted = |item: &RawValue| {
        serde_json::from_str(item.get())
            .is_ok_and(|typed: Typed| typed.artifact_type.as_deref() == Some(kind))
    };
    let items: Vec<&str> = index
        .manifests
        .iter()
        .filter(|item| wanted(item))
        .map(|item| item.get())
        .collect();
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
        items.join(",")
    );
    Ok(Bytes::from(body))
}

fn told(answer: Answer, served: &Served) -> Told {
    Told {
        answer,
        from: respond::from_word(served.from),
        outcome: respond::outcome_word(served.outcome),
        why: None,
    }
}

/// An answer without content.
pub(super) fn failed(failure: &Failure) -> Told {
    Told {
        outcome: respond::failure_word(failure),
        why: Some(failure.public.clone()),
        ..of_our_own(respond::fail(failure))
    }
}

/// An answer that no content of an upstream's went into.
pub(super) fn of_our_own(answer: Answer) -> Told {
    Told {
        answer,
        from: From::None,
        outcome: Outcome::None,
        why: None,
    }
}
