//! What a bundle is made of: everything held that belongs to the images it is to hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Artifact, CONTAINERD_NAME, Listed, REF_NAME};
use crate::cache::{Cache, lists};
use crate::oci::{Child, Descriptor, Digest, MAX_DEPTH, Manifest, Platforms, Reference, Tag, children};
use crate::policy::naming::Chosen;
use crate::store::{Held, Shelf, blocking};

/// Most referrers of one image, those of referrers included.
const MAX_REFERRERS: usize = 1000;

/// What belongs together: manifests, and blobs with their lengths.
#[derive(Clone, Default)]
pub(super) struct Part {
    pub(super) manifests: BTreeMap<Digest, Held>,
    pub(super) blobs: BTreeMap<Digest, u64>,
}

impl Part {
    fn add(&mut self, other: Self) {
        self.manifests.extend(other.manifests);
        self.blobs.extend(other.blobs);
    }
}

/// A part that is being gathered.
struct Gathering<'a> {
    platforms: Option<&'a Platforms>,
    part: Part,
    /// What came of each manifest, and how many levels below it were followed: what is listed a thousand times is
    /// looked at once, and again only where more of it is within reach.
    seen: HashMap<Digest, (usize, Result<(), String>)>,
}

/// Everything of all images.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) part: Part,
    /// The images by name, and the list's entries of them.
    pub(super) named: BTreeMap<String, Listed>,
    /// What stands below a name: it needs no entry of its own.
    pub(super) below: BTreeSet<Digest>,
    /// What refers to them and has no name.
    pub(super) referrers: BTreeMap<Digest, Listed>,
}

