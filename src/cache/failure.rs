//! What a client is told when there is no content to give.

use std::borrow::Cow;
use std::time::Duration;

use super::Why;
use crate::oci::Code;
use crate::policy::budget::Reading;
use crate::policy::quota::Left;
use crate::upstream::Refusal;

/// When to ask again after a failure that names no time: long enough not to be a burden, short enough for
/// a waiting pull.
const RETRY_SOON: Duration = Duration::from_secs(5);

/// What kind of failure, for the status line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 404: it does not exist, or (for blobs) cannot be had here.
    NotFound,
    /// 403: the upstream denies it.
    Denied,
    /// 429: the upstream limits us, to these figures if it told any.
    Limited(Option<Reading>),
    /// 429: the client has used up its quota, of operations per minute if there are figures.
    OverQuota(Option<Left>),
    /// 503: the upstream is out of reach or failing.
    Unavailable,
    /// 504: the upstream did not answer in time.
    Timeout,
    /// 502: the upstream's answer must not be passed on.
    BadUpstream,
}

/// Why the cache has no content to give.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind.
    pub kind: Kind,
    /// The OCI code.
    pub code: Code,
    /// A sentence for the client: no credential, no internal host, no path.
    pub public: Cow<'static, str>,
    /// When asking again may help.
    pub retry_after: Option<Duration>,
    /// Why, if an upstream is to blame: the `detail` of `Cache-Status`.
    pub why: Option<Why>,
}

impl Failure {
    /// A manifest an upstream refused.
    pub(super) fn of_manifest(registry: &str, refusal: &Refusal) -> Self {
        let public = format!("{registry} gives no manifest: {refusal}").into();
        let (kind, code, retry_after) = match refusal {
            // Offline, asking somebody else is all a client can do, and it does so at once after a 404.
            Refusal::NotFound | Refusal::Offline => (Kind::NotFound, Code::ManifestUnknown, None),
            Refusal::Denied(_) => (Kind::Denied, Code::Denied, None),
            Refusal::Withheld(withheld) => (
                Kind::Limited(withheld.reading),
                Code::TooManyRequests,
                Some(RETRY_SOON),
            ),
            Refusal::Limited { retry_after, .. } => (
                Kind::Limited(None),
                Code::TooManyRequests,
                Some(retry_after.unwrap_or(RETRY_SOON)),
            ),
            Refusal::Unreachable(_) | Refusal::Failing(_) => {
                (Kind::Unavailable, Code::Unavailable, Some(RETRY_SOON))
            }
            Refusal::LeftAlone { wait, .. } => (Kind::Unavailable, Code::Unavailable, Some(*wait)),
            Refusal::Unusable(_) => (Kind::BadUpstream, Code::ManifestInvalid, None),
        };
        Self {
            kind,
            code,
            public,
            retry_after,
            why: why(refusal),
        }
    }

    /// A blob an upstream refused.
    ///
    /// A blob that cannot be had is 404 even where the upstream merely fails: every client asks somebody
    /// else at once then, while some retry a 5xx for over a minute first. The message tells the truth.
    pub(super) fn of_blob(registry: &str, refusal: &Refusal) -> Self {
        let failure = Self::of_manifest(registry, refusal);
        let public = format!("this cache does not hold the blob, and {registry} gives none: {refusal}");
        let (kind, code) = match failure.kind {
            Kind::Limited(_) | Kind::OverQuota(_) | Kind::Denied => (failure.kind, failure.code),
            Kind::NotFound | Kind::Unavailable | Kind::Timeout | Kind::BadUpstream => {
                (Kind::NotFound, Code::BlobUnknown)
            }
        };
        Self {
            kind,
            code,
            public: public.into(),
            ..failure
        }
    }

    /// The upstream's bytes are not what their digest says.
    pub(super) fn wrong_bytes(registry: &str) -> Self {
        Self {
            kind: Kind::BadUpstream,
            code: Code::DigestInvalid,
            public: format!("{registry} sent bytes that do not hash to the digest").into(),
            retry_after: Some(RETRY_SOON),
            why: Some(Why::Unusable),
        }
    }

    /// No answer in the time that clients wait.
    pub fn timeout(registry: &str) -> Self {
        Self {
            kind: Kind::Timeout,
            code: Code::Unavailable,
            public: format!("{registry} did not answer in time").into(),
            retry_after: Some(RETRY_SOON),
            why: Some(Why::Unreachable),
        }
    }

    /// Something here went wrong.
    pub(super) fn internal() -> Self {
        Self {
            kind: Kind::Unavailable,
            code: Code::Unknown,
            public: "an internal error; the log of the cache tells more".into(),
            retry_after: Some(RETRY_SOON),
            why: None,
        }
    }

    /// A body that was under way and cannot be completed.
    pub(super) fn broken(broken: &super::Broken) -> Self {
        Self {
            public: broken.to_string().into(),
            ..Self::internal()
        }
    }

    /// What an upstream lists as referrers is no index.
    pub(crate) fn not_an_index() -> Self {
        Self {
            kind: Kind::BadUpstream,
            code: Code::ManifestInvalid,
            public: "the upstream's list of referrers is not an image index".into(),
            retry_after: None,
            why: Some(Why::Unusable),
        }
    }

    /// Turns a refusal for now into one that sends clients to the registry itself.
    pub(super) fn unavailable(self) -> Self {
        Self {
            kind: Kind::Unavailable,
            code: Code::Unavailable,
            ..self
        }
    }

    /// The same for a blob: every client goes on at once after a 404, and some retry a 5xx first.
    pub(super) fn blob_elsewhere(self) -> Self {
        Self {
            kind: Kind::NotFound,
            code: Code::BlobUnknown,
            ..self
        }
    }

    /// Turns the failure of a manifest whose blobs are not held into one that lets clients go elsewhere.
    pub(super) fn blobs_missing(self) -> Self {
        let public = format!(
            "{}; a stale manifest is held, but not all of its blobs",
            self.public
        );
        Self {
            public: public.into(),
            ..self
        }
    }
}

/// The word for `Cache-Status`.
pub(super) fn why(refusal: &Refusal) -> Option<Why> {
    match refusal {
        Refusal::NotFound => None,
        Refusal::Denied(_) => Some(Why::Denied),
        Refusal::Limited { .. } | Refusal::Withheld(_) => Some(Why::Limited),
        Refusal::Unreachable(_) => Some(Why::Unreachable),
        Refusal::Failing(_) => Some(Why::Failing),
        Refusal::LeftAlone { because, .. } => why(because),
        Refusal::Unusable(_) => Some(Why::Unusable),
        Refusal::Offline => Some(Why::Offline),
    }
}
