//! `POST /api/v1/verify`: hash what is held again, and tell how it goes.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::mpsc::{Receiver, channel};

use super::{Ask, LINES, Reply, lines};
use crate::cache::{Verifiable, Verify, VerifyTarget};
use crate::oci::{Digest, Named};
use crate::policy::scrub::Sample;
use crate::server::Inner;

/// Most references and digests of one request.
const MOST_TARGETS: usize = 10_000;
/// Most names of a refusal.
const MOST_TOLD: usize = 10;
/// Bytes per second if nobody says: what one spinning disk gives.
const USUAL_RATE: u64 = 200_000_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Request {
    references: Vec<String>,
    digests: Vec<String>,
    /// Everything held.
    all: bool,
    /// The part that is looked at, from 0 to 1.
    sample: Option<f64>,
    /// Which part; drawn if it is not given.
    seed: Option<u64>,
    /// Bytes per second.
    rate: Option<u64>,
    refetch: bool,
}

/// Answers what asks to verify; `None` for anything else.
pub(super) async fn answer(inner: &Arc<Inner>, ask: &Ask) -> Option<Reply> {
    if ask.method != Method::POST || ask.path != "verify" {
        return None;
    }
    let verify = match understood(inner, &ask.body) {
        Ok(verify) => verify,
        Err(why) => return Some(Reply::error(StatusCode::BAD_REQUEST, why)),
    };
    let missing = match inner.cache.not_held(&verify.what).await {
        Ok(missing) => missing,
        Err(error) => {
            let why = format!("what is named cannot be looked up: {error}; nothing was verified");
            return Some(Reply::error(StatusCode::SERVICE_UNAVAILABLE, why));
        }
    };
    if !missing.is_empty() {
        let more = if missing.len() > MOST_TOLD { ", …" } else { "" };
        let names: Vec<&str> = missing.iter().take(MOST_TOLD).map(String::as_str).collect();
        let why = format!("not held here: {}{more}", names.join(", "));
        return Some(Reply::error(StatusCode::NOT_FOUND, why));
    }
    Some(Reply::lines(verified(inner, verify)))
}

fn understood(inner: &Inner, body: &[u8]) -> Result<Verify, String> {
    let request: Request = serde_json::from_slice(body).map_err(|error| format!("the request: {error}"))?;
    let count = request.references.len() + request.digests.len();
    let what = match (count, request.all) {
        (0, true) => Verifiable::Everything,
        (1..=MOST_TARGETS, false) => Verifiable::Of(targets(inner, &request)?),
        (_, all) => {
            return Err(format!(
                "`all` is {all}, and `references` and `digests` hold {count} names: expected either all, or from \
                 1 to {MOST_TARGETS} names"
            ));
        }
    };
    if let Some(part) = request.sample
        && !(part > 0.0 && part <= 1.0)
    {
        return Err(format!(
            "`sample` is {part}: expected a part above 0 and at most 1, such as 0.1"
        ));
    }
    let sample = request.sample.map(|part| Sample {
        part,
        // Short enough to be typed, and for JSON readers that know floats only.
        seed: request.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
    });
    Ok(Verify {
        what,
        sample,
        rate: request.rate.unwrap_or(USUAL_RATE).max(1),
        refetch: request.refetch,
        names: inner.names.clone(),
    })
}

fn targets(inner: &Inner, request: &Request) -> Result<Vec<VerifyTarget>, String> {
    let mut targets = Vec::new();
    for text in &request.references {
        let named: Named = text.parse().map_err(|error| format!("{error}"))?;
        let chosen = inner.names.choose(&named.target, None);
        let chosen = chosen.map_err(|error| format!("`{text}`: {error}"))?;
        targets.push(VerifyTarget::Reference(chosen, named.reference));
    }
    for text in &request.digests {
        let digest: Digest = text
            .parse()
            .map_err(|error| format!("`digests` has `{text}`: {error}"))?;
        targets.push(VerifyTarget::Digest(digest));
    }
    Ok(targets)
}

/// Verifies for as long as somebody reads what comes of it.
fn verified(inner: &Inner, verify: Verify) -> Receiver<Bytes> {
    let (events, told) = channel(LINES);
    let cache = inner.cache.clone();
    inner.streams.spawn(async move {
        tokio::select! {
            () = Box::pin(cache.verify(verify, &events)) => {}
            () = events.closed() => tracing::info!("a verification was broken off: nobody listens any more"),
        }
    });
    lines(inner, told)
}
