//! Who a request says it is from, and whether that is true.
//!
//! A password costs tens of milliseconds to verify, so that a stolen file is of little use. It is done off the
//! reactor, a few at a time, and what came of it is remembered under a keyed hash: the key is made at the start and
//! told to nobody, so that the memory of this process holds no password either. Whoever is not known takes as long
//! as whoever is, and those who keep failing are told to wait.

mod basic;
mod foreign;
#[cfg(test)]
mod tests;
mod ticket;
mod upstreams;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use http::{HeaderMap, header};
use lru::LruCache;
use tokio::sync::Semaphore;

pub(super) use self::basic::Basic;
pub(super) use self::ticket::{CATALOG, Keys, Purpose, Subject, Ticket};
pub(super) use self::upstreams::NotAsked;
use crate::clock::{Clock, Time};
use crate::policy::access::{Access, Attempts, Evidence, User, Wanted};
use crate::policy::clients::by_address;
use crate::policy::issuers::{Bearer, Refused};
use crate::server::issuers::Issuers;
use crate::server::lock;
use crate::store::blocking;

/// Passwords that are verified at once: they leave the other cores to those who pull.
const AT_ONCE: usize = 2;
/// Those who wait for it, at most; more are told to come back.
const MOST_WAITING: usize = 256;
/// How long they wait: clients give up on an answer after 20 s and more.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// When to come back.
const RETRY: Duration = Duration::from_secs(5);
/// How long a password that was right is taken without another look.
const TAKEN: Duration = Duration::from_secs(5 * 60);
/// How long one that was wrong is refused without another look.
const REFUSED: Duration = Duration::from_secs(5);
/// Passwords that were right, remembered; and wrong.
const MOST_REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");
/// Addresses whose failures are remembered.
const MOST_FAILING: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");
/// What the password of whoever is not known is compared with, at the cost of the others.
const NOBODY: &str = "$2y$10$y7qeUBM4eEURPq9Pw4OxOeKYkN3h1zNDgOU8lO2pC5bBzAYoYBXqS";

/// What is believed, and by whose word.
#[derive(Clone, Copy)]
pub(super) struct Trust<'a> {
    /// Who may log in.
    pub(super) access: &'a Access,
    /// The keys of tokens that are issued here.
    pub(super) keys: &'a Keys,
    /// Those of other issuers' tokens.
    pub(super) issuers: &'a Issuers,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// The request says nothing that means something here.
    None,
    /// It is from the user with this place among [`Access::users`].
    User(usize),
    /// An issuer vouches for who it is from.
    Bearer(Arc<Bearer>),
    /// What it says is not true.
    Wrong,
    /// Its token is not good, or not any more.
    Stale,
    /// The token of an issuer, which is not believed.
    Refused(Refused),
    /// Its token is good, and not for this.
    Narrow,
    /// Nobody looked: too many have failed from there, or too many are looked at.
    Later(Duration),
}

impl Login {
    /// What it proves of whoever comes from there.
    pub(super) fn evidence(&self, address: IpAddr) -> Evidence<'_> {
        let nothing = Evidence::from(address);
        match self {
            Self::User(place) => Evidence {
                user: Some(*place),
                ..nothing
            },
            Self::Bearer(bearer) => Evidence {
                bearer: Some(bearer),
                ..nothing
            },
            Self::None | Self::Wrong | Self::Stale | Self::Refused(_) | Self::Narrow | Self::Later(_) => {
                nothing
            }
        }
    }
}

type Tag = [u8; 32];

/// What passwords turned out to be.
pub(super) struct Logins {
    key: hmac::Key,
    taken: Mutex<LruCache<Tag, (Time, usize, User)>>,
    refused: Mutex<LruCache<Tag, (Time, Login)>>,
    vouched: Mutex<LruCache<Tag, foreign::Vouched>>,
    theirs: Mutex<LruCache<Tag, upstreams::Theirs>>,
    failing: Mutex<LruCache<u64, Attempts>>,
    turns: Semaphore,
    waiting: Semaphore,
    /// Turns to have an upstream judge.
    asking: Semaphore,
    clock: Clock,
}

