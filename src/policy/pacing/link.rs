//! A link that many share: tiers by weight, the clients of a tier equally, each client's connections in turn.
//!
//! Start-time fair queueing over leases, on two levels. Every lease gets a start tag and a finish tag in
//! virtual bytes; the earliest start is served first, and the virtual time is the start of what was served
//! last. A client with one connection is worth as much as one with a hundred, and who was idle can neither
//! save up nor be starved.
//!
//! ```text
//! link (one pace) ── tier (start, finish; weight) ── client (start, finish) ── leases of its connections, in order
//! ```

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::{Pace, lease};

/// Virtual units per byte, so that a division by a weight loses nothing that matters.
const SCALE: u128 = 1 << 16;
/// Leases that a client may be behind and catch up with. Between two leases it has to fill a socket, and is not
/// in the queue for that long; without this it would lose its turn each time.
const CATCH_UP: u128 = 4;

/// What follows from a look at the link.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<V> {
    /// This lease may be sent; there may be more.
    Grant(V),
    /// Nothing more before this moment.
    At(u64),
    /// Nobody waits.
    Idle,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    tier: usize,
    client: u64,
    number: u64,
}

/// One link. `V` is what is handed back when a lease is granted.
#[derive(Debug)]
pub struct Link<V> {
    pace: Pace,
    /// Bytes of a lease at the link's rate.
    lease: u64,
    tiers: Vec<Tier<V>>,
    now: u128,
    tickets: u64,
}

#[derive(Debug)]
struct Tier<V> {
    weight: u128,
    tags: Tags,
    /// Virtual time among its clients.
    now: u128,
    /// The clients that wait, by their start tags.
    waiting: BTreeSet<(u128, u64)>,
    /// Those, and the ones whose tags still matter.
    clients: HashMap<u64, Client<V>>,
    /// Leases granted since clients were last forgotten.
    since_sweep: usize,
}

#[derive(Debug)]
struct Client<V> {
    tags: Tags,
    leases: VecDeque<Lease<V>>,
}

#[derive(Debug)]
struct Lease<V> {
    number: u64,
    bytes: u64,
    value: V,
}

/// Where somebody stands in virtual time.
#[derive(Clone, Copy, Debug, Default)]
struct Tags {
    /// When the next lease starts.
    start: u128,
    /// When the last one finished.
    finish: u128,
}

impl Tags {
    /// Begins to wait at this virtual time.
    fn enter(&mut self, now: u128, catch_up: u128) {
        self.start = self.finish.max(now.saturating_sub(catch_up));
    }

    /// Is served so many virtual units; what follows starts where this finishes.
    fn serve(&mut self, units: u128) {
        self.finish = self.start.saturating_add(units);
        self.start = self.finish;
    }
}

impl<V> Link<V> {
    /// A link of so many bytes per second, shared by tiers of these weights.
    pub fn new(rate: u64, weights: &[u32]) -> Self {
        let tier = |weight: &u32| Tier {
            weight: u128::from((*weight).max(1)),
            tags: Tags::default(),
            now: 0,
            waiting: BTreeSet::new(),
            clients: HashMap::new(),
            since_sweep: 0,
        };
        Self {
            pace: Pace::new(rate),
            lease: lease(rate),
            tiers: weights.iter().map(tier).collect(),
            now: 0,
            tickets: 0,
        }
    }

    /// Asks for a lease of so many bytes; [`Self::next`] will grant it. `None` if there is no such tier.
    pub fn enter(&mut self, tier: usize, client: u64, bytes: u64, value: V) -> Option<Ticket> {
        let catch_up = CATCH_UP * u128::from(self.lease) * SCALE;
        let number = self.tickets;
        let queue = self.tiers.get_mut(tier)?;
        self.tickets += 1;
        if queue.waiting.is_empty() {
            queue.tags.enter(self.now, catch_up / queue.weight);
        }
        queue.enter(client, catch_up, Lease { number, bytes, value });
        Some(Ticket { tier, client, number })
    }

