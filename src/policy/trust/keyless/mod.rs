//! What cosign signs without a key that anybody keeps.
//!
//! An authority certifies who somebody is, for a key that lives some minutes, and a log that everybody can read says
//! that a signature was made with it in these. Both, and the logs that have to know the certificate, stand in a root of
//! trust, which is a file of the operator's: nothing is asked of the network.
//!
//! ```text
//! text ── signed by the key of ── certificate ── issued by ── authority, shown to ── log of certificates
//!   └── recorded with both of them, at a time at which they were good, by ── transparency log
//! ```
//!
//! It needs the feature `keyless`: who believes keys and authorities of their own can have a program that does not
//! read all that.

#[cfg(not(feature = "keyless"))]
mod absent;
#[cfg(feature = "keyless")]
mod bundle;
#[cfg(feature = "keyless")]
mod entry;
mod identity;
#[cfg(feature = "keyless")]
mod proof;
#[cfg(feature = "keyless")]
mod root;
#[cfg(feature = "keyless")]
mod signers;
#[cfg(feature = "keyless")]
mod witness;

#[cfg(not(feature = "keyless"))]
pub use self::absent::Signers;
pub use self::identity::Identity;
#[cfg(feature = "keyless")]
pub use self::signers::Signers;

/// True if this program can judge such signatures.
pub const IS_BUILT_IN: bool = cfg!(feature = "keyless");

/// The annotation that holds the certificate of who signed, in PEM.
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// The annotation that holds the log's entry, in JSON.
const ENTRY: &str = "dev.sigstore.cosign/bundle";

/// What stands beside a signature of the older form and says who made it, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Material {
    /// A certificate, in PEM.
    pub certificate: Option<String>,
    /// What a log says of it, in JSON.
    pub entry: Option<String>,
}

impl Material {
    /// The one in the annotations of a layer.
    pub(super) fn of(annotations: &std::collections::HashMap<String, String>) -> Self {
        Self {
            certificate: annotations.get(CERTIFICATE).cloned(),
            entry: annotations.get(ENTRY).cloned(),
        }
    }
}

/// A file that is no root of trust, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRoot(String);
