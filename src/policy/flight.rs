//! Who fetches, who follows, and what happens when either goes away.
//!
//! ```text
//!            join            land(Arrived)
//!   (none) ───────> Flying ───────────────> (none)
//!     ^               │  │ leave (last reader)
//!     │               │  └──> Leave::Cancel, if little was paid for ──> land(Cancelled) ──> (none)
//!     │               │ land(Failed)
//!     └── cooled ── Cooling
//! ```
//! One flight per key. Every flight has an id, so that a late report about one attempt never lands on its
//! successor.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::clock::Time;

/// Names one attempt. Ids are never used twice in one [`Flights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightId(u64);

/// What may be chosen about flights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a failure is repeated to those who ask again, before anybody tries anew. Long enough to
    /// meet containerd's five immediate retries with one attempt, short enough that nobody notices.
    pub cooling: Duration,
    /// A flight nobody reads any more is finished if at most this many bytes are missing.
    pub finish_below: u64,
}

/// The answer to [`Flights::join`]. `V` is what the flight's readers share.
#[derive(Debug, PartialEq, Eq)]
pub enum Join<V> {
    /// Nobody fetches this: the caller does, and is its first reader.
    Lead(FlightId, V),
    /// Somebody fetches this already: the caller is one more reader.
    Follow(FlightId, V),
    /// The last attempt failed a moment ago: its outcome holds until then.
    Cooling(Time, V),
}

/// The answer to [`Flights::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The flight goes on.
    Continue,
    /// Nobody reads it and little was paid for: stop it.
    Cancel,
}

/// How a flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// The content is held now.
    Arrived,
    /// The attempt failed; the key cools down.
    Failed,
    /// The attempt was stopped because nobody wanted it; anybody may start anew at once.
    Cancelled,
}

#[derive(Debug)]
enum State {
    Flying { readers: usize },
    Cooling { until: Time },
}

#[derive(Debug)]
struct Flight<V> {
    id: FlightId,
    shared: V,
    state: State,
}

/// The flights in the air and those that cool down.
#[derive(Debug)]
pub struct Flights<K, V> {
    flights: HashMap<K, Flight<V>>,
    rules: Rules,
    next: u64,
}

impl<K: Eq + Hash + Clone, V: Clone> Flights<K, V> {
    /// Other rules hold from now on; what cools down does so as long as it was to.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// No flights, under these rules.
    pub fn new(rules: Rules) -> Self {
        Self {
            flights: HashMap::new(),
            rules,
            next: 0,
        }
    }

    /// Takes part in the flight for `key`; `launch` makes what its readers will share if there is none.
    pub fn join(&mut self, key: &K, launch: impl FnOnce(FlightId) -> V, now: Time) -> Join<V> {
        if let Some(flight) = self.flights.get_mut(key) {
            match &mut flight.state {
                State::Flying { readers } => {
                    *readers += 1;
                    return Join::Follow(flight.id, flight.shared.clone());
                }
                State::Cooling { until } if now < *until => {
                    return Join::Cooling(*until, flight.shared.clone());
                }
                State::Cooling { .. } => {}
            }
        }
        let id = FlightId(self.next);
        self.next += 1;
        let shared = launch(id);
        let state = State::Flying { readers: 1 };
        self.flights.insert(
            key.clone(),
            Flight {
                id,
                shared: shared.clone(),
                state,
            },
        );
        Join::Lead(id, shared)
    }

    /// Ends the cooling of `key`, if the outcome that it keeps is `void` to the one who asks now: the failure
    /// of one source says nothing of another.
    pub fn warm(&mut self, key: &K, void: impl FnOnce(&V) -> bool) {
        let cooling = |flight: &&Flight<V>| matches!(flight.state, State::Cooling { .. });
        if self
            .flights
            .get(key)
            .filter(cooling)
            .is_some_and(|flight| void(&flight.shared))
        {
            self.flights.remove(key);
        }
    }

    /// True if whoever joined `key` now would have to fetch it.
    pub fn would_lead(&self, key: &K, now: Time) -> bool {
        self.flights.get(key).is_none_or(|flight| match flight.state {
            State::Flying { .. } => false,
            State::Cooling { until } => now >= until,
        })
    }

    /// Looks at the flight for `key` without taking part; `None` unless it is in the air.
    pub fn peek(&self, key: &K) -> Option<&V> {
        let flight = self.flights.get(key)?;
        matches!(flight.state, State::Flying { .. }).then_some(&flight.shared)
    }

    /// One reader goes away. `done` of `total` bytes have been fetched; `total` is `None` while unknown.
    pub fn leave(&mut self, key: &K, id: FlightId, done: u64, total: Option<u64>) -> Leave {
        let Some(flight) = self.flights.get_mut(key).filter(|flight| flight.id == id) else {
            return Leave::Continue;
        };
        let State::Flying { readers } = &mut flight.state else {
            return Leave::Continue;
        };
        *readers = readers.saturating_sub(1);
        if *readers > 0 {
            return Leave::Continue;
        }
        let paid_for = total.is_some_and(|total| {
            let missing = total.saturating_sub(done);
            missing <= self.rules.finish_below || done > total / 2
        });
        if paid_for { Leave::Continue } else { Leave::Cancel }
    }

    /// The flight ended. A report about an attempt that is no longer this key's, or a second one about the
    /// same attempt, is ignored.
    pub fn land(&mut self, key: &K, id: FlightId, landing: Landing, now: Time) {
        let flying =
            |flight: &&mut Flight<V>| flight.id == id && matches!(flight.state, State::Flying { .. });
        let Some(flight) = self.flights.get_mut(key).filter(flying) else {
            return;
        };
        match landing {
            Landing::Failed if !self.rules.cooling.is_zero() => {
                flight.state = State::Cooling {
                    until: now + self.rules.cooling,
                };
            }
            Landing::Arrived | Landing::Cancelled | Landing::Failed => {
                self.flights.remove(key);
            }
        }
    }

    /// Forgets the flights that have cooled down. Called now and then, so that keys asked once and never
    /// again do not stay.
    pub fn sweep(&mut self, now: Time) {
        self.flights.retain(|_, flight| match flight.state {
            State::Flying { .. } => true,
            State::Cooling { until } => now < until,
        });
    }

    /// Every flight in the air, with the number of its readers.
    pub fn flying(&self) -> impl Iterator<Item = (usize, &V)> {
        self.flights.values().filter_map(|flight| match flight.state {
            State::Flying { readers } => Some((readers, &flight.shared)),
            State::Cooling { .. } => None,
        })
    }

    /// Number of flights in the air or cooling down.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }
}

#[cfg(test)]
mod tests;
