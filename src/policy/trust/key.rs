//! Public keys, and whether a signature was made with one.

use std::fmt;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Least length of an RSA key, in bits.
const LEAST_BITS: usize = 2048;

/// Every way in which signers sign, by the kind of key: no object says which it was. A key reads as one kind only.
static WAYS: [&dyn VerificationAlgorithm; 13] = [
    &signature::ECDSA_P256_SHA256_ASN1,
    &signature::ECDSA_P384_SHA384_ASN1,
    &signature::ECDSA_P384_SHA256_ASN1,
    &signature::ECDSA_P521_SHA512_ASN1,
    &signature::ECDSA_P521_SHA256_ASN1,
    &signature::ED25519,
    &signature::RSA_PKCS1_2048_8192_SHA256,
    &signature::RSA_PKCS1_2048_8192_SHA384,
    &signature::RSA_PKCS1_2048_8192_SHA512,
    &signature::RSA_PSS_2048_8192_SHA256,
    &signature::RSA_PSS_2048_8192_SHA384,
    &signature::RSA_PSS_2048_8192_SHA512,
    &signature::ECDSA_P256_SHA512_ASN1,
];

/// A key whose signatures are believed.
#[derive(Clone)]
pub struct Key {
    name: String,
    der: Vec<u8>,
    parsed: Vec<ParsedPublicKey>,
}

/// Bytes that are no key of a kind that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no public key for ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 bits and more)")]
pub struct BadKey;

impl Key {
    /// The key in a `SubjectPublicKeyInfo` (DER), under a name for the operator.
    ///
    /// # Errors
    /// [`BadKey`] if it is none.
    pub fn new(name: String, der: Vec<u8>) -> Result<Self, BadKey> {
        let (_, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| BadKey)?;
        // What signs with a short one is refused when it is used, too: here it can be told.
        if matches!(info.parsed(), Ok(PublicKey::RSA(rsa)) if rsa.key_size() < LEAST_BITS) {
            return Err(BadKey);
        }
        let read = |way: &&'static dyn VerificationAlgorithm| ParsedPublicKey::new(*way, &der).ok();
        let parsed: Vec<ParsedPublicKey> = WAYS.iter().filter_map(read).collect();
        match parsed.is_empty() {
            true => Err(BadKey),
            false => Ok(Self { name, der, parsed }),
        }
    }

    /// What the operator calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key, as it was given.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// True if a signature of this message was made with it.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let made = |key: &ParsedPublicKey| key.verify_sig(message, signature).is_ok();
        self.parsed.iter().any(made)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.der) == (&other.name, &other.der)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.name).finish()
    }
}
