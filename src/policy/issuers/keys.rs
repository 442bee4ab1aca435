//! The keys that an issuer publishes (RFC 7517), and which of them a token is verified with.

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, crypto};
use serde::Deserialize;
use serde_json::Value;

use super::{Refused, Token};

/// Keys of one issuer that are looked at; issuers have up to ten.
const MAX_KEYS: usize = 64;
/// Keys of one name that a token is tried with.
const MAX_TRIED: usize = 4;

/// The keys of one issuer that can verify a token.
#[derive(Clone, Default)]
pub struct KeySet(Vec<Key>);

/// One of them.
#[derive(Clone)]
pub struct Key {
    /// Its name, if it has one.
    id: Option<String>,
    /// The algorithms that it may be used with.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Written {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads what an issuer publishes. Keys of other kinds, and those that are for something else, are left out.
    ///
    /// # Errors
    /// That it is no set of keys, or that no key in it is of use, in words.
    pub fn parse(json: &[u8]) -> Result<Self, &'static str> {
        let written: Written = serde_json::from_slice(json).map_err(|_| "it is no set of keys (JWKS)")?;
        let keys = written.keys.into_iter().take(MAX_KEYS);
        let keys: Vec<Key> = keys
            .filter_map(|key| serde_json::from_value(key).ok())
            .filter_map(|key| Key::new(&key))
            .collect();
        match keys.is_empty() {
            true => Err("there is no public key in it that signs tokens"),
            false => Ok(Self(keys)),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies a token: with the keys of the name it gives, or with the only one that fits if it gives none.
    ///
    /// # Errors
    /// That there is no such key, or that the signature is wrong.
    pub fn verify(&self, token: &Token<'_>) -> Result<(), Refused> {
        let fits = |key: &&Key| key.algorithms.contains(&token.algorithm());
        let mut fitting = self.0.iter().filter(fits);
        let tried: Vec<&Key> = match token.key() {
            Some(name) => fitting
                .filter(|key| key.id.as_deref() == Some(name))
                .take(MAX_TRIED)
                .collect(),
            None => match (fitting.next(), fitting.next()) {
                (Some(only), None) => vec![only],
                _ => Vec::new(),
            },
        };
        if tried.is_empty() {
            return Err(Refused::Key);
        }
        let signed = token.signed.as_bytes();
        let verifies = |key: &&Key| {
            crypto::verify(token.signature, signed, &key.key, token.algorithm()).unwrap_or(false)
        };
        match tried.iter().any(verifies) {
            true => Ok(()),
            false => Err(Refused::Signature),
        }
    }
}

impl Key {
    /// A key that is published to verify signatures with; `None` for any other.
    fn new(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        let is_for_signatures = common
            .public_key_use
            .as_ref()
            .is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
        let verifies = common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !is_for_signatures || !verifies {
            return None;
        }
        let mut algorithms = of_kind(&jwk.algorithm);
        if let Some(only) = common.key_algorithm {
            algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
        }
        let key = DecodingKey::from_jwk(jwk)
            .ok()
            .filter(|_| !algorithms.is_empty())?;
        // A secret that is published is none, and would make a signature of everybody's.
        (key.family() != AlgorithmFamily::Hmac).then(|| Self {
            id: common.key_id.clone(),
            algorithms,
            key,
        })
    }
}

/// The algorithms that a key of this kind can be used with. None for a shared secret.
fn of_kind(kind: &AlgorithmParameters) -> Vec<Algorithm> {
    match kind {
        AlgorithmParameters::RSA(_) => vec![
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => Vec::new(),
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        _ => Vec::new(),
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        let parts = |key: &Key| (key.id.clone(), key.algorithms.clone(), raw(&key.key));
        self.0.iter().map(parts).eq(other.0.iter().map(parts))
    }
}

/// A key as the bytes it is made of.
fn raw(key: &DecodingKey) -> Vec<u8> {
    use jsonwebtoken::DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
    match key.kind() {
        SecretOrDer(bytes) => bytes.clone(),
        RsaModulusExponent { n, e } => [n.as_slice(), e].concat(),
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}
