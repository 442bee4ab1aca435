//! Logs of certificates (RFC 6962): whether one of those that are believed has seen a certificate before it was given.
//!
//! What they were shown is the certificate without their answers, which were put into it afterwards.

use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::Any;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ParsedExtension, SignedCertificateTimestamp};
use x509_parser::prelude::FromDer as _;

use super::root::Log;
use crate::clock::Time;
use crate::oci::{Algorithm, Digest};
use crate::policy::trust::chain;

/// Most answers of logs that are looked at.
const MOST_ANSWERS: usize = 8;
/// The extension that holds the answers (1.3.6.1.4.1.11129.2.4.2), with its tag and length.
const ANSWERS: [u8; 12] = [6, 10, 0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 2];
/// The tag of a sequence.
const SEQUENCE: u8 = 0x30;
/// The tag of a certificate's extensions, which are its last part.
const EXTENSIONS: u8 = 0xa3;
/// The one version of answers that there is.
const VERSION: u8 = 0;
/// That it was the certificate which was timestamped, and not a log's head.
const TIMESTAMP: u8 = 0;
/// That it was a certificate without the answers.
const WITHOUT_ANSWERS: u16 = 1;

/// True if one of these logs has seen this certificate, which the one above has issued.
pub(super) fn know(logs: &[Log], certificate: &X509Certificate<'_>, above: &CertificateDer<'_>) -> bool {
    let answers = certificate
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SCT(answers) => Some(answers),
            _ => None,
        });
    let (Some(answers), Some(shown), Ok(above)) = (
        answers,
        shown(certificate.tbs_certificate.as_ref()),
        chain::read(above),
    ) else {
        return false;
    };
    let issuer = Digest::sha256(above.public_key().raw);
    let is_true = |answer: &SignedCertificateTimestamp<'_>| {
        let named = Digest::from_bytes(Algorithm::Sha256, answer.id.key_id);
        let text = timestamped(answer, &issuer, &shown);
        let signed = |log: &&Log| log.key.verifies(&text, answer.signature.data);
        let time = Time::from_millis(answer.timestamp);
        let mut meant = logs
            .iter()
            .filter(|log| Some(log.id) == named && log.span.has(time));
        answer.version.0 == VERSION && meant.any(|log| signed(&log))
    };
    answers.iter().take(MOST_ANSWERS).any(is_true)
}

/// What a log has signed to give this answer.
fn timestamped(answer: &SignedCertificateTimestamp<'_>, issuer: &Digest, shown: &[u8]) -> Vec<u8> {
    let extensions = answer.extensions.0;
    let [_, length @ ..] = u32::try_from(shown.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut text = vec![VERSION, TIMESTAMP];
    text.extend(answer.timestamp.to_be_bytes());
    text.extend(WITHOUT_ANSWERS.to_be_bytes());
    text.extend(issuer.as_bytes());
    text.extend(length);
    text.extend(shown);
    text.extend(u16::try_from(extensions.len()).unwrap_or(u16::MAX).to_be_bytes());
    text.extend(extensions);
    text
}

/// What is signed of a certificate, without the logs' answers.
fn shown(signed: &[u8]) -> Option<Vec<u8>> {
    let parts = elements(inside(signed)?)?;
    let (extensions, before) = parts.split_last()?;
    (extensions.first() == Some(&EXTENSIONS)).then_some(())?;
    let mut kept = Vec::new();
    for extension in elements(inside(inside(extensions)?)?)? {
        if !inside(extension)?.starts_with(&ANSWERS) {
            kept.extend_from_slice(extension);
        }
    }
    let extensions = element(EXTENSIONS, &element(SEQUENCE, &kept));
    Some(element(SEQUENCE, &[before.concat(), extensions].concat()))
}

/// The elements of DER that stand one after the other.
fn elements(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (rest, _) = Any::from_der(bytes).ok()?;
        found.push(&bytes[..bytes.len() - rest.len()]);
        bytes = rest;
    }
    Some(found)
}

/// What is inside of one element.
fn inside(element: &[u8]) -> Option<&[u8]> {
    let (rest, found) = Any::from_der(element).ok()?;
    rest.is_empty().then_some(found.data)
}

/// An element of DER.
fn element(tag: u8, inside: &[u8]) -> Vec<u8> {
    let length = inside.len().to_be_bytes();
    let digits = &length[length.iter().take_while(|digit| **digit == 0).count()..];
    let mut made = vec![tag];
    match digits {
        [] => made.push(0),
        [short @ 0..0x80] => made.push(*short),
        // At most eight.
        long => {
            made.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            made.extend_from_slice(long);
        }
    }
    made.extend_from_slice(inside);
    made
}
