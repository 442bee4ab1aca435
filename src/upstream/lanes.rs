//! Further connections for a blob that is under way: how many an upstream bears, and how it is asked for a chunk.
//!
//! Only blobs are asked for this way, and only by range. An upstream that refuses is not asked again for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::RANGE;
use http::{HeaderMap, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Incoming, Refusal, Upstream, Want, fetch, profile};
use crate::clock::Time;
use crate::oci::{ByteRange, Digest, RepositoryPath};
use crate::policy::naming::Pattern;

/// Lanes of all fills from one upstream together.
pub const MOST: usize = 12;
/// How long an upstream that refused lanes is not asked for any.
const UNWILLING: Duration = Duration::from_secs(10 * 60);

/// The most connections for one blob that the built-in profiles know for a registry, or for every one of a
/// pattern; `None` for the pattern of all: each has its own figure.
pub fn usual(pattern: &Pattern) -> Option<usize> {
    match pattern {
        Pattern::Any => None,
        Pattern::Exact(_) | Pattern::Suffix(_) => Some(profile::lanes(&pattern.to_string())),
    }
}

/// How many lanes an upstream bears.
pub(super) struct Lanes {
    most: usize,
    places: Arc<Semaphore>,
    /// Until when it is not asked for any, in milliseconds since the epoch.
    unwilling: AtomicU64,
}

impl Lanes {
    /// So many connections for one fill, the first one included.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            places: Arc::new(Semaphore::new(MOST)),
            unwilling: AtomicU64::new(0),
        }
    }
}

impl Upstream {
    /// The most connections for one blob now, the first one included: one while the upstream, or the alternate
    /// that gives the blob, rests, or refused more of late.
    pub fn lanes(&self, alternate: Option<usize>) -> usize {
        let Some(exchange) = self.giver(alternate).and_then(|giver| giver.exchange().ok()) else {
            return 1;
        };
        let now = exchange.clock.now();
        let unwilling = now < Time::from_millis(exchange.lanes.unwilling.load(Ordering::Relaxed));
        let rests = exchange.shield.parked().is_some()
            || exchange.throttle.is_limited()
            || exchange.client.left_alone(&exchange.base).is_some();
        match unwilling || rests {
            true => 1,
            false => exchange.lanes.most,
        }
    }

    /// A place among all lanes from the upstream; `None` if none is free. Nobody waits for one.
    pub fn lane_place(&self, alternate: Option<usize>) -> Option<OwnedSemaphorePermit> {
        let exchange = self.giver(alternate)?.exchange().ok()?;
        exchange.lanes.places.clone().try_acquire_owned().ok()
    }

    /// Opens a chunk of a blob whose length is known, once and without patience.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// See [`Refusal`]; anything but exactly this chunk of a blob of this length is unusable. What is refused by
    /// the upstream itself is not asked for again for ten minutes ([`Self::lanes`]).
    pub async fn lane(
        &self,
        path: &RepositoryPath,
        digest: &Digest,
        alternate: Option<usize>,
        chunk: ByteRange,
        total: u64,
    ) -> Result<Incoming, Refusal> {
        let gone = || Refusal::Unusable("there is no such alternate".to_owned());
        let giver = self.giver(alternate).ok_or_else(gone)?;
        let path = match alternate {
            None => path.clone(),
            Some(index) => self.path_at(index, path).ok_or_else(gone)?,
        };
        let opened = giver.open_lane(&path, digest, chunk, total).await;
        if let (Err(refusal), Ok(exchange)) = (&opened, giver.exchange())
            && is_answer(refusal)
        {
            let until = exchange.clock.now() + UNWILLING;
            exchange
                .lanes
                .unwilling
                .store(until.as_millis(), Ordering::Relaxed);
            let host = exchange.base.host();
            tracing::info!(%host, error = %refusal, %until, "the upstream does not want lanes");
        }
        opened.map(|incoming| Incoming {
            alternate,
            ..incoming
        })
    }

    async fn open_lane(
        &self,
        path: &RepositoryPath,
        digest: &Digest,
        chunk: ByteRange,
        total: u64,
    ) -> Result<Incoming, Refusal> {
        let exchange = self.exchange()?;
        let value = format!("bytes={}-{}", chunk.start, chunk.end);
        let value = HeaderValue::try_from(value).expect("digits are a header value");
        let headers = HeaderMap::from_iter([(RANGE, value)]);
        let ask = fetch::blob_ask(exchange, path, digest, headers)?;
        let answer = exchange.ask_once(&ask).await?;
        if let Some(refusal) = exchange.refusal(&answer) {
            return Err(refusal);
        }
        let incoming = fetch::accept(exchange, answer, Want::Run(chunk))?;
        match incoming.start == chunk.start && incoming.total.is_none_or(|told| told == total) {
            true => Ok(incoming),
            false => Err(Refusal::Unusable(
                "the upstream ignored the range, or tells another length".to_owned(),
            )),
        }
    }

    /// Who gives what came from here.
    fn giver(&self, alternate: Option<usize>) -> Option<&Self> {
        match alternate {
            None => Some(self.present()),
            Some(index) => self.alternate(index),
        }
    }
}

/// True for a refusal that the upstream itself sent.
const fn is_answer(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::NotFound
        | Refusal::Denied(_)
        | Refusal::Limited { .. }
        | Refusal::Failing(_)
        | Refusal::Unusable(_) => true,
        Refusal::Withheld(_) | Refusal::Unreachable(_) | Refusal::LeftAlone { .. } | Refusal::Offline => {
            false
        }
    }
}
