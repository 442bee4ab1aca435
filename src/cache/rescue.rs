//! What goes on with a blob when its file cannot be read any more.
//!
//! What was sent so far was of verified bytes, and what follows comes out of a fill that verifies them again:
//! a body put together of both is right, or is broken off.

use super::{Asker, Body, Broken, Cache, Reader};
use crate::oci::{ByteRange, Digest};
use crate::policy::naming::Chosen;
use crate::store::{PATIENCE, Shelf};

/// Times a fill is joined anew because it ended without a verdict.
const MAX_JOINS: usize = 2;

/// The way to a blob's bytes around its file.
pub struct Rescue {
    pub(super) cache: Cache,
    pub(super) chosen: Chosen,
    pub(super) digest: Digest,
    pub(super) asker: Asker,
}

impl Rescue {
    /// Puts the file aside, as one that is not held any more, and reads the bytes from `start` to before `end`
    /// out of a fill.
    ///
    /// # Errors
    /// [`Broken`] if nobody else has them.
    pub async fn read(&self, start: u64, end: u64, error: std::io::Error) -> Result<Reader, Broken> {
        let (shelves, digest) = (&self.cache.shelves, self.digest);
        tracing::warn!(%digest, %error, "a stored file cannot be read: going on from the upstream");
        // It was told, and is counted; what is left to do is the same for every error.
        let _: std::io::Result<()> = shelves.disk.health().read("read", Err(error));
        let aside = shelves.clone();
        let put_aside = move || aside.disk.quarantine(Shelf::Blobs, &digest);
        if let Err(error) = shelves
            .disk
            .health()
            .writing("quarantine", PATIENCE, put_aside)
            .await
        {
            tracing::debug!(%digest, %error, "the unreadable file stays where it is, out of use");
        }
        let end = end.saturating_sub(1);
        for _ in 0..MAX_JOINS {
            let followed = self.cache.follow(&self.chosen, &digest, false, &self.asker).await;
            match followed.map(|served| served.map(|served| served.body)) {
                Ok(Some(Body::Filling(following))) => {
                    return Ok(following.read(Some(ByteRange { start, end })));
                }
                Ok(_) => {}
                Err(failure) => return Err(Broken(failure.public.to_string())),
            }
        }
        Err(Broken(
            "the stored copy cannot be read, and no other was found in time".to_owned(),
        ))
    }
}
