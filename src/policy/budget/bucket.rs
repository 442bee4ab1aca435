//! One allowance: what the upstream last said of it, what we spent since, and what follows.
//!
//! Never more is believed to be left than the upstream said, less what was spent or is on its way since; nor
//! more than the window can still hold. Only a new reading raises the estimate.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Reading;
use super::usage::Usage;
use crate::clock::Time;

/// The window assumed where no response has named one: the longest that is known of any registry, so that
/// nothing is spent too early.
const USUAL_WINDOW: Duration = Duration::from_secs(6 * 3600);
/// Our spends are kept in this many slots of the window: exact enough for a slot's time, and bounded.
const SLOTS: u64 = 120;
/// Counted requests at once while nothing is known: the first response tells.
const BLIND: u64 = 8;
/// How much one observed change moves the learnt cost of a request.
const COST_STEP: f64 = 0.2;
/// Readings that are further apart say nothing of the cost of one request.
const CLOSE: Duration = Duration::from_secs(5);
/// Costs beyond this are neighbours' spends, not ours.
const MOST_COST: f64 = 2.0;

/// One allowance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Bucket {
    /// Its name among others of the machine.
    pub(super) id: u64,
    /// Whom the upstream counts against, if it said.
    pub(super) source: Option<String>,
    reading: Option<Seen>,
    /// Our spends: start of their slot in ms, and how many.
    own: VecDeque<(u64, u64)>,
    /// What one request costs, learnt.
    cost: f64,
    /// When much came back at once: the edge of a fixed window, or what a rolling one gives back of a burst.
    jumped: Option<u64>,
    /// What neighbours spent between readings.
    strangers: Usage,
    /// Told to be empty, or found so: nothing is sent before.
    exhausted_until: Option<u64>,
    /// A response named no figures: as far as is known, there is no limit.
    silent: bool,
    /// When a reading was last asked for, in ms.
    asked: u64,
    /// How many were charged and are not settled.
    #[serde(skip)]
    in_flight: u64,
}

/// A reading, and when it came.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Seen {
    reading: Reading,
    at: u64,
    /// Charges that the reading cannot have counted yet.
    since: u64,
}

impl Bucket {
    pub(super) fn new(id: u64, source: Option<String>) -> Self {
        Self {
            id,
            source,
            reading: None,
            own: VecDeque::new(),
            cost: 1.0,
            exhausted_until: None,
            jumped: None,
            strangers: Usage::default(),
            silent: false,
            asked: 0,
            in_flight: 0,
        }
    }

    /// What a clock that went back, or another process, left behind is brought to the present.
    pub(super) fn restore(&mut self, now: Time) {
        let now = now.as_millis();
        for (at, _) in &mut self.own {
            *at = (*at).min(now);
        }
        if let Some(seen) = &mut self.reading {
            seen.at = seen.at.min(now);
        }
        self.asked = self.asked.min(now);
        if !self.cost.is_finite() {
            self.cost = 1.0;
        }
    }

    /// A response told the figures.
    pub(super) fn read(&mut self, reading: Reading, now: Time) {
        self.forget_old(now);
        self.silent = false;
        if let Some(before) = self.reading {
            self.learn_cost(before, reading, now);
            let drop = before.reading.remaining.saturating_sub(reading.remaining) as f64;
            let strangers = drop - before.since as f64 * self.cost;
            self.strangers.add(strangers.max(0.0), self.window(), now);
            if reading.remaining > before.reading.remaining + reading.limit / 5 {
                self.jumped = Some(now.as_millis());
            }
        }
        // Requests that are on their way may or may not be counted in it: held against us until settled.
        self.reading = Some(Seen {
            reading,
            at: now.as_millis(),
            since: 0,
        });
        if reading.remaining > 0 {
            self.exhausted_until = None;
        }
    }

    fn learn_cost(&mut self, before: Seen, reading: Reading, now: Time) {
        // One spend between two readings that are close: a neighbour's is unlikely to stand between them.
        let close = now.since(Time::from_millis(before.at)) <= CLOSE;
        let alone = close && self.in_flight <= 1 && before.since == 1;
        if alone && before.reading.limit == reading.limit && reading.remaining <= before.reading.remaining {
            let drop = (before.reading.remaining - reading.remaining) as f64;
            self.cost += COST_STEP * (drop.min(MOST_COST) - self.cost);
        }
    }

