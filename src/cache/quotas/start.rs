//! What a fetch needs before it may begin: a free place, and a write operation.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Client, Quotas, RETRY_SOON};
use crate::cache::{Asker, Failure};
use crate::clock::Clock;
use crate::policy::quota::UsedUp;

/// How long before a request's deadline it is refused, so that the refusal still comes in time.
const MARGIN: Duration = Duration::from_secs(1);
/// How often a request that waits looks whether somebody else fetches the same by now, which costs nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The fetches that one client may have under way. Clones share them.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    count: usize,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        let count = count.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(count)),
            count,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }
}

/// A fetch that may begin. Its place is free again when this is dropped.
#[must_use = "the place is taken as long as this lives"]
pub(in crate::cache) struct Start {
    _place: Option<OwnedSemaphorePermit>,
}

/// What a fetch has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache) enum Hold {
    /// Until one of the client's fetches ends.
    Place,
    /// For the next write operation.
    Writes(Duration),
}

/// What lets a client begin.
pub(in crate::cache) struct Pass {
    client: Option<Arc<Client>>,
    /// A place that came free while waiting.
    place: Option<OwnedSemaphorePermit>,
    clock: Clock,
}

impl Pass {
    /// Takes a place and a write operation, both or nothing.
    ///
    /// # Errors
    /// What has to be waited for.
    pub(in crate::cache) fn start(&mut self) -> Result<Start, Hold> {
        let Some(client) = &self.client else {
            return Ok(Start { _place: None });
        };
        if let (None, Some(places)) = (&self.place, &client.places) {
            let place = places.free.clone().try_acquire_owned();
            self.place = Some(place.map_err(|_| Hold::Place)?);
        }
        if let Some(writes) = &client.writes {
            writes.spend(self.clock.elapsed()).map_err(Hold::Writes)?;
        }
        Ok(Start {
            _place: self.place.take(),
        })
    }
}

impl Quotas {
    /// Has `attempt` join a fetch or begin one, by a pass; waits for it as long as the asker's deadline
    /// allows. `attempt` is asked again now and then: by then another may fetch the same.
    ///
    /// Cancel-safe: nothing is taken for an attempt that did not come to anything.
    ///
    /// # Errors
    /// The 429, at once if it is known that waiting is in vain.
    pub(in crate::cache) async fn when_allowed<T>(
        &self,
        asker: &Asker,
        mut attempt: impl FnMut(&mut Pass) -> Result<T, Hold>,
    ) -> Result<T, Failure> {
        let mut pass = Pass {
            client: self.of(asker),
            place: None,
            clock: self.clock,
        };
        let mut waiting = None;
        loop {
            let hold = match attempt(&mut pass) {
                Ok(done) => return Ok(done),
                Err(hold) => hold,
            };
            let Some(client) = pass.client.clone() else {
                return Err(Failure::internal());
            };
            waiting.get_or_insert_with(|| client.waits.waiting());
            let time = asker.deadline.since(self.clock.now() + MARGIN);
            match (hold, &client.places) {
                (Hold::Place, Some(places)) if !time.is_zero() => {
                    let free = places.free.clone().acquire_owned();
                    let freed = tokio::time::timeout(time.min(LOOK_EVERY), free).await;
                    pass.place = freed.ok().and_then(Result::ok);
                }
                (Hold::Place, _) => return Err(self.refusal(&client, UsedUp::Fills, RETRY_SOON)),
                (Hold::Writes(wait), _) if wait <= time => {
                    // Others must not stand behind a place that is of no use yet.
                    pass.place = None;
                    tokio::time::sleep(wait.min(LOOK_EVERY)).await;
                }
                (Hold::Writes(wait), _) => return Err(self.refusal(&client, UsedUp::Writes, wait)),
            }
        }
    }
}
