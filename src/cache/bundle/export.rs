//! Writing a bundle: collected first, so that its length is known, then hashed while it is sent.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::collect::Collected;
use super::{INDEX, Index, LAYOUT, LAYOUT_TEXT};
use crate::cache::{Cache, Shelves, Wanted};
use crate::oci::{Digest, Hasher, MediaType, Platforms, tar};
use crate::store::{Shelf, blocking};

/// Bytes read, hashed and sent at a time.
const STEP: usize = 1 << 20;
/// Pieces that wait to be sent: with the size of a step, the memory that an export takes.
const PIECES: usize = 4;

/// What is to be exported.
#[derive(Clone, Debug)]
pub struct Export {
    /// The images.
    pub images: Vec<Wanted>,
    /// The platforms that must be in the bundle; `None` for those that are held.
    pub platforms: Option<Platforms>,
    /// Put what refers to the images into it as well, as far as it is held.
    pub referrers: bool,
}

/// A bundle on its way.
#[derive(Debug)]
pub struct Exported {
    /// Its length in bytes.
    pub length: u64,
    /// The bytes. If they end early, something held turned out to be damaged or went away.
    pub pieces: mpsc::Receiver<Bytes>,
}

/// Why there is no bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// A reference means nothing.
    #[error("{0}")]
    Wrong(String),
    /// Something is not held: what, and the command that gets it.
    #[error("{0}")]
    NotHeld(String),
}

/// One file of the archive.
enum File {
    Bytes(String, Bytes),
    Blob(Digest, u64),
}

impl Cache {
    /// Makes a bundle of images that are held.
    ///
    /// Cancel-safe: nothing is sent before this returns, and the task that sends ends when the receiver goes.
    ///
    /// # Errors
    /// [`ExportError`], which names everything that is missing.
    pub async fn export(&self, export: Export) -> Result<Exported, ExportError> {
        let mut all = Collected::default();
        let mut missing = Vec::new();
        for Wanted { name, found } in &export.images {
            let (chosen, reference) = found.as_ref().map_err(|why| ExportError::Wrong(why.clone()))?;
            let platforms = export.platforms.as_ref();
            let collecting = self.collect((chosen, reference), platforms, export.referrers, &mut all);
            if let Err(why) = Box::pin(collecting).await {
                let platform =
                    platforms.map_or(String::new(), |platforms| format!(" --platform {platforms}"));
                missing.push(format!(
                    "{name}: {why}; get it with: seawall warm {name}{platform}"
                ));
            }
        }
        if !missing.is_empty() {
            return Err(ExportError::NotHeld(missing.join("\n")));
        }
        let files = files(all);
        let length = files.iter().map(File::archived).sum::<u64>() + tar::END.len() as u64;
        let (sender, pieces) = mpsc::channel(PIECES);
        let shelves = self.shelves.clone();
        self.tasks
            .spawn(async move { Box::pin(send(&shelves, files, &sender)).await });
        Ok(Exported { length, pieces })
    }
}

/// The files of an archive, in its order.
fn files(mut all: Collected) -> Vec<File> {
    all.referrers.retain(|digest, _| !all.below.contains(digest));
    let index = Index {
        schema_version: 2,
        media_type: Some(MediaType::OCI_INDEX.to_string()),
        manifests: all
            .named
            .into_values()
            .chain(all.referrers.into_values())
            .collect(),
    };
    let index = serde_json::to_vec(&index).expect("names and numbers always serialise");
    let mut files = vec![
        File::Bytes(LAYOUT.to_owned(), Bytes::from_static(LAYOUT_TEXT.as_bytes())),
        File::Bytes(INDEX.to_owned(), index.into()),
    ];
    let mut blobs: Vec<(Digest, File)> = Vec::new();
    for (digest, held) in all.part.manifests {
        blobs.push((digest, File::Bytes(path(&digest), held.bytes)));
    }
    for (digest, size) in all.part.blobs {
        blobs.push((digest, File::Blob(digest, size)));
    }
    blobs.sort_by_key(|(digest, _)| *digest);
    blobs.dedup_by_key(|(digest, _)| *digest);
    files.extend(blobs.into_iter().map(|(_, file)| file));
    files
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

impl File {
    fn head(&self) -> Vec<u8> {
        match self {
            Self::Bytes(name, bytes) => tar::header(name, bytes.len() as u64),
            Self::Blob(digest, size) => tar::header(&path(digest), *size),
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Bytes(_, bytes) => bytes.len() as u64,
            Self::Blob(_, size) => *size,
        }
    }

    /// Bytes it takes in an archive.
    fn archived(&self) -> u64 {
        self.head().len() as u64 + self.size() + tar::padding(self.size()) as u64
    }
}

/// Sends all files. Where one is not what it should be, it ends there: what arrived is no archive then.
async fn send(shelves: &Arc<Shelves>, files: Vec<File>, sender: &mpsc::Sender<Bytes>) {
    for file in files {
        let (head, padding) = (file.head(), tar::padding(file.size()));
        if sender.send(head.into()).await.is_err() {
            return;
        }
        let sent = match file {
            File::Bytes(_, bytes) => sender.send(bytes).await.is_ok(),
            File::Blob(digest, size) => send_blob(shelves, digest, size, sender).await,
        };
        if !sent || sender.send(vec![0; padding].into()).await.is_err() {
            return;
        }
    }
    // Who asked may have gone.
    let _ = sender.send(Bytes::from_static(&tar::END)).await;
}

/// Sends one blob; false if it cannot be sent whole.
async fn send_blob(shelves: &Arc<Shelves>, digest: Digest, size: u64, sender: &mpsc::Sender<Bytes>) -> bool {
    let look = shelves.clone();
    let stored = blocking(move || Ok(look.disk.get(Shelf::Blobs, &digest))).await;
    let Some(stored) = stored.ok().flatten() else {
        tracing::warn!(%digest, "an export was broken off: a blob went away");
        return false;
    };
    let mut hasher = Hasher::new(digest.algorithm());
    let mut at = 0;
    while at < size {
        let file = stored.file.clone();
        let step = blocking(move || {
            let len = usize::try_from(size - at).unwrap_or(usize::MAX).min(STEP);
            let mut buffer = vec![0; len];
            file.read_exact_at(&mut buffer, at)?;
            hasher.update(&buffer);
            Ok((hasher, buffer))
        });
        match step.await {
            Ok((next, buffer)) => {
                hasher = next;
                at += buffer.len() as u64;
                if sender.send(buffer.into()).await.is_err() {
                    return false;
                }
            }
            Err(error) => {
                tracing::warn!(%digest, %error, "an export was broken off: a blob cannot be read");
                return false;
            }
        }
    }
    if hasher.finish() == digest {
        return true;
    }
    let (aside, file) = (shelves.clone(), stored.file.clone());
    if let Err(error) = blocking(move || aside.put_aside(Shelf::Blobs, &digest, &file)).await {
        tracing::warn!(%digest, %error, "the damaged file could not be put aside");
    }
    false
}
