//! An issuer of tokens: a host that publishes the keys that verify them.

use seawall::clock::Clock;
use serde_json::{Value, json};

use super::registry::Registry;
use super::signing::{self, ISSUER, SigningKey};

/// An issuer at `issuer.test`, beside a registry.
pub(crate) struct Issuer {
    /// The host, with its journal.
    pub(crate) host: Registry,
    clock: Clock,
}

impl Issuer {
    /// One that publishes these keys.
    pub(crate) fn beside(registry: &Registry, keys: &[&SigningKey]) -> Self {
        let host = Registry::default();
        registry.beside("issuer.test", &host);
        let discovery = json!({ "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys") });
        host.put(
            "/.well-known/openid-configuration".to_owned(),
            "application/json",
            discovery.to_string().into(),
        );
        let issuer = Self {
            host,
            clock: Clock::start(),
        };
        issuer.publish(keys);
        issuer
    }

    /// Publishes these keys instead of others.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        let set = json!({ "keys": keys }).to_string();
        self.host.put("/keys".to_owned(), "application/json", set.into());
    }

    /// So many seconds from now, as tokens have it.
    pub(crate) fn at(&self, seconds: i64) -> i64 {
        i64::try_from(self.clock.now().as_millis() / 1000).unwrap() + seconds
    }

    /// What a token for the cache says that is good for so many seconds; with more of it.
    pub(crate) fn claims(&self, life: i64, more: &Value) -> Value {
        signing::claims(self.at(0), life, more)
    }

    /// How often its keys were asked for.
    pub(crate) fn asked(&self) -> usize {
        self.host.seen(&http::Method::GET, "/keys").len()
    }
}