    /// Takes the next lease that may be sent now. To be called until it grants no more, and again at the time it
    /// then says.
    pub fn next(&mut self, now: u64) -> Next<V> {
        let waiting = self.tiers.iter_mut().filter(|tier| !tier.waiting.is_empty());
        let Some(tier) = waiting.min_by_key(|tier| tier.tags.start) else {
            return Next::Idle;
        };
        let wait = self.pace.wait(now);
        if wait > 0 {
            return Next::At(now.saturating_add(wait));
        }
        let Some(lease) = tier.serve(CATCH_UP * u128::from(self.lease) * SCALE) else {
            return Next::Idle;
        };
        self.now = self.now.max(tier.tags.start);
        tier.tags.serve(u128::from(lease.bytes) * SCALE / tier.weight);
        let served = tier.tags.finish;
        if self.tiers.iter().all(|tier| tier.waiting.is_empty()) {
            self.now = self.now.max(served);
        }
        self.pace.take(now, lease.bytes);
        Next::Grant(lease.value)
    }

    /// True if whoever enters now is granted its lease at once: nobody waits, and the pace allows it.
    pub fn is_free(&self, now: u64) -> bool {
        self.tiers.iter().all(|tier| tier.waiting.is_empty()) && self.pace.wait(now) == 0
    }

    /// Gives a place up. False if its lease was granted already.
    pub fn leave(&mut self, ticket: Ticket) -> bool {
        let tier = self.tiers.get_mut(ticket.tier);
        tier.is_some_and(|tier| tier.leave(ticket.client, ticket.number))
    }

    /// Gives back what was granted and will not be sent.
    pub fn give_back(&mut self, bytes: u64) {
        self.pace.give_back(bytes);
    }

    /// Clients that are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.tiers.iter().map(|tier| tier.clients.len()).sum()
    }
}

impl<V> Tier<V> {
    fn enter(&mut self, client: u64, catch_up: u128, lease: Lease<V>) {
        let now = self.now;
        let entry = self.clients.entry(client).or_insert_with(|| Client {
            tags: Tags {
                start: now,
                finish: now,
            },
            leases: VecDeque::new(),
        });
        if entry.leases.is_empty() {
            entry.tags.enter(now, catch_up);
            self.waiting.insert((entry.tags.start, client));
        }
        entry.leases.push_back(lease);
    }

    /// Takes the first lease of the client whose turn it is.
    fn serve(&mut self, catch_up: u128) -> Option<Lease<V>> {
        let (start, number) = self.waiting.pop_first()?;
        let client = self.clients.get_mut(&number)?;
        let lease = client.leases.pop_front()?;
        self.now = self.now.max(start);
        client.tags.serve(u128::from(lease.bytes) * SCALE);
        if !client.leases.is_empty() {
            self.waiting.insert((client.tags.start, number));
        } else if self.waiting.is_empty() {
            // Nobody is behind: what was served is past, and whoever comes next begins after it.
            self.now = self.now.max(client.tags.finish);
        }
        self.since_sweep += 1;
        // Often enough that the crowd stays small, seldom enough that sweeping does not show.
        if self.since_sweep * 2 > self.clients.len() {
            self.since_sweep = 0;
            let now = self.now;
            let matters = |client: &Client<V>| client.tags.finish.saturating_add(catch_up) > now;
            self.clients
                .retain(|_, client| !client.leases.is_empty() || matters(client));
        }
        Some(lease)
    }

    fn leave(&mut self, number: u64, lease: u64) -> bool {
        let Some(client) = self.clients.get_mut(&number) else {
            return false;
        };
        let Some(at) = client.leases.iter().position(|each| each.number == lease) else {
            return false;
        };
        client.leases.remove(at);
        if client.leases.is_empty() {
            self.waiting.remove(&(client.tags.start, number));
        }
        true
    }
}
