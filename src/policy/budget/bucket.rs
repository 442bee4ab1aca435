//! One allowance: what the upstream last said of it, what we spent since, and what follows.
//!
//! Never more is believed to be left than the upstream said, less what was spent or is on its way since; nor
//! more than the window can still hold. Only a new reading raises the estimate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spends::{Spends, millis, slot_length};
use super::usage::Usage;
use super::{MOST_LIMIT, Reading};
use crate::clock::Time;

/// The window assumed where no response has named one: the longest that is known of any registry, so that
/// nothing is spent too early.
const USUAL_WINDOW: Duration = Duration::from_secs(6 * 3600);
/// Counted requests at once while nothing is known: the first response tells.
const BLIND: u64 = 8;
/// While nothing is known, what is left is asked for no more often.
const BLIND_READING: Duration = Duration::from_secs(60);
/// How much one observed change moves the learnt cost of a request.
const COST_STEP: f64 = 0.2;
/// Readings that are further apart say nothing of the cost of one request, and cannot have overtaken each other.
const CLOSE: Duration = Duration::from_secs(5);
/// Most windows that an upstream's word of when something is left again is believed for: it may be careful.
const PROMISED: f64 = 1.05;
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
    own: Spends,
    /// What one request costs, learnt.
    cost: f64,
    /// When much came back at once: the edge of a fixed window, or what a rolling one gives back of a burst.
    jumped: Option<u64>,
    /// What neighbours spent between readings.
    strangers: Usage,
    /// Told to be empty, or found so: nothing is sent before.
    exhausted_until: Option<u64>,
    /// That time is the upstream's own word: nothing is asked before.
    #[serde(default)]
    promised: bool,
    /// A response named no figures: as far as is known, there is no limit.
    silent: bool,
    /// When a reading was last asked for, in ms.
    asked: u64,
    /// How many were charged and are not settled.
    #[serde(skip)]
    in_flight: u64,
    /// The last reading came with the answer to a charged request that is about to be settled.
    #[serde(skip)]
    told: bool,
    /// A reading was asked for: the next one is no answer to a charged request.
    #[serde(skip)]
    asking: bool,
}

/// A reading, and when it came.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Seen {
    reading: Reading,
    at: u64,
    /// Charges that the reading cannot have counted yet.
    since: u64,
    /// True if none was on its way then: what changes until the next reading is by charges since.
    #[serde(default)]
    quiet: bool,
}

impl Bucket {
    pub(super) fn new(id: u64, source: Option<String>) -> Self {
        Self {
            id,
            source,
            reading: None,
            own: Spends::default(),
            cost: 1.0,
            exhausted_until: None,
            promised: false,
            jumped: None,
            strangers: Usage::default(),
            silent: false,
            asked: 0,
            in_flight: 0,
            told: false,
            asking: false,
        }
    }

    /// What a clock that went back, or another process, left behind is brought to the present; and what nobody
    /// can have written, within bounds.
    pub(super) fn restore(&mut self, now: Time) {
        (self.in_flight, self.told, self.asking) = Default::default();
        self.own.restore(now);
        let present = now.as_millis();
        if let Some(seen) = &mut self.reading {
            seen.reading = seen.reading.plausible();
            seen.at = seen.at.min(present);
            seen.since = seen.since.min(MOST_LIMIT);
        }
        self.asked = self.asked.min(present);
        self.jumped = self.jumped.map(|at| at.min(present));
        let latest = (now + self.window().mul_f64(PROMISED)).as_millis();
        self.exhausted_until = self.exhausted_until.map(|until| until.min(latest));
        self.cost = if self.cost.is_finite() {
            self.cost.clamp(0.0, MOST_COST)
        } else {
            1.0
        };
        self.strangers.restore(now);
    }

    /// A response told the figures.
    pub(super) fn read(&mut self, reading: Reading, now: Time) {
        let mut reading = reading.plausible();
        self.silent = false;
        if let Some(before) = self.reading {
            let drop = before.reading.remaining.saturating_sub(reading.remaining) as f64;
            let explained = match self.learn_cost(before, reading, now) {
                // Until it is learnt, a cost is not laid to neighbours.
                true => MOST_COST,
                false => before.since as f64 * self.cost,
            };
            let strangers = drop - explained;
            self.strangers.add(strangers.max(0.0), self.window(), now);
            if reading.remaining > before.reading.remaining + reading.limit / 5 {
                self.jumped = Some(now.as_millis());
            }
            // An answer that was overtaken by a later one shows too much, by no more than were on their way.
            let rise = reading.remaining.saturating_sub(before.reading.remaining);
            if rise <= self.in_flight && is_close(before, now) {
                reading.remaining = reading.remaining.min(before.reading.remaining);
            }
        }
        // Requests that are on their way may or may not be counted in it: held against us until each has its
        // own answer.
        self.reading = Some(Seen {
            reading,
            at: now.as_millis(),
            since: self.in_flight,
            quiet: self.in_flight == 0,
        });
        self.told = !std::mem::take(&mut self.asking);
        if reading.remaining > 0 {
            self.exhausted_until = None;
        }
    }

