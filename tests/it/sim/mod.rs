//! Registries as they really behave, simulated in memory and in virtual time; and what Seawall makes of them.
//!
//! ```text
//! a test ── Shop: clients ── Seawall (whole, real) ── dialer ── Sim ┬─ registry.example.com
//!                                                                    ├─ auth.example.com      tokens
//!                                                                    ├─ cdn0, cdn1.example.net  stores
//!                                                                    ├─ mirror.example.org    another registry
//!                                                                    ├─ stranger.example.org  nobody's friend
//!                                                                    └─ 169.254.169.254 …     who vouches for us
//! ```
//! [`switches`] says what an upstream does, as data; [`presets`] bundles switches as the registries of this
//! world have them; the [`journal`] keeps every request; [`tripwires`] fail the test that makes Seawall do
//! what no good client does. `teeth` shows that each of them bites.
//!
//! The scenarios stand below `scenarios`, a file per theme, with a table of what is held where. A new one that
//! needs what no switch does yet adds the switch with it; the quotas of our own clients have no file there yet.

mod client;
mod content;
mod identities;
mod journal;
mod limits;
mod presets;
mod pulls;
mod registry;
mod scenarios;
mod state;
mod store;
mod switches;
mod teeth;
mod token;
mod tripwires;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use self::content::{Content, Image};
use self::identities::Identities;
use self::journal::{Ended, Entry, Role};
use self::limits::{Limits, millis};
use self::state::{BodyFault, Faults, Reply, Request, State};
use self::switches::Switches;
use self::tripwires::{Trip, Tripwires};

/// A simulated upstream. Clones share everything.
#[derive(Clone)]
pub(crate) struct Sim(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    start: Instant,
}

impl Sim {
    /// An upstream with these switches; all chance in it comes from `seed`.
    pub(crate) fn new(switches: Switches, seed: u64) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                switches,
                content: Content::default(),
                limits: Limits::new(seed),
                tokens: HashMap::new(),
                signatures: Vec::new(),
                faults: Faults::default(),
                identities: Identities::new(),
                journal: Vec::new(),
                heads: HashMap::new(),
                forgotten: 0,
                trips: Tripwires::default(),
                random: StdRng::seed_from_u64(seed ^ 0x5eed),
            }),
            start: Instant::now(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        millis(self.0.start.elapsed())
    }

    /// Turns switches while it runs.
    pub(crate) fn turn(&self, turn: impl FnOnce(&mut Switches)) {
        let state = &mut *self.lock();
        turn(&mut state.switches);
        // What was told before may not hold any more.
        state.trips.reopen();
    }

    /// Changes what it holds.
    pub(crate) fn content<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        change(&mut self.lock().content)
    }

    /// Puts an image for two platforms, with layers of this many bytes.
    pub(crate) fn image(&self, repository: &str, tag: &str, seed: u64, layer_bytes: usize) -> Image {
        self.content(|content| content.image(repository, tag, seed, layer_bytes))
    }

    /// Leaves so many pulls to everybody whose pulls are counted.
    pub(crate) fn leave(&self, remaining: u64) {
        let now = self.now();
        let state = &mut *self.lock();
        let accounts = state.switches.accounts.iter();
        let accounts = accounts.map(|account| (account.name, account.allowance));
        for (source, allowance) in accounts.chain([(state.switches.egress, state.switches.allowance)]) {
            let Some(allowance) = allowance else { continue };
            let switches = &state.switches;
            state
                .limits
                .set_remaining(source, allowance, switches, remaining, now);
        }
    }

    /// Locks an account's logins.
    pub(crate) fn lock_account(&self, user: &str, length: Duration) {
        let until = self.now() + millis(length);
        self.lock().limits.lock(user, until);
    }

    /// Changes what the clouds know, and how they answer.
    pub(crate) fn identities(&self, change: impl FnOnce(&mut Identities)) {
        change(&mut self.lock().identities);
    }

    /// Makes every token void.
    pub(crate) fn revoke_tokens(&self) {
        self.lock().revoke_all();
    }

    /// Takes hosts off the net.
    pub(crate) fn go_down(&self, roles: &[Role]) {
        self.lock().faults.down.extend(roles);
    }

    /// Makes a host answer late.
    pub(crate) fn slow(&self, role: Role, delay: Duration) {
        self.lock().faults.slow.insert(role, delay);
    }

    /// Makes a host answer with this status, so many times.
    pub(crate) fn burst(&self, role: Role, status: u16, times: u32) {
        self.lock().faults.burst.insert(role, (status, times));
    }

    /// Spoils the bodies that a host sends.
    pub(crate) fn spoil(&self, role: Role, fault: BodyFault) {
        self.lock().faults.body.insert(role, fault);
    }

    /// Ends all faults.
    pub(crate) fn heal(&self) {
        self.lock().faults = Faults::default();
    }

    /// Every request so far.
    pub(crate) fn journal(&self) -> Vec<Entry> {
        let state = self.lock();
        state.journal[state.forgotten..].to_vec()
    }

    /// Forgets the requests so far.
    pub(crate) fn forget(&self) {
        let state = &mut *self.lock();
        state.forgotten = state.journal.len();
    }

    /// Changes what the tripwires let pass.
    pub(crate) fn tripwires(&self, change: impl FnOnce(&mut Tripwires)) {
        change(&mut self.lock().trips);
    }

    /// Lets one thing pass that a test means to see.
    pub(crate) fn disarm(&self, trip: Trip) {
        self.tripwires(|trips| trips.disarm(trip));
    }

    /// What sprung so far.
    pub(crate) fn sprung(&self) -> Vec<(Trip, String)> {
        self.lock().trips.sprung.clone()
    }

    fn is_down(&self, role: Role) -> bool {
        self.lock().faults.down.contains(&role)
    }

    /// Answers a request; the number is for [`Self::finish`].
    fn handle(&self, request: &Request) -> (usize, Reply) {
        self.lock().handle(request)
    }

    /// An answer is over.
    fn finish(&self, number: usize, reply: &Reply, sent: u64, ended: Ended) {
        let now = self.now();
        let state = &mut *self.lock();
        if let Some((key, life)) = &reply.token {
            // Whoever left has none.
            let life = life.filter(|_| ended != Ended::Left);
            state.trips.token_answered(key, life, now);
        }
        let entry = &mut state.journal[number];
        entry.sent = sent;
        entry.ended = Some(ended);
        state.trips.ended(entry, reply.start);
    }
}
