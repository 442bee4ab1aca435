//! Certificates from an authority that gives them by ACME (RFC 8555), for names that it finds to lead here.
//!
//! What is chosen, and where what it gives is kept. Asking for a certificate needs the feature `acme`.

#[cfg(feature = "acme")]
mod order;
mod store;

use std::path::PathBuf;

use http::Uri;

#[cfg(feature = "acme")]
pub use self::order::obtain;
pub use self::store::{CERTIFICATE, Kept, read_kept, write_kept};

/// True if this program can ask for certificates.
pub const IS_BUILT_IN: bool = cfg!(feature = "acme");

/// What certificates are asked for, of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The authority's directory.
    pub directory: Uri,
    /// PEM file of those who may have issued the authority's own certificate; `None`: the machine's roots.
    pub ca: Option<PathBuf>,
    /// The certificates in it (DER).
    pub roots: Vec<Vec<u8>>,
    /// The names that the certificate is for; at least one, in lower case.
    pub domains: Vec<String>,
    /// Addresses of mail that the authority may write to.
    pub contact: Vec<String>,
    /// The directory that the account, the certificate and its key are kept in.
    pub store: PathBuf,
}

impl Acme {
    /// Where the certificate and its key stand, in one file, so that both are always of the same issue.
    pub fn certificate(&self) -> PathBuf {
        self.store.join(CERTIFICATE)
    }
}
