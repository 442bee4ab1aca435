//! A bucket of an object store that speaks S3: what it has under a name, and putting something there.
//!
//! Requests, keys and signatures are those of `object_store`; they travel over our own client. Without the feature
//! `shared` there is no bucket.

#[cfg(not(feature = "shared"))]
mod absent;
#[cfg(feature = "shared")]
mod over;
#[cfg(feature = "shared")]
mod s3;

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::timeout;

use super::secret::Secret;

#[cfg(not(feature = "shared"))]
pub use self::absent::Bucket;
#[cfg(feature = "shared")]
pub use self::s3::Bucket;

/// True if this program can talk to a bucket.
pub const IS_BUILT_IN: bool = cfg!(feature = "shared");
/// The variables that lead to keys where none are written, as Amazon's own tools go by them.
pub const VARIABLES: [&str; 9] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// Bytes that are put at once; what is larger goes in parts of at least this size.
pub const PART: u64 = 8 << 20;
/// The longest pause between two pieces of an object.
const IDLE: Duration = Duration::from_secs(5);

/// Which bucket, and what opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketOptions {
    /// Its name.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Where the object store is; `None`: where Amazon has that region's.
    pub endpoint: Option<Uri>,
    /// Certificates in DER to trust in place of the machine's; empty: the machine's.
    pub ca: Vec<Vec<u8>>,
    /// What requests are signed with.
    pub keys: Keys,
}

/// What requests are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// A pair that the operator wrote down.
    Written {
        /// The public half.
        id: String,
        /// The other one.
        secret: Secret,
    },
    /// What these variables lead to: a pair, a role that a token in a file opens, an agent; else the machine's role.
    Offered(Vec<(&'static str, Secret)>),
}

/// Why a bucket did not do what it was asked for. The texts hold names and reasons, never a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It wants to be asked less (429 or 503).
    #[error("it wants to be asked less")]
    Limited,
    /// Anything else, in words.
    #[error("{0}")]
    Failed(String),
}

/// An object on its way.
pub struct Object {
    /// Where the first byte belongs that comes.
    pub start: u64,
    /// The length of the whole.
    pub total: u64,
    /// The type that it was put there with, if it tells.
    pub media_type: Option<String>,
    body: UnsyncBoxBody<Bytes, Fault>,
}

impl Object {
    /// The next piece; `None` at the end.
    ///
    /// Cancel-safe: a piece is either returned or still to come.
    ///
    /// # Errors
    /// [`Fault`] if it breaks off, or nothing comes for five seconds.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let frame = timeout(IDLE, self.body.frame()).await;
            let frame = frame.map_err(|_| Fault::Failed(format!("nothing came for {IDLE:?}")))?;
            match frame.transpose()?.map(hyper::body::Frame::into_data) {
                None => return Ok(None),
                Some(Ok(piece)) if !piece.is_empty() => return Ok(Some(piece)),
                Some(Ok(_) | Err(_)) => {}
            }
        }
    }
}
