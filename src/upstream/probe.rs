//! Budgets are read before the first pull: by HEAD of a repository that the registry keeps for it, which
//! costs nothing.

use std::time::Duration;

use tokio::time::sleep;

use super::registry::Upstreams;
use super::{Refusal, Upstream, profile};
use crate::oci::{Reference, Registry, Repository};
use crate::policy::naming::{Chosen, Pattern};

/// The longest that is waited before each reading, so that machines that start together do not ask together.
const LATEST: Duration = Duration::from_secs(3);

impl Upstreams {
    /// Reads the budget of every account, one at a time, of the upstreams that have a repository for it, but
    /// for the entries of the configuration that are not to be asked.
    ///
    /// Cancel-safe: what was read is known.
    pub async fn read_budgets(&self, is_offline: impl Fn(usize) -> bool) {
        for (entry, options) in self
            .options()
            .enumerate()
            .filter(|(entry, _)| !is_offline(*entry))
        {
            let Pattern::Exact(registry) = &options.registry else {
                continue;
            };
            let Some((path, tag)) = profile::probe(registry, options.url.as_ref()) else {
                continue;
            };
            let (Ok(path), Ok(tag)) = (path.parse(), tag.parse()) else {
                continue;
            };
            let chosen = Chosen {
                entry,
                repository: Repository {
                    registry: registry.clone(),
                    path,
                },
            };
            self.get(&chosen)
                .read_budget(registry, &chosen.repository, &Reference::Tag(tag))
                .await;
        }
    }
}

impl Upstream {
    async fn read_budget(&self, registry: &Registry, repository: &Repository, reference: &Reference) {
        let Ok(exchange) = self.exchange() else { return };
        for account in 0..exchange.accounts.len() {
            sleep(LATEST.mul_f64(rand::random_range(0.0..1.0))).await;
            // What the answer tells of the budget is learnt on the way; while the upstream wants to be left alone,
            // or the credential is parked, nothing is sent.
            match self.head_with(&repository.path, reference, account).await {
                Ok(_) => {}
                Err(error @ (Refusal::Unreachable(_) | Refusal::Failing(_) | Refusal::LeftAlone { .. })) => {
                    tracing::info!(%registry, %error, "its budget was not read; the first pull will tell");
                    return;
                }
                Err(error) => tracing::debug!(%registry, account, %error, "the budget could not be read"),
            }
        }
    }
}
