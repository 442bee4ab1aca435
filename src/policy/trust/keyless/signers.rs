//! Whether somebody who is meant has signed, by a certificate and a log that are believed.

use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::Utf8String;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::bundle;
use super::entry::{self, Entry, Kind, Recorded};
use super::root::Root;
use super::{BadRoot, Identity};
use crate::oci::Digest;
use crate::policy::trust::cosign::{self, Attached, Bundle};
use crate::policy::trust::{Flaw, Key, Mismatch, Signed, chain};

/// Who vouches for the signer, in a certificate: as a text (1.3.6.1.4.1.57264.1.8).
const ISSUER: [u8; 10] = [0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 8];
/// The same, as it was written at first: without a tag (1.3.6.1.4.1.57264.1.1).
const OLD_ISSUER: [u8; 10] = [0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 1];

/// Whose signatures are believed without a key of theirs.
#[derive(Clone, Debug, PartialEq)]
pub struct Signers {
    path: String,
    root: Root,
    identities: Vec<Identity>,
}

/// A signature, and everything by which it is judged.
struct Made<'a> {
    /// What was signed.
    text: &'a [u8],
    signature: &'a [u8],
    certificate: CertificateDer<'a>,
    entry: Entry,
    /// As what it is recorded, with the hash of what.
    recorded: (Kind, &'a [u8]),
}

impl Signers {
    /// Those of these identities, by the root of trust in a file (`trusted_root.json`) that stands at this path.
    ///
    /// # Errors
    /// [`BadRoot`] if it is none.
    pub fn new(path: String, file: &[u8], identities: Vec<Identity>) -> Result<Self, BadRoot> {
        let root = Root::parse(file)?;
        Ok(Self {
            path,
            root,
            identities,
        })
    }

    /// Where the root of trust stands.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Who is believed.
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// A name for whom this believes, a line for each of them.
    pub(in crate::policy::trust) fn fingerprint(&self) -> String {
        let of = |identity: &Identity| format!("of {:?} by {:?}\n", identity.subject(), identity.issuer());
        let identities: String = self.identities.iter().map(of).collect();
        format!("keyless {}\n{identities}", self.root.digest)
    }

    /// Who signed a text that names this digest.
    ///
    /// # Errors
    /// The [`Flaw`] of what is no signature of it by any of these signers.
    pub fn judge(&self, attached: &Attached, text: &[u8], digest: &Digest) -> Result<Signed, Flaw> {
        let material = &attached.material;
        // What comes without a certificate was made with somebody's key.
        let certificate = material.certificate.as_ref().ok_or(Flaw::OtherSigner)?;
        let entry = material.entry.as_ref().ok_or(Flaw::Unlogged)?;
        let signed = self.signed(&Made {
            text,
            signature: &attached.signature,
            certificate: entry::certificate(certificate.as_bytes())?,
            entry: Entry::attached(entry)?,
            recorded: (Kind::Text, text),
        })?;
        cosign::names(text, digest)?;
        Ok(signed)
    }

    /// Who signed the statement in a bundle, which says of this digest that it is signed.
    ///
    /// # Errors
    /// The [`Flaw`] of what is no signature of it by any of these signers.
    pub(in crate::policy::trust) fn judge_bundle(
        &self,
        bundle: &Bundle,
        digest: &Digest,
    ) -> Result<Signed, Flaw> {
        let material = bundle.material().ok_or(Flaw::OtherSigner)?;
        let material = bundle::Material::parse(material)?;
        let certificate = material.certificate()?;
        // What is recorded is one.
        let [signature] = bundle.signatures() else {
            return Err(Flaw::Unreadable);
        };
        let judge = |entry: Entry| {
            self.signed(&Made {
                text: bundle.message(),
                signature,
                certificate: certificate.clone(),
                entry,
                recorded: (Kind::Envelope, bundle.payload()),
            })
        };
        let judged = material.entries()?.into_iter().map(judge);
        let signed = judged.reduce(|one, other| one.or_else(|flaw| other.map_err(|other| other.max(flaw))));
        let signed = signed.unwrap_or(Err(Flaw::Unlogged))?;
        bundle.names(digest)?;
        Ok(signed)
    }

    /// Who signed what was signed. What is checked of it comes in the order in which each part is vouched for: the log
    /// for the time, the authority for who it was then, and who it was for the rest.
    fn signed(&self, made: &Made<'_>) -> Result<Signed, Flaw> {
        let time = made.entry.time(&self.root.logs)?;
        let (kind, text) = made.recorded;
        made.entry.is_of(&Recorded {
            signature: made.signature,
            certificate: &made.certificate,
            kind,
            text,
        })?;
        let leaf = chain::read(&made.certificate)?;
        self.root.certified(&made.certificate, &leaf, time)?;
        let key = leaf.public_key().raw.to_vec();
        let key = Key::new(String::new(), key).map_err(|_| Flaw::NotUnderstood)?;
        if !key.verifies(made.text, made.signature) {
            return Err(Flaw::Altered);
        }
        let (issuer, subject) = (issuer(&leaf)?, subject(&leaf)?);
        let found = format!(
            "{} (issuer {})",
            chain::harmless(subject),
            chain::harmless(&issuer)
        );
        if !self
            .identities
            .iter()
            .any(|identity| identity.is(&issuer, subject))
        {
            return Err(Flaw::OtherIdentity(Mismatch::new(found, &self.identities)));
        }
        Ok(Signed {
            by: format!("{found}, recorded at {time:#}"),
            until: None,
        })
    }
}

/// Who has vouched for the signer.
fn issuer(certificate: &X509Certificate<'_>) -> Result<String, Flaw> {
    let of = |oid: [u8; 10]| {
        let mut found = certificate
            .iter_extensions()
            .filter(|each| each.oid.as_bytes() == oid);
        match (found.next(), found.next()) {
            (first, None) => Ok(first.map(|extension| extension.value)),
            (_, Some(_)) => Err(Flaw::Unreadable),
        }
    };
    let issuer = match (of(ISSUER)?, of(OLD_ISSUER)?) {
        (Some(der), _) => match Utf8String::from_der(der) {
            Ok(([], text)) => Some(text.string()),
            Ok(_) | Err(_) => None,
        },
        (None, Some(text)) => String::from_utf8(text.to_vec()).ok(),
        (None, None) => None,
    };
    issuer.ok_or(Flaw::Unreadable)
}

/// As whom: a URI or an address of mail, the only name in the certificate.
fn subject<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, Flaw> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| Flaw::Unreadable)?;
    match names.map(|names| names.value.general_names.as_slice()) {
        Some([GeneralName::URI(name) | GeneralName::RFC822Name(name)]) => Ok(name),
        Some(_) => Err(Flaw::NotUnderstood),
        None => Err(Flaw::Unreadable),
    }
}