impl Logins {
    /// Nobody has logged in yet.
    pub(super) fn new(clock: Clock) -> Self {
        let key: [u8; 32] = rand::random();
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            taken: Mutex::new(LruCache::new(MOST_REMEMBERED)),
            refused: Mutex::new(LruCache::new(MOST_REMEMBERED)),
            vouched: Mutex::new(LruCache::new(MOST_REMEMBERED)),
            theirs: Mutex::new(LruCache::new(MOST_REMEMBERED)),
            failing: Mutex::new(LruCache::new(MOST_FAILING)),
            turns: Semaphore::new(AT_ONCE),
            waiting: Semaphore::new(MOST_WAITING),
            asking: Semaphore::new(upstreams::AT_ONCE),
            clock,
        }
    }

    /// Who a request is from, which wants this; `None`, if it wants no content: a token that was issued here is for
    /// pulling alone. It is no proof for another, or it would never end, nor for what an operator does.
    ///
    /// Cancel-safe: what was being verified is verified to its end, and forgotten.
    pub(super) async fn who(
        &self,
        trust: Trust<'_>,
        address: IpAddr,
        headers: &HeaderMap,
        wanted: Option<Wanted<'_>>,
    ) -> Login {
        match said(trust.access, headers) {
            Said::Nothing => Login::None,
            Said::Nonsense => Login::Wrong,
            Said::Token(token) if !Keys::issued(token) => match std::str::from_utf8(token) {
                Ok(token) => self.foreign(trust, address, token).await.unwrap_or(Login::Stale),
                Err(_) => Login::Stale,
            },
            Said::Token(token) => match trust.keys.open(token, self.clock.now()) {
                Some(ticket) if ticket.purpose == Purpose::Pull => match wanted.map(|it| ticket.covers(it)) {
                    Some(true) => login_of(trust, ticket.subject),
                    Some(false) => Login::Narrow,
                    None => Login::Stale,
                },
                Some(_) | None => Login::Stale,
            },
            Said::Password(basic) => self.password(trust, address, basic).await,
        }
    }

    /// Who a password is from, or a token of another issuer in its place, whatever the name beside it.
    ///
    /// Cancel-safe: what was being verified is verified to its end, and forgotten.
    pub(super) async fn password(&self, trust: Trust<'_>, address: IpAddr, basic: Basic) -> Login {
        if let Some(login) = self.foreign(trust, address, &basic.password).await {
            return login;
        }
        let tag = self.tag(&basic);
        match self.remembered(trust.access, &tag) {
            Some(login) => login,
            None => Box::pin(self.look(trust.access, address, tag, basic)).await,
        }
    }

    /// Who a token is from that takes the place of a password.
    pub(super) fn refresh(&self, trust: Trust<'_>, token: &str) -> Login {
        match trust.keys.open(token.as_bytes(), self.clock.now()) {
            Some(ticket) if ticket.purpose == Purpose::Refresh => login_of(trust, ticket.subject),
            Some(_) | None => Login::Wrong,
        }
    }

    /// Verifies a password that nothing is remembered of.
    async fn look(&self, access: &Access, address: IpAddr, tag: Tag, basic: Basic) -> Login {
        let address = by_address(address.to_canonical());
        match self.verify(access, address, &tag, basic).await {
            Ok(user) => self.conclude(tag, address, user),
            Err(login) => login,
        }
    }

    /// Whose a password is that nothing is remembered of; nobody's, if it is wrong.
    ///
    /// # Errors
    /// What is known without that: when to come back, or what it turned out to be while this waited.
    async fn verify(
        &self,
        access: &Access,
        address: u64,
        tag: &Tag,
        basic: Basic,
    ) -> Result<Option<(usize, User)>, Login> {
        if let Some(wait) = self.wait(address) {
            return Err(Login::Later(wait));
        }
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Err(Login::Later(RETRY));
        };
        let Ok(Ok(_turn)) = tokio::time::timeout(LONGEST_WAIT, self.turns.acquire()).await else {
            return Err(Login::Later(RETRY));
        };
        // Who waited may have been answered by who came before, and so may the address.
        if let Some(login) = self.remembered(access, tag) {
            return Err(login);
        }
        if let Some(wait) = self.wait(address) {
            return Err(Login::Later(wait));
        }
        let place = access.user(&basic.user);
        let user = place.map(|place| (place, access.users[place].clone()));
        let hash: Arc<str> = match &user {
            Some((_, user)) => user.hash.clone(),
            None => nobody(access).into(),
        };
        let verify = move || Ok(bcrypt::verify(basic.password, &hash).unwrap_or(false));
        let right = blocking(verify).await.unwrap_or(false);
        Ok(user.filter(|_| right))
    }

    /// Remembers what a password turned out to be.
    fn conclude(&self, tag: Tag, address: u64, user: Option<(usize, User)>) -> Login {
        let now = self.clock.now();
        match user {
            Some((place, user)) => {
                lock(&self.taken).put(tag, (now + TAKEN, place, user));
                Login::User(place)
            }
            None => {
                self.fail(tag, address, &Login::Wrong);
                Login::Wrong
            }
        }
    }

    /// Remembers that something was wrong, and who tried it.
    fn fail(&self, tag: Tag, address: u64, wrong: &Login) {
        self.refuse(tag, wrong);
        self.count(address);
    }

    /// Remembers for a moment what was wrong.
    fn refuse(&self, tag: Tag, wrong: &Login) {
        let until = self.clock.now() + REFUSED;
        lock(&self.refused).put(tag, (until, wrong.clone()));
    }

    /// What a password turned out to be, as long as that may be believed: the user has to be the same still.
    fn remembered(&self, access: &Access, tag: &Tag) -> Option<Login> {
        let now = self.clock.now();
        if let Some((until, place, user)) = lock(&self.taken).get(tag)
            && now < *until
            && access.users.get(*place) == Some(user)
        {
            return Some(Login::User(*place));
        }
        self.refused(tag, now)
    }

    /// What was wrong with it a moment ago.
    fn refused(&self, tag: &Tag, now: Time) -> Option<Login> {
        let mut refused = lock(&self.refused);
        let (until, wrong) = refused.get(tag)?;
        (now < *until).then(|| wrong.clone())
    }

    fn wait(&self, address: u64) -> Option<Duration> {
        let now = self.clock.now();
        lock(&self.failing)
            .get(&address)
            .and_then(|attempts| attempts.wait(now))
    }

    fn tag(&self, basic: &Basic) -> Tag {
        // A name has no colon, or it would not have been read as one.
        self.tag_of(&format!("{}:{}", basic.user, basic.password))
    }

    fn tag_of(&self, said: &str) -> Tag {
        let mut tag = Tag::default();
        tag.copy_from_slice(hmac::sign(&self.key, said.as_bytes()).as_ref());
        tag
    }
}

