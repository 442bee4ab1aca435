//! For which upstreams there is a question of who may have what, and for whom it is asked.

use super::{Options, Upstreams};
use crate::policy::access::visibility::Sharing;
use crate::policy::naming::Chosen;

/// For whom an upstream is asked whether it shows a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// It is not asked.
    Nobody,
    /// For everybody at once: without any credential.
    Everybody,
    /// For each client, by its own credential.
    Client,
}

impl Options {
    /// For whom the upstream has to be asked whether it shows a repository, before anything of it is served: nobody
    /// where there is nothing that not everybody who asks here may have.
    pub fn guard(&self) -> Guard {
        match self.sharing {
            Sharing::Public if !self.credentials.is_empty() => Guard::Everybody,
            Sharing::PerClient => Guard::Client,
            Sharing::Public | Sharing::Shared => Guard::Nobody,
        }
    }

    /// True if the upstream is asked who may have what: where there is something that not everybody may have, and
    /// somebody else who might be told or given it.
    pub(super) fn has_witness(&self) -> bool {
        let has_secrets = !self.credentials.is_empty();
        self.guard() != Guard::Nobody || (has_secrets && !self.alternates.is_empty())
    }

    /// The same upstream, without any credential.
    pub(super) fn anonymous(&self) -> Self {
        Self {
            credentials: Vec::new(),
            alternates: Vec::new(),
            ..self.clone()
        }
    }

    /// True if one of these has credentials.
    pub(super) fn have_secrets(options: &[Self]) -> bool {
        options.iter().any(|options| !options.credentials.is_empty())
    }
}

impl Upstreams {
    /// For whom an upstream has to be asked whether it shows a repository. What it was asked for with credentials is
    /// not everybody's when it has them no more.
    ///
    /// # Panics
    /// If `chosen` came from names of another configuration than these upstreams.
    pub fn guard(&self, chosen: &Chosen) -> Guard {
        let options = &self.entries[chosen.entry].options;
        match options.guard() {
            Guard::Nobody if options.sharing == Sharing::Public && self.had_credentials(chosen) => {
                Guard::Everybody
            }
            guard => guard,
        }
    }

    /// True if an upstream is shown credentials, or was, which may see more than everybody does.
    ///
    /// # Panics
    /// As [`Self::guard`].
    pub fn has_credentials(&self, chosen: &Chosen) -> bool {
        !self.entries[chosen.entry].options.credentials.is_empty() || self.had_credentials(chosen)
    }

    fn had_credentials(&self, chosen: &Chosen) -> bool {
        self.known.had_credentials(&chosen.repository.registry)
    }

    /// True if an upstream is shown credentials, or was under an earlier configuration: what is held may not be for
    /// everybody.
    pub fn have_secrets(&self) -> bool {
        self.secrets || self.known.has_private()
    }
}
