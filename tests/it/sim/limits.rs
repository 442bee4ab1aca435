//! What a simulated upstream counts: pulls in windows, requests by the second, failed logins.
//!
//! All times are milliseconds since the simulator's start; fixed windows begin at multiples of their length.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::switches::{Allowance, Counts, Kind, Lockout, Rate, Switches};

/// What an answer tells of an allowance.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) source: String,
    pub(crate) allowance: Allowance,
    pub(crate) remaining: u64,
}

/// The counters.
pub(crate) struct Limits {
    buckets: HashMap<String, Bucket>,
    rates: HashMap<&'static str, Leaky>,
    logins: HashMap<String, Logins>,
    neighbours: StdRng,
}

/// Pulls of late, from one source.
#[derive(Default)]
struct Bucket {
    spent: VecDeque<u64>,
    /// When the next neighbour comes, once one has been drawn.
    neighbour: Option<f64>,
}

/// Requests of late, running out at a rate.
#[derive(Default)]
struct Leaky {
    level: f64,
    at: u64,
}

/// Failed logins of a user name.
#[derive(Default)]
struct Logins {
    failed: Vec<u64>,
    locked_until: u64,
}

impl Limits {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            buckets: HashMap::new(),
            rates: HashMap::new(),
            logins: HashMap::new(),
            neighbours: StdRng::seed_from_u64(seed),
        }
    }

    /// How an allowance stands.
    pub(crate) fn look(&mut self, source: &str, allowance: Allowance, switches: &Switches, now: u64) -> Told {
        self.neighbours_until(source, allowance, switches, now);
        let bucket = self.buckets.entry(source.to_owned()).or_default();
        bucket.forget(allowance, now);
        Told {
            source: source.to_owned(),
            allowance,
            remaining: bucket.remaining(allowance, switches),
        }
    }

    /// Takes one pull. An error is the time at which the next one may be had.
    pub(crate) fn spend(
        &mut self,
        source: &str,
        allowance: Allowance,
        switches: &Switches,
        now: u64,
    ) -> Result<Told, (Told, u64)> {
        let mut told = self.look(source, allowance, switches, now);
        let bucket = self.buckets.entry(source.to_owned()).or_default();
        if told.remaining < switches.units_per_get {
            return Err((told, bucket.opens(allowance, now)));
        }
        bucket.spent.push_back(now);
        told.remaining = bucket.remaining(allowance, switches);
        Ok(told)
    }

    /// Sets what is left of an allowance now.
    pub(crate) fn set_remaining(
        &mut self,
        source: &str,
        allowance: Allowance,
        switches: &Switches,
        left: u64,
        now: u64,
    ) {
        let bucket = self.buckets.entry(source.to_owned()).or_default();
        let spent = allowance.pulls.saturating_sub(left) * switches.gets_per_unit / switches.units_per_get;
        bucket.spent = (0..spent).map(|_| now).collect();
    }

    /// Neighbours behind the same address take their share; those who find nothing leave.
    fn neighbours_until(&mut self, source: &str, allowance: Allowance, switches: &Switches, now: u64) {
        if switches.foreign_per_hour <= 0.0 || source != switches.egress {
            return;
        }
        let bucket = self.buckets.entry(source.to_owned()).or_default();
        let random = &mut self.neighbours;
        let mut pause = || -(1.0 - random.random::<f64>()).ln() * 3_600_000.0 / switches.foreign_per_hour;
        let mut next = bucket.neighbour.unwrap_or_else(&mut pause);
        while next <= now as f64 {
            bucket.forget(allowance, next as u64);
            if bucket.remaining(allowance, switches) > 0 {
                bucket.spent.push_back(next as u64);
            }
            next += pause();
        }
        bucket.neighbour = Some(next);
    }

    /// Counts a request against a rate; false if it is too many.
    pub(crate) fn within_rate(&mut self, rate: Rate, endpoint: &'static str, now: u64) -> bool {
        let counted = match rate.counts {
            Counts::Everything => "all",
            Counts::Pulls if endpoint == "manifest" => "pulls",
            Counts::Pulls => return true,
            Counts::Endpoints => endpoint,
        };
        let leaky = self.rates.entry(counted).or_default();
        let run_out = now.saturating_sub(leaky.at) as f64 / 1000.0 * rate.per_second;
        leaky.level = (leaky.level - run_out).max(0.0);
        leaky.at = now;
        let fits = leaky.level + 1.0 <= rate.burst;
        if fits {
            leaky.level += 1.0;
        }
        fits
    }

    /// Until when a user name is locked.
    pub(crate) fn locked(&self, user: &str, now: u64) -> bool {
        self.logins
            .get(user)
            .is_some_and(|logins| logins.locked_until > now)
    }

    /// Counts a failed login.
    pub(crate) fn login_failed(&mut self, user: &str, lockout: Option<Lockout>, now: u64) {
        let Some(lockout) = lockout else { return };
        let logins = self.logins.entry(user.to_owned()).or_default();
        logins.failed.retain(|at| at + millis(lockout.within) > now);
        logins.failed.push(now);
        if logins.failed.len() >= lockout.failures {
            logins.failed.clear();
            logins.locked_until = now + millis(lockout.length);
        }
    }

    /// Locks a user name.
    pub(crate) fn lock(&mut self, user: &str, until: u64) {
        self.logins.entry(user.to_owned()).or_default().locked_until = until;
    }
}

impl Bucket {
    fn forget(&mut self, allowance: Allowance, now: u64) {
        let window = millis(allowance.window);
        let inside = |at: u64| match allowance.kind {
            Kind::Rolling => at + window > now,
            Kind::Fixed => at / window == now / window,
        };
        while self.spent.front().is_some_and(|at| !inside(*at)) {
            self.spent.pop_front();
        }
    }

    fn remaining(&self, allowance: Allowance, switches: &Switches) -> u64 {
        let spent = (self.spent.len() as u64).div_ceil(switches.gets_per_unit);
        allowance.pulls.saturating_sub(spent * switches.units_per_get)
    }

    fn opens(&self, allowance: Allowance, now: u64) -> u64 {
        let window = millis(allowance.window);
        match (allowance.kind, self.spent.front()) {
            (Kind::Rolling, Some(first)) => first + window,
            (Kind::Fixed, Some(_)) => (now / window + 1) * window,
            (_, None) => now,
        }
    }
}

/// In milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap()
}
