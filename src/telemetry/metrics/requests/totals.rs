//! Everything that was served, added up.

use prometheus::IntCounter;

use super::{Class, From, Outcome, Requests, Route, index};

/// What was served since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Manifests and blobs that were asked for and given.
    pub answers: u64,
    /// Of those, how many were held, or came once for several.
    pub hits: u64,
    /// Bytes of bodies sent to clients.
    pub sent: u64,
    /// Of those, bytes that did not have to come from the upstream.
    pub saved: u64,
}

impl Requests {
    /// What was served since the start.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            sent: self.sent.iter().map(IntCounter::get).sum(),
            saved: self.saved.iter().map(IntCounter::get).sum(),
            ..Totals::default()
        };
        for route in [Route::Manifest, Route::Blob] {
            for from in From::ALL.iter().filter(|from| **from != From::None) {
                let made = Outcome::ALL.iter().filter_map(|outcome| {
                    let index = index(route, Class::Success, *from, *outcome);
                    self.counts.made[index].get()
                });
                let count: u64 = made.map(IntCounter::get).sum();
                totals.answers += count;
                if !matches!(from, From::Upstream | From::Alternate | From::Shared) {
                    totals.hits += count;
                }
            }
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::metrics::book::Book;
    use crate::telemetry::metrics::requests::Answered;

    #[test]
    fn the_totals_count_what_was_given_and_how_much_of_it_was_held() {
        let requests = Requests::new(&Book::default());
        let hit = Answered {
            route: Route::Blob,
            status: 206,
            from: From::Disk,
            outcome: Outcome::Hit,
        };
        let miss = Answered {
            from: From::Upstream,
            outcome: Outcome::Miss,
            ..hit
        };
        let refused = Answered {
            status: 404,
            from: From::None,
            outcome: Outcome::NotFound,
            ..hit
        };
        let base = Answered {
            route: Route::Base,
            ..refused
        };
        let collapsed = Answered {
            from: From::Filling,
            outcome: Outcome::Collapsed,
            ..hit
        };
        for (answered, bytes) in [(hit, 7), (miss, 5), (refused, 3), (base, 2), (collapsed, 11)] {
            requests.answered(answered, Duration::ZERO);
            requests.ended(answered, Duration::ZERO, bytes);
        }
        let totals = Totals {
            answers: 3,
            hits: 2,
            sent: 28,
            saved: 18,
        };
        assert_eq!(requests.totals(), totals);
    }
}
