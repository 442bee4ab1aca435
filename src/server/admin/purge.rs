//! Purges, locks and pins.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Ask, Reply};
use crate::cache::{ChangeRow, HoldError, HoldsReport, PurgeError, PurgeReport};
use crate::oci::{Digest, Named};
use crate::policy::holds::{Kind, Name};
use crate::policy::retention::{Exact, Filter, Plan, Purge, Rules};
use crate::server::Inner;

/// What is to be purged: by `filter` and the rules beside it, or by `references`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PurgeAsk {
    filter: Vec<String>,
    /// Seconds.
    ago: Option<u64>,
    untagged: bool,
    keep: usize,
    /// Tags, manifests of a repository, or digests of what goes everywhere.
    references: Vec<String>,
    dry_run: bool,
    /// The plan that is meant, by its name.
    fingerprint: Option<String>,
}

/// Which purge shall stop: that of this plan, or all.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StopAsk {
    fingerprint: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldAsk {
    references: Vec<String>,
}

/// Why there is nothing to answer: a status, and a sentence for the operator.
struct Refused(StatusCode, String);

/// Answers what concerns purges and holds.
pub(super) async fn answer(inner: &Arc<Inner>, ask: &Ask) -> Option<Reply> {
    let reply = match (ask.method == Method::POST, ask.path.as_str()) {
        (true, "purge") => purge(inner, ask).await,
        (true, "purge/stop") => stop(inner, ask),
        (false, "purge") => Ok(Reply::json(&inner.cache.purges_under_way())),
        (true, "lock") => hold(inner, ask, Kind::Lock).await,
        (true, "pin") => hold(inner, ask, Kind::Pin).await,
        (true, "unlock") => release(inner, ask, Kind::Lock).await,
        (true, "unpin") => release(inner, ask, Kind::Pin).await,
        (false, "holds") => Ok(holds(inner)),
        (false, "purge/stop" | "lock" | "pin" | "unlock" | "unpin") => Err(Refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "this changes something: ask by POST".to_owned(),
        )),
        _ => return None,
    };
    Some(reply.unwrap_or_else(|Refused(status, why)| Reply::error(status, why)))
}

fn holds(inner: &Inner) -> Reply {
    Reply::json(&HoldsReport::of(&inner.cache.holds(), inner.clock.now()))
}

async fn hold(inner: &Arc<Inner>, ask: &Ask, kind: Kind) -> Result<Reply, Refused> {
    let mut outcomes = Vec::new();
    for name in names(inner, ask)? {
        let held = inner.cache.hold(&name, kind).await;
        if held.is_ok() {
            tracing::info!(%name, "{kind}");
        }
        let held = held.map_err(|error| not_held(&name, &error));
        outcomes.push((name, held));
    }
    changed(inner, outcomes)
}

async fn release(inner: &Arc<Inner>, ask: &Ask, kind: Kind) -> Result<Reply, Refused> {
    let mut outcomes = Vec::new();
    for name in names(inner, ask)? {
        let released = match inner.cache.release(&name, kind).await {
            Ok(true) => {
                tracing::info!(%name, "no longer {kind}");
                Ok(())
            }
            Ok(false) => {
                let message = format!("{name} is not {kind}: `seawall holds` lists what is");
                Err(Refused(StatusCode::NOT_FOUND, message))
            }
            Err(error) => Err(not_held(&name, &error)),
        };
        outcomes.push((name, released));
    }
    changed(inner, outcomes)
}

/// What came of each reference: 200 if all is done, 207 if some of it is, and the first refusal's status if nothing.
fn changed(inner: &Inner, outcomes: Vec<(Name, Result<(), Refused>)>) -> Result<Reply, Refused> {
    let refused = || outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err());
    let (all, failed) = (outcomes.len(), refused().count());
    if let Some(Refused(status, _)) = refused().next().filter(|_| failed == all) {
        let reasons: Vec<&str> = refused().map(|Refused(_, why)| why.as_str()).collect();
        return Err(Refused(*status, reasons.join("; ")));
    }
    let status = match failed {
        0 => StatusCode::OK,
        _ => StatusCode::MULTI_STATUS,
    };
    let rows = outcomes.into_iter().map(|(name, outcome)| ChangeRow {
        name: name.to_string(),
        error: outcome.err().map(|Refused(_, why)| why),
    });
    let report = HoldsReport {
        changes: rows.collect(),
        ..HoldsReport::of(&inner.cache.holds(), inner.clock.now())
    };
    Ok(Reply::json_as(status, &report))
}

fn not_held(name: &Name, error: &HoldError) -> Refused {
    match error {
        HoldError::NotHeld(_) => Refused(StatusCode::NOT_FOUND, error.to_string()),
        HoldError::Going(_) => Refused(StatusCode::CONFLICT, error.to_string()),
        HoldError::Disk(_) => Refused(StatusCode::INTERNAL_SERVER_ERROR, format!("{name}: {error}")),
    }
}

