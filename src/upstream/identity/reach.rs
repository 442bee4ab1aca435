//! The way to where credentials come from: programs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lock;

/// What all sources share.
#[derive(Default)]
pub(in crate::upstream) struct Reach {
    /// Programs run one at a time each: some break when several of them log in at once.
    programs: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Reach {
    /// The right to run a program, of which the configuration names a few.
    pub(super) async fn program(&self, name: &str) -> OwnedSemaphorePermit {
        let turns = {
            let mut programs = lock(&self.programs);
            let turns = programs.entry(name.to_owned());
            Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(1))))
        };
        turns
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }
}
