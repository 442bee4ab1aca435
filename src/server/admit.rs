//! Who asks, and how much they may.

use std::time::Duration;

use crate::cache::Asker;
use crate::clock::Time;
use crate::policy::budget;

/// How long a client that is not known by its User-Agent waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that no rule knows: it is not limited.
pub(super) fn anybody(now: Time) -> Asker {
    Asker {
        budget: budget::Asker {
            tier: 0,
            client: 0,
            deadline: now + PATIENCE,
        },
        quota: None,
    }
}
