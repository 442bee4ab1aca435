//! A bundle was read: which images are in it, whether they are whole, what they are called here.
//!
//! A tag is remembered as if its upstream had confirmed it now: whoever imports vouches for it. From then on it ages
//! as any other: where the upstream is to be left alone for good, `freshness = { offline = true }` says so.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::import::{ImportError, Importer, blob, no_room};
use super::names::{Place, Places, Root, places};
use super::{Artifact, INDEX, Index, LAYOUT, Listed};
use crate::cache::{Wanted, lists};
use crate::oci::{Descriptor, Digest, MAX_DEPTH, Manifest, MediaType, Repository};
use crate::policy::eviction::Content;
use crate::policy::freshness::TagRecord;
use crate::policy::naming::Chosen;
use crate::store::{Held, List, Shelf, blocking};

/// Where a manifest came from that no upstream gave.
const IMPORTED: &str = "import";

/// What an import came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The images that are servable now.
    pub images: Vec<ImportedImage>,
    /// What refers to them, without a name of its own.
    pub referrers: usize,
    /// Bytes that were new.
    pub written: u64,
    /// Bytes that were held before.
    pub held: u64,
}

/// An image that was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedImage {
    /// Its name.
    pub image: String,
    /// Its manifest.
    pub digest: String,
}

impl Importer {
    /// Settles a bundle that was read to its end: checks that every image is whole, and then makes all of them
    /// servable. `names` says what a reference means here; `as_name` is what the operator calls the image.
    ///
    /// # Errors
    /// [`ImportError`]. Then no name has changed.
    pub async fn settle(
        mut self,
        as_name: Option<&str>,
        names: impl Fn(String) -> Wanted,
    ) -> Result<Imported, ImportError> {
        self.ended()?;
        let listed = self.listed()?;
        let mut digests = Vec::with_capacity(listed.len());
        for listed in &listed {
            let digest: Digest = listed.digest.parse().map_err(|error| {
                ImportError::NotALayout(format!("`{INDEX}` lists `{}`: {error}", listed.digest))
            })?;
            digests.push((digest, listed.media_type.as_deref().and_then(MediaType::parse)));
        }
        let manifests = Box::pin(self.walk(&digests)).await?;
        let roots = listed.into_iter().zip(&digests);
        let roots: Vec<Root> = roots
            .map(|(listed, (digest, _))| Root {
                listed,
                digest: *digest,
                refers: manifests
                    .get(digest)
                    .is_some_and(|manifest| manifest.subject.is_some()),
            })
            .collect();
        let places = places(&roots, &manifests, as_name, names)?;
        self.keep(roots, places, &manifests).await
    }

    /// The list of the layout.
    fn listed(&self) -> Result<Vec<Listed>, ImportError> {
        let layout: Value =
            serde_json::from_slice(self.layout.as_deref().unwrap_or_default()).unwrap_or_default();
        let version = layout["imageLayoutVersion"].as_str().unwrap_or("none");
        if !version.starts_with("1.") {
            let why = format!("`{LAYOUT}` names the version {version} of image layouts; 1 is read");
            return Err(ImportError::NotALayout(why));
        }
        let index: Result<Index, _> = serde_json::from_slice(self.index.as_deref().unwrap_or_default());
        let index = index.map_err(|error| ImportError::NotALayout(format!("`{INDEX}`: {error}")))?;
        match index.manifests.is_empty() {
            true => Err(ImportError::NotALayout(format!("`{INDEX}` lists no image"))),
            false => Ok(index.manifests),
        }
    }

    /// Finds the listed manifests and everything below them, in the bundle or in the cache. Level by level, so that each
    /// is looked at once, however often it is listed, and as near to the top as it stands.
    async fn walk(
        &mut self,
        listed: &[(Digest, Option<MediaType>)],
    ) -> Result<HashMap<Digest, Manifest>, ImportError> {
        let mut manifests = HashMap::new();
        let mut seen: HashMap<Digest, bool> = listed.iter().map(|(digest, _)| (*digest, true)).collect();
        let mut level = listed.to_vec();
        for depth in (0..=MAX_DEPTH).rev() {
            let mut next = Vec::new();
            for (digest, label) in level {
                if manifests.contains_key(&digest) {
                    continue;
                }
                let manifest = self.find(digest, label.as_ref()).await?;
                if depth > 0 && !manifest.manifests.is_empty() {
                    self.follow(&digest, &manifest, &mut seen, &mut next).await?;
                }
                manifests.insert(digest, manifest);
            }
            level = next;
        }
        Ok(manifests)
    }

