//! The tokens that Seawall issues: who a client has proved to be, and what it asked to pull, under a keyed hash.
//!
//! They are for nobody else, so they have no header that says how to read them: nothing of a token is believed, or
//! even read, before its keyed hash is found to be right, and which hash that is no token can choose.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::oci::Repository;
use crate::policy::access::{User, Wanted};
use crate::policy::issuers::{Bearer, Issuer};

/// What a token begins with, so that leaks are found by searching for it.
const MARK: &str = "seawall_";
/// Longest token that is read, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// How far the clocks of two Seawalls that share their keys may be apart.
const LEEWAY: Duration = Duration::from_secs(60);
/// What the catalog is called among the scopes.
pub(in crate::server) const CATALOG: &str = "catalog";

/// Who somebody has proved to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::server) enum Subject {
    /// Nobody: where that is enough.
    Anonymous,
    /// A user of the htpasswd file.
    User {
        /// Its name.
        name: String,
        /// What says that its password is still the same, and tells nothing of it.
        stamp: String,
    },
    /// Somebody whom another issuer vouches for.
    Bearer {
        /// Who, and until when.
        bearer: Bearer,
        /// What says that this issuer is believed as it was then.
        stamp: String,
    },
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum Purpose {
    /// To pull with.
    Pull,
    /// To ask for another with, instead of a password.
    Refresh,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct Ticket {
    /// What it is good for.
    pub(in crate::server) purpose: Purpose,
    /// Who has it.
    pub(in crate::server) subject: Subject,
    /// What may be pulled with it: whole names of repositories, the registry in front.
    pub(in crate::server) scopes: Vec<String>,
    /// Milliseconds since the epoch when it was issued.
    issued: u64,
    /// And from when on it is no longer good.
    until: u64,
}

impl Ticket {
    /// A ticket from now on.
    pub(in crate::server) fn new(
        purpose: Purpose,
        subject: Subject,
        scopes: Vec<String>,
        now: Time,
        life: Duration,
    ) -> Self {
        Self {
            purpose,
            subject,
            scopes,
            issued: now.as_millis(),
            until: (now + life).as_millis(),
        }
    }

    /// True if it may be used for this.
    pub(in crate::server) fn covers(&self, wanted: Wanted<'_>) -> bool {
        let is = |scope: &String, repository: &Repository| {
            let parts = scope.split_once('/');
            parts == Some((repository.registry.as_str(), repository.path.as_str()))
        };
        match wanted {
            Wanted::Base => true,
            Wanted::Catalog => self.scopes.iter().any(|scope| scope == CATALOG),
            Wanted::Repository(repository) | Wanted::Unoffered(repository) => {
                self.scopes.iter().any(|scope| is(scope, repository))
            }
        }
    }
}

/// The keys of tokens: the first signs, all of them are believed.
pub(in crate::server) struct Keys(Vec<hmac::Key>);

impl Keys {
    /// Keys from the operator's secrets; none: one that is made now, and lost with this process.
    pub(in crate::server) fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let key = |secret: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut keys: Vec<hmac::Key> = secrets.map(|secret| key(secret.as_bytes())).collect();
        if keys.is_empty() {
            keys.push(key(&rand::random::<[u8; 32]>()));
        }
        Self(keys)
    }

    /// True if a token says that it was issued here, and not by another issuer.
    pub(in crate::server) fn issued(token: &[u8]) -> bool {
        token.starts_with(MARK.as_bytes())
    }

    /// Writes a ticket down.
    pub(in crate::server) fn sign(&self, ticket: &Ticket) -> String {
        let said = serde_json::to_vec(ticket).expect("names and numbers always serialise");
        let said = URL_SAFE_NO_PAD.encode(said);
        let mac = hmac::sign(&self.0[0], said.as_bytes());
        format!("{MARK}{said}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// Reads a ticket, if it is one of ours and good now.
    pub(in crate::server) fn open(&self, token: &[u8], now: Time) -> Option<Ticket> {
        let token = std::str::from_utf8(token)
            .ok()
            .filter(|token| token.len() <= MAX_TOKEN)?;
        let (said, mac) = token.strip_prefix(MARK)?.split_once('.')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let is_ours = |key: &hmac::Key| hmac::verify(key, said.as_bytes(), &mac).is_ok();
        if !self.0.iter().any(is_ours) {
            return None;
        }
        let ticket: Ticket = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(said).ok()?).ok()?;
        let (issued, until) = (Time::from_millis(ticket.issued), Time::from_millis(ticket.until));
        (issued <= now + LEEWAY && now < until).then_some(ticket)
    }

    /// What says that somebody's password is still the same, by each key.
    pub(in crate::server) fn stamps(&self, hash: &str) -> impl Iterator<Item = String> {
        let stamp =
            |key: &hmac::Key| URL_SAFE_NO_PAD.encode(&hmac::sign(key, hash.as_bytes()).as_ref()[..16]);
        self.0.iter().map(stamp)
    }

    /// A user as tokens name it.
    pub(in crate::server) fn subject(&self, user: &User) -> Subject {
        Subject::User {
            name: user.name.clone(),
            stamp: self.stamps(&user.hash).next().unwrap_or_default(),
        }
    }

    /// Somebody whom this issuer vouches for, as tokens name it.
    pub(in crate::server) fn bearer(&self, bearer: &Bearer, issuer: &Issuer) -> Subject {
        Subject::Bearer {
            bearer: bearer.clone(),
            stamp: self.stamps(&written(issuer)).next().unwrap_or_default(),
        }
    }
}

/// All that is believed of an issuer, as text.
pub(super) fn written(issuer: &Issuer) -> String {
    format!("{issuer:?}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Time = Time::from_millis(1_800_000_000_000);

    fn ticket(scopes: &[&str]) -> Ticket {
        let subject = Subject::User {
            name: "alice".to_owned(),
            stamp: "x".to_owned(),
        };
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Ticket::new(Purpose::Pull, subject, scopes, NOW, Duration::from_secs(300))
    }

    fn keys(secrets: &[&str]) -> Keys {
        Keys::new(secrets.iter().copied())
    }

    #[test]
    fn a_token_is_good_from_its_issue_to_its_end_and_for_those_who_have_its_key() {
        let ticket = ticket(&["docker.io/team/app"]);
        let token = keys(&["current"]).sign(&ticket);
        let read = |secrets: &[&str], at: Time| keys(secrets).open(token.as_bytes(), at);
        assert_eq!(read(&["current"], NOW), Some(ticket.clone()));
        // The key that was current yesterday.
        assert_eq!(read(&["next", "current"], NOW), Some(ticket));
        assert_eq!(read(&["next"], NOW), None);
        assert_eq!(read(&[], NOW), None);
        let second = Duration::from_secs(1);
        assert_eq!(read(&["current"], NOW + second * 300), None);
        assert!(read(&["current"], NOW + second * 299).is_some());
        let before = |seconds: u64| Time::from_millis(NOW.as_millis() - seconds * 1000);
        assert!(read(&["current"], before(60)).is_some());
        assert_eq!(read(&["current"], before(61)), None);
    }

    #[test]
    fn a_token_is_for_the_repositories_it_names_and_no_others() {
        let ticket = ticket(&["docker.io/team/app", "ghcr.io/a/b"]);
        let covers = |name: &str| {
            let (registry, path) = name.split_once('/').unwrap();
            let repository = Repository {
                registry: registry.parse().unwrap(),
                path: path.parse().unwrap(),
            };
            ticket.covers(Wanted::Repository(&repository))
        };
        assert!(covers("docker.io/team/app") && covers("ghcr.io/a/b"));
        for other in [
            "ghcr.io/team/app",
            "docker.io/team/app/x",
            "docker.io/team",
            "docker.io/a/b",
            "ghcr.io/a",
        ] {
            assert!(!covers(other), "{other}");
        }
        assert!(ticket.covers(Wanted::Base) && !ticket.covers(Wanted::Catalog));
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        // S077, S080
        let keys = keys(&["current"]);
        let said = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&ticket(&[])).unwrap());
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let hs = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"../../dev/null"}"#);
        for token in [
            String::new(),
            MARK.to_owned(),
            format!("{MARK}{said}"),
            format!("{MARK}{said}."),
            format!("{MARK}.{said}"),
            format!("{none}.{said}."),
            format!(
                "{hs}.{said}.{}",
                URL_SAFE_NO_PAD.encode(hmac::sign(
                    &hmac::Key::new(hmac::HMAC_SHA256, b""),
                    said.as_bytes()
                ))
            ),
            format!("{MARK}{}", ".".repeat(100_000)),
            format!("{MARK}{}", "A".repeat(1 << 20)),
        ] {
            assert_eq!(keys.open(token.as_bytes(), NOW), None, "{:.80}", token);
        }
    }

    proptest! {
        #[test]
        fn no_other_token_is_made_of_a_good_one(place in 0_usize..300, bit in 0_u8..7, noise in ".{0,60}") {
            let keys = super::tests::keys(&["current"]);
            let mut token = keys.sign(&ticket(&["docker.io/team/app"])).into_bytes();
            let place = place % token.len();
            token[place] ^= 1 << bit;
            prop_assert_eq!(keys.open(&token, NOW), None);
            prop_assert_eq!(keys.open(noise.as_bytes(), NOW), None);
            let marked = format!("{MARK}{noise}");
            prop_assert_eq!(keys.open(marked.as_bytes(), NOW), None);
        }
    }
}