    /// Requests on their way that the reading may not have counted, charged elsewhere.
    pub(super) fn hold(&mut self, charges: u64) {
        if let Some(seen) = &mut self.reading {
            seen.since += charges;
            seen.quiet &= charges == 0;
        }
    }

    /// How many were charged and are not settled.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Learns what one request costs, if the change tells; false if it does not.
    fn learn_cost(&mut self, before: Seen, reading: Reading, now: Time) -> bool {
        // One spend between two readings that are close: a neighbour's is unlikely to stand between them.
        let alone = is_close(before, now) && before.quiet && self.in_flight <= 1 && before.since == 1;
        let tells =
            alone && before.reading.limit == reading.limit && reading.remaining <= before.reading.remaining;
        if tells {
            let drop = (before.reading.remaining - reading.remaining) as f64;
            self.cost += COST_STEP * (drop.min(MOST_COST) - self.cost);
        }
        tells
    }

    /// The answer to a charged request that is about to be settled has told no figures.
    pub(super) fn untold(&mut self) {
        self.told = false;
    }

    /// A response named no figures: there is no limit.
    pub(super) fn say_nothing(&mut self, now: Time) {
        self.untold();
        self.silent = self.reading.is_none();
        // What was let through after a refusal was no longer refused.
        if self.silent && self.in_flight > 0 && self.exhausted(now).is_none() {
            self.exhausted_until = None;
        }
    }

    /// True if the upstream answers and names no figures.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The upstream says that nothing is left; and when something is again, if it said.
    pub(super) fn empty(&mut self, retry_after: Option<Duration>, now: Time) {
        if let Some(seen) = &mut self.reading {
            seen.reading.remaining = 0;
            seen.at = now.as_millis();
        }
        // Without a window, only a reading can tell when it is over.
        let slot = self.named_window().and_then(|_| self.next_slot(now));
        let promised = retry_after.map(|wait| now + wait.min(self.window().mul_f64(PROMISED)));
        let until = promised.or(slot).unwrap_or(now + self.reading_pause());
        self.exhausted_until = Some(until.as_millis());
        self.promised = promised.is_some();
    }

    /// Takes one request out of it.
    pub(super) fn charge(&mut self, now: Time) {
        self.in_flight += 1;
        self.told = false;
        self.own.add(self.window(), now);
        if let Some(seen) = &mut self.reading {
            seen.since += 1;
        }
    }

