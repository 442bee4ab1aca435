//! Who may pull what: the one decision that every request meets before anything is looked up for it.
//!
//! A client is known by what it proves ([`Evidence`]); what it may do stands in its [`Grant`]. Whoever is
//! nobody's client may pull if the operator says so for the addresses it comes from. The answer depends on who
//! asks and on the name that is asked for, never on whether that exists: a refusal tells nothing.

mod attempts;
mod proof;
mod scope;
#[cfg(test)]
mod tests;
pub mod visibility;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

pub use self::attempts::Attempts;
pub use self::proof::Proof;
pub use self::scope::{Paths, Scope};
use super::clients::{Clients, Identity, Standing};
use super::issuers::{Bearer, Issuer, Token};
use crate::oci::{Registry, Repository, RepositoryPath};

/// What a client may do, each with what stands before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Pull, and list what it may pull.
    #[default]
    Pull,
    /// See the operator's pages.
    Read,
    /// Fetch, check and keep content by them.
    Operate,
    /// Remove content, take holds back, bring content along.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Pull, Self::Read, Self::Operate, Self::Admin];

    /// Its word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// What one client may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grant {
    /// How far it goes.
    pub role: Role,
    /// The repositories it may pull from; all if there is none.
    pub allow: Vec<Scope>,
    /// Those it may not, although they are allowed.
    pub deny: Vec<Scope>,
}

impl Grant {
    /// True if a repository may be pulled from.
    pub fn covers(&self, registry: &Registry, path: &RepositoryPath) -> bool {
        covers(&self.allow, &self.deny, |scope| scope.matches(registry, path))
    }

    /// The entry of `allow` that a repository meets.
    pub fn allowed_by(&self, registry: &Registry, path: &RepositoryPath) -> Option<&Scope> {
        self.allow.iter().find(|scope| scope.matches(registry, path))
    }

    /// The entry of `deny` that a repository meets.
    pub fn denied_by(&self, registry: &Registry, path: &RepositoryPath) -> Option<&Scope> {
        self.deny.iter().find(|scope| scope.matches(registry, path))
    }
}

/// The repositories of a registry that may be pulled from at all, whoever asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offer {
    /// These; all if there is none.
    pub allow: Vec<Paths>,
    /// Not these, although they are allowed.
    pub deny: Vec<Paths>,
}

impl Offer {
    /// True if a repository may be pulled from.
    pub fn covers(&self, path: &RepositoryPath) -> bool {
        covers(&self.allow, &self.deny, |paths| paths.matches(path))
    }
}

/// True if `allow`, where there is any, has something that holds, and `deny` nothing.
fn covers<T>(allow: &[T], deny: &[T], holds: impl Fn(&T) -> bool) -> bool {
    (allow.is_empty() || allow.iter().any(&holds)) && !deny.iter().any(&holds)
}

/// Where those may come from who do not say who they are.
#[derive(Clone, Debug, PartialEq)]
pub enum Anonymous {
    /// Anywhere.
    Everyone,
    /// These networks; nobody if there is none.
    From(Vec<IpNet>),
}

impl Anonymous {
    /// True if whoever comes from `address` may pull.
    pub fn admits(&self, address: IpAddr) -> bool {
        match self {
            Self::Everyone => true,
            Self::From(networks) => networks.iter().any(|network| network.contains(&address)),
        }
    }
}

/// What is said of what may not be pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denied {
    /// That it is not known here: 404, and clients go on to where else it may be.
    #[default]
    NotFound,
    /// That it may not be pulled: 403.
    Forbidden,
}

/// Somebody with a password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name it logs in with.
    pub name: String,
    /// What bcrypt made of its password.
    pub hash: Arc<str>,
}

impl fmt::Debug for User {
    /// Without the hash: it can be guessed at.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("User").field(&self.name).finish()
    }
}

