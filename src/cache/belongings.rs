//! Which content is which repository's, where some of what is held is not for everybody.
//!
//! A digest may come from anywhere, but that it is held for one repository says nothing of another: who may pull from
//! that one could learn of what it never had. So held content is served as a repository's only if its upstream has
//! said so: by the tag that points at it, by the manifest that lists it, by having given it, or when it is asked,
//! which costs nothing. What everybody may have is everybody's under any name.
//!
//! Until it has said so, nothing is looked up: who asks for what is held for another and who asks for what nobody has
//! are given the same, by the same questions, and have spent the same of what they may (S066).
//!
//! Where no upstream has credentials, or had, there is no such question, but for what the shared shelf has.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use lru::LruCache;

use super::{Asker, Cache};
use crate::oci::{Descriptor, Digest, Manifest, Reference, Repository};
use crate::policy::naming::Chosen;
use crate::store::Held;
use crate::upstream::{Guard, Refusal};

/// Parts that are locked one by one: hits look here.
const PARTS: usize = 16;
/// Most that is remembered of each; about 8 MiB in all. What is forgotten is asked about once more.
const MOST: usize = 8192;

/// What is known to be whose. Of each only a hash is kept, whose keys are made at the start.
pub(super) struct Belongings {
    parts: [Mutex<LruCache<u128, ()>>; PARTS],
    keys: [RandomState; 2],
}

impl Default for Belongings {
    fn default() -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::new(LruCache::unbounded())),
            keys: [RandomState::new(), RandomState::new()],
        }
    }
}

impl Belongings {
    /// True if this is known to be the repository's, or (`None`) everybody's.
    fn has(&self, repository: Option<&Repository>, what: (&Digest, Aspect)) -> bool {
        let (part, key) = self.place(repository, what);
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        part.get(&key).is_some()
    }

    /// Remembers that it is; false if that was known.
    fn note(&self, repository: Option<&Repository>, what: (&Digest, Aspect)) -> bool {
        let (part, key) = self.place(repository, what);
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = part.put(key, ()).is_none();
        if part.len() > MOST {
            part.pop_lru();
        }
        is_new
    }

    /// True if this is known to be the repository's, or everybody's.
    pub(super) fn are(&self, repository: &Repository, digest: &Digest) -> bool {
        let itself = (digest, Aspect::Itself);
        self.has(None, itself) || self.has(Some(repository), itself)
    }

    /// The upstream has given this for the repository.
    pub(super) fn given(&self, repository: &Repository, digest: &Digest) {
        self.note(Some(repository), (digest, Aspect::Itself));
    }

    fn place(
        &self,
        repository: Option<&Repository>,
        what: (&Digest, Aspect),
    ) -> (&Mutex<LruCache<u128, ()>>, u128) {
        let [high, low] = &self.keys;
        let key = (repository, what);
        let key = u128::from(high.hash_one(key)) << 64 | u128::from(low.hash_one(key));
        (&self.parts[(key % PARTS as u128) as usize], key)
    }
}

/// What of a digest is meant.
#[derive(Clone, Copy, Hash)]
enum Aspect {
    Itself,
    /// All that it lists as a manifest.
    Parts,
}

impl Cache {
    /// True if content may be served as this repository's, as far as is known. Asks nobody.
    pub(super) fn belongs(&self, chosen: &Chosen, digest: &Digest) -> bool {
        !self.upstreams.have_secrets() || self.shelves.belongings.are(&chosen.repository, digest)
    }

    /// True if it matters whose content is: some of what is held, or stands on the shared shelf, is not for everybody.
    fn is_told_apart(&self) -> bool {
        self.upstreams.have_secrets() || self.shelves.shared.get().is_some()
    }

    /// The upstream has said that this is its repository's.
    pub(super) fn note_belongs(&self, chosen: &Chosen, digest: &Digest) {
        if self.is_told_apart() {
            let owner = self.owner(chosen);
            self.shelves.belongings.note(owner, (digest, Aspect::Itself));
        }
    }