    /// A charge is over; unsent, it is given back. Its response was read before, if it had figures. The
    /// upstream counted it at some time since, at the latest now.
    pub(super) fn settle(&mut self, at: Time, sent: bool, now: Time) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let counted = sent && std::mem::take(&mut self.told);
        self.own.take_back(self.window(), at);
        if sent {
            self.own.add(self.window(), now);
        }
        // Sent, and no reading has counted it: it stays held against us until the next one.
        if let Some(seen) = self.reading.as_mut().filter(|_| counted || !sent) {
            seen.since = seen.since.saturating_sub(1);
        }
    }

    /// True if the upstream has told figures.
    pub(super) fn is_known(&self) -> bool {
        self.reading.is_some()
    }

    /// True if another request may go while nothing is known; after a refusal, one at a time.
    pub(super) fn may_go_blind(&self) -> bool {
        match self.exhausted_until {
            Some(_) => self.in_flight == 0,
            None => self.silent || self.in_flight < BLIND,
        }
    }

    /// True if nothing was asked of late that could have told what is left.
    pub(super) fn may_be_read_blind(&self, now: Time) -> bool {
        let asked = Time::from_millis(self.asked);
        self.asked == 0 || now.since(asked) > BLIND_READING
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

    /// When something is left again, in the upstream's own word.
    fn promise(&self, now: Time) -> Option<Time> {
        self.exhausted(now).filter(|_| self.promised)
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
        let unseen = seen.since.max(self.in_flight) as f64 * self.cost.max(1.0);
        let unseen = unseen.ceil() as u64;
        let by_reading = seen.reading.remaining.saturating_sub(unseen);
        by_reading.min(seen.reading.limit.saturating_sub(self.in_flight))
    }

    /// Our spends in the window.
    pub(super) fn own(&self, now: Time) -> u64 {
        self.own.within(self.window(), now)
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
        // As it was when it was read: what left the window since is still missing in the figures.
        let own = self.own.within(self.window(), Time::from_millis(seen.at));
        let own = own.saturating_sub(seen.since.max(self.in_flight)) as f64 * self.cost.max(0.0);
        limit.saturating_sub(remaining).saturating_sub(own.round() as u64)
    }

    /// When the oldest of our spends leaves the window.
    pub(super) fn next_slot(&self, now: Time) -> Option<Time> {
        self.own.leave(1, self.window(), now)
    }

    /// When the next requests come back, whoever spent them: at the next edge, if the window seems to be a
    /// fixed one, else when our oldest spend leaves it.
    pub(super) fn refill(&self, now: Time) -> Time {
        self.edge(now).or_else(|| self.next_slot(now)).unwrap_or(now)
    }

    /// When the allowance is whole again: at the next edge, if the window seems to be a fixed one, else when
    /// what is spent now has left it.
    pub(super) fn renewal(&self, now: Time) -> Time {
        self.edge(now).unwrap_or(now + self.window())
    }

    fn edge(&self, now: Time) -> Option<Time> {
        let edge = self.jumped.map(|at| Time::from_millis(at) + self.window());
        edge.filter(|edge| *edge > now)
    }

    /// When at least `wanted` requests are left, if nobody else spends: as our spends leave the window, and
    /// at the latest when everything that was read has. Spends that a fixed window has forgotten count too.
    pub(super) fn frees(&self, wanted: u64, now: Time) -> Time {
        if let Some(until) = self.promise(now) {
            return until;
        }
        let taken = self.own(now).saturating_add(self.foreign_read(now));
        let need = taken.saturating_add(wanted).saturating_sub(self.limit());
        let slot = self.own.leave(need.max(1), self.window(), now);
        slot.unwrap_or_else(|| self.void_at(now))
    }

    /// When everything that was read has left the window.
    fn void_at(&self, now: Time) -> Time {
        let read = Time::from_millis(self.reading.map_or(0, |seen| seen.at));
        let void = read + self.window() + Duration::from_millis(slot_length(self.window()));
        void.max(now + Duration::from_secs(1))
    }

    /// True if a reading must be taken before more is spent: the last one is old and not plenty.
    pub(super) fn is_stale(&self, now: Time) -> bool {
        let Some(seen) = self.reading else {
            // Refused without figures: perhaps there are some now.
            let refused = self.exhausted_until.filter(|until| *until <= now.as_millis());
            return refused.is_some_and(|until| self.asked < until);
        };
        let plenty = self.estimate(now) * 2 > seen.reading.limit;
        let promise = self.promise(now);
        promise.is_none() && self.is_old(seen, now) && (!plenty || self.is_void(seen, now))
    }

    /// True if another reading may show more than the last one: it is old, or some of our spends have left
    /// the window since.
    pub(super) fn may_have_risen(&self, now: Time) -> bool {
        let Some(seen) = self.reading else { return false };
        let promised = self.exhausted_until.filter(|_| self.promised);
        let promised = promised.map(Time::from_millis);
        match promised.filter(|until| *until > self.looked(seen)) {
            Some(until) => until <= now,
            None => {
                let back = self.own.leave(1, self.window(), self.looked(seen));
                back.is_some_and(|back| back <= now) || self.is_old(seen, now)
            }
        }
    }

    fn is_old(&self, seen: Seen, now: Time) -> bool {
        now.since(self.looked(seen)) > Duration::from_secs(60).max(self.window() / 60)
    }

    /// When a reading was taken, or asked for.
    fn looked(&self, seen: Seen) -> Time {
        Time::from_millis(seen.at.max(self.asked))
    }

    /// When the next reading of an empty allowance is worth a request.
    pub(super) fn reading_due(&self) -> Time {
        let last = self.reading.map_or(0, |seen| seen.at).max(self.asked);
        // Seawalls that were emptied together do not ask together.
        let jitter = (self.id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ last) % 1000;
        let pause = self.reading_pause().mul_f64(1.0 + jitter as f64 / 10_000.0);
        let due = Time::from_millis(last) + pause;
        let promised = self.exhausted_until.filter(|_| self.promised);
        promised.map_or(due, |until| due.max(Time::from_millis(until)))
    }

    /// A reading is being taken.
    pub(super) fn asked_for_reading(&mut self, now: Time) {
        self.asked = now.as_millis();
        self.asking = true;
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
        self.named_window().unwrap_or(USUAL_WINDOW)
    }

    fn reading_pause(&self) -> Duration {
        Duration::from_secs(30).max(self.window() / 120)
    }

    fn is_void(&self, seen: Seen, now: Time) -> bool {
        now.since(Time::from_millis(seen.at)) > self.window()
    }
}

fn is_close(before: Seen, now: Time) -> bool {
    now.since(Time::from_millis(before.at)) <= CLOSE
}
