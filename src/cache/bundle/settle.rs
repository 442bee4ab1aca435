//! A bundle was read: which images are in it, whether they are whole, what they are called here.
//!
//! A tag is remembered as if its upstream had confirmed it now: whoever imports vouches for it. From then on it ages
//! as any other: where the upstream is to be left alone for good, `freshness = { offline = true }` says so.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::import::{ImportError, Importer, blob, no_room};
use super::names::{Place, Root, places};
use super::{Artifact, INDEX, Index, LAYOUT, Listed};
use crate::cache::{Wanted, lists};
use crate::oci::{Descriptor, Digest, Manifest, MediaType, Repository};
use crate::policy::eviction::Content;
use crate::policy::freshness::TagRecord;
use crate::store::{Held, List, Shelf, blocking};

/// Indexes inside indexes that are followed.
const MAX_DEPTH: u32 = 4;
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

/// What was found below one root.
#[derive(Default)]
struct Walked {
    /// Each manifest once.
    tree: Vec<Digest>,
    /// How many levels below each were followed: what is listed a thousand times is walked once, and again only
    /// where more of it is within reach.
    levels: HashMap<Digest, u32>,
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
        let mut manifests = HashMap::new();
        let mut roots = Vec::new();
        for listed in listed {
            let digest: Digest = listed.digest.parse().map_err(|error| {
                ImportError::NotALayout(format!("`{INDEX}` lists `{}`: {error}", listed.digest))
            })?;
            let label = listed.media_type.as_deref().and_then(MediaType::parse);
            let mut walked = Walked::default();
            Box::pin(self.walk(digest, label.as_ref(), MAX_DEPTH, &mut walked, &mut manifests)).await?;
            let refers = manifests
                .get(&digest)
                .is_some_and(|manifest: &Manifest| manifest.subject.is_some());
            roots.push(Root {
                listed,
                digest,
                tree: walked.tree,
                refers,
            });
        }
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

    /// Finds a manifest and everything below it, in the bundle or in the cache.
    async fn walk(
        &mut self,
        digest: Digest,
        label: Option<&MediaType>,
        depth: u32,
        walked: &mut Walked,
        manifests: &mut HashMap<Digest, Manifest>,
    ) -> Result<(), ImportError> {
        let before = walked.levels.get(&digest).copied();
        if before.is_some_and(|levels| levels >= depth) {
            return Ok(());
        }
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
        walked.levels.insert(digest, depth);
        if before.is_none() {
            walked.tree.push(digest);
        }
        self.stay(manifest_of(digest)).await?;
        let blobs = manifest.blobs.clone();
        let children = manifest.manifests.clone();
        manifests.insert(digest, manifest);
        for blob in blobs {
            self.has_blob(&digest, &blob.digest).await?;
        }
        if depth == 0 || children.is_empty() {
            return Ok(());
        }
        let mut found = 0;
        for child in children {
            // An index may come with some of its platforms only.
            if walked.levels.contains_key(&child.digest)
                || self.waiting.contains_key(&child.digest)
                || self.cache.held(&child.digest).await.is_some()
            {
                let label = Some(&child.media_type);
                Box::pin(self.walk(child.digest, label, depth - 1, walked, manifests)).await?;
                found += 1;
            }
        }
        match found {
            0 => Err(ImportError::Lacks(format!(
                "it has the index {digest}, and none of its images"
            ))),
            _ => Ok(()),
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
        places: Vec<Vec<Place>>,
        manifests: &HashMap<Digest, Manifest>,
    ) -> Result<Imported, ImportError> {
        self.none_locked(&roots, &places)?;
        let mut done = BTreeSet::new();
        for (root, places) in roots.iter().zip(&places) {
            for place in places {
                self.keep_manifests(&place.repository, root, manifests, &mut done)
                    .await?;
            }
        }
        self.all_held(done.iter().map(|(_, digest)| *digest).collect(), manifests)
            .await?;
        for (repository, digest) in done {
            if let Some(manifest) = manifests.get(&digest)
                && let Some(subject) = &manifest.subject
            {
                let entry = referrer(&digest, manifest);
                self.refer(&repository, subject, entry).await;
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

    /// Keeps the manifests of a root for a repository, each once.
    async fn keep_manifests(
        &mut self,
        repository: &Repository,
        root: &Root,
        manifests: &HashMap<Digest, Manifest>,
        done: &mut BTreeSet<(Repository, Digest)>,
    ) -> Result<(), ImportError> {
        let (cache, now) = (self.cache.clone(), self.cache.clock.now());
        for digest in &root.tree {
            let Some(manifest) = manifests.get(digest) else {
                continue;
            };
            if !done.insert((repository.clone(), *digest)) {
                continue;
            }
            if self.waiting.remove(digest).is_some() {
                let size = manifest.bytes.len() as u64;
                match cache.held(digest).await {
                    Some(_) => self.held += size,
                    None => self.written += size,
                }
            }
            let held = Held::manifest(manifest.clone());
            let source = IMPORTED.to_owned();
            cache.shelves.keep(repository, *digest, &held, source, now).await;
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