    /// A manifest, whose blobs are held.
    async fn find(&mut self, digest: Digest, label: Option<&MediaType>) -> Result<Manifest, ImportError> {
        let parsed = match (self.waiting.get(&digest), self.cache.held(&digest).await) {
            (Some(bytes), _) => Manifest::parse(bytes.clone(), label),
            (None, Some((held, _))) => Manifest::parse(held.bytes, held.manifest.as_ref()),
            (None, None) => {
                return Err(ImportError::Lacks(format!(
                    "it lists {digest}, which is no manifest in it"
                )));
            }
        };
        let manifest = parsed.map_err(|error| ImportError::NotALayout(format!("{digest}: {error}")))?;
        self.stay(manifest_of(digest)).await?;
        for blob in &manifest.blobs {
            self.has_blob(&digest, &blob.digest).await?;
        }
        Ok(manifest)
    }

    /// Adds to `next` what an index lists and was not `seen` yet, as far as it is there: an index may come with some of
    /// its platforms only.
    async fn follow(
        &self,
        digest: &Digest,
        index: &Manifest,
        seen: &mut HashMap<Digest, bool>,
        next: &mut Vec<(Digest, Option<MediaType>)>,
    ) -> Result<(), ImportError> {
        let mut found = false;
        for child in &index.manifests {
            let is_there = match seen.get(&child.digest) {
                Some(is_there) => *is_there,
                None => {
                    let in_bundle = self.waiting.contains_key(&child.digest);
                    let is_there = in_bundle || self.cache.held(&child.digest).await.is_some();
                    seen.insert(child.digest, is_there);
                    if is_there {
                        next.push((child.digest, Some(child.media_type.clone())));
                    }
                    is_there
                }
            };
            found |= is_there;
        }
        match found {
            true => Ok(()),
            false => Err(ImportError::Lacks(format!(
                "it has the index {digest}, and none of its images"
            ))),
        }
    }

    /// Makes sure that a blob is held; one that looked like a manifest is kept as what it is.
    async fn has_blob(&mut self, of: &Digest, blob: &Digest) -> Result<(), ImportError> {
        if self.blobs.contains(blob) {
            return Ok(());
        }
        if let Some(bytes) = self.waiting.get(blob).cloned() {
            return self.keep_blob(*blob, bytes).await;
        }
        match self.stay(self::blob(*blob)).await? {
            true => Ok(()),
            false => Err(ImportError::Lacks(format!(
                "the blob {blob} of {of} is not in it, and not held here"
            ))),
        }
    }

    /// Keeps what is held from being evicted until the import has ended; false if it is not held.
    async fn stay(&mut self, content: Content) -> Result<bool, ImportError> {
        if self.stays.contains_key(&content) {
            return Ok(true);
        }
        let shelves = self.cache.shelves.clone();
        let stay = blocking(move || Ok(shelves.disk.stay(content))).await?;
        let held = stay.is_some();
        self.stays.extend(stay.map(|stay| (content, stay)));
        Ok(held)
    }

    /// Keeps the manifests, then, once everything is held, the names.
    async fn keep(
        mut self,
        roots: Vec<Root>,
        places: Places,
        manifests: &HashMap<Digest, Manifest>,
    ) -> Result<Imported, ImportError> {
        let Places {
            roots: places,
            kept,
            chosen,
        } = places;
        self.none_locked(&roots, &places)?;
        for (repository, digests) in &kept {
            self.keep_manifests(&chosen[repository], digests, manifests)
                .await?;
        }
        self.all_held(kept.values().flatten().copied().collect(), manifests)
            .await?;
        for (repository, digests) in &kept {
            for (digest, manifest) in of(digests, manifests) {
                for blob in &manifest.blobs {
                    let is_new = self.new.contains(&blob.digest);
                    self.cache.vouch(&chosen[repository], &blob.digest, is_new);
                }
                if let Some(subject) = &manifest.subject {
                    self.refer(repository, subject, referrer(digest, manifest)).await;
                }
            }
        }
        let (images, referrers) = self.name(&roots, places, manifests);
        self.cache.flush().await;
        Ok(Imported {
            images,
            referrers,
            written: self.written,
            held: self.held,
        })
    }

    fn none_locked(&self, roots: &[Root], places: &[Vec<Place>]) -> Result<(), ImportError> {
        for (root, places) in roots.iter().zip(places) {
            let locked = places.iter().find_map(|place| {
                let hold = self.cache.locked(&place.repository, place.tag.as_ref()?)?;
                (hold.descriptor.digest != root.digest).then_some((place, hold.descriptor.digest))
            });
            if let Some((place, digest)) = locked {
                let (name, brought) = (&place.name, root.digest);
                let why = format!("{name} is locked at {digest}, and the bundle has {brought}");
                return Err(ImportError::Locked(why));
            }
        }
        Ok(())
    }

