//! Which content is which repository's, where some of what is held is not for everybody.
//!
//! A digest may come from anywhere, but that it is held for one repository says nothing of another: who may pull from
//! that one could learn of what it never had. So held content is served as a repository's only if its upstream has
//! said so: by the tag that points at it, by having given it, or when it is asked, which costs nothing. What everybody
//! may have is everybody's under any name.
//!
//! A manifest that lists it says so too, for what came for everybody. Some registries take a manifest that lists what
//! they do not have, so it is not enough for what came for a repository that not everybody may see: that is marked
//! ([`Disk::closing`](crate::store::Disk::closing)), from before its first byte until everybody may have it.
//!
//! Until it has said so, nothing is looked up: who asks for what is held for another and who asks for what nobody has
//! are given the same, by the same questions, and have spent the same of what they may (S066).
//!
//! Where no upstream has credentials, or had, there is no such question, but for what the shared shelf has.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

use lru::LruCache;

use super::{Asker, Cache, Shelves};
use crate::oci::{Descriptor, Digest, Manifest, Reference, Repository};
use crate::policy::access::Proof;
use crate::policy::naming::Chosen;
use crate::store::{Closing, Held};
use crate::upstream::{Guard, Refusal};

/// Parts that are locked one by one: hits look here.
const PARTS: usize = 16;
/// Most that is remembered of each; about 8 MiB in all. What is forgotten is asked about once more.
const MOST: usize = 8192;

/// By what it is known, under hashes.
type Part = Mutex<LruCache<u128, Proof>>;

/// What is known to be whose. Of each only a hash is kept, whose keys are made at the start.
pub(super) struct Belongings {
    parts: [Part; PARTS],
    keys: Keys,
    /// What tells everybody's from others', by aspect.
    everybodys: [u128; 2],
}

/// For the halves of a hash.
struct Keys([RandomState; 2]);

impl Default for Belongings {
    fn default() -> Self {
        let keys = Keys([RandomState::new(), RandomState::new()]);
        Self {
            parts: std::array::from_fn(|_| Mutex::new(LruCache::unbounded())),
            everybodys: [Aspect::Itself, Aspect::Parts].map(|aspect| keys.hash(aspect)),
            keys,
        }
    }
}

impl Keys {
    fn hash(&self, what: impl Hash + Copy) -> u128 {
        let Self([high, low]) = self;
        u128::from(high.hash_one(what)) << 64 | u128::from(low.hash_one(what))
    }
}

impl Belongings {
    /// By what this is known to be the repository's, or (`None`) everybody's.
    fn proof(&self, repository: Option<&Repository>, what: (&Digest, Aspect)) -> Option<Proof> {
        let (part, key) = self.place(repository, what);
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        part.get(&key).copied()
    }

    /// Remembers by what it is; false if as much was known.
    fn note(&self, repository: Option<&Repository>, what: (&Digest, Aspect), proof: Proof) -> bool {
        let (part, key) = self.place(repository, what);
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let known = part.get(&key).copied();
        if known >= Some(proof) {
            return false;
        }
        part.put(key, proof);
        if part.len() > MOST {
            part.pop_lru();
        }
        true
    }

    /// True if its upstream has said that this is the repository's, or everybody's.
    pub(super) fn are_said(&self, repository: &Repository, digest: &Digest) -> bool {
        let is_said = |owner| self.proof(owner, (digest, Aspect::Itself)) == Some(Proof::Said);
        is_said(None) || is_said(Some(repository))
    }

    /// The upstream has given this for the repository.
    pub(super) fn given(&self, repository: &Repository, digest: &Digest) {
        self.note(Some(repository), (digest, Aspect::Itself), Proof::Said);
    }

    fn place(&self, repository: Option<&Repository>, (digest, aspect): (&Digest, Aspect)) -> (&Part, u128) {
        let key = match (repository, digest.as_bytes().first_chunk()) {
            // A digest is a hash already, and hits of what everybody may have have no time for another: nobody finds a
            // second digest with the same half.
            (None, Some(half)) => self.everybodys[aspect as usize] ^ u128::from_ne_bytes(*half),
            _ => self.keys.hash((repository, digest, aspect)),
        };
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
        let known = &self.shelves.belongings;
        let suffices = |owner| {
            let proof = known.proof(owner, (digest, Aspect::Itself));
            proof.is_some_and(|proof| {
                proof.suffices(|| self.shelves.is_closed(digest, Some(&chosen.repository)))
            })
        };
        !self.upstreams.have_secrets() || suffices(None) || suffices(Some(&chosen.repository))
    }

    /// True if it matters whose content is: some of what is held, or stands on the shared shelf, is not for everybody.
    fn is_told_apart(&self) -> bool {
        self.upstreams.have_secrets() || self.shelves.shared.get().is_some()
    }

    /// As [`Self::belongs`], also by what was written down. Asks nobody.
    pub(super) async fn is_known_to_belong(&self, chosen: &Chosen, digest: &Digest) -> bool {
        if self.belongs(chosen, digest) {
            return true;
        }
        let (known, itself) = (&self.shelves.belongings, (digest, Aspect::Itself));
        let listed = known
            .proof(None, itself)
            .max(known.proof(Some(&chosen.repository), itself));
        if listed.is_none() {
            return false;
        }
        let (shelves, repository, digest) = (self.shelves.clone(), chosen.repository.clone(), *digest);
        let look = move || Ok(shelves.records.is_given(&repository, &digest));
        // A disk that does not tell knows of nothing.
        let given = self.shelves.disk.health().looking(look).await.unwrap_or(false);
        if given {
            self.note_belongs(chosen, &digest);
        }
        given
    }

