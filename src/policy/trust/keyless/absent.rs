//! In the place of the real ones in a program without the feature `keyless`: there are no such signers.

use super::{BadRoot, Identity};
use crate::oci::Digest;
use crate::policy::trust::cosign::{Attached, Bundle};
use crate::policy::trust::{Flaw, Signed};

/// Nobody.
#[derive(Clone, Debug, PartialEq)]
pub enum Signers {}

impl Signers {
    /// There are none.
    ///
    /// # Errors
    /// Always.
    pub fn new(_path: String, _file: &[u8], _identities: Vec<Identity>) -> Result<Self, BadRoot> {
        Err(BadRoot("this seawall was built without `keyless`".to_owned()))
    }

    /// Where the root of trust stands.
    pub fn path(&self) -> &str {
        match *self {}
    }

    /// Who is believed.
    pub fn identities(&self) -> &[Identity] {
        match *self {}
    }

    pub(in crate::policy::trust) fn fingerprint(&self) -> String {
        match *self {}
    }

    pub(in crate::policy::trust) fn judge(&self, _: &Attached, _: &[u8], _: &Digest) -> Result<Signed, Flaw> {
        match *self {}
    }

    pub(in crate::policy::trust) fn judge_bundle(&self, _: &Bundle, _: &Digest) -> Result<Signed, Flaw> {
        match *self {}
    }
}
