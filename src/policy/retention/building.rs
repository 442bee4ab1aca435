//! Catalogs that tests build by names.

use super::tests::{NOW, digest, repository};
use crate::clock::Time;
use crate::oci::MediaType;
use crate::policy::catalog::{Catalog, HeldBlob, HeldManifest, HeldTag};

/// Milliseconds of a day.
pub(super) const DAY: u64 = 86_400_000;

/// A catalog that is built by names.
#[derive(Default)]
pub(super) struct Building(Catalog);

impl Building {
    /// A manifest that was stored so many days ago; its blobs are ten bytes each, itself is one byte.
    pub(super) fn manifest(
        mut self,
        at: &str,
        name: &str,
        days: u64,
        children: &[&str],
        blobs: &[&str],
    ) -> Self {
        let manifest = HeldManifest {
            repository: repository(at),
            digest: digest(name),
            media_type: MediaType::OCI_MANIFEST,
            size: 1,
            platform: None,
            created: None,
            stored: Time::from_millis(NOW.as_millis() - days * DAY),
            used: None,
            pulls: 0,
            source: "a.io".to_owned(),
            children: children.iter().map(|child| digest(child)).collect(),
            blobs: blobs.iter().map(|blob| (digest(blob), 10)).collect(),
            subject: None,
        };
        self.0.manifests.push(manifest);
        blobs.iter().fold(self, |building, blob| building.blob(blob))
    }

    pub(super) fn blob(mut self, name: &str) -> Self {
        self.0.blobs.push(HeldBlob {
            digest: digest(name),
            size: 10,
            stored: NOW,
            used: None,
            pulls: 0,
        });
        self
    }

    pub(super) fn tag(mut self, at: &str, tag: &str, name: &str) -> Self {
        self.0.tags.push(HeldTag {
            repository: repository(at),
            tag: tag.parse().unwrap(),
            digest: digest(name),
            validated: NOW,
        });
        self
    }

    /// An image with a layer of its own, under a tag.
    pub(super) fn image(self, at: &str, tag: &str, days: u64) -> Self {
        let (name, layer) = (format!("{at}:{tag}"), format!("layer of {tag}"));
        self.manifest(at, &name, days, &[], &["base", &layer])
            .tag(at, tag, &name)
    }

    /// The manifest that was named last refers to this one.
    pub(super) fn referring(mut self, subject: &str) -> Self {
        self.0.manifests.last_mut().unwrap().subject = Some(digest(subject));
        self
    }

    /// The manifest that was named last was used so many days ago.
    pub(super) fn used(mut self, days: u64) -> Self {
        let used = Time::from_millis(NOW.as_millis() - days * DAY);
        self.0.manifests.last_mut().unwrap().used = Some(used);
        self
    }

    pub(super) fn done(self) -> Catalog {
        let mut catalog = self.0;
        catalog
            .manifests
            .sort_by_key(|each| (each.repository.clone(), each.digest));
        catalog
            .tags
            .sort_by_key(|each| (each.repository.clone(), each.tag.clone()));
        catalog.blobs.sort_by_key(|blob| blob.digest);
        catalog.blobs.dedup();
        catalog
    }
}
