//! Whether the upstream of a repository shows it to who asks for it here.

use std::time::Duration;

use super::{Cache, Failure};
use crate::oci::Repository;
use crate::policy::naming::Chosen;
use crate::upstream::{Credential, Guard, Refusal, Shown, Wants};

/// The longest that an upstream is waited for: less than the clients wait, who want content after that.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why nothing of a repository is served.
#[derive(Debug)]
pub enum NotShown {
    /// The upstream does not show it, or what is wanted of it is not there: nobody can tell which.
    Hidden {
        /// True if the upstream did not take what the client logs in with.
        login: bool,
        /// True if it was asked just now, and not long ago.
        tried: bool,
    },
    /// The upstream could not be asked.
    Unknown(Box<Failure>),
}

impl Cache {
    /// For whom the upstream has to be asked before anything of a repository is served.
    pub fn guard(&self, chosen: &Chosen) -> Guard {
        self.upstreams.guard(chosen)
    }

    /// Whether the upstream shows a repository, of which somebody wants this, to who asks: to everybody, or to the
    /// client that logs in with this, as the repository is guarded. What it said of late is believed.
    ///
    /// Nothing is looked up here, so that no answer depends on what is held. Cancel-safe.
    ///
    /// # Errors
    /// If it does not, or cannot be asked.
    pub async fn permit(
        &self,
        chosen: &Chosen,
        wants: &Wants,
        credential: Option<&Credential>,
    ) -> Result<(), NotShown> {
        let Repository { registry, path } = &chosen.repository;
        let credential = match self.guard(chosen) {
            Guard::Nobody => return Ok(()),
            Guard::Everybody => None,
            Guard::Client => credential,
        };
        let shown = match self.reach(chosen) {
            Ok(upstream) => upstream.shows(path, wants, credential, PATIENCE).await,
            Err(_) if self.is_known_public(chosen) => Shown::Yes,
            Err(refusal) => Shown::Unknown(refusal),
        };
        let failure = |refusal: &Refusal| match wants {
            Wants::Blob(_) => Failure::of_blob(registry.as_str(), refusal),
            Wants::Manifest(_) | Wants::List => Failure::of_manifest(registry.as_str(), refusal),
        };
        match shown {
            Shown::Yes => Ok(()),
            Shown::No { login, tried } => Err(NotShown::Hidden { login, tried }),
            Shown::Unknown(refusal) => Err(NotShown::Unknown(Box::new(failure(&refusal)))),
        }
    }

    /// Whether the upstream that is meant takes what a client logs in with. Cancel-safe.
    ///
    /// # Errors
    /// If it does not. While it cannot be asked, it is taken to.
    pub async fn takes(&self, meant: &Chosen, credential: &Credential) -> Result<(), NotShown> {
        let Ok(upstream) = self.reach(meant) else {
            return Ok(());
        };
        let path = &meant.repository.path;
        match upstream.takes(credential, path, PATIENCE).await {
            Shown::No { login, tried } => Err(NotShown::Hidden { login, tried }),
            Shown::Yes | Shown::Unknown(_) => Ok(()),
        }
    }

    /// True if what a client logs in with is no guess: the upstream took it of late, or need not be asked.
    pub fn knows(&self, chosen: &Chosen, credential: &Credential) -> bool {
        let path = &chosen.repository.path;
        let upstream = self.reach(chosen);
        upstream.map_or(true, |upstream| {
            upstream.knows(credential, path, self.clock.now())
        })
    }

    /// True if a list of what is held may name a repository to everybody. Asks nobody.
    pub fn is_known_public(&self, chosen: &Chosen) -> bool {
        match self.guard(chosen) {
            Guard::Nobody => true,
            Guard::Client => false,
            Guard::Everybody => {
                let upstream = self.upstreams.get(chosen);
                upstream.is_known_public(&chosen.repository.path, self.clock.now())
            }
        }
    }
}
