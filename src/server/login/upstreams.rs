//! Logins that an upstream judges: who guesses them waits as who guesses ours does, and none that is good here is shown
//! to one.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::{Basic, Keys, LONGEST_WAIT, Login, Logins, RETRY, TAKEN, Trust, lock};
use crate::clock::Time;
use crate::policy::access::{Attempts, User};
use crate::policy::clients::by_address;
use crate::policy::issuers::Token;

/// Logins of which nothing is known that upstreams are asked about at once: as many guesses get by before the first
/// of them is counted.
pub(super) const AT_ONCE: usize = 16;

/// Of what was no password of ours: how long that is believed, and of which user, if there is one of the name.
pub(super) type Theirs = (Time, Option<User>);

/// Why no upstream is asked about a login.
#[derive(Debug)]
pub(in crate::server) enum NotAsked {
    /// How long to wait: too many have failed from there, or too many are being judged.
    Later(Duration),
    /// It is good here, or says that it is.
    Ours,
}

impl Logins {
    /// The turn to have an upstream judge a login of which nothing is known, that comes from this address.
    ///
    /// Cancel-safe: who leaves loses the turn.
    ///
    /// # Errors
    /// Why it is not asked.
    pub(in crate::server) async fn turn_to_ask(
        &self,
        trust: Trust<'_>,
        address: IpAddr,
        basic: Basic,
    ) -> Result<SemaphorePermit<'_>, NotAsked> {
        let address = by_address(address.to_canonical());
        if let Some(wait) = self.wait(address) {
            return Err(NotAsked::Later(wait));
        }
        self.is_not_ours(trust, address, basic).await?;
        let _waiting = self.waiting.try_acquire();
        let _waiting = _waiting.map_err(|_| NotAsked::Later(RETRY))?;
        let turn = timeout(LONGEST_WAIT, self.asking.acquire()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(NotAsked::Later(RETRY));
        };
        // Those before may have failed meanwhile.
        match self.wait(address) {
            Some(wait) => Err(NotAsked::Later(wait)),
            None => Ok(turn),
        }
    }

    /// Sees to it that a login is neither a user's of ours, nor a token that was issued here or by whom is believed here.
    async fn is_not_ours(&self, trust: Trust<'_>, address: u64, basic: Basic) -> Result<(), NotAsked> {
        let (access, password) = (trust.access, &basic.password);
        let is_believed = |token: Token<'_>| access.issuer_of(&token).is_some();
        if Token::parse(password).is_some_and(is_believed) || Keys::issued(password.as_bytes()) {
            return Err(NotAsked::Ours);
        }
        if access.users.is_empty() {
            return Ok(());
        }
        let (tag, user) = (self.tag(&basic), access.user(&basic.user));
        let user = user.map(|place| &access.users[place]);
        let now = self.clock.now();
        if let Some((until, known)) = lock(&self.theirs).get(&tag)
            && now < *until
            && known.as_ref() == user
        {
            return Ok(());
        }
        let login = match self.remembered(access, &tag) {
            Some(login) => login,
            None => match self.verify(access, address, &tag, basic).await {
                Ok(None) => {
                    let until = self.clock.now() + TAKEN;
                    lock(&self.theirs).put(tag, (until, user.cloned()));
                    // Of a name that both know this may be a guess, whatever the registry makes of it.
                    if user.is_some() {
                        self.count(address);
                    }
                    Login::Wrong
                }
                Ok(user) => self.conclude(tag, address, user),
                Err(login) => login,
            },
        };
        match login {
            Login::User(_) => Err(NotAsked::Ours),
            Login::Later(wait) => Err(NotAsked::Later(wait)),
            _ => Ok(()),
        }
    }

    /// An upstream has refused a login from this address.
    pub(in crate::server) fn failed(&self, address: IpAddr) {
        self.count(by_address(address.to_canonical()));
    }

    /// Counts one that was wrong.
    pub(super) fn count(&self, address: u64) {
        let now = self.clock.now();
        let mut failing = lock(&self.failing);
        failing
            .get_or_insert_mut(address, || Attempts::new(now))
            .fail(now);
    }
}
