//! Reading what is signed: a small blob, whole and verified, from wherever it is.

use std::os::unix::fs::FileExt as _;

use bytes::Bytes;

use super::super::{Asker, Body, Cache, Failure, Piece};
use crate::oci::Digest;
use crate::policy::naming::Chosen;
use crate::policy::trust::MOST_SIGNED;

impl Cache {
    /// A small blob, whole; empty if it is too long to be a signature.
    pub(super) async fn signed_text(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        asker: &Asker,
    ) -> Result<Bytes, Failure> {
        let served = Box::pin(self.blob(chosen, digest, asker)).await?;
        if served.length.is_some_and(|length| length > MOST_SIGNED) {
            return Ok(Bytes::new());
        }
        let following = match served.body {
            Body::Memory(bytes) => return Ok(bytes),
            Body::Empty => return Ok(Bytes::new()),
            Body::File(file, length, _) => {
                return self
                    .run_of(move |buffer| file.read_exact_at(buffer, 0), length)
                    .await;
            }
            Body::Filling(following) => following,
        };
        let (mut reader, mut text) = (following.read(None), Vec::new());
        while let Some(piece) = reader
            .next(MOST_SIGNED)
            .await
            .map_err(|broken| Failure::broken(&broken))?
        {
            match piece {
                Piece::Bytes(bytes) => text.extend_from_slice(&bytes),
                Piece::File { file, offset, len } => {
                    let run = move |buffer: &mut [u8]| file.read_exact_at(buffer, offset);
                    text.extend_from_slice(&self.run_of(run, len).await?);
                }
            }
            if text.len() as u64 > MOST_SIGNED {
                return Ok(Bytes::new());
            }
        }
        Ok(text.into())
    }

    /// A run of a file, read where blocking hurts nobody.
    async fn run_of(
        &self,
        read: impl FnOnce(&mut [u8]) -> std::io::Result<()> + Send + 'static,
        length: u64,
    ) -> Result<Bytes, Failure> {
        let look = move || {
            let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
            read(&mut buffer).map(|()| Bytes::from(buffer))
        };
        let run = self.shelves.disk.health().looking(look).await;
        run.map_err(|_| Failure::internal())
    }
}