impl Cache {
    /// Collects one image and, if wanted, what refers to it.
    ///
    /// # Errors
    /// What is not held, in words.
    pub(super) async fn collect(
        &self,
        (chosen, reference): (&Chosen, &Reference),
        platforms: Option<&Platforms>,
        referrers: bool,
        all: &mut Collected,
    ) -> Result<(), String> {
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => {
                let record = self.recorded(&chosen.repository, tag).await;
                record.ok_or("the tag is not known")?.descriptor.digest
            }
        };
        let part = Box::pin(self.part(&digest, platforms)).await?;
        all.name(chosen, reference, &digest, &part);
        let mut subjects: Vec<Digest> = part.manifests.keys().copied().collect();
        all.part.add(part);
        let mut left = if referrers { MAX_REFERRERS } else { 0 };
        while let Some(subject) = subjects.pop() {
            if left == 0 {
                break;
            }
            for (tag, digest) in self.referrers_of(chosen, &subject).await {
                if left == 0 {
                    break;
                }
                if tag.is_none() && all.referrers.contains_key(&digest) {
                    continue;
                }
                // What is held in part is of no use.
                let Ok(part) = Box::pin(self.part(&digest, None)).await else {
                    continue;
                };
                left = left.saturating_sub(1);
                match tag {
                    Some(tag) => all.name(chosen, &Reference::Tag(tag), &digest, &part),
                    None => all.refer(&digest, &part),
                }
                let new = part
                    .manifests
                    .keys()
                    .filter(|new| !all.part.manifests.contains_key(new));
                subjects.extend(new);
                all.part.add(part);
            }
        }
        Ok(())
    }

    /// A manifest and all that follows from it: of an index, the wanted platforms; without a wish, those that are
    /// held whole.
    async fn part(&self, digest: &Digest, platforms: Option<&Platforms>) -> Result<Part, String> {
        let mut gathering = Gathering {
            platforms,
            part: Part::default(),
            seen: HashMap::new(),
        };
        Box::pin(self.gather(digest, MAX_DEPTH, &mut gathering)).await?;
        Ok(gathering.part)
    }

    async fn gather(
        &self,
        digest: &Digest,
        depth: usize,
        gathering: &mut Gathering<'_>,
    ) -> Result<(), String> {
        if let Some((levels, outcome)) = gathering.seen.get(digest)
            && *levels >= depth
        {
            return outcome.clone();
        }
        let outcome = self.gather_anew(digest, depth, gathering).await;
        gathering.seen.insert(*digest, (depth, outcome.clone()));
        outcome
    }

    /// What cannot be gathered whole leaves nothing, if no platforms are asked for; else there will be no part.
    async fn gather_anew(
        &self,
        digest: &Digest,
        depth: usize,
        gathering: &mut Gathering<'_>,
    ) -> Result<(), String> {
        let missing = || format!("the manifest {digest} is not held");
        let (held, _) = self.held(digest).await.ok_or_else(missing)?;
        let parsed = Manifest::parse(held.bytes.clone(), held.manifest.as_ref());
        let manifest = parsed.map_err(|error| format!("{digest}: {error}"))?;
        let blobs = self.blobs(manifest.blobs).await?;
        if !manifest.manifests.is_empty() {
            if depth == 0 {
                return Err(format!("{digest} is an index too deep in others"));
            }
            let listed = children(&held.bytes);
            self.gather_index(digest, &listed, depth, gathering).await?;
        }
        gathering.part.blobs.extend(blobs);
        gathering.part.manifests.insert(*digest, held);
        Ok(())
    }

    async fn gather_index(
        &self,
        digest: &Digest,
        listed: &[Child],
        depth: usize,
        gathering: &mut Gathering<'_>,
    ) -> Result<(), String> {
        if let Some(platforms) = gathering.platforms {
            let wanted = platforms.choose(listed);
            if wanted.is_empty() {
                return Err(format!("the index {digest} has nothing for {platforms}"));
            }
            for child in wanted {
                Box::pin(self.gather(&child.digest, depth - 1, gathering)).await?;
            }
            return Ok(());
        }
        let (mut found, mut missing) = (false, None);
        // What attests a manifest goes with it.
        let (papers, images): (Vec<_>, Vec<_>) = listed.iter().partition(|child| child.attests.is_some());
        for child in images.into_iter().chain(papers) {
            if child
                .attests
                .is_some_and(|attested| !gathering.part.manifests.contains_key(&attested))
            {
                continue;
            }
            match Box::pin(self.gather(&child.digest, depth - 1, gathering)).await {
                Ok(()) => found = true,
                Err(why) => missing = missing.or(Some(why)),
            }
        }
        match (found, missing) {
            (false, Some(missing)) => Err(format!("of no platform is everything held; for one, {missing}")),
            _ => Ok(()),
        }
    }

    /// The lengths of blobs, if all of them are held.
    async fn blobs(&self, blobs: Vec<Descriptor>) -> Result<BTreeMap<Digest, u64>, String> {
        let shelves = self.shelves.clone();
        let look = blocking(move || {
            let sizes = blobs.into_iter().map(|blob| {
                let stored = shelves.disk.get(Shelf::Blobs, &blob.digest);
                // A manifest of the first schema tells no lengths.
                let whole = stored.filter(|stored| blob.size == 0 || stored.size == blob.size);
                let size = whole.map(|stored| stored.size);
                size.map(|size| (blob.digest, size)).ok_or(blob.digest)
            });
            Ok(sizes.collect::<Result<BTreeMap<_, _>, Digest>>())
        });
        let looked = look
            .await
            .map_err(|error| format!("the disk cannot be read: {error}"))?;
        looked.map_err(|missing| format!("the blob {missing} is not held"))
    }

    /// What is known to refer to a manifest: with the tag it is kept under, if it is.
    async fn referrers_of(&self, chosen: &Chosen, subject: &Digest) -> Vec<(Option<Tag>, Digest)> {
        let (shelves, repository) = (self.shelves.clone(), chosen.repository.clone());
        let subject = *subject;
        let look = move || {
            let key = lists::key("referrers", &repository, &subject.to_string());
            let list = shelves.records.list(&key);
            let listed = list
                .map(|list| children(list.body.as_bytes()))
                .unwrap_or_default();
            let mut found: Vec<_> = listed.into_iter().map(|child| (None, child.digest)).collect();
            let list = std::iter::once(Tag::of_referrers(&subject));
            for tag in list.chain(Tag::of_signatures(&subject)) {
                if let Some(record) = shelves.records.tag(&repository, &tag) {
                    found.push((Some(tag), record.descriptor.digest));
                }
            }
            Ok(found)
        };
        let looked = self.shelves.disk.health().looking(look).await;
        looked.unwrap_or_default()
    }
}

impl Collected {
    fn name(&mut self, chosen: &Chosen, reference: &Reference, digest: &Digest, part: &Part) {
        let between = if matches!(reference, Reference::Tag(_)) {
            ':'
        } else {
            '@'
        };
        let name = format!("{}{between}{reference}", chosen.repository);
        if let Some(mut listed) = listed(digest, part) {
            for key in [REF_NAME, CONTAINERD_NAME] {
                listed.annotations.insert(key.to_owned(), name.clone());
            }
            self.named.insert(name, listed);
            self.below.extend(part.manifests.keys());
        }
    }

    fn refer(&mut self, digest: &Digest, part: &Part) {
        if let Some(mut listed) = listed(digest, part) {
            let held = part.manifests.get(digest);
            listed.artifact_type = held.and_then(|held| Artifact::of(&held.bytes).kind());
            self.referrers.insert(*digest, listed);
        }
    }
}

fn listed(digest: &Digest, part: &Part) -> Option<Listed> {
    let held = part.manifests.get(digest)?;
    Some(Listed {
        media_type: held.manifest.as_ref().map(ToString::to_string),
        digest: digest.to_string(),
        size: held.bytes.len() as u64,
        artifact_type: None,
        annotations: BTreeMap::new(),
    })
}
