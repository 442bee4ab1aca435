//! `seawall repository list`, `tags`, `manifests`, `show` and `usage`: what is held.

mod lists;
mod show;
mod usage;

use bytes::Bytes;
use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Asking;
use super::admin::NoAnswer;
use super::look::Look;
use crate::policy::listing::MAX_LIMIT;

/// Looks at what is held.
#[derive(Debug, Subcommand)]
pub(super) enum Inspect {
    /// Look at the repositories of which something is held
    Repository {
        #[command(subcommand)]
        command: Repository,
    },
    /// List the tags of a repository: what they point at, and whether that is held
    Tags(OfRepository),
    /// List the manifests of a repository: platforms, sizes, pulls, where they came from
    Manifests(OfRepository),
    /// Show a manifest or index as a tree, with what is held of it and what refers to it
    Show(Show),
    /// Show what the disk is used for: by upstream, repository and age, and what would go next
    Usage(UsageOf),
}

/// Looks at repositories.
#[derive(Debug, Subcommand)]
pub(super) enum Repository {
    /// List them with their sizes and pulls
    List(Listing),
}

#[derive(Debug, Args)]
pub(super) struct OfRepository {
    /// The repository: docker.io/library/alpine, or alpine for one of the default registry
    repository: String,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Args)]
pub(super) struct Listing {
    /// Sort by this; a wrong word is answered with the right ones
    #[arg(long, value_name = "WORD")]
    sort: Option<String>,
    /// The other way round: names go up and figures go down otherwise
    #[arg(long)]
    reverse: bool,
    /// Only rows in whose name this regular expression is found
    #[arg(long, value_name = "REGEX")]
    filter: Option<String>,
    /// Most rows
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: usize,
    /// Digests in full
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// What to show: alpine:3.20, docker.io/library/alpine, ghcr.io/owner/app@sha256:…
    reference: String,
    /// Digests in full
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
pub(super) struct UsageOf {
    /// Repositories shown, the largest first
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    top: usize,
    #[command(flatten)]
    asking: Asking,
}

/// Asks the running Seawall for the answer of a path.
pub(super) type Get<'a> = &'a dyn Fn(&str) -> Result<Bytes, NoAnswer>;

impl Inspect {
    /// Whom to ask, and how to print.
    pub(super) const fn asking(&self) -> &Asking {
        match self {
            Self::Repository {
                command: Repository::List(listing),
            } => &listing.asking,
            Self::Tags(of) | Self::Manifests(of) => &of.listing.asking,
            Self::Show(show) => &show.asking,
            Self::Usage(usage) => &usage.asking,
        }
    }

    /// The answer, as JSON; of a list, as many pages as it takes, as one.
    pub(super) fn answer(&self, get: Get<'_>) -> Result<Bytes, NoAnswer> {
        match self {
            Self::Repository {
                command: Repository::List(listing),
            } => listing.pages("/api/v1/repositories", None, get),
            Self::Tags(of) => of.listing.pages("/api/v1/tags", Some(&of.repository), get),
            Self::Manifests(of) => of.listing.pages("/api/v1/manifests", Some(&of.repository), get),
            Self::Show(show) => get(&format!("/api/v1/show?reference={}", encode(&show.reference))),
            Self::Usage(usage) => get(&format!("/api/v1/usage?top={}", usage.top)),
        }
    }

    /// The answer for people.
    pub(super) fn draw(&self, body: &[u8], look: Look) -> Result<String, serde_json::Error> {
        Ok(match self {
            Self::Repository { .. } => lists::repositories(&serde_json::from_slice(body)?, look),
            Self::Tags(of) => lists::tags(&serde_json::from_slice(body)?, of.listing.full, look),
            Self::Manifests(of) => lists::manifests(&serde_json::from_slice(body)?, of.listing.full, look),
            Self::Show(show) => show::draw(&serde_json::from_slice(body)?, show.full, look),
            Self::Usage(_) => usage::draw(&serde_json::from_slice(body)?, look),
        })
    }
}

impl Listing {
    /// Asks for pages until there are as many rows as wanted, or no more; and puts them together.
    fn pages(&self, path: &str, repository: Option<&str>, get: Get<'_>) -> Result<Bytes, NoAnswer> {
        let odd = |error| NoAnswer::Unreachable(format!("its answer is not understood: {error}"));
        let mut whole: Option<serde_json::Value> = None;
        let (mut left, mut after) = (self.limit.max(1), None);
        loop {
            let answer = get(&self.path(path, repository, left.min(MAX_LIMIT), after.as_deref()))?;
            let mut page: serde_json::Value = serde_json::from_slice(&answer).map_err(odd)?;
            let rows = page["rows"]
                .as_array_mut()
                .map(std::mem::take)
                .unwrap_or_default();
            left = left.saturating_sub(rows.len());
            after = page["next"].as_str().map(str::to_owned);
            let ended = left == 0 || after.is_none() || rows.is_empty();
            let whole = whole.get_or_insert(page);
            whole["next"] = after.clone().into();
            if let Some(all) = whole["rows"].as_array_mut() {
                all.extend(rows);
            }
            if ended {
                return serde_json::to_vec(whole).map(Bytes::from).map_err(odd);
            }
        }
    }

    fn path(&self, path: &str, repository: Option<&str>, limit: usize, after: Option<&str>) -> String {
        let given = [
            ("repository", repository),
            ("sort", self.sort.as_deref()),
            ("filter", self.filter.as_deref()),
            ("reverse", self.reverse.then_some("true")),
            ("after", after),
        ];
        let given = given.iter().filter_map(|(key, value)| Some((key, (*value)?)));
        let given = given.map(|(key, value)| format!("&{key}={}", encode(value)));
        format!("{path}?limit={limit}{}", given.collect::<String>())
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
