//! What a good client of registries never does. Every one is armed until a test disarms it by name.

use std::collections::{HashMap, HashSet};

use http::{HeaderMap, Method, header};
use seawall::oci::Digest;

use super::journal::{About, Ended, Entry, Role};
use super::limits::Told;

/// Time in ms for what was on its way when an answer said to stay away.
const ON_ITS_WAY: u64 = 100;
/// Shortest time in ms between two logins that fail.
const LOGIN_PAUSE: u64 = 50_000;
/// Bytes that a broken connection may have swallowed.
const SWALLOWED: u64 = 64 << 10;

/// The tripwires. The numbers are those of the field notes, where number 3 needs TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trip {
    /// 1: what proves us to a registry, at a store or another registry.
    AuthToStore,
    /// 2: a password at a host that is not the registry's.
    PasswordToStranger,
    /// 4: a connection to somewhere inside.
    PrivateDial,
    /// 5: two whole downloads of one digest at once.
    DoubleFetch,
    /// 6: another whole download of what was given whole before.
    Refetch,
    /// 7: a counted request by tag where HEAD would do, or a conditional one.
    CountedWaste,
    /// 8: a request before the time that was named.
    RetryBefore,
    /// 9: failing logins in a row.
    BadLoginStorm,
    /// 10: more than one token for the same, at once or within its life.
    TokenStorm,
    /// 11: HEAD of a blob.
    HeadBlob,
    /// 12: a signed URL, used twice.
    StaleSignature,
    /// 13: no name of our own, or a header of our clients'.
    Leak,
    /// 14: bytes again that had come whole.
    Overread,
    /// 15: a low tier that takes what is reserved.
    ReserveBreach,
    /// 16: a pull that was refused.
    OverBudget,
}

/// All tripwires, and what they remember.
#[derive(Default)]
pub(crate) struct Tripwires {
    pub(crate) sprung: Vec<(Trip, String)>,
    disarmed: HashSet<Trip>,
    /// Pulls that may be refused.
    pub(crate) refusals_allowed: usize,
    /// Users whose tokens need not be kept: clients of ours, whose credentials are forgotten with each answer.
    pub(crate) strangers: Vec<&'static str>,
    /// Repositories whose names begin so may not touch this part of any allowance.
    pub(crate) reserves: Vec<(String, f64)>,
    refusals: usize,
    flying: HashMap<Digest, u32>,
    whole: HashSet<Digest>,
    /// How far a digest was given, in one piece.
    reached: HashMap<Digest, u64>,
    /// By source or role: told at, not before.
    closed: HashMap<String, (u64, u64)>,
    failed_logins: HashMap<String, u64>,
    tokens: HashMap<String, KeptToken>,
    /// What the client can know is left, by source.
    known_left: HashMap<String, u64>,
}

/// A token that was issued for a question.
#[derive(Default)]
struct KeptToken {
    asking: u32,
    issued: Option<u64>,
    /// In ms, as it was told.
    life: u64,
}

impl Tripwires {
    /// Lets something pass that a test means to see.
    pub(crate) fn disarm(&mut self, trip: Trip) {
        self.disarmed.insert(trip);
    }

    pub(crate) fn spring(&mut self, trip: Trip, what: String) {
        if !self.disarmed.contains(&trip) {
            self.sprung.push((trip, what));
        }
    }

    /// A request has come; `head_tells` if a HEAD would tell what its tag points at, as far as can be known.
    pub(crate) fn arrived(&mut self, entry: &Entry, headers: &HeaderMap, head_tells: bool) {
        let line = format!(
            "{} {} at {:?}, {} ms",
            entry.method, entry.path, entry.role, entry.at
        );
        if leaks(headers) {
            self.spring(Trip::Leak, line.clone());
        }
        let foreign = matches!(entry.role, Role::Store(_) | Role::Stranger);
        let proofs = [header::AUTHORIZATION, header::COOKIE, header::REFERER];
        if foreign && proofs.iter().any(|name| headers.contains_key(name)) {
            self.spring(Trip::AuthToStore, line.clone());
        }
        let at_home = matches!(entry.role, Role::Registry | Role::Tokens);
        if entry.scheme.as_deref() == Some("Basic") && !at_home {
            self.spring(Trip::PasswordToStranger, line.clone());
        }
        match &entry.about {
            About::Blob(_) if entry.method == Method::HEAD => self.spring(Trip::HeadBlob, line.clone()),
            About::Blob(digest) => self.ranged(entry, digest, &line),
            About::Manifest { by_tag, .. } if entry.method == Method::GET => {
                let conditions = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
                let conditional = conditions.iter().any(|name| headers.contains_key(name));
                if conditional || (*by_tag && head_tells) {
                    self.spring(Trip::CountedWaste, line.clone());
                }
            }
            About::Ping | About::Manifest { .. } | About::Tags(_) | About::Token | About::Other => {}
        }
        if at_home {
            self.too_early("every request", entry.at, &line);
        }
    }

    fn ranged(&mut self, entry: &Entry, digest: &Digest, line: &str) {
        let range = entry
            .range
            .as_deref()
            .and_then(|range| range.strip_prefix("bytes="));
        let from = range.and_then(|range| range.strip_suffix('-'));
        let from = from.and_then(|from| from.parse::<u64>().ok());
        let reached = self.reached.get(digest).copied().unwrap_or(0);
        if from.is_some_and(|from| from + SWALLOWED < reached) {
            self.spring(Trip::Overread, format!("{line}, from {from:?} of {reached}"));
        }
    }