    /// The upstream has said that this is its repository's.
    pub(super) fn note_belongs(&self, chosen: &Chosen, digest: &Digest) {
        if !self.is_told_apart() {
            return;
        }
        let (owner, shelves) = (self.owner(chosen), &self.shelves);
        let is_news = shelves
            .belongings
            .note(owner, (digest, Aspect::Itself), Proof::Said);
        match owner {
            None if shelves.is_closed(digest, None) => shelves.open_up(digest),
            Some(repository) if is_news && shelves.disk.holds_closed(digest) == Some(true) => {
                shelves.records.put_given(repository, digest);
            }
            None | Some(_) => {}
        }
    }

    /// The operator says that a repository has a blob, and brought it along if it is new: whose that is was not known
    /// before.
    pub(super) fn vouch(&self, chosen: &Chosen, digest: &Digest, is_new: bool) {
        match self.is_open(chosen) {
            true if is_new => self.shelves.open_up(digest),
            // What came for others does not become everybody's by a bundle that lists it.
            true => {}
            false => self.note_belongs(chosen, digest),
        }
    }

    /// True if everybody may see a repository, as far as is known.
    pub(super) fn is_open(&self, chosen: &Chosen) -> bool {
        self.owner(chosen).is_none()
    }

    /// Marks what is about to be fetched for a repository, if not everybody may see that, until this is dropped.
    pub(super) fn closing(&self, chosen: &Chosen, digest: &Digest) -> Option<Closing> {
        let owner = self.owner(chosen);
        owner.map(|_| self.shelves.disk.closing(digest, owner))
    }

    /// A manifest that is this repository's is about to be served: it says that what it lists is, too.
    pub(super) fn note_parts(&self, chosen: &Chosen, digest: &Digest, held: &Held) {
        self.note_belongs(chosen, digest);
        let owner = self.owner(chosen);
        let known = &self.shelves.belongings;
        if !self.is_told_apart() || !known.note(owner, (digest, Aspect::Parts), Proof::Listed) {
            return;
        }
        let Ok(manifest) = Manifest::parse(held.bytes.clone(), held.manifest.as_ref()) else {
            return;
        };
        for part in manifest.blobs.iter().chain(&manifest.manifests) {
            known.note(owner, (&part.digest, Aspect::Itself), Proof::Listed);
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

impl Shelves {
    /// True if what is here of a digest came for a repository that not everybody may see, or comes for one that is not
    /// this.
    pub(super) fn is_closed(&self, digest: &Digest, to: Option<&Repository>) -> bool {
        let marked = self
            .disk
            .is_closed(digest, to)
            .or_else(|| self.memory.is_closed(digest));
        marked.unwrap_or(false)
    }

    /// Keeps verified content in memory, with its mark. What is a manifest and a blob stays the manifest, which is asked
    /// for more often and where a pull begins.
    pub(super) fn take_into_memory(&self, digest: Digest, held: Held) {
        let is_manifest = |known: Held| known.manifest.is_some();
        if held.manifest.is_none() && self.memory.get(&digest).is_some_and(is_manifest) {
            return;
        }
        let closed = self.is_closed(&digest, None);
        self.memory.put(digest, held, closed);
    }

    /// A repository that everybody may see has this.
    fn open_up(&self, digest: &Digest) {
        self.memory.open_up(digest);
        self.disk.open_up(digest);
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
        let known = Belongings::default();
        let [digest, other] = [b"x", b"y"].map(|bytes| Digest::sha256(bytes));
        let (ours, theirs) = (repository("a/b"), repository("a/c"));
        let proof = |owner, digest, aspect| known.proof(owner, (digest, aspect));
        for (noted, is_news, best) in [
            (Proof::Listed, true, Proof::Listed),
            (Proof::Said, true, Proof::Said),
            (Proof::Said, false, Proof::Said),
            (Proof::Listed, false, Proof::Said),
        ] {
            assert_eq!(known.note(Some(&ours), (&digest, Aspect::Itself), noted), is_news);
            assert_eq!(proof(Some(&ours), &digest, Aspect::Itself), Some(best));
        }
        assert_eq!(proof(Some(&ours), &digest, Aspect::Parts), None);
        assert_eq!(proof(Some(&theirs), &digest, Aspect::Itself), None);
        assert_eq!(proof(None, &digest, Aspect::Itself), None);
        assert_eq!(proof(Some(&ours), &other, Aspect::Itself), None);
        // Nor is what is everybody's.
        assert!(known.note(None, (&digest, Aspect::Itself), Proof::Said));
        assert_eq!(proof(None, &digest, Aspect::Itself), Some(Proof::Said));
        assert_eq!(proof(None, &digest, Aspect::Parts), None);
        assert_eq!(proof(None, &other, Aspect::Itself), None);
        assert_eq!(proof(Some(&theirs), &digest, Aspect::Itself), None);
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
