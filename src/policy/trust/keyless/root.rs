//! The root of trust: a `trusted_root.json`, as sigstore writes it, with authorities and logs and when each was good.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use x509_parser::certificate::X509Certificate;

use super::{BadRoot, witness};
use crate::clock::Time;
use crate::oci::Digest;
use crate::policy::trust::{Authority, Flaw, Key, chain};

/// What the media type of the file begins with, whatever its version.
const KIND: &str = "application/vnd.dev.sigstore.trustedroot";
/// Most authorities, and most logs of a kind: each is tried for every signature. Sigstore's own have two of each.
const MOST: usize = 32;

/// Authorities and logs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Root {
    /// Of the file, for what was judged by it.
    pub(super) digest: Digest,
    authorities: Vec<Issuer>,
    /// Those in which signatures are recorded.
    pub(super) logs: Vec<Log>,
    /// Those to which certificates are shown; if there are none, that is not asked.
    witnesses: Vec<Log>,
}

/// An authority, with those above it.
#[derive(Clone, Debug, PartialEq)]
struct Issuer {
    /// The issuer of signers' certificates first, the one that is believed last.
    chain: Vec<CertificateDer<'static>>,
    believed: Authority,
    span: Span,
}

/// A log that signs what it says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Log {
    /// Its name: the SHA-256 of its key.
    pub(super) id: Digest,
    pub(super) key: Key,
    pub(super) span: Span,
}

/// From when until when something was good, both moments included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    from: Option<Time>,
    until: Option<Time>,
}

impl Span {
    pub(super) fn has(&self, time: Time) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time <= until)
    }
}

impl Root {
    /// Reads the file.
    pub(super) fn parse(file: &[u8]) -> Result<Self, BadRoot> {
        let written: Written = serde_json::from_slice(file).map_err(|error| bad(format!("{error}")))?;
        if !written.media_type.starts_with(KIND) {
            let found: String = written.media_type.chars().take(100).collect();
            return Err(bad(format!("its mediaType is {found:?}, expected {KIND}…")));
        }
        for (what, count) in [
            ("certificateAuthorities", written.certificate_authorities.len()),
            ("tlogs", written.tlogs.len()),
        ] {
            if count == 0 {
                return Err(bad(format!("there are no {what} in it")));
            }
        }
        let root = Self {
            digest: Digest::sha256(file),
            authorities: each("certificateAuthorities", &written.certificate_authorities, issuer)?,
            logs: each("tlogs", &written.tlogs, log)?,
            witnesses: each("ctlogs", &written.ctlogs, log)?,
        };
        Ok(root)
    }

    /// Whether an authority had certified the key of a signer at this time, for signing content, and in public.
    pub(super) fn certified(
        &self,
        der: &CertificateDer<'_>,
        leaf: &X509Certificate<'_>,
        time: Time,
    ) -> Result<(), Flaw> {
        let judged = self.authorities.iter().map(|issuer| {
            if !issuer.span.has(time) {
                return Err(Flaw::OtherTime);
            }
            let chain: Vec<_> = std::iter::once(der.clone())
                .chain(issuer.chain.iter().cloned())
                .collect();
            let believed = std::slice::from_ref(&issuer.believed);
            chain::holds(&chain, believed, time).map(|_| issuer)
        });
        let issuer = judged.reduce(|best, next| match (best, next) {
            (Err(one), Err(other)) => Err(one.max(other)),
            (Ok(issuer), _) | (_, Ok(issuer)) => Ok(issuer),
        });
        let issuer = issuer
            .unwrap_or(Err(Flaw::OtherSigner))
            .map_err(|flaw| match flaw {
                Flaw::Expired => Flaw::OtherTime,
                flaw => flaw,
            })?;
        // An authority of Notation's may leave it out, this one says for what each certificate is.
        if !matches!(leaf.extended_key_usage(), Ok(Some(_))) {
            return Err(Flaw::OtherUse);
        }
        let above = issuer.chain.first().ok_or(Flaw::OtherSigner)?;
        let is_public = self.witnesses.is_empty() || witness::know(&self.witnesses, leaf, above);
        is_public.then_some(()).ok_or(Flaw::Unwitnessed)
    }
}

fn bad(why: String) -> BadRoot {
    BadRoot(why)
}

/// Reads each part, and says which one is wrong.
fn each<T, W>(what: &str, written: &[W], read: impl Fn(&W) -> Result<T, String>) -> Result<Vec<T>, BadRoot> {
    if written.len() > MOST {
        return Err(bad(format!("there are more than {MOST} {what} in it")));
    }
    let read = |(index, part)| read(part).map_err(|why| bad(format!("{what}[{index}]: {why}")));
    written.iter().enumerate().map(read).collect()
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    STANDARD
        .decode(text)
        .map_err(|_| "rawBytes is no base64".to_owned())
}

fn span(written: Option<&WrittenSpan>) -> Result<Span, String> {
    let time = |text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => match Time::parse(text) {
            Some(time) => Ok(Some(time)),
            None => Err("validFor has something else than times in it".to_owned()),
        },
    };
    Ok(Span {
        from: time(&written.and_then(|span| span.start.clone()))?,
        until: time(&written.and_then(|span| span.end.clone()))?,
    })
}

fn log(written: &WrittenLog) -> Result<Log, String> {
    let WrittenKey { raw_bytes, valid_for } = &written.public_key;
    let der = bytes(raw_bytes)?;
    Ok(Log {
        id: Digest::sha256(&der),
        key: Key::new(written.base_url.clone(), der).map_err(|bad| bad.to_string())?,
        span: span(valid_for.as_ref())?,
    })
}

fn issuer(written: &WrittenAuthority) -> Result<Issuer, String> {
    let certificates = written.cert_chain.certificates.iter();
    let chain: Vec<Authority> = certificates
        .map(|each| Authority::new(bytes(&each.raw_bytes)?).map_err(|bad| bad.to_string()))
        .collect::<Result<_, String>>()?;
    let believed = chain.last().ok_or("certChain is empty")?.clone();
    if chain.len() >= chain::MOST_CERTIFICATES {
        return Err(format!(
            "there are more than {} certificates",
            chain::MOST_CERTIFICATES - 1
        ));
    }
    let der = |authority: &Authority| CertificateDer::from(authority.der().to_vec());
    Ok(Issuer {
        chain: chain.iter().map(der).collect(),
        believed,
        span: span(written.valid_for.as_ref())?,
    })
}

/// What is read of the file; there is more in it, and may be more yet.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    media_type: String,
    #[serde(default)]
    tlogs: Vec<WrittenLog>,
    #[serde(default)]
    certificate_authorities: Vec<WrittenAuthority>,
    #[serde(default)]
    ctlogs: Vec<WrittenLog>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenLog {
    #[serde(default)]
    base_url: String,
    public_key: WrittenKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenKey {
    raw_bytes: String,
    valid_for: Option<WrittenSpan>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenAuthority {
    cert_chain: WrittenChain,
    valid_for: Option<WrittenSpan>,
}

#[derive(Deserialize)]
struct WrittenChain {
    certificates: Vec<WrittenCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenCertificate {
    raw_bytes: String,
}

#[derive(Deserialize)]
struct WrittenSpan {
    start: Option<String>,
    end: Option<String>,
}
