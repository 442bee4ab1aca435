//! Certificates of signers: whether a chain leads to an authority that is believed, and may sign content now.
//!
//! What is asked of certificates is what the Notary Project's signature specification asks. The way to the authority is
//! found by webpki; what webpki does not look at, because servers need none of it, is looked at here.

use std::fmt;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::Flaw;
use crate::clock::Time;

/// Most certificates of a chain that are read.
pub(super) const MOST_CERTIFICATES: usize = 8;
/// Longest name of a signer that is told, in characters.
const LONGEST_NAME: usize = 200;
/// Signing of code, among the purposes of a certificate (1.3.6.1.5.5.7.3.3).
const CODE_SIGNING: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 3, 3];

/// A certificate by which chains are believed: of an authority, or of a signer who is his own.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority(CertificateDer<'static>);

/// Bytes that are no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is something else than certificates in it")]
pub struct BadAuthority;

impl Authority {
    /// The certificate in these bytes (DER).
    ///
    /// # Errors
    /// [`BadAuthority`] if they are none.
    pub fn new(der: Vec<u8>) -> Result<Self, BadAuthority> {
        let der = CertificateDer::from(der);
        match (read(&der), webpki::anchor_from_trusted_cert(&der)) {
            (Ok(_), Ok(_)) => Ok(Self(der)),
            _ => Err(BadAuthority),
        }
    }

    /// The certificate.
    pub fn der(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = read(&self.0).map(|certificate| name(&certificate));
        f.debug_tuple("Authority").field(&name.ok()).finish()
    }
}

/// Reads a certificate, and nothing behind it.
pub(super) fn read(der: &[u8]) -> Result<X509Certificate<'_>, Flaw> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(Flaw::Unreadable),
    }
}

/// What a certificate calls its owner, as people are told it.
pub(super) fn name(certificate: &X509Certificate<'_>) -> String {
    harmless(&certificate.subject().to_string())
}

/// A name from a certificate, as it may be told.
pub(super) fn harmless(name: &str) -> String {
    let harmless = name.chars().filter(|letter| !letter.is_control());
    harmless.take(LONGEST_NAME).collect()
}

/// Until when a chain of certificates holds, if it does now: the first is the signer's, each is issued by the next, and
/// they lead to one of these authorities, which is among them.
pub(super) fn holds(
    chain: &[CertificateDer<'_>],
    authorities: &[Authority],
    now: Time,
) -> Result<Time, Flaw> {
    if chain.is_empty() || chain.len() > MOST_CERTIFICATES {
        return Err(Flaw::Unreadable);
    }
    let read: Vec<X509Certificate<'_>> = chain.iter().map(|der| read(der)).collect::<Result<_, _>>()?;
    let in_order = read
        .windows(2)
        .all(|pair| pair[0].issuer().as_raw() == pair[1].subject().as_raw());
    if !in_order {
        return Err(Flaw::Unreadable);
    }
    leads_to(chain, authorities, now)?;
    let (leaf, issuers) = read.split_first().ok_or(Flaw::Unreadable)?;
    if !may_sign_content(leaf) || !issuers.iter().all(may_issue) {
        return Err(Flaw::OtherUse);
    }
    let lives: Vec<(Time, Time)> = read.iter().map(life).collect();
    if lives.iter().any(|(from, until)| now < *from || *until <= now) {
        return Err(Flaw::Expired);
    }
    lives
        .into_iter()
        .map(|(_, until)| until)
        .min()
        .ok_or(Flaw::Unreadable)
}

/// Whether each certificate is signed by the next, up to an authority that is believed.
fn leads_to(chain: &[CertificateDer<'_>], authorities: &[Authority], now: Time) -> Result<(), Flaw> {
    let (leaf, issuers) = chain.split_first().ok_or(Flaw::Unreadable)?;
    if authorities.iter().any(|authority| authority.0 == *leaf) {
        return Ok(());
    }
    let believed = authorities
        .iter()
        .filter(|authority| issuers.contains(&authority.0));
    let anchors: Vec<_> = believed
        .filter_map(|authority| webpki::anchor_from_trusted_cert(&authority.0).ok())
        .collect();
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| Flaw::Unreadable)?;
    let usage = KeyUsage::required_if_present(&CODE_SIGNING);
    let time = UnixTime::since_unix_epoch(now.since(Time::from_millis(0)));
    let way = leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        issuers,
        time,
        usage,
        None,
        None,
    );
    match way {
        Ok(_) => Ok(()),
        Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => Err(Flaw::Expired),
        Err(
            webpki::Error::RequiredEkuNotFoundContext(_)
            | webpki::Error::CaUsedAsEndEntity
            | webpki::Error::EndEntityUsedAsCa
            | webpki::Error::PathLenConstraintViolated,
        ) => Err(Flaw::OtherUse),
        Err(_) => Err(Flaw::OtherSigner),
    }
}

/// True for a certificate whose key may sign content, and neither other certificates nor connections.
fn may_sign_content(certificate: &X509Certificate<'_>) -> bool {
    let Ok(Some(usage)) = certificate.key_usage() else {
        return false;
    };
    let signs = usage.critical && usage.value.digital_signature();
    // Beyond that, only that what was signed cannot be denied is harmless.
    let key_may_else = usage.value.flags & !0b11 != 0;
    let is_authority = !matches!(certificate.basic_constraints(), Ok(None))
        && !matches!(certificate.basic_constraints(), Ok(Some(basic)) if !basic.value.ca);
    let purposes_fit = match certificate.extended_key_usage() {
        Ok(None) => true,
        Ok(Some(purposes)) => {
            let purposes = purposes.value;
            let others = purposes.any
                || purposes.server_auth
                || purposes.client_auth
                || purposes.email_protection
                || purposes.time_stamping;
            purposes.code_signing && !others
        }
        Err(_) => false,
    };
    signs && !key_may_else && !is_authority && purposes_fit
}

/// True for a certificate whose key may sign others.
fn may_issue(certificate: &X509Certificate<'_>) -> bool {
    let basic = certificate.basic_constraints().ok().flatten();
    let usage = certificate.key_usage().ok().flatten();
    basic.is_some_and(|basic| basic.critical && basic.value.ca)
        && usage.is_some_and(|usage| usage.critical && usage.value.key_cert_sign())
}

/// Since when and until when a certificate is good.
fn life(certificate: &X509Certificate<'_>) -> (Time, Time) {
    let validity = certificate.validity();
    let [from, until] = [validity.not_before, validity.not_after].map(|time| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
        seconds.saturating_mul(1000)
    });
    // The last second is part of it.
    (
        Time::from_millis(from),
        Time::from_millis(until.saturating_add(1000)),
    )
}
