//! The files that are pulled, below one directory as nginx serves them: `v2/library/app/blobs/sha256:…`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::content::{REPOSITORY, manifest, put_manifest};
use crate::load::MANIFEST;
use crate::machine::Server;
use crate::support::content::{digest_of, noise};
use crate::support::images::upload;
use crate::support::{Result, http};

/// The tag of the manifest.
const TAG: &str = "v1";

/// A directory with content, made when it is first asked for.
pub(crate) struct Shelf {
    root: PathBuf,
    known: Vec<(u64, u8, String)>,
}

impl Shelf {
    /// An empty one below `root`.
    pub(crate) fn new(root: &Path) -> Result<Self> {
        for kind in ["blobs", "manifests"] {
            fs::create_dir_all(root.join("static/v2").join(REPOSITORY).join(kind))?;
        }
        Ok(Self {
            root: root.to_owned(),
            known: Vec::new(),
        })
    }

    /// Where everything is, for the servers' own directories, too.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What nginx serves.
    pub(crate) fn files(&self) -> PathBuf {
        self.root.join("static")
    }

    /// The file behind a path.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.files().join(path.trim_start_matches('/'))
    }

    /// The path of a blob of that many bytes; blobs of one size differ by `number`.
    pub(crate) fn blob(&mut self, size: u64, number: u8) -> Result<String> {
        let made = self
            .known
            .iter()
            .find(|(of, which, _)| (*of, *which) == (size, number));
        if let Some((_, _, path)) = made {
            return Ok(path.clone());
        }
        let mut bytes: Vec<u8> = noise(size as usize / 8).flatten().collect();
        bytes[0] = number;
        let path = format!("/v2/{REPOSITORY}/blobs/{}", digest_of(&bytes));
        fs::write(self.file(&path), bytes)?;
        self.known.push((size, number, path.clone()));
        Ok(path)
    }

    /// The paths of a manifest: by digest and by tag.
    pub(crate) fn manifest(&mut self) -> Result<[String; 2]> {
        let blob = self.blob(1 << 10, 0)?;
        let digest = blob.rsplit('/').next().unwrap_or_default();
        let manifest = manifest(digest, 1 << 10)?;
        let digest = digest_of(&manifest);
        let paths = [digest.as_str(), TAG].map(|name| format!("/v2/{REPOSITORY}/manifests/{name}"));
        for path in &paths {
            fs::write(self.file(path), &manifest)?;
        }
        Ok(paths)
    }

    /// Puts these blobs, and the manifests after them, into the registry at `address`.
    pub(crate) fn push(&self, address: &str, blobs: &[String], manifests: &[String]) -> Result {
        for path in blobs {
            upload(address, REPOSITORY, &fs::read(self.file(path))?)?;
        }
        for path in manifests {
            put_manifest(address, path, &fs::read(self.file(path))?)?;
        }
        Ok(())
    }
}

/// Fetches everything from each: that warms them, and shows that all send the same bytes.
pub(crate) fn warm<'a>(
    shelf: &Shelf,
    servers: impl IntoIterator<Item = &'a Server>,
    paths: &[String],
) -> Result {
    let servers: Vec<_> = servers.into_iter().collect();
    for path in paths {
        let expected = fs::read(shelf.file(path))?;
        for server in &servers {
            // Twice: Seawall keeps what the first one brought, and verifies it on the second.
            for _ in 0..2 {
                let answer = http::request(&server.address, "GET", path, &[("Accept", MANIFEST)], &[])?;
                if answer.status != 200 || answer.body != expected {
                    let length = answer.body.len();
                    return Err(format!(
                        "{path} from {}: {}, {length} bytes",
                        server.address, answer.status
                    )
                    .into());
                }
            }
        }
    }
    Ok(())
}