/// What a request says about who it is from.
enum Said<'a> {
    Nothing,
    Nonsense,
    Password(Basic),
    Token(&'a [u8]),
}

fn said<'a>(access: &Access, headers: &'a HeaderMap) -> Said<'a> {
    if !access.has_logins() {
        return Said::Nothing;
    }
    let mut said = headers.get_all(header::AUTHORIZATION).iter();
    let said = match (said.next(), said.next()) {
        (None, _) => return Said::Nothing,
        // podman and skopeo send this where they have nothing to send.
        (Some(said), None) if said == "Basic Og==" => return Said::Nothing,
        (Some(said), None) => said.as_bytes(),
        // Two readers could believe two of them.
        (Some(_), Some(_)) => return Said::Nonsense,
    };
    const BEARER: usize = "Bearer ".len();
    match said.split_at_checked(BEARER) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => Said::Token(token.trim_ascii()),
        _ => Basic::parse(said).map_or(Said::Nonsense, Said::Password),
    }
}

/// Who somebody is by now that a token names.
fn login_of(trust: Trust<'_>, subject: Subject) -> Login {
    let is = |stamp: &str, of: &str| trust.keys.stamps(of).any(|known| known == stamp);
    match subject {
        Subject::Anonymous => Login::None,
        Subject::User { name, stamp } => {
            let users = &trust.access.users;
            let place = trust.access.user(&name);
            let same = |place: &usize| is(&stamp, &users[*place].hash);
            place.filter(same).map_or(Login::Stale, Login::User)
        }
        Subject::Bearer { bearer, stamp } => {
            let mut issuers = trust.access.issuers.iter();
            // Whatever else is believed of its issuer by now: it asks anew.
            let same =
                issuers.any(|issuer| issuer.name == bearer.issuer && is(&stamp, &ticket::written(issuer)));
            match same {
                true => Login::Bearer(Arc::new(bearer)),
                false => Login::Stale,
            }
        }
    }
}

/// A hash at the cost of the first user's, which no password has.
fn nobody(access: &Access) -> String {
    // `$2y$` and the digits of the cost.
    let cost = access
        .users
        .first()
        .and_then(|user| user.hash.get(4..6))
        .unwrap_or("10");
    format!("{}{cost}{}", &NOBODY[..4], &NOBODY[6..])
}
