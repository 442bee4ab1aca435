//! What is kept by the operator's word: locks and pins.
//!
//! A lock keeps content, and a locked tag serves what it points at whatever its upstream says. A pin keeps
//! content while the tag may move: then it keeps what the tag points at next. Both keep a manifest, the manifests
//! it lists and the blobs of them all.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::oci::{Descriptor, Digest, MediaType, Reference, Repository, Tag};

/// The version of the file. Another one is not understood.
const VERSION: u32 = 1;

/// What can be held: a tag, or a manifest of a repository by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The repository.
    pub repository: Repository,
    /// The tag or digest.
    pub reference: Reference,
}

/// How something is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It stays, and a tag does not move.
    Lock,
    /// It stays, and a tag may move.
    Pin,
}

/// What is known of something held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The manifest that is kept: what the tag points at, or pointed at last.
    pub descriptor: Descriptor,
    /// When the operator asked for it.
    pub since: Time,
}

/// All locks and pins. Something may have both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds(BTreeMap<(Name, Kind), Hold>);

/// Why the text of a file is not understood.
#[derive(Debug, thiserror::Error)]
pub enum HoldsError {
    /// It is no JSON of the form that is written here.
    #[error("it is not what Seawall writes: {0}")]
    Form(#[from] serde_json::Error),
    /// It was written by another version.
    #[error("it has version {0}; this Seawall knows version {VERSION}")]
    Version(u32),
    /// A name in it is none.
    #[error("`{0}` in it is not a name")]
    Name(String),
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    holds: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    kind: Kind,
    name: String,
    digest: String,
    media_type: String,
    size: u64,
    /// Milliseconds since the Unix epoch.
    since: u64,
}

impl Name {
    /// The name of a tag.
    pub fn of_tag(repository: &Repository, tag: &Tag) -> Self {
        Self {
            repository: repository.clone(),
            reference: Reference::Tag(tag.clone()),
        }
    }

    /// Reads what is displayed.
    fn parse(text: &str) -> Option<Self> {
        let (repository, reference) = match text.split_once('@') {
            Some((repository, digest)) => (repository, Reference::Digest(digest.parse().ok()?)),
            None => {
                let (repository, tag) = text.rsplit_once(':')?;
                (repository, Reference::Tag(tag.parse().ok()?))
            }
        };
        let (registry, path) = repository.split_once('/')?;
        let repository = Repository {
            registry: registry.parse().ok()?,
            path: path.parse().ok()?,
        };
        Some(Self {
            repository,
            reference,
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            Reference::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Reference::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lock => "locked",
            Self::Pin => "pinned",
        })
    }
}

impl Holds {
    /// Holds something from now on. What is locked already stays locked to what it was.
    pub fn hold(&mut self, name: Name, kind: Kind, descriptor: Descriptor, now: Time) {
        let hold = Hold {
            descriptor,
            since: now,
        };
        self.0.entry((name, kind)).or_insert(hold);
    }

    /// Holds something no longer. False if it was not held so.
    pub fn release(&mut self, name: &Name, kind: Kind) -> bool {
        self.0.remove(&(name.clone(), kind)).is_some()
    }

    /// What a locked tag serves.
    pub fn locked(&self, repository: &Repository, tag: &Tag) -> Option<&Hold> {
        self.0.get(&(Name::of_tag(repository, tag), Kind::Lock))
    }

    /// True if a tag is pinned to something else than it points at.
    pub fn moves(&self, repository: &Repository, tag: &Tag, descriptor: &Descriptor) -> bool {
        let pin = self.0.get(&(Name::of_tag(repository, tag), Kind::Pin));
        pin.is_some_and(|pin| pin.descriptor.digest != descriptor.digest)
    }

    /// A tag points elsewhere: its pin follows. False if nothing changes.
    pub fn moved(&mut self, repository: &Repository, tag: &Tag, descriptor: &Descriptor) -> bool {
        let moves = self.moves(repository, tag, descriptor);
        if let Some(pin) = self.0.get_mut(&(Name::of_tag(repository, tag), Kind::Pin)) {
            pin.descriptor = descriptor.clone();
        }
        moves
    }

    /// How something is held; a lock before a pin.
    pub fn kind_of(&self, name: &Name) -> Option<Kind> {
        let kinds = [Kind::Lock, Kind::Pin].into_iter();
        kinds
            .into_iter()
            .find(|kind| self.0.contains_key(&(name.clone(), *kind)))
    }

    /// All of them, sorted by name, locks first.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, Kind, &Hold)> {
        self.0.iter().map(|((name, kind), hold)| (name, *kind, hold))
    }

