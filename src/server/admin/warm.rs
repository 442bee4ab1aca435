//! `POST /api/v1/warm`: fetch images before anybody asks for them, and tell how it goes.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;

use super::{Ask, Reply, lines};
use crate::cache::{Wanted, Warm};
use crate::oci::{Platform, Platforms};
use crate::policy::budget::PREFETCH;
use crate::server::Inner;

/// Most images of one request.
const MAX_IMAGES: usize = 10_000;
/// How long an image waits if nobody says.
const USUAL_WAIT: u64 = 60;
/// The longest that an image may wait: a day, in seconds.
const MAX_WAIT: u64 = 24 * 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    references: Vec<String>,
    platform: Option<String>,
    #[serde(default)]
    referrers: bool,
    tier: Option<String>,
    wait: Option<u64>,
}

/// Answers what asks to warm; `None` for anything else.
pub(super) async fn answer(inner: &Arc<Inner>, ask: &Ask) -> Option<Reply> {
    if ask.method != Method::POST || ask.path != "warm" {
        return None;
    }
    std::future::ready(()).await;
    Some(match understood(inner, &ask.body) {
        Ok(warm) => Reply::lines(lines(inner, inner.cache.warm(warm))),
        Err(why) => Reply::error(StatusCode::BAD_REQUEST, why),
    })
}

fn understood(inner: &Inner, body: &[u8]) -> Result<Warm, String> {
    let request: Request = serde_json::from_slice(body).map_err(|error| format!("the request: {error}"))?;
    let count = request.references.len();
    if count == 0 || count > MAX_IMAGES {
        return Err(format!(
            "`references` holds {count} images; from 1 to {MAX_IMAGES} are taken"
        ));
    }
    let platforms = platforms(request.platform.as_deref())?;
    let tiers = &inner.options.clients.tiers;
    let tier = match &request.tier {
        None => PREFETCH,
        Some(name) => tiers.iter().position(|tier| tier.name == *name).ok_or_else(|| {
            let names: Vec<&str> = tiers.iter().map(|tier| tier.name.as_str()).collect();
            format!(
                "`tier` is `{name}`, which is no tier; there are: {}",
                names.join(", ")
            )
        })?,
    };
    Ok(Warm {
        images: request
            .references
            .into_iter()
            .map(|name| Wanted::named(name, &inner.names))
            .collect(),
        platforms,
        referrers: request.referrers,
        tier,
        wait: Duration::from_secs(request.wait.unwrap_or(USUAL_WAIT).min(MAX_WAIT)),
    })
}

/// The platforms that are meant; without a word, the one of this machine.
pub(super) fn platforms(names: Option<&str>) -> Result<Platforms, String> {
    match names {
        None => Ok(Platforms::Of(vec![Platform::of_machine()])),
        Some(names) => {
            Platforms::parse(names).map_err(|error| format!("`platform` is `{names}`: {error}, or all"))
        }
    }
}