    /// Keeps manifests for a repository.
    async fn keep_manifests(
        &mut self,
        chosen: &Chosen,
        digests: &BTreeSet<Digest>,
        manifests: &HashMap<Digest, Manifest>,
    ) -> Result<(), ImportError> {
        let (cache, now) = (self.cache.clone(), self.cache.clock.now());
        let repository = &chosen.repository;
        for (digest, manifest) in of(digests, manifests) {
            if self.waiting.remove(digest).is_some() {
                let size = manifest.bytes.len() as u64;
                match cache.held(digest).await {
                    Some(_) => self.held += size,
                    None => self.written += size,
                }
            }
            let held = Held::manifest(manifest.clone());
            let source = IMPORTED.to_owned();
            let closing = cache.closing(chosen, digest);
            cache.shelves.keep(repository, *digest, &held, source, now).await;
            drop(closing);
            if !self.stay(manifest_of(*digest)).await? {
                return Err(no_room(digest, "it could not be kept"));
            }
        }
        Ok(())
    }

    /// Makes sure that manifests and all they name are held: nothing is called anything before.
    async fn all_held(
        &self,
        digests: HashSet<Digest>,
        manifests: &HashMap<Digest, Manifest>,
    ) -> Result<(), ImportError> {
        let mut contents: HashSet<Content> = digests.iter().copied().map(manifest_of).collect();
        let kept = digests.iter().filter_map(|digest| manifests.get(digest));
        contents.extend(kept.flat_map(|manifest| manifest.blobs.iter().map(|named| blob(named.digest))));
        let shelves = self.cache.shelves.clone();
        let missing = blocking(move || {
            let mut contents = contents.into_iter();
            Ok(contents.find(|content| !shelves.disk.holds(content.shelf, &content.digest)))
        });
        match missing.await? {
            Some(missing) => Err(no_room(&missing.digest, "it did not stay")),
            None => Ok(()),
        }
    }

    /// Points the tags at their images. Returns the images, and how many referrers have no name.
    fn name(
        &self,
        roots: &[Root],
        places: Vec<Vec<Place>>,
        manifests: &HashMap<Digest, Manifest>,
    ) -> (Vec<ImportedImage>, usize) {
        let validated = self.cache.clock.now();
        let mut images = Vec::new();
        let mut referrers = 0;
        for (root, places) in roots.iter().zip(places) {
            let Some(manifest) = manifests.get(&root.digest) else {
                continue;
            };
            for place in places {
                if let Some(tag) = &place.tag {
                    let descriptor = Descriptor {
                        media_type: manifest.media_type.clone(),
                        digest: root.digest,
                        size: manifest.bytes.len() as u64,
                    };
                    let record = TagRecord {
                        descriptor,
                        validated,
                    };
                    self.cache.remember_tag(&place.repository, tag, record);
                }
                match place.name.is_empty() {
                    true => referrers += 1,
                    false => images.push(ImportedImage {
                        image: place.name,
                        digest: root.digest.to_string(),
                    }),
                }
            }
        }
        (images, referrers)
    }

    /// Adds a referrer to what is known of its subject.
    async fn refer(&self, repository: &Repository, subject: &Digest, entry: Value) {
        let key = lists::key("referrers", repository, &subject.to_string());
        let (shelves, validated) = (self.cache.shelves.clone(), self.cache.clock.now().as_millis());
        let added = blocking(move || {
            let known = shelves.records.list(&key);
            let known: Option<Value> = known.and_then(|list| serde_json::from_str(&list.body).ok());
            let mut entries = known
                .and_then(|mut index| index["manifests"].as_array_mut().map(std::mem::take))
                .unwrap_or_default();
            if !entries.iter().any(|known| known["digest"] == entry["digest"]) {
                entries.push(entry);
            }
            let index =
                json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX.as_str(), "manifests": entries});
            let body = index.to_string();
            shelves.records.put_list(&key, &List { validated, body });
            Ok(())
        });
        // It cannot fail: what cannot be written is told in the log.
        let _ = added.await;
    }
}

/// These manifests, with what they are.
fn of<'a>(
    digests: &'a BTreeSet<Digest>,
    manifests: &'a HashMap<Digest, Manifest>,
) -> impl Iterator<Item = (&'a Digest, &'a Manifest)> {
    let each = digests.iter();
    each.filter_map(|digest| Some((digest, manifests.get(digest)?)))
}

fn manifest_of(digest: Digest) -> Content {
    Content {
        shelf: Shelf::Manifests,
        digest,
    }
}

/// How a referrer stands in its subject's list.
fn referrer(digest: &Digest, manifest: &Manifest) -> Value {
    let artifact = Artifact::of(&manifest.bytes);
    let mut entry = json!({
        "mediaType": manifest.media_type.as_str(),
        "digest": digest.to_string(),
        "size": manifest.bytes.len(),
    });
    if let Some(kind) = artifact.kind() {
        entry["artifactType"] = kind.into();
    }
    if !artifact.annotations.is_empty() {
        entry["annotations"] = json!(artifact.annotations);
    }
    entry
}

/// The bytes that wait are not shown.
impl std::fmt::Debug for Importer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting: usize = self.waiting.values().map(Bytes::len).sum();
        write!(f, "Importer({} blobs, {waiting} bytes wait)", self.blobs.len())
    }
}
