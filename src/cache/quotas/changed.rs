//! The quotas under another configuration: what was taken stays taken.

use std::sync::Arc;

use super::pacer::SharedLink;
use super::{Client, Clients, Key, Quotas};

impl Quotas {
    /// These quotas under another configuration, beside the present ones. Each figure of a tier that did not change
    /// goes on with what its clients have taken of it; so does a link that is shared as before.
    #[must_use]
    pub(in crate::cache) fn changed(&self, clients: Clients, bandwidth: Option<u64>) -> Self {
        let mut changed = Self::new(
            clients,
            bandwidth,
            self.metrics.clone(),
            self.tasks.clone(),
            self.clock,
        );
        let same = |link: &&Arc<SharedLink>| Some(link.rate) == bandwidth && self.weights == changed.weights;
        if let Some(link) = self.link.as_ref().filter(same) {
            changed.link = Some(link.clone());
        }
        // The longest unused first: that is the order in which they go.
        for (key, before) in self.known().iter().rev() {
            if let Some((key, client)) = changed.client_after(self, *key, before) {
                changed.known().put(key, Arc::new(client));
            }
        }
        changed
    }

    /// The record of a client that `before` is the record of in the quotas `was`, if it is still one of that tier.
    fn client_after(&self, was: &Self, (index, number): Key, before: &Client) -> Option<(Key, Client)> {
        let old = was.clients.tiers.get(index)?;
        let index = self.clients.tiers.iter().position(|tier| tier.name == old.name)?;
        let tier = &self.clients.tiers[index];
        let named = usize::try_from(number)
            .ok()
            .and_then(|place| was.clients.rules.get(place));
        let number = match named {
            Some(rule) => self.clients.number_of(&rule.name)?,
            None => number,
        };
        let (was, is) = (&old.quota, &tier.quota);
        let mut client = self.client((index, number), tier);
        if was.reads == is.reads {
            client.reads = before.reads.clone();
        }
        if was.writes == is.writes {
            client.writes = before.writes.clone();
        }
        if was.fills == is.fills {
            client.places = before.places.clone();
        }
        if was.bandwidth == is.bandwidth {
            client.pace = before.pace.clone();
        }
        Some(((index, number), client))
    }
}
