//! Tokens of other issuers: a CI's, a cluster's. Whom they are believed from, for whom, for how long.
//!
//! Whatever a token says about how it is to be read is only held against what the operator has written: its issuer is
//! one that is configured, letter for letter; its algorithm is one that this issuer is allowed; its key is one that was
//! fetched from this issuer before, by a URL of the configuration. A token names no URL, no file and no key of its own.

mod claims;
mod keys;
mod refresh;
#[cfg(test)]
mod tests;
mod token;

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};

pub use self::claims::{Claim, Claims};
pub use self::keys::{Key, KeySet};
pub use self::refresh::Refresh;
pub use self::token::Token;
use crate::clock::Time;

/// How far the clocks of an issuer and of this machine may be apart.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// The algorithms that an issuer may be allowed, by their words. Each of them has a key that only signs and one that
/// only verifies, so that what everybody may read signs nothing.
pub const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Whose tokens are believed, and which of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// What the configuration calls it.
    pub name: String,
    /// What its tokens call it (`iss`), letter for letter.
    pub url: String,
    /// Whom its tokens have to be for (`aud`): one of these, letter for letter.
    pub audiences: Vec<String>,
    /// What they may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// The claims by which clients are told apart. Of a token that was verified, these are kept and no others.
    pub claims: Vec<String>,
}

/// Somebody whom an issuer vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    /// What the configuration calls the issuer.
    pub issuer: String,
    /// What it says of them, as far as that matters here.
    pub claims: Claims,
    /// When its word ends; not written down, because what is written down ends by itself.
    #[serde(skip, default = "over")]
    pub until: Time,
}

fn over() -> Time {
    Time::from_millis(0)
}

/// Why a token is not believed. The texts name nothing that the token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is longer than a token is, or none.
    #[error("it is no token")]
    Malformed,
    /// Its issuer is not configured.
    #[error("its issuer is not among [[issuer]]")]
    Issuer,
    /// Its issuer may not sign with that, or it wants to be read in a way that is not known.
    #[error("its algorithm is not among those of its issuer, or its header demands what is not known here")]
    Algorithm,
    /// It is for somebody else.
    #[error("it is for another audience")]
    Audience,
    /// It is over.
    #[error("it has expired")]
    Expired,
    /// It is not good yet.
    #[error("it is from the future")]
    Future,
    /// Its issuer has no such key.
    #[error("its issuer has no key for it")]
    Key,
    /// Its issuer has not signed that.
    #[error("its signature is wrong")]
    Signature,
    /// There are no keys to verify it with, and there may be in a moment.
    #[error("the keys of its issuer cannot be had at the moment")]
    NoKeys,
}

impl Issuer {
    /// Judges what a token of this issuer says, before its signature is looked at. When its word ends.
    ///
    /// # Errors
    /// Why it would not be believed, whoever has signed it.
    pub fn judge(&self, token: &Token<'_>, now: Time) -> Result<Time, Refused> {
        if token.issuer != self.url {
            return Err(Refused::Issuer);
        }
        if !self.algorithms.contains(&token.algorithm()) || !token.is_plain() {
            return Err(Refused::Algorithm);
        }
        if !token
            .audiences
            .iter()
            .any(|audience| self.audiences.contains(audience))
        {
            return Err(Refused::Audience);
        }
        if token.expires + LEEWAY <= now {
            return Err(Refused::Expired);
        }
        let begins = [token.not_before, token.issued];
        if begins.into_iter().flatten().any(|begin| begin > now + LEEWAY) {
            return Err(Refused::Future);
        }
        Ok(token.expires)
    }

    /// What is kept of a token that was verified.
    pub fn bearer(&self, token: &Token<'_>, until: Time) -> Bearer {
        Bearer {
            issuer: self.name.clone(),
            claims: token.claims(&self.claims),
            until,
        }
    }
}
