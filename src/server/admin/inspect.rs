//! What is held: lists of repositories, tags and manifests, one manifest as a tree, and what the disk is used
//! for.

use std::sync::Arc;

use http::{Method, StatusCode};
use regex::Regex;
use serde::Serialize;

use super::{Ask, Reply};
use crate::cache::NotHeld;
use crate::clock::Time;
use crate::oci::{Named, Reference, Repository};
use crate::policy::catalog::Catalog;
use crate::policy::listing::{self, Cursor, MAX_LIMIT, Page, Query, Wrong};
use crate::server::Inner;

/// Repositories told of in a usage, unless another number is asked for.
const USUAL_TOP: usize = 10;
/// Most of what would go next that is told of.
const MAX_NEXT: usize = 10;

/// Why a question has no answer, in a sentence for the operator.
pub(super) enum Refused {
    /// It is not understood.
    Bad(String),
    /// The disk does not say.
    Unreadable(String),
    /// What it names is not held; with names that look like it.
    Missing(String, Vec<String>),
}

impl Refused {
    /// The answer that says so.
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Bad(message) => Reply::error(StatusCode::BAD_REQUEST, message),
            Self::Unreadable(message) => Reply::error(StatusCode::SERVICE_UNAVAILABLE, message),
            Self::Missing(message, near) => Reply::not_held(&message, &near),
        }
    }
}

/// Answers what asks for that; `None` for anything else.
pub(super) async fn answer(inner: &Arc<Inner>, ask: &Ask) -> Option<Reply> {
    if ask.method == Method::POST {
        return None;
    }
    let reply = match ask.path.as_str() {
        "repositories" => repositories(inner, ask).await,
        "tags" => of_repository(inner, ask, listing::tags).await,
        "manifests" => of_repository(inner, ask, listing::manifests).await,
        "show" => show(inner, ask).await,
        "usage" => usage(inner, ask).await,
        _ => return None,
    };
    Some(reply.unwrap_or_else(Refused::reply))
}

async fn repositories(inner: &Arc<Inner>, ask: &Ask) -> Result<Reply, Refused> {
    let query = query(ask)?;
    let survey = inner
        .cache
        .survey(move |catalog, now| listing::repositories(catalog, &query, now));
    let page = survey.await.map_err(|error| unreadable(&error))?;
    Ok(Reply::json(&page.map_err(|wrong| bad(wrong.to_string()))?))
}

/// A page of a list of the repository that is named.
async fn of_repository<T: Serialize + Send + 'static>(
    inner: &Arc<Inner>,
    ask: &Ask,
    draw_up: impl FnOnce(&Catalog, &Repository, &Query, Time) -> Result<Page<T>, Wrong> + Send + 'static,
) -> Result<Reply, Refused> {
    let query = query(ask)?;
    let repository = repository(inner, ask, "repository")?;
    let name = repository.clone();
    let survey = inner.cache.survey_of(&repository, move |catalog, now| {
        draw_up(catalog, &name, &query, now)
    });
    match survey.await.map_err(|error| unreadable(&error))? {
        Ok(Ok(page)) => Ok(Reply::json(&page)),
        Ok(Err(wrong)) => Err(bad(wrong.to_string())),
        Err(not_held) => Err(missing(not_held, &repository.to_string())),
    }
}

async fn show(inner: &Arc<Inner>, ask: &Ask) -> Result<Reply, Refused> {
    let text = ask.value("reference").unwrap_or_default();
    let (repository, reference) = read(inner, text)?;
    let shown = inner.cache.show(&repository, &reference).await;
    match shown.map_err(|error| unreadable(&error))? {
        Ok(shown) => Ok(Reply::json(&shown)),
        Err(not_held @ NotHeld::Repository(_)) => Err(missing(not_held, &repository.to_string())),
        Err(not_held) => Err(missing(not_held, &full(&repository, &reference))),
    }
}

async fn usage(inner: &Arc<Inner>, ask: &Ask) -> Result<Reply, Refused> {
    let top = number(ask, "top", USUAL_TOP)?;
    let usage = inner.cache.usage(top, MAX_NEXT).await;
    Ok(Reply::json(&usage.map_err(|error| unreadable(&error))?))
}

