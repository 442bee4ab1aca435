//! What a simulated upstream may be made to do: plain data, one field per switch.
//!
//! The defaults are a faithful registry without limits. Groups and names follow the field notes on real
//! registries; a switch that no test turns is not here.

use std::time::Duration;

/// Everything that differs between upstreams.
#[derive(Clone, Debug)]
pub(crate) struct Switches {
    // A. Challenges.
    pub(crate) auth: Auth,
    pub(crate) realm: Realm,
    pub(crate) scope: Scope,
    /// What the challenge calls the registry, and the token service insists on.
    pub(crate) service: Option<&'static str>,
    pub(crate) spelling: Spelling,
    /// False: a 401 about a repository names no challenge, only the one of `/v2/` does.
    pub(crate) challenge_on_repository: bool,
    // B. The token service.
    pub(crate) token: TokenAnswer,
    /// Length of a token, in bytes.
    pub(crate) token_bytes: usize,
    /// How long a token really is good for.
    pub(crate) token_life: Duration,
    pub(crate) grant: Grant,
    pub(crate) accounts: Vec<Account>,
    /// Repositories that not everybody is shown.
    pub(crate) closed: Vec<Closed>,
    /// What those are told who are not.
    pub(crate) hidden: Hidden,
    /// Only accounts may pull.
    pub(crate) private: bool,
    pub(crate) lockout: Option<Lockout>,
    // C. Limits.
    /// Whom requests without an account are counted for.
    pub(crate) egress: &'static str,
    /// What they may do; `None` is no limit.
    pub(crate) allowance: Option<Allowance>,
    pub(crate) figures: Figures,
    /// Answers name whom they were counted for.
    pub(crate) source: bool,
    /// How many manifest GETs lower the figures by one.
    pub(crate) gets_per_unit: u64,
    /// By how much they lower them then.
    pub(crate) units_per_get: u64,
    /// What neighbours behind the same address take.
    pub(crate) foreign_per_hour: f64,
    pub(crate) refusal: Refusal,
    /// The `Retry-After` of a refused pull.
    pub(crate) retry_after: Option<&'static str>,
    /// How a HEAD is answered when nothing is left.
    pub(crate) head_when_empty: u16,
    pub(crate) rate: Option<Rate>,
    /// The stores answer 429 to so many requests first.
    pub(crate) store_refusals: u32,
    // D. Manifests.
    pub(crate) head: Head,
    pub(crate) digest_on_get: bool,
    /// Sent in place of the manifest's own type.
    pub(crate) manifest_type: Option<&'static str>,
    pub(crate) unknown: Unknown,
    pub(crate) manifests: Manifests,
    /// What stands before `/v2/`.
    pub(crate) prefix: &'static str,
    // E. Blobs.
    pub(crate) blobs: Delivery,
    pub(crate) signature_life: Duration,
    pub(crate) range: Range,
    /// What the other registry has of all this.
    pub(crate) alternate: Alternate,
    // G. Faults by chance.
    /// Share of requests that meet a fault of some kind.
    pub(crate) chaos: f64,
}

/// How a registry wants to know who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    Nobody,
    Basic,
    Bearer,
    /// Both in one header field.
    BothOnOneLine,
    /// Both, each in a field of its own, and one that nobody here speaks first.
    BothInTwoFields,
}

/// Where the challenge says that tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Realm {
    /// On the token service's own host.
    Service,
    /// At a path of the registry's host.
    SameHost(&'static str),
    /// Likewise, without naming the host.
    Relative(&'static str),
    /// At the service, with a query of its own.
    WithQuery,
    /// Somewhere that no credential may go.
    Elsewhere(&'static str),
}

/// The scope that a challenge names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Repository,
    Absent,
    /// The same for everything, and one token is good for everything.
    Fixed(&'static str),
    /// The repository's, but one token is good for everything.
    NamedButBoundToNothing,
}

/// How the challenge is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    Canonical,
    LowerCase,
    OddSpaces,
    UnquotedService,
}

/// What the token service's answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenAnswer {
    pub(crate) field: TokenField,
    /// What it says of the life, in seconds.
    pub(crate) expires_in: Option<u64>,
}

/// Under which name the token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenField {
    Both,
    Token,
    AccessToken,
    /// None of them: a page for people.
    Page,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    Full,
    /// Nothing, without saying so.
    Empty,
}

/// A user of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
    /// The password before this one, while it still holds.
    pub(crate) former: Option<&'static str>,
    pub(crate) allowance: Option<Allowance>,
}

/// Repositories whose names begin so are shown to these accounts, and to nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) below: &'static str,
    pub(crate) to: &'static [&'static str],
}