fn names(inner: &Inner, ask: &Ask) -> Result<Vec<Name>, Refused> {
    let asked: HoldAsk = body(ask)?;
    let names: Result<Vec<Name>, String> = asked.references.iter().map(|text| name(inner, text)).collect();
    match names {
        Ok(names) if names.is_empty() => Err(bad("`references` names nothing".to_owned())),
        Ok(names) => Ok(names),
        Err(why) => Err(bad(format!("{why}; nothing has changed"))),
    }
}

/// What a reference means here, by the rules that clients are served by.
fn name(inner: &Inner, text: &str) -> Result<Name, String> {
    let named: Named = text.parse().map_err(|error| format!("{error}"))?;
    let chosen = inner.names.choose(&named.target, None);
    let chosen = chosen.map_err(|error| format!("{text}: {error}"))?;
    Ok(Name {
        repository: chosen.repository,
        reference: named.reference,
    })
}

async fn purge(inner: &Arc<Inner>, ask: &Ask) -> Result<Reply, Refused> {
    let asked: PurgeAsk = body(ask)?;
    let purge = what(inner, &asked).map_err(bad)?;
    let exact = matches!(purge, Purge::Exact(_));
    let missing = |plan: &Plan| exact && plan.goes.is_empty() && plan.stays.is_empty();
    if asked.dry_run {
        let plan = inner
            .cache
            .plan_purge(purge)
            .await
            .map_err(|error| refused(&error))?;
        return match missing(&plan) {
            true => Err(nothing(&asked)),
            false => Ok(Reply::json(&PurgeReport::of_plan(&plan, inner.clock.now()))),
        };
    }
    let purged = inner.cache.purge(purge, asked.fingerprint.clone()).await;
    let purged = purged.map_err(|error| refused(&error))?;
    if missing(&purged.plan) {
        return Err(nothing(&asked));
    }
    let report = PurgeReport::of_purged(&purged, inner.clock.now());
    let removed = report.tags + report.manifests + report.blobs + report.leftovers;
    tracing::info!(
        removed,
        bytes = report.bytes,
        failed = report.failed,
        spared = report.spared_count,
        left = report.left,
        "purged by the operator"
    );
    Ok(Reply::json(&report))
}

fn stop(inner: &Inner, ask: &Ask) -> Result<Reply, Refused> {
    let asked: StopAsk = body(ask)?;
    let fingerprint = asked.fingerprint.as_deref();
    let stopping = inner.cache.stop_purges(fingerprint);
    if stopping.purges.is_empty() {
        let of = fingerprint.map_or(String::new(), |name| format!(" of plan {name}"));
        let why = format!("no purge{of} waits or is under way");
        return Err(Refused(StatusCode::NOT_FOUND, why));
    }
    for one in &stopping.purges {
        tracing::info!(what = one.what, by = one.by, "a purge shall stop");
    }
    Ok(Reply::json(&stopping))
}

fn what(inner: &Inner, asked: &PurgeAsk) -> Result<Purge, String> {
    let ruled = asked.ago.is_some() || asked.untagged || asked.keep > 0;
    match (asked.filter.is_empty(), asked.references.is_empty()) {
        (true, true) => Err("nothing is named: give `filter` or `references`".to_owned()),
        (false, false) => Err("`filter` and `references` exclude each other".to_owned()),
        (true, false) if ruled => Err("`ago`, `untagged` and `keep` go with `filter`".to_owned()),
        (true, false) => {
            let each = asked.references.iter().map(|text| exact(inner, text));
            each.collect::<Result<_, _>>().map(Purge::Exact)
        }
        (false, true) => {
            let filters = asked
                .filter
                .iter()
                .map(|text| Filter::parse(text).map_err(|error| format!("`filter` {text:?}: {error}")));
            Ok(Purge::Rules(Rules {
                filters: filters.collect::<Result<_, _>>()?,
                ago: asked.ago.map(Duration::from_secs),
                untagged: asked.untagged,
                keep: asked.keep,
            }))
        }
    }
}

fn exact(inner: &Inner, text: &str) -> Result<Exact, String> {
    match text.parse::<Digest>() {
        Ok(digest) => Ok(Exact::Everywhere(digest)),
        Err(_) => name(inner, text).map(Exact::Named),
    }
}

fn nothing(asked: &PurgeAsk) -> Refused {
    let names = asked.references.join(", ");
    let mut why = format!("{names}: not held here, so there is nothing to purge");
    // What is named for one repository is looked for as its manifest.
    if let Some((_, digest)) = names.split_once('@').filter(|_| asked.references.len() == 1) {
        why += &format!(
            "; `seawall purge --digest {digest}` looks for it in every repository, and among the blobs"
        );
    }
    Refused(StatusCode::NOT_FOUND, why)
}

fn refused(error: &PurgeError) -> Refused {
    match error {
        PurgeError::Changed(_) => Refused(
            StatusCode::CONFLICT,
            format!("{error}; nothing was removed: look at the plan again"),
        ),
        PurgeError::Disk(_) => Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn body<T: DeserializeOwned>(ask: &Ask) -> Result<T, Refused> {
    serde_json::from_slice(&ask.body)
        .map_err(|error| bad(format!("the body is not what is expected: {error}")))
}

fn bad(message: String) -> Refused {
    Refused(StatusCode::BAD_REQUEST, message)
}
