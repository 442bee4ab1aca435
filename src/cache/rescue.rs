//! What goes on with a blob when its file cannot be read any more.
//!
//! What was sent so far was of verified bytes, and what follows comes out of a fill that verifies them again:
//! a body put together of both is right, or is broken off.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use super::claim::Claimed;
use super::{Asker, Body, Broken, Cache, Reader, Shelves};
use crate::oci::{ByteRange, Digest};
use crate::policy::eviction::Content;
use crate::policy::naming::Chosen;
use crate::store::{Disk, OpenFile, PATIENCE, Shelf};

/// Times a fill is joined anew because it ended without a verdict.
const MAX_JOINS: usize = 2;

/// The way to a blob's bytes around its file.
pub struct Rescue {
    pub(super) cache: Cache,
    pub(super) chosen: Chosen,
    pub(super) digest: Digest,
    /// The open file: another may stand under its name by now.
    pub(super) file: Arc<OpenFile>,
    pub(super) asker: Asker,
}

impl Rescue {
    /// Reads the bytes from `start` to before `end` out of a fill, if `error` says that the file is damaged: it is
    /// put aside then, unless another stands there by now. If it is the disk that is to blame, the file stays, and
    /// the fill is one that leaves it alone.
    ///
    /// # Errors
    /// [`Broken`] if nobody else has the bytes, or the file cannot be read only now: whoever asks again may be lucky.
    pub async fn read(&self, start: u64, end: u64, error: io::Error) -> Result<Reader, Broken> {
        let (shelves, digest) = (&self.cache.shelves, self.digest);
        let Err(error) = shelves.disk.health().read("read", Err::<Infallible, _>(error));
        if !Disk::blames_file(&error) {
            tracing::warn!(%digest, %error, "a stored file cannot be read now: a body is broken off");
            return Err(Broken(format!("the stored copy cannot be read now: {error}")));
        }
        tracing::warn!(%digest, %error, "a stored file cannot be read: going on from the upstream");
        let stays = self.judge(error).await;
        let end = end.saturating_sub(1);
        for _ in 0..MAX_JOINS {
            let followed = match stays {
                true => self.cache.follow_alone(&self.chosen, &digest, &self.asker).await,
                false => {
                    let held = (false, &Claimed::default());
                    self.cache.follow(&self.chosen, &digest, held, &self.asker).await
                }
            };
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

    /// Puts the file aside if it is to blame. True if it stays.
    async fn judge(&self, error: io::Error) -> bool {
        let (shelves, digest, file) = (self.cache.shelves.clone(), self.digest, self.file.clone());
        let content = Content {
            shelf: Shelf::Blobs,
            digest,
        };
        let judge = move || {
            let is_damaged = || shelves.is_damage(&error);
            shelves.disk.judge_file(&content, &file, is_damaged)
        };
        let health = self.cache.shelves.disk.health();
        match health.writing("quarantine", PATIENCE, judge).await {
            Ok(gone) => !gone,
            Err(error) => {
                tracing::debug!(%digest, %error, "the unreadable file stays where it is, out of use");
                false
            }
        }
    }
}

impl Shelves {
    /// True if a read's error says that the file is damaged, and not only slow to read, or on a disk that is ill.
    /// Each file is to be asked about once: the disk is to blame after a few in a row.
    pub(super) fn is_damage(&self, error: &io::Error) -> bool {
        Disk::blames_file(error) && (error.kind() == io::ErrorKind::UnexpectedEof || self.blame().broken())
    }
}