/// What somebody is told of a repository that he is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// The same as of what does not exist.
    Missing,
    /// 401, whatever he has shown.
    Challenged,
    /// 403.
    Denied,
}

/// When a user name is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lockout {
    /// After so many failed logins,
    pub(crate) failures: usize,
    /// within this time,
    pub(crate) within: Duration,
    /// for this long.
    pub(crate) length: Duration,
}

/// How many pulls a window allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) pulls: u64,
    pub(crate) window: Duration,
    pub(crate) kind: Kind,
}

/// How a window moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rolling,
    Fixed,
}

/// How answers tell the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figures {
    Silent,
    Plain,
    XOnly,
    Both,
    Spaced,
    List,
    NoWindow,
}

/// The body of a refused pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Json,
    JsonUnauthenticated,
    Html,
    Empty,
}

/// So many requests a second and no more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) burst: f64,
    pub(crate) counts: Counts,
    pub(crate) form: RateForm,
    pub(crate) retry_after: Option<&'static str>,
}

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    /// Every request to the registry and its token service.
    Everything,
    /// GETs of manifests.
    Pulls,
    /// Requests about manifests and blobs, each kind for itself.
    Endpoints,
}

/// How a rate refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateForm {
    Plain,
    /// Lines that end with a bare line feed, and the connection closed after them.
    BareLineFeeds,
    /// In the registry's form, without figures.
    Json,
    /// With a wait in words, in microseconds.
    Words,
}

/// How HEAD of a manifest is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Right,
    Status(u16),
    WithoutDigest,
    WithoutLength,
}

/// How an unknown manifest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    Json(&'static str),
    Page,
    /// 403, to those who are not known.
    Denied,
}

/// Where manifests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manifests {
    Here,
    /// At another registry, in a repository of another name.
    Elsewhere,
    /// In a store, by a URL that is signed for GET only.
    Signed,
}

/// How blobs are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Inline,
    /// By a signed URL of a store, the stores in turn.
    Redirect(u16),
    /// Likewise, with a page as the body and a header that says the redirect keeps for a year.
    RedirectWithPage(u16),
}

/// What another registry gives of what it is asked for by digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alternate {
    Holds,
    Lacks,
    /// One bit of it is another.
    Corrupts,
}

/// How a store treats Range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    Right,
    Ignored,
    /// It starts a byte late.
    Wrong,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            auth: Auth::Nobody,
            realm: Realm::Service,
            scope: Scope::Repository,
            service: Some("registry"),
            spelling: Spelling::Canonical,
            challenge_on_repository: true,
            token: TokenAnswer {
                field: TokenField::Both,
                expires_in: Some(300),
            },
            token_bytes: 500,
            token_life: Duration::from_secs(300),
            grant: Grant::Full,
            accounts: Vec::new(),
            closed: Vec::new(),
            hidden: Hidden::Missing,
            private: false,
            lockout: None,
            egress: "192.0.2.1",
            allowance: None,
            figures: Figures::Silent,
            source: false,
            gets_per_unit: 1,
            units_per_get: 1,
            foreign_per_hour: 0.0,
            refusal: Refusal::Json,
            retry_after: None,
            head_when_empty: 200,
            rate: None,
            store_refusals: 0,
            head: Head::Right,
            digest_on_get: true,
            manifest_type: None,
            unknown: Unknown::Json("MANIFEST_UNKNOWN"),
            manifests: Manifests::Here,
            prefix: "",
            blobs: Delivery::Inline,
            signature_life: Duration::from_secs(600),
            range: Range::Right,
            alternate: Alternate::Holds,
            chaos: 0.0,
        }
    }
}

impl Switches {
    /// Allows everybody this much, whether they have an account or not.
    pub(crate) fn allow(&mut self, allowance: Option<Allowance>) {
        self.allowance = allowance;
        for account in &mut self.accounts {
            account.allowance = allowance;
        }
    }

    /// The path of a token service that the registry itself has.
    pub(crate) fn token_path(&self) -> Option<&'static str> {
        match self.realm {
            Realm::SameHost(path) | Realm::Relative(path) => Some(path),
            Realm::Service | Realm::WithQuery | Realm::Elsewhere(_) => None,
        }
    }

    /// True if a HEAD tells what a tag points at.
    pub(crate) fn head_tells(&self) -> bool {
        self.head == Head::Right && self.manifests != Manifests::Signed
    }
}

/// A rolling allowance.
pub(crate) const fn per_hours(pulls: u64, hours: u64) -> Allowance {
    Allowance {
        pulls,
        window: Duration::from_secs(hours * 3600),
        kind: Kind::Rolling,
    }
}