    /// The manifests that are kept for their own sake, each with the repository it is held for.
    pub fn roots(&self) -> impl Iterator<Item = (&Repository, &Digest, Kind)> {
        self.iter()
            .map(|(name, kind, hold)| (&name.repository, &hold.descriptor.digest, kind))
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of a file: the same for the same holds.
    pub fn to_text(&self) -> String {
        let lines = self.iter().map(|(name, kind, hold)| Line {
            kind,
            name: name.to_string(),
            digest: hold.descriptor.digest.to_string(),
            media_type: hold.descriptor.media_type.to_string(),
            size: hold.descriptor.size,
            since: hold.since.as_millis(),
        });
        let file = File {
            version: VERSION,
            holds: lines.collect(),
        };
        serde_json::to_string_pretty(&file).expect("names and numbers always serialise") + "\n"
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`HoldsError`] if any of it is not understood: a hold must not be lost by reading past it.
    pub fn from_text(text: &str) -> Result<Self, HoldsError> {
        let version = serde_json::from_str::<serde_json::Value>(text)?;
        let version = version.get("version").and_then(serde_json::Value::as_u64);
        if let Some(version) = version.and_then(|version| u32::try_from(version).ok())
            && version != VERSION
        {
            return Err(HoldsError::Version(version));
        }
        let file: File = serde_json::from_str(text)?;
        let holds: Result<_, _> = file.holds.into_iter().map(Line::read).collect();
        holds.map(Self)
    }
}

impl Line {
    fn read(self) -> Result<((Name, Kind), Hold), HoldsError> {
        let wrong = HoldsError::Name;
        let name = Name::parse(&self.name).ok_or_else(|| wrong(self.name.clone()))?;
        let hold = Hold {
            descriptor: Descriptor {
                media_type: MediaType::parse(&self.media_type).ok_or(wrong(self.media_type))?,
                digest: self.digest.parse().map_err(|_| wrong(self.digest))?,
                size: self.size,
            },
            since: Time::from_millis(self.since),
        };
        Ok(((name, self.kind), hold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn descriptor(content: &str) -> Descriptor {
        Descriptor {
            media_type: MediaType::OCI_MANIFEST,
            digest: Digest::sha256(content.as_bytes()),
            size: content.len() as u64,
        }
    }

    fn tag(name: &Name) -> Tag {
        match &name.reference {
            Reference::Tag(tag) => tag.clone(),
            Reference::Digest(_) => panic!("no tag"),
        }
    }

    #[test]
    fn a_lock_stays_where_it_is_and_a_pin_follows_its_tag() {
        let (mut holds, alpine) = (Holds::default(), name("docker.io/library/alpine:3.20"));
        let (old, new, tag) = (descriptor("old"), descriptor("new"), tag(&alpine));
        let repository = alpine.repository.clone();
        holds.hold(alpine.clone(), Kind::Lock, old.clone(), Time::from_millis(1));
        holds.hold(alpine.clone(), Kind::Pin, old.clone(), Time::from_millis(1));
        assert!(holds.moves(&repository, &tag, &new) && !holds.moves(&repository, &tag, &old));
        assert!(
            !holds.moves(&repository, &"other".parse().unwrap(), &new),
            "it is not pinned"
        );
        assert!(holds.moved(&repository, &tag, &new));
        assert!(!holds.moves(&repository, &tag, &new) && holds.moves(&repository, &tag, &old));
        assert!(!holds.moved(&repository, &tag, &new));
        assert_eq!(holds.locked(&repository, &tag).unwrap().descriptor, old);
        let kept: Vec<_> = holds.roots().map(|(_, digest, kind)| (*digest, kind)).collect();
        assert_eq!(kept, [(old.digest, Kind::Lock), (new.digest, Kind::Pin)]);
        // Locking again does not move it.
        holds.hold(alpine.clone(), Kind::Lock, new.clone(), Time::from_millis(2));
        assert_eq!(holds.locked(&repository, &tag).unwrap().descriptor, old);
        assert_eq!(holds.kind_of(&alpine), Some(Kind::Lock));
        assert!(holds.release(&alpine, Kind::Lock) && !holds.release(&alpine, Kind::Lock));
        assert_eq!(holds.locked(&repository, &tag), None);
        assert_eq!(holds.kind_of(&alpine), Some(Kind::Pin));
    }

    #[test]
    fn the_file_is_sorted_and_reads_back_the_same() {
        let digest = Digest::sha256(b"x");
        let names = [
            name("localhost:5000/b:latest"),
            name("docker.io/library/alpine:3.20"),
            name(&format!("docker.io/library/alpine@{digest}")),
        ];
        let (mut one, mut other) = (Holds::default(), Holds::default());
        for each in &names {
            one.hold(each.clone(), Kind::Pin, descriptor("x"), Time::from_millis(7));
        }
        for each in names.iter().rev() {
            other.hold(each.clone(), Kind::Pin, descriptor("x"), Time::from_millis(7));
        }
        assert_eq!(one.to_text(), other.to_text());
        assert_eq!(Holds::from_text(&one.to_text()).unwrap(), one);
        let order: Vec<String> = one.iter().map(|(name, ..)| name.to_string()).collect();
        assert!(
            order[0].ends_with("alpine:3.20") && order[2].starts_with("localhost"),
            "{order:?}"
        );
    }

    #[test]
    fn a_file_of_which_a_part_is_not_understood_is_refused_whole() {
        let mut holds = Holds::default();
        holds.hold(
            name("a.io/b:c"),
            Kind::Lock,
            descriptor("x"),
            Time::from_millis(7),
        );
        let text = holds.to_text();
        for (from, to) in [
            ("a.io/b:c", "a.io/b"),
            ("sha256:", "sha1:"),
            ("\"lock\"", "\"glue\""),
            ("\"size\"", "\"length\""),
            ("}\n", ""),
        ] {
            let damaged = text.replacen(from, to, 1);
            assert_ne!(damaged, text, "{from}");
            assert!(Holds::from_text(&damaged).is_err(), "{damaged}");
        }
        let newer = text.replace("\"version\": 1", "\"version\": 2");
        let error = Holds::from_text(&newer).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
    }
}