    /// A response named no figures.
    pub(super) fn say_nothing(&mut self) {
        self.silent = self.reading.is_none();
    }

    /// True if the upstream answers and names no figures.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The upstream says that nothing is left.
    pub(super) fn empty(&mut self, now: Time) {
        if let Some(seen) = &mut self.reading {
            seen.reading.remaining = 0;
            seen.at = now.as_millis();
        }
        let until = self.next_slot(now).unwrap_or(now + self.reading_pause());
        self.exhausted_until = Some(until.as_millis());
    }

    /// Takes one request out of it.
    pub(super) fn charge(&mut self, now: Time) {
        self.in_flight += 1;
        let slot = self.slot(now);
        match self.own.back_mut() {
            Some((at, count)) if *at >= slot => *count += 1,
            _ => self.own.push_back((slot, 1)),
        }
        if let Some(seen) = &mut self.reading {
            seen.since += 1;
        }
    }

    /// A charge is over; unsent, it is given back.
    pub(super) fn settle(&mut self, at: Time, sent: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if sent {
            return;
        }
        let slot = self.slot(at);
        if let Some((_, count)) = self.own.iter_mut().rev().find(|(start, _)| *start <= slot) {
            *count = count.saturating_sub(1);
        }
        if let Some(seen) = &mut self.reading {
            seen.since = seen.since.saturating_sub(1);
        }
    }

    /// True if the upstream has told figures.
    pub(super) fn is_known(&self) -> bool {
        self.reading.is_some()
    }

    /// True if another request may go while nothing is known.
    pub(super) fn may_go_blind(&self) -> bool {
        self.silent || self.in_flight < BLIND
    }

    /// The figures that people are told: the estimate in place of what was read.
    pub(super) fn figures(&self, now: Time) -> Option<Reading> {
        let reading = self.reading?.reading;
        Some(Reading {
            remaining: self.estimate(now),
            ..reading
        })
    }

    /// Until when it is known to be empty.
    pub(super) fn exhausted(&self, now: Time) -> Option<Time> {
        let until = self.exhausted_until.map(Time::from_millis);
        until.filter(|until| *until > now)
    }

    /// How many requests are left, at least.
    pub(super) fn estimate(&self, now: Time) -> u64 {
        let Some(seen) = self.reading else { return 0 };
        if self.exhausted(now).is_some() {
            return 0;
        }
        if self.is_void(seen, now) {
            // Everything that was read has left the window; what we know of is what we spent.
            return seen
                .reading
                .limit
                .saturating_sub(self.own(now).max(self.in_flight));
        }
        let unseen = seen.since.max(self.in_flight);
        let by_reading = seen.reading.remaining.saturating_sub(unseen);
        by_reading.min(seen.reading.limit.saturating_sub(self.in_flight))
    }

    /// Our spends in the window.
    pub(super) fn own(&self, now: Time) -> u64 {
        let start = now.as_millis().saturating_sub(millis(self.window()));
        let inside = self.own.iter().filter(|(at, _)| *at > start || start == 0);
        inside.map(|(_, count)| *count).sum()
    }

    /// Our neighbours' spends in a window: what the last reading leaves unexplained, or what they spent of
    /// late between readings, whichever is more. At the edge of a fixed window the first is nothing.
    pub(super) fn foreign(&self, now: Time) -> u64 {
        self.foreign_read(now)
            .max(self.strangers.per_window(self.window(), now).round() as u64)
    }

    fn foreign_read(&self, now: Time) -> u64 {
        let Some(seen) = self.reading else { return 0 };
        if self.is_void(seen, now) {
            return 0;
        }
        let Reading { limit, remaining, .. } = seen.reading;
        let own = self.own(now).saturating_sub(seen.since.max(self.in_flight)) as f64 * self.cost.max(0.0);
        limit.saturating_sub(remaining).saturating_sub(own.round() as u64)
    }

