//! What a purge would do: a dry run prints it, apply takes it.

use std::collections::BTreeSet;
use std::fmt;

use crate::clock::Time;
use crate::oci::{Algorithm, Digest, Hasher, Repository, Tag};
use crate::policy::eviction::{Content, Shelf};
use crate::policy::holds::Kind;

/// What goes, what stays, in an order that depends on nothing but the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What goes: tags, then manifests, then blobs, then what else is left of them, which is the order in which it is removed.
    pub goes: Vec<Going>,
    /// What was looked at and stays.
    pub stays: Vec<Staying>,
    /// How many repositories the filters match.
    pub repositories: usize,
    /// What was named itself, with all that goes for it: copies of these go from wherever else there are any. Nothing of
    /// what goes by rules, which is much, and whose copies go by themselves in time.
    pub copies: BTreeSet<Digest>,
}

/// Something held.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    /// A tag.
    Tag(Repository, Tag),
    /// A manifest of a repository; of none, if the records of it were lost.
    Manifest(Option<Repository>, Digest),
    /// A blob.
    Blob(Digest),
    /// A copy of some content that nobody is served from.
    Left(Leftover, Digest),
}

/// A copy of some content that stands on no shelf of its own, or is all that is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leftover {
    /// It did not hash to its name, and was put aside.
    Damaged,
    /// Its download was not finished.
    Unfinished,
    /// It is in memory, and not on disk.
    Memory,
}

/// Something that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Going {
    /// What.
    pub item: Item,
    /// Bytes won: of the file that goes with it. `None` if no file does: it is a tag, or another repository still
    /// has the manifest, or its file is counted there already.
    pub won: Option<u64>,
}

/// Something that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staying {
    /// What.
    pub item: Item,
    /// Why.
    pub why: Why,
}

/// Why something stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The operator holds it, or what lists or names it.
    Held(Kind),
    /// It is one of the newest that are to be kept.
    Newest,
    /// It was last used then, or if it never was, stored.
    Used(Time),
    /// This tag of its repository points at it.
    Tagged(Tag),
    /// This index lists it.
    Listed(Digest),
    /// It refers to this manifest, as a signature does.
    Refers(Digest),
    /// This manifest, which stays, names it.
    Shared(Repository, Digest),
    /// It is a tag that points at this since the plan was made.
    Moved(Digest),
    /// A manifest that was stored since the plan was made names it.
    Named,
    /// A download still writes to it.
    Filling,
}

impl Plan {
    /// Bytes that are won.
    pub fn bytes(&self) -> u64 {
        self.goes.iter().filter_map(|going| going.won).sum()
    }

    /// True if it removes this tag, or manifest of a repository.
    pub fn removes(&self, item: &Item) -> bool {
        let goes = &self.goes;
        goes.binary_search_by(|going| going.item.cmp(item)).is_ok()
    }

    /// The manifests and blobs whose files go, manifests first.
    pub fn files(&self) -> impl Iterator<Item = Content> {
        let going = self.goes.iter().filter(|going| going.won.is_some());
        going.filter_map(|going| match going.item {
            Item::Tag(..) | Item::Left(..) => None,
            Item::Manifest(_, digest) => Some(Content {
                shelf: Shelf::Manifests,
                digest,
            }),
            Item::Blob(digest) => Some(Content {
                shelf: Shelf::Blobs,
                digest,
            }),
        })
    }

    /// A name for what goes: the same for the same, another for anything else. 16 hex digits.
    pub fn fingerprint(&self) -> String {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        for (number, going) in self.goes.iter().enumerate() {
            let between = if number == 0 { "" } else { "\n" };
            let line = format!("{between}{} {} {:?}", going.item.kind(), going.item, going.won);
            hasher.update(line.as_bytes());
        }
        let mut hex = hasher.finish().hex();
        hex.truncate(16);
        hex
    }

    pub(super) fn go(&mut self, item: Item, won: Option<u64>) {
        self.goes.push(Going { item, won });
    }

    pub(super) fn stay(&mut self, item: Item, why: Why) {
        self.stays.push(Staying { item, why });
    }

    /// Sorts both lists. What stays for two reasons is told once.
    pub(super) fn sort(&mut self) {
        self.goes.sort_by(|a, b| a.item.cmp(&b.item));
        self.stays.sort_by(|a, b| a.item.cmp(&b.item));
        self.stays.dedup_by(|later, first| later.item == first.item);
    }
}

impl Item {
    /// `tag`, `manifest` or `blob`; of what is left of any: `damaged`, `partial` or `memory`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tag(..) => "tag",
            Self::Manifest(..) => "manifest",
            Self::Blob(_) => "blob",
            Self::Left(Leftover::Damaged, _) => "damaged",
            Self::Left(Leftover::Unfinished, _) => "partial",
            Self::Left(Leftover::Memory, _) => "memory",
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(repository, tag) => write!(f, "{repository}:{tag}"),
            Self::Manifest(Some(repository), digest) => write!(f, "{repository}@{digest}"),
            Self::Manifest(None, digest) | Self::Blob(digest) | Self::Left(_, digest) => {
                fmt::Display::fmt(digest, f)
            }
        }
    }
}

impl Why {
    /// One word, for scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Held(Kind::Lock) => "locked",
            Self::Held(Kind::Pin) => "pinned",
            Self::Newest => "newest",
            Self::Used(_) => "used",
            Self::Tagged(_) => "tagged",
            Self::Listed(_) => "listed",
            Self::Refers(_) => "refers",
            Self::Shared(..) => "shared",
            Self::Moved(_) => "moved",
            Self::Named => "named",
            Self::Filling => "filling",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(kind) => fmt::Display::fmt(kind, f),
            Self::Newest => f.write_str("one of the newest"),
            Self::Used(time) => write!(f, "used {time}"),
            Self::Tagged(tag) => write!(f, "tag {tag} points at it"),
            Self::Listed(index) => write!(f, "listed by {index}"),
            Self::Refers(subject) => write!(f, "refers to {subject}"),
            Self::Shared(repository, digest) => write!(f, "shared with {repository}@{digest}"),
            Self::Moved(digest) => write!(f, "it points at {digest} by now"),
            Self::Named => f.write_str("a manifest that was stored meanwhile names it"),
            Self::Filling => f.write_str("it is being downloaded"),
        }
    }
}