    /// A manifest that is this repository's is about to be served: what it lists is, too.
    pub(super) fn note_parts(&self, chosen: &Chosen, digest: &Digest, held: &Held) {
        self.note_belongs(chosen, digest);
        let owner = self.owner(chosen);
        let known = &self.shelves.belongings;
        if !self.is_told_apart() || !known.note(owner, (digest, Aspect::Parts)) {
            return;
        }
        let Ok(manifest) = Manifest::parse(held.bytes.clone(), held.manifest.as_ref()) else {
            return;
        };
        for part in manifest.blobs.iter().chain(&manifest.manifests) {
            known.note(owner, (&part.digest, Aspect::Itself));
        }
    }

    /// Whose the content of a repository is: its own, or (`None`) everybody's, who may see the repository.
    fn owner<'a>(&self, chosen: &'a Chosen) -> Option<&'a Repository> {
        let open = match self.guard(chosen) {
            Guard::Nobody => !self.upstreams.has_credentials(chosen),
            Guard::Everybody => self.is_known_public(chosen),
            Guard::Client => false,
        };
        (!open).then_some(&chosen.repository)
    }

    /// Makes sure that a manifest is this repository's, or asks its upstream, by HEAD; what that said, if it was asked.
    ///
    /// # Errors
    /// If it is not, or nobody can tell.
    pub(super) async fn confirm_manifest(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        asker: &Asker,
    ) -> Result<Option<Descriptor>, Refusal> {
        if self.belongs(chosen, digest) {
            return Ok(None);
        }
        let (shelves, repository, wanted) = (self.shelves.clone(), chosen.repository.clone(), *digest);
        let look = move || Ok(shelves.records.held(&repository, &wanted).is_some());
        let told = match self.shelves.disk.health().looking(look).await {
            Ok(true) => None,
            // A disk that does not tell knows of nothing.
            Ok(false) | Err(_) => Some(self.head_of(chosen, digest, asker).await?),
        };
        self.note_belongs(chosen, digest);
        Ok(told)
    }

    /// What the upstream says of a manifest of a repository's.
    pub(super) async fn head_of(
        &self,
        chosen: &Chosen,
        digest: &Digest,
        asker: &Asker,
    ) -> Result<Descriptor, Refusal> {
        let (upstream, path) = (self.reach(chosen)?, &chosen.repository.path);
        let reference = Reference::Digest(*digest);
        let told = upstream.head_for(path, &reference, Some(*asker)).await?;
        match told.digest == *digest {
            true => Ok(told),
            false => Err(Refusal::Unusable("HEAD tells of another digest".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(path: &str) -> Repository {
        Repository {
            registry: "docker.io".parse().unwrap(),
            path: path.parse().unwrap(),
        }
    }

    #[test]
    fn s065_what_is_one_repositorys_is_no_others_and_is_not_its_parts() {
        let (known, digest) = (Belongings::default(), Digest::sha256(b"x"));
        let (ours, theirs) = (repository("a/b"), repository("a/c"));
        assert!(known.note(Some(&ours), (&digest, Aspect::Itself)));
        assert!(!known.note(Some(&ours), (&digest, Aspect::Itself)));
        assert!(known.has(Some(&ours), (&digest, Aspect::Itself)));
        assert!(!known.has(Some(&ours), (&digest, Aspect::Parts)));
        assert!(!known.has(Some(&theirs), (&digest, Aspect::Itself)));
        assert!(!known.has(None, (&digest, Aspect::Itself)));
        assert!(!known.has(Some(&ours), (&Digest::sha256(b"y"), Aspect::Itself)));
    }

    #[test]
    fn s120_strangers_cannot_make_it_grow() {
        let known = Belongings::default();
        for number in 0..2 * MOST * PARTS {
            known.given(&repository("a/b"), &Digest::sha256(&number.to_le_bytes()));
        }
        let lens = known.parts.iter().map(|part| part.lock().unwrap().len());
        assert!(lens.max() <= Some(MOST));
    }
}
