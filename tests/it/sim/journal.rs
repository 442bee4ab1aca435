//! What a simulated upstream has seen: one entry for each request, with what became of it.

use http::Method;
use seawall::oci::Digest;

/// Whose part a host plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Registry,
    Tokens,
    /// A content store, which redirects lead to.
    Store(u8),
    /// Another registry.
    Alternate,
    /// A host that nothing good leads to.
    Stranger,
    /// The metadata service of a machine.
    Metadata,
    /// The agent that pods get their identity from.
    Agent,
    /// The services of a cloud.
    Cloud,
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// `/v2/`.
    Ping,
    Manifest {
        repository: String,
        by_tag: bool,
        digest: Option<Digest>,
    },
    Blob(Digest),
    /// The tags of a repository.
    Tags(String),
    Token,
    Other,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All of it went out, as it should be.
    Complete,
    /// The one who asked went away.
    Left,
    /// It was broken off, or spoilt, on purpose.
    Faulty,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Milliseconds since the simulator's start.
    pub(crate) at: u64,
    pub(crate) role: Role,
    pub(crate) method: Method,
    pub(crate) path: String,
    /// The scheme of `Authorization`, never what follows it.
    pub(crate) scheme: Option<String>,
    /// The user who was named, or whose token was shown.
    pub(crate) user: Option<String>,
    /// The password that was shown.
    pub(crate) password: Option<String>,
    pub(crate) range: Option<String>,
    pub(crate) about: About,
    pub(crate) status: u16,
    /// Bytes of the body that went out.
    pub(crate) sent: u64,
    /// `None` while it is under way.
    pub(crate) ended: Option<Ended>,
    /// The source it was counted for, and what was left then.
    pub(crate) charged: Option<(String, u64)>,
}

impl Entry {
    /// True for an answer that gives all of something.
    pub(crate) fn is_whole(&self) -> bool {
        self.method == Method::GET && self.status == 200
    }

    /// The digest whose bytes the answer gives.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match &self.about {
            About::Manifest { digest, .. } => *digest,
            About::Blob(digest) => Some(*digest),
            About::Ping | About::Tags(_) | About::Token | About::Other => None,
        }
    }
}

/// Counts over a journal.
pub(crate) trait Counted {
    /// Manifests that were given by GET: what may be counted as a pull.
    fn pulls(&self) -> usize;
    /// HEADs of manifests.
    fn heads(&self) -> usize;
    /// Requests for tokens.
    fn tokens(&self) -> usize;
    /// How often a digest was given to its last byte.
    fn given(&self, digest: &Digest) -> usize;
    /// Answers of this status.
    fn status(&self, status: u16) -> usize;
}

impl Counted for [Entry] {
    fn pulls(&self) -> usize {
        let manifests = self
            .iter()
            .filter(|entry| matches!(entry.about, About::Manifest { .. }));
        manifests.filter(|entry| entry.is_whole()).count()
    }

    fn heads(&self) -> usize {
        let heads = self.iter().filter(|entry| entry.method == Method::HEAD);
        // A redirect is one step of a HEAD, not another one.
        heads.filter(|entry| !(300..400).contains(&entry.status)).count()
    }

    fn tokens(&self) -> usize {
        self.iter().filter(|entry| entry.about == About::Token).count()
    }

    fn given(&self, digest: &Digest) -> usize {
        // A body that broke was gone on with: what counts is how often the last byte was given.
        let to_the_end = |entry: &&Entry| {
            let open = entry.range.as_ref().is_none_or(|range| range.ends_with('-'));
            entry.method == Method::GET && open && entry.ended == Some(Ended::Complete)
        };
        let bytes = self.iter().filter(|entry| matches!(entry.status, 200 | 206));
        bytes
            .filter(to_the_end)
            .filter(|entry| entry.digest() == Some(*digest))
            .count()
    }

    fn status(&self, status: u16) -> usize {
        self.iter().filter(|entry| entry.status == status).count()
    }
}
