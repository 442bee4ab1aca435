//! What is wrong with a signature that does not hold, in words for who is refused and for who has to mend it.

use std::fmt;

/// Why a signature is none; those that come closer to being one stand further down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// It cannot be read.
    Unreadable,
    /// It is in a form that is not read here.
    OtherForm,
    /// It says something else of its subject than that it is signed.
    OtherKind,
    /// Nobody who is believed has made it.
    OtherSigner,
    /// No transparency log that is believed has recorded it.
    Unlogged,
    /// No log says when it was made.
    Untimed,
    /// What the log has recorded is something else.
    OtherEntry,
    /// No log of certificates that is believed has seen the one it was made with.
    Unwitnessed,
    /// The certificate it was made with was not good when the log recorded it.
    OtherTime,
    /// The certificate it was made with is for something else.
    OtherUse,
    /// It is not what its signer has made, or not by the way of signing that fits the certificate.
    Altered,
    /// It asks for something that is not done here, and does not hold without.
    NotUnderstood,
    /// It, or a certificate it was made with, holds no longer or not yet.
    Expired,
    /// Somebody has made it whom an authority that is believed has certified, but who is not meant.
    OtherIdentity(Mismatch),
    /// It was made for another digest.
    OtherDigest,
}

/// Most of those who are meant that are told.
const MOST_MEANT: usize = 4;

/// Who it was, and who it should have been.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mismatch {
    found: String,
    meant: String,
}

impl Mismatch {
    /// What somebody is called who is none of these, as it may be told.
    pub(super) fn new(found: String, meant: &[impl fmt::Display]) -> Self {
        let told: Vec<String> = meant.iter().take(MOST_MEANT).map(ToString::to_string).collect();
        let more = if meant.len() > MOST_MEANT { ", …" } else { "" };
        Self {
            found,
            meant: format!("{}{more}", told.join(", ")),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected one of {}", self.found, self.meant)
    }
}

impl fmt::Display for Flaw {
    /// Reads after "one is attached, but".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherIdentity(who) => return write!(f, "it was made by {who}"),
            Self::Unreadable => "it cannot be read",
            Self::OtherForm => "it is in the form COSE, of which only JWS is read here: `notation sign --signature-format jws`",
            Self::OtherKind => "it is no signature of an image",
            Self::OtherSigner => "nobody who is trusted for this has made it",
            Self::Unlogged => "no transparency log that is trusted for this has promised to have recorded it",
            Self::Untimed => "no transparency log says when it was recorded: one that signs entries (Rekor, version 1) has to",
            Self::OtherEntry => "what the transparency log has recorded is another signature",
            Self::Unwitnessed => "no log of certificates that is trusted for this has seen the one it was made with",
            Self::OtherTime => "the certificate it was made with was not good when the log recorded it",
            Self::OtherUse => "the certificate it was made with is not for signing content",
            Self::Altered => "it is not what its certificate's key has signed",
            Self::NotUnderstood => "it does not hold without something that this cache does not know",
            Self::Expired => "it, or a certificate it was made with, is not good at this time",
            Self::OtherDigest => "it was made for another digest",
        })
    }
}