/// What is wanted of a list.
fn query(ask: &Ask) -> Result<Query, Refused> {
    let given = |key| ask.value(key).filter(|value| !value.is_empty());
    let filter = given("filter").map(Regex::new).transpose();
    let filter = filter.map_err(|error| bad(format!("`filter` is a regular expression: {error}")))?;
    let after = given("after").map(|text| {
        let cursor = Cursor::parse(text);
        cursor.ok_or_else(|| bad("`after` is the `next` of the page before, as it came"))
    });
    let limit = number(ask, "limit", listing::USUAL_LIMIT)?;
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(bad(format!("`limit` is {limit}; it can be 1 to {MAX_LIMIT}")));
    }
    Ok(Query {
        sort: given("sort").map(str::to_owned),
        reverse: ask
            .value("reverse")
            .is_some_and(|value| value != "false" && value != "0"),
        filter,
        limit: Some(limit),
        after: after.transpose()?,
    })
}

fn number(ask: &Ask, key: &str, usual: usize) -> Result<usize, Refused> {
    match ask.value(key) {
        None | Some("") => Ok(usual),
        Some(text) => text
            .parse()
            .map_err(|_| bad(format!("`{key}` is `{text}`, which is no number"))),
    }
}

/// The repository that is named under a key of the query.
fn repository(inner: &Inner, ask: &Ask, key: &str) -> Result<Repository, Refused> {
    let text = ask.value(key).unwrap_or_default();
    let last = text.rsplit('/').next().unwrap_or_default();
    if text.contains('@') || last.contains(':') {
        let text = shortened(text);
        return Err(bad(format!(
            "`{text}` names more than a repository; leave out the tag or digest"
        )));
    }
    read(inner, text).map(|(repository, _)| repository)
}

/// A reference as people write it.
pub(super) fn read(inner: &Inner, text: &str) -> Result<(Repository, Reference), Refused> {
    let named: Named = text
        .parse()
        .map_err(|error: crate::oci::NamedError| bad(error.to_string()))?;
    let meant = inner.names.meant(&named.target);
    let repository = meant.map_err(|unknown| bad(format!("{unknown}; write the registry in front")))?;
    Ok((repository, named.reference))
}

pub(super) fn full(repository: &Repository, reference: &Reference) -> String {
    match reference {
        Reference::Tag(tag) => format!("{repository}:{tag}"),
        Reference::Digest(digest) => format!("{repository}@{digest}"),
    }
}

pub(super) fn bad(message: impl Into<String>) -> Refused {
    Refused::Bad(message.into())
}

fn unreadable(error: &std::io::Error) -> Refused {
    Refused::Unreadable(format!(
        "what is held cannot be listed: {error}; look at the disk and at the log"
    ))
}

/// What was named is not held: a sentence, and names that look like it.
fn missing(not_held: NotHeld, name: &str) -> Refused {
    let (message, near) = match not_held {
        NotHeld::Repository(near) if near.is_empty() => (
            format!("nothing of {name} is held; `seawall repository list` shows what is"),
            near,
        ),
        NotHeld::Repository(near) => {
            let names = near.join(", ");
            (format!("nothing of {name} is held; did you mean {names}?"), near)
        }
        NotHeld::Tag(near) if near.is_empty() => (format!("{name} is not held, nor any tag beside it"), near),
        NotHeld::Tag(near) => {
            let names = near.join(", ");
            (format!("{name} is not held; tags beside it are {names}"), near)
        }
        NotHeld::Manifest(digest) if name.ends_with(&digest.to_string()) => {
            (format!("{name} is not held"), Vec::new())
        }
        NotHeld::Manifest(digest) => (
            format!("{name} points at {digest}, which is not held; pull it to have it here"),
            Vec::new(),
        ),
    };
    Refused::Missing(message, near)
}

fn shortened(text: &str) -> String {
    text.chars().take(300).collect()
}
