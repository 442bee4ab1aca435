//! What a simulated registry holds: repositories of tags, manifests and blobs.

use std::collections::HashMap;

use bytes::Bytes;
use seawall::oci::Digest;

use crate::support::world::{OCI_INDEX, OCI_MANIFEST, content};

/// A manifest and its type.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Bytes,
}

/// Everything that is held. Digests are known in every repository, tags in their own.
#[derive(Default)]
pub(crate) struct Content {
    tags: HashMap<(String, String), Digest>,
    manifests: HashMap<Digest, Manifest>,
    blobs: HashMap<Digest, Bytes>,
    /// Tags that move right after the next HEAD.
    moving: HashMap<(String, String), Digest>,
}

/// An image for several platforms, as a test knows it.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) repository: String,
    pub(crate) tag: String,
    /// What the tag points at: an index.
    pub(crate) index: Digest,
    pub(crate) platforms: Vec<Platform>,
}

/// The image for one platform.
#[derive(Clone, Debug)]
pub(crate) struct Platform {
    pub(crate) manifest: Digest,
    /// Its configuration and its layers.
    pub(crate) blobs: Vec<Digest>,
}

impl Content {
    /// Puts an image for two platforms under a tag; both share the layer at the bottom. Images of different
    /// seeds share nothing.
    pub(crate) fn image(&mut self, repository: &str, tag: &str, seed: u64, layer_bytes: usize) -> Image {
        let base = self.blob(content(layer_bytes, seed * 8 + 1));
        let platforms: Vec<Platform> = [("amd64", 3), ("arm64", 5)]
            .into_iter()
            .map(|(architecture, salt)| {
                let config = format!("{{\"architecture\":\"{architecture}\",\"seed\":{seed}}}");
                let own = self.blob(content(layer_bytes, seed * 8 + salt));
                let blobs = vec![self.blob(config), base, own];
                Platform {
                    manifest: self.manifest(OCI_MANIFEST, &self.image_body(&blobs)),
                    blobs,
                }
            })
            .collect();
        let index = self.manifest(OCI_INDEX, &self.index_body(&platforms));
        self.point(repository, tag, index);
        Image {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            index,
            platforms,
        }
    }

    /// Puts a small manifest under a tag: all it takes to cost one pull.
    pub(crate) fn small(&mut self, repository: &str, tag: &str, seed: u64) -> Digest {
        let config = self.blob(format!("{{\"small\":{seed}}}"));
        let manifest = self.manifest(OCI_MANIFEST, &self.image_body(&[config]));
        self.point(repository, tag, manifest);
        manifest
    }

    fn blob(&mut self, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256(&bytes);
        self.blobs.insert(digest, bytes);
        digest
    }

    fn manifest(&mut self, media_type: &'static str, body: &str) -> Digest {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let digest = Digest::sha256(&bytes);
        self.manifests.insert(digest, Manifest { media_type, bytes });
        digest
    }

    fn image_body(&self, blobs: &[Digest]) -> String {
        let descriptor = |kind: &str, digest: &Digest| {
            let size = self.blobs[digest].len();
            format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{size}}}"#)
        };
        let layers: Vec<String> = blobs[1..]
            .iter()
            .map(|blob| descriptor("layer.v1.tar", blob))
            .collect();
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]}}"#,
            descriptor("config.v1+json", &blobs[0]),
            layers.join(",")
        )
    }

    fn index_body(&self, platforms: &[Platform]) -> String {
        let names = ["amd64", "arm64"];
        let manifests = platforms.iter().zip(names).map(|(platform, name)| {
            let (digest, size) = (platform.manifest, self.manifests[&platform.manifest].bytes.len());
            format!(
                r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":{size},"platform":{{"os":"linux","architecture":"{name}"}}}}"#
            )
        });
        let manifests: Vec<String> = manifests.collect();
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
            manifests.join(",")
        )
    }

    /// Makes a tag point at a manifest.
    pub(crate) fn point(&mut self, repository: &str, tag: &str, digest: Digest) {
        self.tags.insert((repository.to_owned(), tag.to_owned()), digest);
    }

    /// Makes a tag point elsewhere right after the next HEAD of it.
    pub(crate) fn point_after_head(&mut self, repository: &str, tag: &str, digest: Digest) {
        self.moving
            .insert((repository.to_owned(), tag.to_owned()), digest);
    }

    /// The tags of a repository, in order.
    pub(crate) fn tags(&self, repository: &str) -> Vec<String> {
        let all = self.tags.keys().filter(|(holder, _)| holder == repository);
        let mut tags: Vec<String> = all.map(|(_, tag)| tag.clone()).collect();
        tags.sort();
        tags
    }

    /// Takes a tag away.
    pub(crate) fn untag(&mut self, repository: &str, tag: &str) {
        self.tags.remove(&(repository.to_owned(), tag.to_owned()));
    }

    /// What a reference points at.
    pub(crate) fn resolve(&self, repository: &str, reference: &str) -> Option<(Digest, Manifest)> {
        let digest = match reference.parse::<Digest>() {
            Ok(digest) => digest,
            Err(_) => *self.tags.get(&(repository.to_owned(), reference.to_owned()))?,
        };
        Some((digest, self.manifests.get(&digest)?.clone()))
    }

    /// A HEAD of a tag was answered.
    pub(crate) fn headed(&mut self, repository: &str, reference: &str) {
        let key = (repository.to_owned(), reference.to_owned());
        if let Some(digest) = self.moving.remove(&key) {
            self.tags.insert(key, digest);
        }
    }

    /// The bytes of a digest, blob or manifest, and their type.
    pub(crate) fn bytes(&self, digest: &Digest) -> Option<(&'static str, Bytes)> {
        let blob = self.blobs.get(digest).cloned();
        let blob = blob.map(|bytes| ("application/octet-stream", bytes));
        blob.or_else(|| {
            let manifest = self.manifests.get(digest)?;
            Some((manifest.media_type, manifest.bytes.clone()))
        })
    }
}