/// How those are asked to log in who may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Challenge {
    /// By a token, which they get for what they log in with.
    #[default]
    Token,
    /// With the password itself, each time.
    Basic,
}

/// What holds for everybody.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Who may pull without saying who they are.
    pub anonymous: Anonymous,
    /// What is said of what may not be pulled.
    pub denied: Denied,
    /// Who may log in with a password.
    pub users: Vec<User>,
    /// Whose tokens are believed.
    pub issuers: Vec<Issuer>,
    /// How they are asked to.
    pub challenge: Challenge,
    /// What clients call this server (`https://cache.example.com`), if that is not what they say themselves.
    pub url: Option<String>,
}

impl Access {
    /// True if there is a way to say who one is by a request's `Authorization`.
    pub fn has_logins(&self) -> bool {
        !self.users.is_empty() || !self.issuers.is_empty()
    }

    /// The place of the user with this name.
    pub fn user(&self, name: &str) -> Option<usize> {
        self.users.iter().position(|user| user.name == name)
    }

    /// Whose token this says it is, if that is believed.
    pub fn issuer_of(&self, token: &Token<'_>) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| issuer.url == token.issuer)
    }
}

impl Default for Access {
    /// Open: whoever builds a server without a word about access has nobody to keep out.
    fn default() -> Self {
        Self {
            anonymous: Anonymous::Everyone,
            denied: Denied::default(),
            users: Vec::new(),
            issuers: Vec::new(),
            challenge: Challenge::default(),
            url: None,
        }
    }
}

/// What a request proves about who sent it.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The address it comes from.
    pub address: IpAddr,
    /// Place among [`Access::users`] of who logged in.
    pub user: Option<usize>,
    /// Whom one of [`Access::issuers`] vouches for.
    pub bearer: Option<&'a Bearer>,
    /// The names in the certificate it was shown.
    pub certificate: &'a [String],
}

impl Evidence<'_> {
    /// An address, and nothing else.
    pub fn from(address: IpAddr) -> Self {
        Self {
            address,
            user: None,
            bearer: None,
            certificate: &[],
        }
    }
}

/// What a request wants.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// To know whether this is a registry.
    Base,
    /// The list of what is held, which shows only what may be pulled.
    Catalog,
    /// Something of a repository.
    Repository(&'a Repository),
    /// Something of a repository that its registry's [`Offer`] does not cover.
    Unoffered(&'a Repository),
}

/// Who judges what a request logs in with: it has room for one login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// This cache.
    Cache,
    /// The registry that it is for, which is asked what it shows to whom.
    Registry,
}

/// Whether a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Granted,
    /// Not before it says who it is: there is a way, and it did not.
    Login,
    /// Whoever that is may pull, but not this.
    Denied(Denied),
    /// Nobody may pull from there, and there is no way to log in.
    Closed,
}

/// Decides about one request, whose login, if it has any, is judged by `judge`.
pub fn decide(clients: &Clients, who: &Identity, wanted: Wanted<'_>, judge: Judge) -> Verdict {
    let access = &clients.access;
    // Whoever did not prove a thing may yet do so; for everybody else another answer would change nothing.
    let can_log_in = !who.proven && judge == Judge::Cache && access.has_logins();
    match (who.standing, wanted) {
        (Standing::Stranger, _) if can_log_in => Verdict::Login,
        (Standing::Stranger, _) => Verdict::Closed,
        // Nobody may have it, so that another login is of no use.
        (_, Wanted::Unoffered(_)) => Verdict::Denied(access.denied),
        (Standing::Admitted, _) | (Standing::Named(_), Wanted::Base | Wanted::Catalog) => Verdict::Granted,
        (Standing::Named(index), Wanted::Repository(repository)) => {
            let grant = &clients.rules[index].grant;
            match grant.covers(&repository.registry, &repository.path) {
                true => Verdict::Granted,
                false if can_log_in => Verdict::Login,
                false => Verdict::Denied(access.denied),
            }
        }
    }
}