    /// An answer with all of a digest begins.
    pub(crate) fn begins(&mut self, digest: Digest, by_tag: bool, line: &str) {
        let flying = self.flying.entry(digest).or_default();
        *flying += 1;
        if *flying > 1 {
            self.spring(Trip::DoubleFetch, line.to_owned());
        }
        if self.whole.contains(&digest) && !by_tag {
            self.spring(Trip::Refetch, line.to_owned());
        }
    }

    /// An answer is over; `start` is where in the digest it began.
    pub(crate) fn ended(&mut self, entry: &Entry, start: u64) {
        let Some(digest) = entry.digest() else { return };
        if entry.is_whole() {
            let flying = self.flying.entry(digest).or_default();
            *flying = flying.saturating_sub(1);
            if entry.ended == Some(Ended::Complete) {
                self.whole.insert(digest);
            }
        }
        let reached = self.reached.entry(digest).or_default();
        if start <= *reached && entry.method == Method::GET {
            *reached = (*reached).max(start + entry.sent);
        }
    }

    /// What was given was spoilt: it may be asked for again from the start.
    pub(crate) fn spoilt(&mut self, digest: &Digest) {
        self.reached.remove(digest);
    }

    /// Someone was told not to come before `until`.
    pub(crate) fn close(&mut self, whom: &str, now: u64, until: u64) {
        self.closed.insert(whom.to_owned(), (now, until));
    }

    /// Nobody is told to stay away any more.
    pub(crate) fn reopen(&mut self) {
        self.closed.clear();
    }

    /// Someone comes.
    pub(crate) fn too_early(&mut self, whom: &str, now: u64, line: &str) {
        if let Some((told, until)) = self.closed.get(whom).copied()
            && now > told + ON_ITS_WAY
            && now < until
        {
            self.spring(Trip::RetryBefore, format!("{line}: {} ms too early", until - now));
        }
    }

    /// A pull was counted, or refused.
    pub(crate) fn charged(&mut self, told: &Told, repository: &str, refused: bool, line: &str) {
        let left = self.known_left.insert(told.source.clone(), told.remaining);
        if refused {
            self.refusals += 1;
            if self.refusals > self.refusals_allowed {
                self.spring(Trip::OverBudget, line.to_owned());
            }
            return;
        }
        let reserve = self
            .reserves
            .iter()
            .find(|(name, _)| repository.starts_with(name));
        if let (Some((_, part)), Some(left)) = (reserve, left)
            && left as f64 <= part * told.allowance.pulls as f64
        {
            self.spring(Trip::ReserveBreach, format!("{line}: {left} were left"));
        }
    }

    /// An answer told how much is left.
    pub(crate) fn told(&mut self, told: &Told) {
        self.known_left.insert(told.source.clone(), told.remaining);
    }

    /// A login of this user fails.
    pub(crate) fn login_failed(&mut self, user: &str, now: u64) {
        let before = self.failed_logins.get(user).copied();
        // Others may have been on their way when the first of them failed.
        let together = before.is_some_and(|before| now <= before + ON_ITS_WAY);
        if !together {
            self.failed_logins.insert(user.to_owned(), now);
        }
        if let Some(before) = before
            && !together
            && now < before + LOGIN_PAUSE
        {
            self.spring(
                Trip::BadLoginStorm,
                format!("{user} at {now} ms, {} ms after the last", now - before),
            );
        }
    }

    /// Tokens were lost: others may be asked for.
    pub(crate) fn forget_tokens(&mut self) {
        self.tokens.clear();
    }

    /// A token is asked for.
    pub(crate) fn token_asked(&mut self, key: &str, now: u64) {
        let kept = self.tokens.entry(key.to_owned()).or_default();
        kept.asking += 1;
        let at_once = kept.asking > 1;
        let held = kept.issued.is_some_and(|issued| now < issued + kept.life / 2);
        let foreign = self
            .strangers
            .iter()
            .any(|user| key.contains(&format!(" for {user},")));
        if (at_once || held) && !foreign {
            self.spring(Trip::TokenStorm, format!("{key} at {now} ms"));
        }
    }

    /// A token was issued, or (`None`) not.
    pub(crate) fn token_answered(&mut self, key: &str, life: Option<u64>, now: u64) {
        let kept = self.tokens.entry(key.to_owned()).or_default();
        kept.asking = kept.asking.saturating_sub(1);
        kept.issued = life.map(|_| now);
        kept.life = life.unwrap_or(0);
    }

    /// The registry did not take a token: another may be asked for.
    pub(crate) fn token_rejected(&mut self, key: &str) {
        if let Some(kept) = self.tokens.get_mut(key) {
            kept.issued = None;
        }
    }
}

/// True for headers that a client of ours sent, that end at each hop, or that leave out who we are.
fn leaks(headers: &HeaderMap) -> bool {
    let hops = ["x-forwarded-", "forwarded", "via", "te", "upgrade", "proxy-"];
    // What a client of ours sends is short; a token is not, and is looked through a million times.
    let canary = |value: &http::HeaderValue| {
        let bytes = value.as_bytes();
        let start = &bytes[..bytes.len().min(200)];
        // The second is the first as a client's credential is written.
        let canaries: [&[u8]; 2] = [b"CANARY", b"Q0FOQVJZ"];
        canaries
            .iter()
            .any(|canary| start.windows(canary.len()).any(|part| part == *canary))
    };
    let bad = |name: &str| {
        hops.iter()
            .any(|hop| name == *hop || (hop.ends_with('-') && name.starts_with(hop)))
    };
    let named = headers
        .get(header::USER_AGENT)
        .is_some_and(|agent| agent.as_bytes().starts_with(b"seawall/"));
    !named
        || headers
            .iter()
            .any(|(name, value)| canary(value) || bad(name.as_str()))
}