    /// When the oldest of our spends leaves the window.
    pub(super) fn next_slot(&self, now: Time) -> Option<Time> {
        let window = millis(self.window());
        let leave = self.own.iter().filter(|(_, count)| *count > 0);
        let leave = leave.map(|(at, _)| at.saturating_add(window + self.slot_length()));
        leave.map(Time::from_millis).find(|leave| *leave > now)
    }

    /// When the next requests come back, whoever spent them: at the next edge, if the window seems to be a
    /// fixed one, else when our oldest spend leaves it.
    pub(super) fn refill(&self, now: Time) -> Time {
        let edge = self.jumped.map(|at| Time::from_millis(at) + self.window());
        let edge = edge.filter(|edge| *edge > now);
        edge.or_else(|| self.next_slot(now)).unwrap_or(now)
    }

    /// When this many more requests are left, if nobody else spends: as our spends leave the window, and at
    /// the latest when everything that was read has.
    pub(super) fn frees(&self, need: u64, now: Time) -> Time {
        let window = millis(self.window()) + self.slot_length();
        let mut freed = 0;
        for (at, count) in &self.own {
            let leaves = Time::from_millis(at.saturating_add(window));
            if leaves > now {
                freed += count;
            }
            if freed >= need {
                return leaves;
            }
        }
        let read = self.reading.map_or(0, |seen| seen.at);
        Time::from_millis(read.saturating_add(window)).max(now + Duration::from_secs(1))
    }

    /// True if a reading must be taken before more is spent: the last one is old and not plenty.
    pub(super) fn is_stale(&self, now: Time) -> bool {
        let Some(seen) = self.reading else { return false };
        let trusted = Duration::from_secs(60).max(self.window() / 60);
        let at = Time::from_millis(seen.at.max(self.asked));
        let plenty = self.estimate(now) * 2 > seen.reading.limit;
        now.since(at) > trusted && (!plenty || self.is_void(seen, now))
    }

    /// When the next reading of an empty allowance is worth a request.
    pub(super) fn reading_due(&self) -> Time {
        let last = self.reading.map_or(0, |seen| seen.at).max(self.asked);
        // Seawalls that were emptied together do not ask together.
        let jitter = (self.id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ last) % 1000;
        let pause = self.reading_pause().mul_f64(1.0 + jitter as f64 / 10_000.0);
        Time::from_millis(last) + pause
    }

    /// A reading is being taken.
    pub(super) fn asked_for_reading(&mut self, now: Time) {
        self.asked = now.as_millis();
    }

    /// Allowed requests per millisecond.
    pub(super) fn rate(&self) -> f64 {
        let limit = self.reading.map_or(0, |seen| seen.reading.limit);
        limit as f64 / millis(self.window()).max(1) as f64
    }

    /// The limit, if it is known.
    pub(super) fn limit(&self) -> u64 {
        self.reading.map_or(0, |seen| seen.reading.limit)
    }

    /// The window the upstream named.
    pub(super) fn named_window(&self) -> Option<Duration> {
        self.reading?.reading.window
    }

    /// The window, as far as is known.
    pub(super) fn window(&self) -> Duration {
        self.named_window()
            .filter(|window| !window.is_zero())
            .unwrap_or(USUAL_WINDOW)
    }

    fn reading_pause(&self) -> Duration {
        Duration::from_secs(30).max(self.window() / 120)
    }

    fn is_void(&self, seen: Seen, now: Time) -> bool {
        now.since(Time::from_millis(seen.at)) > self.window()
    }

    fn slot_length(&self) -> u64 {
        (millis(self.window()) / SLOTS).max(1)
    }

    fn slot(&self, at: Time) -> u64 {
        at.as_millis() / self.slot_length() * self.slot_length()
    }

    fn forget_old(&mut self, now: Time) {
        let keep = millis(self.window()) + self.slot_length();
        while self
            .own
            .front()
            .is_some_and(|(at, _)| at.saturating_add(keep) < now.as_millis())
        {
            self.own.pop_front();
        }
        while self.own.len() as u64 > 2 * SLOTS {
            self.own.pop_front();
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
