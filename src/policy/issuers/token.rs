//! A token as it is written (RFC 7519 in the compact form of RFC 7515), before anything of it is believed.

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, Header, decode_header};
use serde::Deserialize;
use serde_json::{Map, Number, Value};

use super::Claims;
use crate::clock::Time;

/// Longest token that is read, in bytes. Those of clouds with many groups come near it.
const MAX_TOKEN: usize = 16 * 1024;

/// What a token says. Nothing of it is true yet.
pub struct Token<'a> {
    header: Header,
    claims: Map<String, Value>,
    /// What is signed: header and claims as they were written.
    pub(super) signed: &'a str,
    /// The signature, as it was written.
    pub(super) signature: &'a str,
    /// Who claims to have issued it.
    pub issuer: String,
    /// Whom it is for.
    pub audiences: Vec<String>,
    /// When it ends.
    pub expires: Time,
    /// When it begins.
    pub not_before: Option<Time>,
    /// When it was issued.
    pub issued: Option<Time>,
}

/// The claims that every token has to have, and those that say when it is good. One that is there twice is refused.
#[derive(Deserialize)]
struct Standard {
    iss: String,
    aud: Audiences,
    exp: Number,
    nbf: Option<Number>,
    iat: Option<Number>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

impl<'a> Token<'a> {
    /// Reads a token; `None` if it is none, or lacks an issuer, an audience or an end.
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = Some(text).filter(|text| text.len() <= MAX_TOKEN)?;
        let (signed, signature) = text.rsplit_once('.')?;
        // An encrypted one has more parts.
        if signed.split('.').count() != 2 || signature.is_empty() {
            return None;
        }
        let standard: Standard = insecure_decode_claims(text).ok()?;
        Some(Self {
            header: decode_header(text).ok()?,
            claims: insecure_decode_claims(text).ok()?,
            signed,
            signature,
            issuer: standard.iss,
            audiences: match standard.aud {
                Audiences::One(audience) => vec![audience],
                Audiences::Several(audiences) => audiences,
            },
            expires: time(&standard.exp)?,
            not_before: standard
                .nbf
                .as_ref()
                .map(time)
                .map_or(Some(None), |time| time.map(Some))?,
            issued: standard
                .iat
                .as_ref()
                .map(time)
                .map_or(Some(None), |time| time.map(Some))?,
        })
    }

    /// What it says it is signed with.
    pub fn algorithm(&self) -> Algorithm {
        self.header.alg
    }

    /// The name of the key that it says it is signed with: compared with names, and nothing else.
    pub fn key(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// True if it demands nothing but to be read as a token: it is of no other kind, and has no header that is
    /// critical, names a key of its own or where one is.
    pub(super) fn is_plain(&self) -> bool {
        let header = &self.header;
        let is_token = |kind: &String| {
            let kind = kind.to_ascii_lowercase();
            matches!(kind.trim_start_matches("application/"), "jwt" | "at+jwt")
        };
        header.typ.as_ref().is_none_or(is_token)
            && header.crit.is_none()
            && header.jku.is_none()
            && header.jwk.is_none()
            && header.x5u.is_none()
            && header.enc.is_none()
            && header.zip.is_none()
    }

    /// Its claims of these names.
    pub(super) fn claims(&self, names: &[String]) -> Claims {
        Claims::of(&self.claims, names)
    }
}

/// A moment in seconds since the Unix epoch, which may have a fraction.
fn time(number: &Number) -> Option<Time> {
    if let Some(seconds) = number.as_u64() {
        return Some(Time::from_millis(seconds.saturating_mul(1000)));
    }
    let seconds = number.as_f64().filter(|seconds| *seconds >= 0.0)?;
    // Beyond what there is, the cast ends at the last moment.
    Some(Time::from_millis((seconds * 1000.0) as u64))
}
