//! Tokens as an issuer signs them, and its keys as it publishes them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// What the tests' issuer calls itself.
pub(crate) const ISSUER: &str = "http://issuer.test";
/// Whom its tokens are for.
pub(crate) const AUDIENCE: &str = "https://cache.example.com";

/// A key that signs.
pub(crate) struct SigningKey {
    id: String,
    algorithm: &'static str,
    pair: Pair,
}

enum Pair {
    /// For this curve.
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaPair>, &'static dyn RsaEncoding),
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl SigningKey {
    /// A new key for ES256.
    pub(crate) fn ec(id: &str) -> Self {
        Self::new(id, "ES256")
    }

    /// A new key for RS256.
    pub(crate) fn rsa(id: &str) -> Self {
        Self::new(id, "RS256")
    }

    /// A new key for this algorithm.
    pub(crate) fn new(id: &str, algorithm: &'static str) -> Self {
        let ec = |curve: &'static EcdsaSigningAlgorithm, name| {
            Pair::Ec(EcdsaKeyPair::generate(curve).unwrap(), name)
        };
        let rsa = |padding: &'static dyn RsaEncoding| {
            Pair::Rsa(Box::new(RsaPair::generate(KeySize::Rsa2048).unwrap()), padding)
        };
        let pair = match algorithm {
            "ES256" => ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            "ES384" => ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS384" => rsa(&RSA_PKCS1_SHA384),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "PS512" => rsa(&RSA_PSS_SHA512),
            other => panic!("nobody signs with {other}"),
        };
        Self {
            id: id.to_owned(),
            algorithm,
            pair,
        }
    }

    /// The algorithm it signs with.
    pub(crate) fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// What is published of it.
    pub(crate) fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Ec(pair, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "kty": "EC", "crv": curve, "kid": self.id, "use": "sig", "x": encode(x), "y": encode(y) })
            }
            Pair::Ed(pair) => {
                let x = encode(pair.public_key());
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.id, "use": "sig", "x": x })
            }
            Pair::Rsa(pair, _) => {
                let public = pair.public_key();
                let n = public.modulus().big_endian_without_leading_zero().to_vec();
                let e = public.exponent().big_endian_without_leading_zero().to_vec();
                json!({ "kty": "RSA", "alg": self.algorithm, "kid": self.id, "use": "sig", "n": encode(n), "e": encode(e) })
            }
        }
    }

    /// What everybody may read of it, as bytes.
    pub(crate) fn public(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Ec(pair, _) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair, _) => {
                let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
                    aws_lc_rs::encoding::AsDer::as_der(pair.public_key()).unwrap();
                der.as_ref().to_vec()
            }
        }
    }

    /// The usual header.
    pub(crate) fn header(&self) -> Value {
        json!({ "typ": "JWT", "alg": self.algorithm(), "kid": self.id })
    }

    /// A token with the usual header.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }

    /// A token of whatever header and claims.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let (random, bytes) = (SystemRandom::new(), signed.as_bytes());
        let signature = match &self.pair {
            Pair::Ec(pair, _) => pair.sign(&random, bytes).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(bytes).as_ref().to_vec(),
            Pair::Rsa(pair, padding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*padding, &random, bytes, &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", encode(signature))
    }
}

/// What a token for the cache says at `now`, in seconds since the Unix epoch, that is good for so many seconds; with
/// more of it.
pub(crate) fn claims(now: i64, life: i64, more: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "repo:acme/app:ref:refs/heads/main",
        "iat": now,
        "nbf": now - 5,
        "exp": now + life,
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}
