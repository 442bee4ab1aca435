//! How many requests in a second an upstream takes that says "too many" without figures, and whose turn is next.
//!
//! Nobody is throttled before the first refusal, and nobody any more once the rate is as high as any client
//! would ask. What it holds back are free requests as well: those limits count everything.
//!
//! Those who are held back wait in the order of the budget's queue: higher ranks first, and in turn between the
//! clients of one rank, so that one who wants much does not keep one who wants little from it. Nobody waits in vain:
//! who would have to wait too long is refused at once, with the time at which asking again succeeds, and so is who
//! would have to by now, because another was let in before him.

mod rate;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::rate::Rate;
use super::budget::Asker;
use super::budget::queue::Queue;
use crate::clock::Time;

/// Who would have to wait longer than this is refused.
const LONGEST: Duration = Duration::from_secs(10);
/// And those of low rank, who have something reserved against them, longer than this: the places behind are
/// kept for the others, whom a crowd of jobs must not shut out.
const LONGEST_OF_LOW: Duration = Duration::from_secs(5);
/// The ranks of the queue: low ones leave everything to the others.
const RANKS: [f64; 2] = [0.0, 1.0];

/// Who waits for a place, how long, and with what right.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Places go round between clients.
    pub client: u64,
    /// No longer than this.
    pub longest: Duration,
    /// True for whom a part of the places is not open.
    pub low: bool,
}

/// When a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Now.
    Go,
    /// When [`Throttle::turn`] says so to this ticket.
    Wait(u64),
    /// There are too many ahead: not before this time.
    Refuse(Time),
}

/// What one who waited is told: to go, or why not and when to ask again.
pub type Told = Result<(), Time>;

/// The rate of one upstream, and those who are held back for it.
#[derive(Debug)]
pub struct Throttle {
    rate: Rate,
    /// When the next request may be sent.
    next: Time,
    queue: Queue<u64>,
    tickets: u64,
    /// Those who cannot be served in time any more, and when it would be their turn.
    late: Vec<(u64, Time)>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            rate: Rate::default(),
            next: Time::from_millis(0),
            queue: Queue::new(&RANKS),
            tickets: 0,
            late: Vec::new(),
        }
    }
}

impl Throttle {
    /// Asks for a place. Whoever has to wait holds the ticket until he is told, or [leaves](Self::leave).
    pub fn ask(&mut self, patience: Patience, now: Time) -> Verdict {
        self.rate.recover(now);
        let most = if patience.low { LONGEST_OF_LOW } else { LONGEST };
        let asker = Asker {
            tier: usize::from(patience.low),
            client: patience.client,
            deadline: now + patience.longest.min(most),
        };
        let start = self.turn_of(&asker, now);
        if start <= now {
            self.send(now);
            return Verdict::Go;
        }
        let ticket = self.tickets + 1;
        if start > asker.deadline || !self.queue.push(&ticket, String::new(), asker) {
            return Verdict::Refuse(self.emptied(&asker, now));
        }
        self.tickets = ticket;
        self.refuse_late(now);
        Verdict::Wait(ticket)
    }

    /// Tells those whose turn it is, and those who wait in vain.
    pub fn turn(&mut self, now: Time) -> Vec<(u64, Told)> {
        self.rate.recover(now);
        let mut told = Vec::new();
        while self.opens(now) <= now
            && let Some((ticket, _)) = (0..RANKS.len()).find_map(|rank| self.queue.pop(rank))
        {
            self.send(now);
            told.push((ticket, Ok(())));
        }
        self.refuse_late(now);
        let late = self.late.drain(..);
        told.extend(late.map(|(ticket, until)| (ticket, Err(until))));
        told
    }

    /// Somebody does not wait any more.
    pub fn leave(&mut self, ticket: u64) {
        self.queue.remove(&ticket);
        self.late.retain(|(late, _)| *late != ticket);
    }

    /// When [`Self::turn`] next has something to say by the passing of time alone.
    pub fn wake(&self, now: Time) -> Option<Time> {
        if !self.late.is_empty() {
            return Some(now);
        }
        (!self.queue.is_empty()).then(|| self.opens(now))
    }

    /// True while there is a rate to keep to.
    pub const fn is_limited(&self) -> bool {
        self.rate.is_limited()
    }

    /// The upstream answered, and not that it was too much.
    pub fn answered(&mut self) {
        self.rate.answered();
    }

    /// The upstream said that it was too much, and is left alone until then.
    pub fn refused(&mut self, until: Time, now: Time) {
        self.next = self.next.max(until);
        if self.rate.refused(until, now)
            && let Some(interval) = self.rate.interval()
        {
            self.next = self.next.max(now + interval);
        }
        self.refuse_late(now);
    }

    /// When the next request may be sent.
    fn opens(&self, now: Time) -> Time {
        match self.rate.interval() {
            None => now,
            Some(_) => self.next.max(now),
        }
    }

    /// When it would be the turn of one more.
    fn turn_of(&self, asker: &Asker, now: Time) -> Time {
        self.after(self.queue.ahead(asker).all, now)
    }

    /// When all will have gone who wait now and might go first: who asks again then succeeds, however short his
    /// patience. Never the present: who is refused would ask again at once.
    fn emptied(&self, asker: &Asker, now: Time) -> Time {
        let interval = self.rate.interval().unwrap_or_default();
        // One of lower rank may take the place that opens then: who cannot wait for the next one comes after all.
        let tier = match asker.deadline.since(now) < interval {
            true => RANKS.len() - 1,
            false => asker.tier,
        };
        let all = self.after(self.queue.line(tier).all, now);
        all.max(now + Duration::from_millis(1))
    }

    /// When so many will have gone.
    fn after(&self, before: u64, now: Time) -> Time {
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        let interval = self.rate.interval().unwrap_or_default();
        self.opens(now) + interval.saturating_mul(before)
    }

    fn send(&mut self, now: Time) {
        self.rate.sent(now);
        if let Some(interval) = self.rate.interval() {
            self.next = now + interval;
        }
    }

    /// Takes those out of the queue who cannot be served in time as things stand.
    fn refuse_late(&mut self, now: Time) {
        let interval = self.rate.interval().unwrap_or_default();
        let mut start = self.opens(now);
        let mut late = Vec::new();
        for (ticket, deadline) in self.queue.in_order() {
            match start > deadline {
                true => late.push(ticket),
                false => start = start + interval,
            }
        }
        for ticket in late {
            if let Some(entry) = self.queue.remove(&ticket) {
                let until = self.emptied(&entry.asker, now);
                self.late.push((ticket, until));
            }
        }
    }
}
