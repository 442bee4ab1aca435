//! The cache under another configuration.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::trust::Verdicts;
use super::{Cache, Options, lock};
use crate::policy::budget::Rules;
use crate::upstream::{self, Budgets};

impl Cache {
    /// This cache under another configuration, beside the present one, under which what is under way ends: with
    /// its shelves, flights and records, and with all of its upstreams and clients that did not change.
    ///
    /// What there is once holds for both at once: the capacity, when fills are finished, and whether blobs are
    /// hashed when first served. Where the directory is, and how much memory may be taken, stays as it was.
    ///
    /// Blocks on the disk.
    #[must_use]
    pub fn changed(&self, options: Options, upstreams: Vec<upstream::Options>) -> Self {
        let shelves = &self.shelves;
        // What was spent a moment ago is still on its way there.
        shelves.records.flush();
        let budgets = Budgets {
            rules: Rules {
                reserves: options.clients.reserves(),
            },
            ledgers: shelves.records.ledgers(),
        };
        if options.space != self.options.space {
            shelves.disk.change_space(options.space);
        }
        shelves
            .verifies
            .store(options.verify_first_serve, Ordering::Relaxed);
        lock(&self.flights).set_rules(options.flights);
        self.claims().set_rules(options.flights);
        let quotas = self.quotas.changed(options.clients.clone(), options.bandwidth);
        let trust = match options.trust == self.options.trust {
            true => self.trust.clone(),
            // Whoever is believed now may not be who was.
            false => Arc::new(Verdicts::new(self.tasks.clone(), self.clock)),
        };
        let upstreams = Arc::new(self.upstreams.changed(upstreams, budgets));
        shelves
            .private
            .note(upstreams.with_credentials(), shelves.disk.health());
        Self {
            trust,
            upstreams,
            quotas: Arc::new(quotas),
            options: Arc::new(Options {
                directory: self.options.directory.clone(),
                memory: self.options.memory,
                ..options
            }),
            ..self.clone()
        }
    }
}
